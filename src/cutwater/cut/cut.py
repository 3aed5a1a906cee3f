"""Cut: a down-set of the DAG, everything "before"; its border is the set of tensors that must cross."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cut:
    """A legal place to part the graph.

    ``before`` is a bit mask over op indices, closed under predecessors: ``0`` is the cut before everything, all ones
    the cut after everything. The border of the first is the graph's inputs, of the last the graph's outputs.
    Constants and anything else that does not depend on the request never belong to a border.
    """

    before: int
    border: tuple[str, ...]
    """Names of the tensors that must cross, in a fixed order."""
    border_bytes: int
    """Their size in the types and shapes the graph gives them."""
    flops_before: int
    weight_bytes_before: int
    label: str
    """What to call it: "after blocks.5", "after /model.22/Concat", "input", "output"."""

    @property
    def width(self) -> int:
        """How many tensors are live at this cut."""
        return len(self.border)

    def __le__(self, other: "Cut") -> bool:
        """Whether everything before this cut is also before ``other``."""
        return self.before & ~other.before == 0

"""More workers than a chain needs: replicas of its busiest stage, and spares of every stage."""

from dataclasses import replace

from cutwater.plan.problem import Choice, Problem
from cutwater.plan.score import tally

Room = dict[int, float]
"""Node -> bytes that are left on it."""


def room_of(problem: Problem) -> Room:
    """Of every node that may run stages."""
    return {node: float(problem.memory[node]) for node in range(len(problem.nodes)) if problem.runs[node]}


def take(problem: Problem, choice: Choice, room: Room) -> None:
    """A choice's workers use their nodes' memory."""
    for k, stage in enumerate(choice.nodes):
        for node in stage:
            room[node] -= problem.stage_memory(node, choice.cuts[k], choice.cuts[k + 1])


def widen(problem: Problem, choice: Choice, replicas: int, free: list[int], room: Room) -> Choice:
    """The choice with replicas of whatever stage is the busiest, until that one has ``replicas`` workers.

    Each new worker runs on the node of ``free`` that is fastest at the stage; nodes used are taken out of ``free``,
    and their memory out of ``room``. Within a stage the slowest node comes first: it stands for all of them.
    """
    while True:
        k = _busiest(problem, choice)
        begin, end = choice.cuts[k], choice.cuts[k + 1]
        able = [node for node in free if _able(problem, choice, k, node, room)]
        if len(choice.nodes[k]) >= replicas or not able:
            return choice
        node = min(able, key=lambda n: stage_seconds(problem, n, begin, end))
        free.remove(node)
        room[node] -= problem.stage_memory(node, begin, end)
        stage = sorted((*choice.nodes[k], node), key=lambda n: -stage_seconds(problem, n, begin, end))
        choice = replace(choice, nodes=(*choice.nodes[:k], tuple(stage), *choice.nodes[k + 1 :]))


def spares(problem: Problem, choice: Choice, count: int, used: set[int], room: Room) -> list[tuple[int, int]]:
    """(stage, node) of up to ``count`` further workers of each stage.

    On nodes that run nothing (by ``used``) first, and never on one that runs the same stage.
    """
    found: list[tuple[int, int]] = []
    workers = {node: int(node in used) for node in room}
    for _ in range(count):
        for k, stage in enumerate(choice.nodes):
            begin, end = choice.cuts[k], choice.cuts[k + 1]
            able = [
                node
                for node in room
                if node not in stage and (k, node) not in found and _able(problem, choice, k, node, room)
            ]
            if able:
                node = min(able, key=lambda n: (workers[n], stage_seconds(problem, n, begin, end), n))
                workers[node] += 1
                room[node] -= problem.stage_memory(node, begin, end)
                found.append((k, node))
    return found


def stage_seconds(problem: Problem, node: int, begin: int, end: int) -> float:
    """Computing one request between two cuts, with nothing else going on."""
    return float(problem.overhead[node] + problem.prefix[node, end] - problem.prefix[node, begin])


def _busiest(problem: Problem, choice: Choice) -> int:
    busy = tally(problem, choice).nodes
    return max(range(len(choice.nodes)), key=lambda k: max(busy[node] for node in choice.nodes[k]))


def _able(problem: Problem, choice: Choice, k: int, node: int, room: Room) -> bool:
    """Whether a node has the memory for stage ``k``, and links to and from all its neighbours."""
    if problem.stage_memory(node, choice.cuts[k], choice.cuts[k + 1]) > room[node]:
        return False
    before = choice.nodes[k - 1] if k else (problem.source,)
    after = choice.nodes[k + 1] if k + 1 < len(choice.nodes) else ()
    ways = [(other, node) for other in before] + [(node, other) for other in after]
    return all(problem.latency[a, b] < float("inf") and problem.latency[b, a] < float("inf") for a, b in ways)

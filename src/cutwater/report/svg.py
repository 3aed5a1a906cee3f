"""A minimal SVG canvas: elements in, one self-contained document out; it scales, and needs no fonts or scripts."""

import xml.etree.ElementTree as ET

STAGE_COLOURS = ("#2f6fb0", "#e08a1e", "#3d9a5f", "#b5478f", "#6a5bb5", "#c2543d", "#2a9d9d", "#8a7a2b")
"""One per stage, used in every picture; told apart by people with the common colour blindnesses."""

INK = "#1d2733"
PALE = "#6b7785"
GRID = "#dfe4ea"
PAPER = "#ffffff"


def stage_colour(index: int) -> str:
    """The colour of stage ``index``."""
    return STAGE_COLOURS[index % len(STAGE_COLOURS)]


class Canvas:
    """An SVG document of a fixed size, in user units."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width:g} {height:g}",
                "role": "img",
                "font-family": "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', sans-serif",
            },
        )
        ET.SubElement(self._root, "title").text = title
        self.rect(0, 0, width, height, fill=PAPER)

    def rect(self, x: float, y: float, width: float, height: float, *, fill: str, hint: str = "", **more: str) -> None:
        """A rectangle; ``hint`` shows when pointed at."""
        attributes = {"x": f"{x:.2f}", "y": f"{y:.2f}", "width": f"{max(width, 0):.2f}", "height": f"{height:.2f}"}
        self._hinted(ET.SubElement(self._root, "rect", {**attributes, "fill": fill, **_dashed(more)}), hint)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, stroke: str, width: float = 1, **more: str) -> None:
        """A straight line."""
        ends = {"x1": f"{x1:.2f}", "y1": f"{y1:.2f}", "x2": f"{x2:.2f}", "y2": f"{y2:.2f}"}
        ET.SubElement(self._root, "line", {**ends, "stroke": stroke, "stroke-width": f"{width:g}", **_dashed(more)})

    def text(self, x: float, y: float, text: str, *, size: float = 12, fill: str = INK, **more: str) -> None:
        """Text whose baseline starts (or, with ``anchor``, centres or ends) at (x, y)."""
        anchor = {"text-anchor": more.pop("anchor")} if "anchor" in more else {}
        place = {"x": f"{x:.2f}", "y": f"{y:.2f}", "font-size": f"{size:g}", "fill": fill}
        ET.SubElement(self._root, "text", {**place, **anchor, **_dashed(more)}).text = text

    def render(self) -> str:
        """The document."""
        return ET.tostring(self._root, encoding="unicode")

    @staticmethod
    def _hinted(element: ET.Element, hint: str) -> None:
        if hint:
            ET.SubElement(element, "title").text = hint


def _dashed(attributes: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in attributes.items()}

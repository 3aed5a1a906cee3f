"""Pictures and pages are well-formed, carry what they were given, and load nothing from elsewhere."""

import re
import xml.etree.ElementTree as ET

from cutwater.cut.lattice import Lattice, chain_cuts, find_cut
from cutwater.report.chain import draw_chain
from cutwater.report.page import Page, Thumbnail
from cutwater.report.svg import stage_colour
from cutwater.report.timeline import draw_timeline
from cutwater.units import RequestId, StageId, format_bytes
from cutwater.wire.message import Mark

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_chain_names_each_chosen_cut_with_what_it_sends(vit_lattice: Lattice) -> None:
    chosen = [find_cut(vit_lattice, "33%"), find_cut(vit_lattice, "66%")]
    svg = draw_chain(vit_lattice.graph, chain_cuts(vit_lattice), chosen, ["pi-a", "pi-b", "cloud"])
    said = texts(svg)
    assert vit_lattice.graph.name in said
    for k, cut in enumerate(chosen):
        assert any(f"cut {k + 1}: {cut.label}, {format_bytes(cut.border_bytes)}" in text for text in said)
    assert "stage 3 on cloud" in said


def test_every_block_is_drawn_in_the_colour_of_its_stage(vit_lattice: Lattice) -> None:
    cuts = chain_cuts(vit_lattice)
    chosen = [cuts[len(cuts) // 2]]
    rects = list(ET.fromstring(draw_chain(vit_lattice.graph, cuts, chosen)).iter(f"{SVG}rect"))
    colours = [rect.get("fill") for rect in rects]
    assert colours.count(stage_colour(0)) == cuts.index(chosen[0])
    assert colours.count(stage_colour(0)) + colours.count(stage_colour(1)) == len(cuts) - 1


def mark(stage: str, received: float, started: float, finished: float) -> Mark:
    return Mark(StageId(stage), received, started, finished, finished, 1, 10, 10, 0.0, 0.0)


def test_a_timeline_has_a_box_per_request_and_stage() -> None:
    trails = {
        RequestId(n): (mark("stage-1", n, n + 0.1, n + 0.9), mark("stage-2", n + 1, n + 1.1, n + 1.9)) for n in range(3)
    }
    svg = draw_timeline(trails, ["1 pi-a", "2 pi-b"])
    boxes = [rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert len(boxes) == 6
    assert {"1 pi-a", "2 pi-b"} <= set(texts(svg))


def test_a_timeline_without_complete_requests_says_so() -> None:
    assert "no request went through all stages" in texts(draw_timeline({}, ["1 pi-a"]))


def test_a_page_is_one_file_that_escapes_what_it_shows() -> None:
    page = Page("<model>", 'a "plan"')
    page.table(("picture", "right"), [(Thumbnail(b"\xff\xd8", 'a"b'), True), ("<script>", False)])
    html = page.render()
    assert "&lt;model&gt;" in html
    assert "<script>" not in html
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)

"""The picture of answers per second: bars stand on each other, and what happened is numbered and told."""

import xml.etree.ElementTree as ET

from cutwater.report.throughput import Level, Moment, Series, draw_throughput

SVG = "{http://www.w3.org/2000/svg}"


def hinted(svg: str) -> dict[str, tuple[float, float]]:
    """What each bar says when pointed at -> its top and height."""
    found = {}
    for rect in ET.fromstring(svg).iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            found[str(title.text)] = (float(rect.attrib["y"]), float(rect.attrib["height"]))
    return found


def test_bars_of_a_quarter_of_a_second_stand_upon_each_other() -> None:
    series = [Series("nodes", "#111111", [0.1, 0.2, 0.6]), Series("gateway", "#222222", [0.15])]
    bars = hinted(draw_throughput(series, [], [], end=1.0))
    assert bars.keys() == {"nodes: 8/s at 0.00 s", "gateway: 4/s at 0.00 s", "nodes: 4/s at 0.50 s"}
    lower, upper = bars["nodes: 8/s at 0.00 s"], bars["gateway: 4/s at 0.00 s"]
    assert abs(upper[0] + upper[1] - lower[0]) < 0.02
    assert abs(lower[1] - 2 * upper[1]) < 0.02


def test_what_came_after_the_end_is_left_out() -> None:
    assert hinted(draw_throughput([Series("nodes", "#111111", [1.0, 1.1, 7.0])], [], [], end=1.1)) == {}


def test_what_happened_is_numbered_and_told_beneath() -> None:
    moments = [Moment(0.5, "node-2 is killed"), Moment(0.51, "answers flow again")]
    svg = draw_throughput([Series("nodes", "#111111", [])], [Level(0.0, 0.5, 180.0)], moments, end=1.0)
    places = {element.text: float(element.attrib["x"]) for element in ET.fromstring(svg).iter(f"{SVG}text")}
    assert {"1   node-2 is killed", "2   answers flow again", "180/s predicted", "predicted"} <= places.keys()
    assert places["2"] - places["1"] >= 14  # however close they are, their numbers can be read

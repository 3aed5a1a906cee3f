"""The picture of arrivals: a row for each model, whose bars say the rate and whose line is the average."""

import xml.etree.ElementTree as ET

import numpy as np

from cutwater.report.arrivals import draw_arrivals
from cutwater.workload.figures import figures
from cutwater.workload.schedule import Schedule

SVG = "{http://www.w3.org/2000/svg}"


def drawn(schedule: Schedule) -> ET.Element:
    found = {model: figures(times, schedule.duration) for model, times in schedule.times.items()}
    return ET.fromstring(draw_arrivals(schedule, found))


def bars(picture: ET.Element) -> dict[str, float]:
    """What each says when pointed at -> its height."""
    hinted = ((rect.find(f"{SVG}title"), rect) for rect in picture.iter(f"{SVG}rect"))
    return {str(title.text): float(rect.attrib["height"]) for title, rect in hinted if title is not None}


def texts(picture: ET.Element) -> list[str]:
    return [str(text.text) for text in picture.iter(f"{SVG}text")]


def test_bars_are_as_high_as_the_rate_in_their_second() -> None:
    schedule = Schedule({"vit": np.array([0.0, 0.5, 1.5, 2.0, 2.1, 2.2, 2.3]), "bert": np.empty(0)}, 240.0)
    picture = drawn(schedule)
    found = bars(picture)
    assert found.keys() == {"vit: 2/s from 0 s on", "vit: 1/s from 1 s on", "vit: 4/s from 2 s on"}
    assert found["vit: 4/s from 2 s on"] == 2 * found["vit: 2/s from 0 s on"] == 4 * found["vit: 1/s from 1 s on"]
    assert {"vit", "7 requests", "bert", "0 requests", "4/s", "how fast requests come, counted over 1 s each"} <= set(
        texts(picture)
    )


def test_time_is_told_in_the_unit_that_suits_it() -> None:
    times = np.array([0.0])
    assert texts(drawn(Schedule({"a": times}, 0.5)))[1:4] == ["0 s", "0.05 s", "0.1 s"]
    assert texts(drawn(Schedule({"a": times}, 3600.0)))[1:4] == ["0 min", "10 min", "20 min"]
    assert texts(drawn(Schedule({"a": times}, 14 * 86400.0)))[1:4] == ["0 d", "2 d", "4 d"]


def test_of_a_long_name_both_ends_are_shown() -> None:
    picture = drawn(Schedule({"0123456789-0123456789-abcdefgh": np.array([1.0])}, 10.0))
    assert "0123456789-…abcdefgh" in texts(picture)


def test_many_models_get_low_rows() -> None:
    few, many = (drawn(Schedule({f"m{k}": np.array([1.0]) for k in range(n)}, 10.0)) for n in (2, 24))
    height = [float(picture.attrib["viewBox"].split()[3]) for picture in (few, many)]
    assert height[1] < 5 * height[0]
    assert "1 requests" in texts(few)

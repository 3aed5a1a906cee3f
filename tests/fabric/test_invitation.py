"""An invitation is one text file; whatever is wrong with one is said in its own words."""

import datetime
import stat
from pathlib import Path

import msgspec
import pytest

from cutwater.errors import BadInvitation
from cutwater.fabric.authority import Authority, Role
from cutwater.fabric.invitation import LIMIT, Invitation, read_invitation, write_invitation
from cutwater.fabric.permissions import new_seed

NOW = datetime.datetime.now(datetime.UTC)
UNTIL = NOW + datetime.timedelta(days=2)


def invitation(authority: Authority, name: str = "pi-a") -> Invitation:
    made = authority.issue(Role.NODE, name, UNTIL, serial=7)
    return Invitation(
        version=1,
        cluster=authority.cluster,
        role=Role.NODE,
        name=name,
        until=UNTIL.isoformat(),
        servers=("tls://10.0.0.1:4222", "tls://[fd00::1]:4222"),
        ca=authority.ca.read_text(),
        certificate=made.certificate.decode(),
        key=made.key.decode(),
        seed=new_seed(),
        revocations=authority.revocations([3]).decode(),
    )


@pytest.fixture
def lab(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "lab", "lab")


def test_what_is_written_is_read(lab: Authority, tmp_path: Path) -> None:
    path, made = tmp_path / "pi-a.toml", invitation(lab)
    write_invitation(path, made)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "cutwater node join pi-a.toml" in path.read_text()
    read = read_invitation(path, NOW)
    assert read.identity == made.identity
    assert read.servers == made.servers
    assert read.key.strip() == made.key.strip()


def refusal(path: Path, wrong: Invitation | bytes, now: datetime.datetime = NOW) -> str:
    if isinstance(wrong, Invitation):
        write_invitation(path, wrong)
    else:
        path.write_bytes(wrong)
    with pytest.raises(BadInvitation) as caught:
        read_invitation(path, now)
    return str(caught.value)


def test_each_mistake_has_its_own_words(lab: Authority, tmp_path: Path) -> None:
    path, good, other = tmp_path / "x", invitation(lab), Authority.create(tmp_path / "other", "other")
    theirs, change = invitation(other), msgspec.structs.replace
    with pytest.raises(BadInvitation, match="cannot be read"):
        read_invitation(tmp_path / "nowhere", NOW)
    assert "is no invitation" in refusal(path, b"hello")
    assert "is no invitation" in refusal(path, b"\xff\xfe")
    assert "is no invitation" in refusal(path, b"version = 1\n")
    assert "smaller than" in refusal(path, b"x" * (LIMIT + 1))
    assert "another version" in refusal(path, change(good, version=2))
    assert "is no invitation" in refusal(path, change(good, servers=("tls://evil/../x",)))
    assert "is damaged" in refusal(path, change(good, name="../pi"))
    assert "is damaged" in refusal(path, change(good, seed="SUAX"))
    assert "is damaged" in refusal(path, change(good, certificate=good.certificate[:200] + "\n"))
    assert "is damaged" in refusal(path, change(good, revocations=theirs.revocations))
    assert "different clusters" in refusal(path, change(good, certificate=theirs.certificate, key=theirs.key))
    assert "is for cutwater://lab/node/pi-a" in refusal(path, change(good, name="pi-b"))
    assert "is for" in refusal(path, change(good, key=invitation(lab).key))
    assert "ran out at" in refusal(path, good, UNTIL)

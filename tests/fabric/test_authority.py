"""What an authority signs: who somebody is, until when, and who counts no more."""

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from cutwater.errors import BadFile, InputError
from cutwater.fabric.authority import (
    Authority,
    Identity,
    Role,
    has_signed,
    identity_of,
    new_serial,
    read_revocations,
)

LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
SOON = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=3)


def test_a_certificate_says_whom_it_is_for(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "lab")
    made = authority.issue(Role.NODE, "pi-a", SOON, serial=7)
    certificate = x509.load_pem_x509_certificate(made.certificate)
    assert identity_of(certificate) == Identity("lab", Role.NODE, "pi-a")
    assert identity_of(certificate).uri == "cutwater://lab/node/pi-a"
    assert certificate.serial_number == 7
    assert certificate.not_valid_after_utc == SOON
    assert has_signed(authority.certificate, certificate)


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "lab")
    made = authority.issue(Role.NODE, "pi-a", LATER, new_serial())
    certificate = x509.load_pem_x509_certificate(made.certificate)
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_an_authority_of_the_same_name_has_not_signed_it(tmp_path: Path) -> None:
    ours, theirs = Authority.create(tmp_path / "ours", "lab"), Authority.create(tmp_path / "theirs", "lab")
    certificate = x509.load_pem_x509_certificate(theirs.issue(Role.NODE, "pi-a", SOON, 1).certificate)
    assert not has_signed(ours.certificate, certificate)
    with pytest.raises(BadFile, match="has not signed"):
        read_revocations(ours.certificate, theirs.revocations([1]))


def test_the_list_of_revocations_names_serials(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "lab")
    listed = read_revocations(authority.certificate, authority.revocations([5, 9]))
    assert {each.serial_number for each in listed} == {5, 9}
    assert len(read_revocations(authority.certificate, authority.revocations([]))) == 0


def test_its_key_is_its_own(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "a", "lab")
    for name in ("ca.key", "ca.pem"):
        assert stat.S_IMODE((tmp_path / "a" / name).stat().st_mode) == 0o600
    assert Authority.open(tmp_path / "a").certificate == made.certificate
    Authority.create(tmp_path / "b", "lab")
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(BadFile, match="not the key"):
        Authority.open(tmp_path / "a")
    with pytest.raises(BadFile, match="cannot be read"):
        Authority.open(tmp_path / "nowhere")


def test_a_path_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name of a cluster"):
        Authority.create(tmp_path, "../lab")
    authority = Authority.create(tmp_path, "lab")
    with pytest.raises(InputError, match="name of a node"):
        authority.issue(Role.NODE, "../pi", SOON, 1)

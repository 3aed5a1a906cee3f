"""Which transport an address leads to; and without one, the gateway of this machine's cluster."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cutwater.client.access import Access
from cutwater.client.address import local, transport_of
from cutwater.errors import InputError, NotFound
from cutwater.services.background import Record, birth
from cutwater.services.home import Home


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://localhost:8000", "HttpTransport"),
        ("http://[::1]:8000/behind/a/proxy/", "HttpTransport"),
        ("https://models.example.org", "HttpTransport"),
        ("unix:/run/cutwater/gateway-1", "NativeTransport"),
        ("tcp:10.0.0.7:7070", "NativeTransport"),
    ],
)
def test_an_address_says_how_to_ask(url: str, kind: str) -> None:
    assert type(transport_of(url, Access())).__name__ == kind


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "http://host:99999", "http://me:secret@host:8000", "grpc://host"]
)
def test_what_is_no_address_is_said_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(InputError, match="is no address of a gateway"):
        transport_of(url, Access())


def test_a_file_of_authorities_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ca: cannot use .*/none\.pem"):
        transport_of("https://host", Access(ca=tmp_path / "none.pem"))


def test_without_an_address_the_gateway_of_this_machine_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTWATER_HOME", str(tmp_path))
    monkeypatch.setenv("CUTWATER_GATEWAY_TOKEN", "open sesame")
    with pytest.raises(NotFound, match=r"no gateway runs in .*`cutwater up`"):
        local(Access())
    home = Home(tmp_path)
    home.make()
    born = birth(os.getpid())
    assert born is not None

    def stands(facts: dict[str, str]) -> tuple[str, str]:
        record = Record(name="gateway-1", pid=os.getpid(), birth=born, since="", facts=facts, serving=True)
        home.record("gateway-1").write_bytes(msgspec.json.encode(record))
        url, access = local(Access())
        return url, access.token

    assert stands({"socket": "unix:/s/gateway-1"}) == ("unix:/s/gateway-1", "open sesame")
    both = {"socket": "unix:/s/gateway-1", "grpc": "127.0.0.1:8001", "http": "http://127.0.0.1:8000"}
    assert stands(both) == ("http://127.0.0.1:8000", "open sesame")
    assert stands({"http": "http://0.0.0.0:8000"}) == ("http://127.0.0.1:8000", "open sesame")
    assert stands({"grpc": "[::]:8001"}) == ("grpc://[::1]:8001", "open sesame")
    assert local(Access(token="mine"))[1].token == "mine"


@pytest.mark.slow
def test_the_package_alone_loads_nothing() -> None:
    code = "import sys, cutwater; print('numpy' in sys.modules, 'asyncio' in sys.modules, cutwater.Client.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False", "Client"]
    with pytest.raises(ImportError, match="cannot import name 'Clinet'"):
        exec("from cutwater import Clinet")

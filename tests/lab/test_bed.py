"""A bed: devices that reach each other at the rate they were given, can be cut off, and are gone afterwards."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cutwater.errors import InputError, Unprivileged
from cutwater.lab import bed as bed_module
from cutwater.lab.bed import SWITCH, Bed, Device, partition

pytestmark = pytest.mark.alone

MakeBed = Callable[..., Bed]
LISTEN = """
import socket
door = socket.create_server(("", 9000))
print("listens", flush=True)
while True:
    end, _ = door.accept()
    while end.recv(65536):
        pass
    end.send(b"!")
    end.close()
"""
SEND = """
import socket, sys, time
end = socket.create_connection((sys.argv[1], 9000), 1.0)
end.settimeout(30.0)
began = time.perf_counter()
end.sendall(bytes(int(sys.argv[2])))
end.shutdown(socket.SHUT_WR)
assert end.recv(1) == b"!"
print(int(sys.argv[2]) * 8 / (time.perf_counter() - began))
"""


@contextmanager
def listening(bed: Bed, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process on a device that takes whatever it is sent."""
    command = bed.command(name, [sys.executable, "-c", LISTEN])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
        try:
            yield process
        finally:
            process.kill()


def sent(bed: Bed, source: str, target: str, nbytes: int = 100) -> float:
    """Bits per second. Raises CalledProcessError if the target is not reached."""
    done = bed.run(source, [sys.executable, "-c", SEND, bed.address(target), str(nbytes)])
    return float(done.stdout)


@pytest.mark.slow
def test_a_link_carries_what_it_was_given_in_both_directions(make_bed: MakeBed) -> None:
    bed = make_bed(Device("camera", rate=20e6), Device("server", rate=100e6))
    with listening(bed, "server"), listening(bed, "camera"):
        assert sent(bed, "camera", "server", 1_000_000) == pytest.approx(20e6, rel=0.15)
        assert sent(bed, "server", "camera", 1_000_000) == pytest.approx(20e6, rel=0.15)
        bed.limit("camera", 50e6)
        assert sent(bed, "camera", "server", 2_000_000) == pytest.approx(50e6, rel=0.15)


@pytest.mark.slow
def test_who_is_cut_off_is_reached_by_nobody_until_it_is_mended(make_bed: MakeBed) -> None:
    bed = make_bed(Device("camera"), Device("server"))
    with listening(bed, "server"):
        assert sent(bed, "camera", "server") > 0
        bed.cut("server")
        with pytest.raises(subprocess.CalledProcessError):
            sent(bed, "camera", "server")
        bed.mend("server")
        assert sent(bed, "camera", "server") > 0


@pytest.mark.slow
def test_a_partition_ends_by_itself(make_bed: MakeBed) -> None:
    bed = make_bed(Device("camera"), Device("server"))
    with listening(bed, "server"):
        asyncio.run(partition(bed, "server", 0.05))
        assert sent(bed, "camera", "server") > 0


def test_a_thread_can_be_at_the_switch_for_a_while(make_bed: MakeBed) -> None:
    bed = make_bed(Device("camera"))
    outside = Path("/proc/thread-self/ns/net").readlink()
    with bed.inside(SWITCH):
        assert Path("/proc/thread-self/ns/net").readlink() != outside
    assert Path("/proc/thread-self/ns/net").readlink() == outside


@pytest.mark.slow
def test_a_device_has_its_share_of_a_core(make_bed: MakeBed) -> None:
    bed = make_bed(Device("camera", cores=0.2))
    burn = "import time\nbegan = time.perf_counter()\nwhile time.process_time() < 0.2: pass\n"
    done = bed.run("camera", [sys.executable, "-c", burn + "print(time.perf_counter() - began)"])
    assert float(done.stdout) > 0.5
    assert bed.throttled("camera") > 0.3


@pytest.mark.slow
def test_nothing_is_left_of_a_bed(make_bed: MakeBed) -> None:
    bed = make_bed(Device("camera", cores=0.5))
    with listening(bed, "camera") as process:
        namespaces = [Path("/run/netns", bed.namespace(name)) for name in ("camera", SWITCH)]
        assert all(path.exists() for path in namespaces)
        assert bed.pids("camera") == [process.pid]
        bed.remove()
        assert process.poll() is not None
        assert not any(path.exists() for path in namespaces)
    bed.remove()


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_by_the_next_bed(make_bed: MakeBed) -> None:
    make_bed(Device("camera"))
    leave = (
        "import os, signal\nfrom cutwater.lab.bed import Bed, Device\n"
        "Bed([Device('lost')], network='10.79.0').__enter__()\nprint(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", leave], stdout=subprocess.PIPE, text=True, check=False)
    left = Path(f"/run/netns/cutwater-{int(done.stdout)}-lost")
    assert left.exists()
    bed_module.clear()
    assert not left.exists()


@pytest.mark.parametrize(
    "devices",
    [[Device("a"), Device("a")], [Device(SWITCH)], [Device("x" * 41)], [Device(f"d{k}") for k in range(201)]],
)
def test_devices_need_names_of_their_own(devices: list[Device]) -> None:
    with pytest.raises(InputError):
        Bed(devices)


def test_there_is_no_other_device() -> None:
    with pytest.raises(InputError, match="no device 'camra' in this bed"):
        Bed([Device("camera")]).address("camra")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_who_may_not_is_told_so() -> None:
    with pytest.raises(Unprivileged, match="by root only"), Bed([Device("camera")]):
        pytest.fail("made without rights")

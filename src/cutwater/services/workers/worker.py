"""The stage worker process, run with ``python -m``: one stage, loaded, warm, behind its addresses.

It reads a `WorkerSetup` from stdin as one line, says `Ready` or `Unable` on stdout as one line, and serves; how it is
doing, and when it wants to compute, it says in further lines, and hears in lines when it may. Stdin stays open for as
long as whoever started it lives: when it closes, for whatever reason, the worker ends at once, and the system sees to
it that a stopped one ends too. So no worker outlives its parent. On SIGTERM it finishes what it has and then ends; if
its event loop stands still, it ends without.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

import msgspec
import numpy as np

from cutwater.drivers.compute import ComputeThread
from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.drivers.stage import LiveStage
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.turns import LEAST
from cutwater.errors import BadFile, CutwaterError
from cutwater.frameworks.base import Session
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.services.words import Unable
from cutwater.services.workers.pulse import Pulses, resident
from cutwater.services.workers.setup import HUNG, Ready, WorkerSetup
from cutwater.services.workers.words import Ears, say
from cutwater.units import Seconds
from cutwater.wire.message import PROTOCOL, Hello

_SWITCH_INTERVAL = 0.0005
"""Seconds after which the compute thread may ask the event loop's thread for the interpreter's lock; Python's own
5 ms would let a stage wait for that long after computing."""
_PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>: which signal this process gets when the thread that started it ends."""


def main() -> int:
    """Run one worker; the exit code is 0 unless it never served, or hung."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    line = sys.stdin.buffer.readline()
    if not line:
        return 0  # it was kept idle, and is not needed
    try:
        setup = _read_setup(line)
        _die_with_parent(setup)
        if setup.cpus:
            os.sched_setaffinity(0, setup.cpus)
        began = clock()
        session = _load(setup)
        loaded = clock()
        _warm_up(setup, session)
    except CutwaterError as error:
        _say(Unable(error.kind, str(error)))
        return error.exit_code
    try:
        hung = run(serve(setup, session, clock() - began, clock() - loaded))
    except CutwaterError as error:
        _say(Unable(error.kind, str(error)))
        return error.exit_code
    finally:
        if setup.scratch is not None:
            with contextlib.suppress(OSError):  # others still use it
                Path(setup.scratch).rmdir()
    if hung is not None:
        print(hung, file=sys.stderr)
        return HUNG
    return 0


async def serve(setup: WorkerSetup, session: Session, load: Seconds, first: Seconds) -> str | None:
    """Answer requests until stdin closes, or until drained after SIGTERM; the reason, if it ends because it hung.

    Args:
        setup: what it was told.
        session: the stage, warm.
        load: how long that took.
        first: how long the first run took, which is no less than any other takes.

    Raises:
        InputError: an address that cannot be read, or not be listened at.
        Exception: what broke the stage's machine.
    """
    axes = {tensor.name: tensor.batch_axis for tensor in setup.inputs if tensor.batch_axis is not None}
    options = StageOptions(
        batching=setup.batching,
        batch_axes=axes,
        credits=setup.credits,
        expected=first * setup.batching.limit,
        in_turn=LEAST if setup.turns else None,
    )
    voice = os.dup(sys.stdout.fileno())
    hello = Hello(PROTOCOL, setup.deployment, setup.stage, setup.credits, setup.max_frame)
    live = LiveStage(
        StageWorker(setup.stage, options),
        hello,
        lambda done: ComputeThread(setup.stage, session, setup.inputs, setup.outputs, done, setup.handoff),
        tls=setup.tls,
        memory=setup.shared_memory,
        say=lambda word: say(voice, word),
    )
    ears = Ears(sys.stdin.fileno(), live.told, live.drained.set)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, live.drain)
    loop.add_reader(sys.stdin.fileno(), ears.read)
    try:
        addresses = tuple([await live.listen(address) for address in setup.listen])
        _say(Ready(addresses, os.getpid(), load, resident()))
        pulses = Pulses(live.snapshot, live.refusals, voice)
        # Whatever a stage's ops print goes where people look for it, and cannot fill a pipe nobody reads.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        pulses.start()
        await live.drained.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
        await live.leave()
    if live.broken is not None:
        raise live.broken
    return live.hung


def _die_with_parent(setup: WorkerSetup) -> None:
    """Have the system end this process with its parent, whatever state it is in.

    Where there is a folder to clean up nobody else could do it, so that there the system only sees that this process is
    not stopped any more and finds its stdin closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if setup.scratch is None else signal.SIGCONT)


def _read_setup(line: bytes) -> WorkerSetup:
    try:
        return msgspec.json.decode(line, type=WorkerSetup)
    except msgspec.MsgspecError as error:
        raise BadFile(f"a worker's setup is one line of JSON on stdin: {error}") from error


def _load(setup: WorkerSetup) -> Session:
    try:
        onnx = Path(setup.model).read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read the stage {setup.model}: {error}") from error
    return OnnxRuntime().load(onnx, setup.engine)


def _warm_up(setup: WorkerSetup, session: Session) -> None:
    zeros = {
        tensor.name: np.zeros(tensor.shape, "uint16" if tensor.dtype == "bfloat16" else tensor.dtype)
        for tensor in setup.inputs
    }
    # The first run allocates and plans; a stage whose values steer it may not take zeros, and then warms up later.
    with contextlib.suppress(CutwaterError):
        session.run(zeros)


def _say(words: Ready | Unable) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        code = main()
    except Exception:  # noqa: BLE001 - the edge of the process: whoever started it finds the reason on stderr
        traceback.print_exc()
        code = 1
    # The compute thread may be inside a run that takes seconds; nobody waits for it any more.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

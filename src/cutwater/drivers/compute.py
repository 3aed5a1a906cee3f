"""ComputeThread: the one thread in which a stage unpacks, computes and packs, while links receive and send."""

import asyncio
import contextlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import NamedTuple

import msgspec
import numpy as np

from cutwater.drivers.live import clock
from cutwater.drivers.waiting import waiting_clock
from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import Computed, Key, Result
from cutwater.errors import CutwaterError, StageFailed
from cutwater.frameworks.base import Session
from cutwater.graph.graph import Tensor
from cutwater.units import Seconds, StageId
from cutwater.wire.codecs.base import Array, Buffer
from cutwater.wire.message import Infer
from cutwater.wire.tensors import pack, tensors

HANDOFF: Seconds = 200e-6
"""A batch that takes less is computed where it came. Handing it to the thread and back costs 150 us of CPU (seen on
a chain of stages that pass 4 KB on); at 784 KB the data changes cores besides, and 200 us is where both meet."""
_WEIGHT = 0.2
"""Of the newest batch, in the running mean of how long batches take."""


class Job(msgspec.Struct, frozen=True):
    """One batch: its requests' headers and packed tensors."""

    batch: int
    requests: tuple[tuple[Key, Infer, Sequence[memoryview]], ...]


class _Unpacked(NamedTuple):
    key: Key
    infer: Infer
    feeds: Mapping[str, Array]
    decode: Seconds


class _Clocks(NamedTuple):
    """What the computing thread's own time is told by."""

    cpu: Callable[[], Seconds]
    waited: Callable[[], Seconds]


_INLINE = _Clocks(clock, lambda: 0.0)
"""A short batch is hardly ever interrupted, and asking the system would cost as much as computing it: there the clock's
time is taken."""

Done = Callable[[Computed, Mapping[Key, list[Buffer]]], None]
"""Told on the event loop: how a batch came out, and the packed outputs of each request that has some."""


class ComputeThread:
    """Runs one session. ONNX Runtime releases the interpreter's lock, so the event loop goes on meanwhile."""

    def __init__(
        self,
        stage: StageId,
        session: Session,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        done: Done,
        handoff: Seconds = HANDOFF,
    ) -> None:
        """``inputs`` and ``outputs`` as they travel, in order; batches that take less than ``handoff`` stay inline."""
        self._handoff = handoff
        self._stage = stage
        self._session = session
        self._input_axes = {tensor.name: tensor.batch_axis for tensor in inputs}
        self._names = [tensor.name for tensor in outputs]
        self._dtypes = [tensor.dtype for tensor in outputs]
        self._output_axes = [tensor.batch_axis or 0 for tensor in outputs]
        self._order = [list(session.outputs).index(tensor.name) for tensor in outputs]
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._given = 0
        """Jobs that the thread has."""
        self._usual: Seconds = 2 * handoff
        """Running mean of the time of a batch, unpacking and packing included."""
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Compute ``job`` after those before; ``done`` is told, before this returns if batches are usually short."""
        if self._usual < self._handoff and not self._given:
            self._done(*self._compute(job, _INLINE))
        else:
            self._given += 1
            self._jobs.put(job)

    def close(self) -> None:
        """Take no more jobs; what computes now is not waited for."""
        self._jobs.put(None)

    def _work(self) -> None:
        _give_way()
        with waiting_clock() as waited:
            self._compute_all(_Clocks(time.thread_time, waited))

    def _compute_all(self, clocks: _Clocks) -> None:
        while (job := self._jobs.get()) is not None:
            computed, buffers = self._compute(job, clocks)
            del job  # its tensors are given back when the event loop lets go of them, not when the next job comes
            try:
                self._loop.call_soon_threadsafe(self._returned, computed, buffers)
            except RuntimeError:  # the loop has closed: the process is ending
                return

    def _returned(self, computed: Computed, buffers: Mapping[Key, list[Buffer]]) -> None:
        self._given -= 1
        self._done(computed, buffers)

    def _compute(self, job: Job, clocks: _Clocks) -> tuple[Computed, dict[Key, list[Buffer]]]:
        began = clock()
        results: dict[Key, Result] = {}
        buffers: dict[Key, list[Buffer]] = {}
        unpacked = [one for request in job.requests if (one := self._unpack(*request, results)) is not None]
        started, worked, waited = clock(), clocks.cpu(), clocks.waited()
        outputs, fault = self._run([one.feeds for one in unpacked]) if unpacked else ([], None)
        worked, waited, finished = clocks.cpu() - worked, clocks.waited() - waited, clock()
        for index, one in enumerate(unpacked):
            if fault is not None:
                results[one.key] = Result(one.key, decode=one.decode, fault=fault)
            else:
                self._pack(one, outputs[index], results, buffers)
        self._usual += _WEIGHT * (clock() - began - self._usual)
        ordered = tuple(results[key] for key, _, _ in job.requests)
        return Computed(job.batch, started, finished, ordered, worked, waited), buffers

    def _unpack(
        self, key: Key, infer: Infer, payloads: Sequence[memoryview], results: dict[Key, Result]
    ) -> _Unpacked | None:
        began = clock()
        try:
            arrays = tensors(infer, payloads)
        except CutwaterError as error:
            results[key] = Result(key, fault=Fault.of(error, self._stage))
            return None
        feeds = {spec.name: array for spec, array in zip(infer.tensors, arrays, strict=True)}
        return _Unpacked(key, infer, feeds, clock() - began)

    def _pack(
        self, one: _Unpacked, values: Sequence[Array], results: dict[Key, Result], buffers: dict[Key, list[Buffer]]
    ) -> None:
        began = clock()
        infer = one.infer
        packing = infer.route[0].packing if infer.route else infer.reply_packing
        try:
            specs, buffers[one.key] = pack(zip(self._names, self._dtypes, values, strict=True), packing)
        except CutwaterError as error:
            results[one.key] = Result(one.key, decode=one.decode, fault=Fault.of(error, self._stage))
            return
        results[one.key] = Result(one.key, specs, one.decode, clock() - began)

    def _run(self, feeds: Sequence[Mapping[str, Array]]) -> tuple[list[list[Array]], Fault | None]:
        """The outputs of each request, in order, or why there are none."""
        try:
            if len(feeds) == 1:
                found = self._session.run(feeds[0])
                return [[found[index] for index in self._order]], None
            return self._run_stacked(feeds), None
        except CutwaterError as error:
            return [], Fault.of(error, self._stage)
        except Exception as error:  # noqa: BLE001 - the edge of the process: one request must not end the worker
            traceback.print_exc()
            return [], Fault.of(StageFailed(f"{type(error).__name__}: {error}"), self._stage)

    def _run_stacked(self, feeds: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        axes = self._input_axes
        stacked = {
            name: np.concatenate([feed[name] for feed in feeds], axis=axes[name] or 0) for name in self._session.inputs
        }
        first = self._session.inputs[0]
        ends = np.cumsum([feed[first].shape[axes[first] or 0] for feed in feeds])[:-1]
        found = self._session.run(stacked)
        split = [
            np.split(found[index], ends, axis=axis) for index, axis in zip(self._order, self._output_axes, strict=True)
        ]
        return [[part[k] for part in split] for k in range(len(feeds))]


def _give_way() -> None:
    """Have this thread not interrupt an event loop when it gets something to do; Linux, else nothing happens.

    Where both have one core, a result would otherwise be sent only when the next batch, which the thread is given just
    before, has used up its time slice. `SCHED_BATCH` is for threads that compute and never wait for anybody.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

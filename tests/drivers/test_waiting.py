"""The waiting clock goes on while others have the core, and stands still while its thread sleeps."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutwater.drivers.live import clock
from cutwater.drivers.waiting import waiting_clock

pytestmark = pytest.mark.alone

SPIN = "import os; os.sched_setaffinity(0, {%d})\nwhile os.getppid() == %d: pass"


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the system keeps no such books")
@pytest.mark.slow
def test_what_others_take_of_the_core_is_waited_for() -> None:
    usable = os.sched_getaffinity(0)
    core = min(usable)
    rival = subprocess.Popen([sys.executable, "-c", SPIN % (core, os.getpid())])
    try:
        os.sched_setaffinity(0, {core})
        with waiting_clock() as waited:
            began, before, worked = clock(), waited(), time.thread_time()
            while time.thread_time() - worked < 0.2:
                pass
            lost, passed = waited() - before, clock() - began
    finally:
        os.sched_setaffinity(0, usable)
        rival.kill()
        rival.wait()
    # What was not computed was waited for: only the scheduler's own work belongs to neither.
    assert 0.0 < lost <= passed - 0.19

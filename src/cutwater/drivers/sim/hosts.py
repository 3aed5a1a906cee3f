"""Host: cores that the processes of a machine share.

All that runs on a host gets on at the same rate: its share of the cores where more wants to run than there are, and
slower by up to the measured contention while other cores are busy. So one virtual time per host, which passes at that
rate, says when everything is done (processor sharing; Kleinrock, "Queueing Systems" vol. 2, 1976, section 4.4).
As long as everything has a core for itself, each job simply ends when it would end alone, and nothing is reckoned.
Much of a simulation's time is spent here; so a job is a list, and what would be small methods is written out.
"""

from heapq import heappop, heappush
from typing import Any, Protocol

from cutwater.drivers.sim.clock import Call, Clock
from cutwater.units import Seconds

Job = list[Any]
"""Something that needs a core: [when it ends in the host's own time, number, call, arg, whose it is, taken off, when
the clock will call for it]."""
_OFF, _ALARM = 5, 6


class Thread(Protocol):
    """Whose a job is; it has one at a time."""

    threads: int
    """How many cores it keeps busy."""
    job: Job | None
    """Until it ends."""

    def go_on(self) -> None:
        """Its job has ended, and what was to be called then was called."""
        ...


_SAME: Seconds = 1e-9
"""Times that lie no further apart are the same."""


class Host:
    """One machine."""

    def __init__(self, clock: Clock, name: str, cores: int, *, contention: float = 1.0, threads: int = 1) -> None:
        """``contention``: time with all other cores busy over time alone; ``threads``: of one worker's computing."""
        self.name = name
        self.cores = cores
        self._clock = clock
        self._due, self._number = clock.due, clock.number
        self._ending = self._end
        self._contention = contention
        self._own = threads
        self._jobs: list[Job] = []
        self._running = 0
        """Threads that want to run."""
        self._rates: list[float] = [1.0]
        """By the number of threads that want to run."""
        self._rate = 1.0
        self._virtual = 0.0
        self._since: Seconds = 0.0
        self._roomy = cores if contention == 1.0 else min(threads, cores)
        """So many threads do not slow each other down."""
        self._alone: dict[int, Job] = {}
        """Jobs that get on at full rate, by number; while there are any, no others."""
        self._ringing = False
        """A job has just ended: what follows at once may start others, and the next alarm is set after that."""

    def start(self, seconds: Seconds, call: Call, arg: Any, whose: Thread) -> Job:
        """Work that takes ``seconds`` alone on the host; then ``call(arg)``, and ``whose`` goes on."""
        running = self._running + whose.threads
        if running <= self._roomy and not self._jobs:
            number = self._number()
            due = self._clock.now + seconds
            job: Job = [seconds, number, call, arg, whose, False, due]
            self._alone[number] = job
            self._running = running
            heappush(self._due, (due, number, self._ending, job))
            return job
        if self._alone:
            self._crowd()
        if self._since != self._clock.now:
            self._pass()
        job = [self._virtual + seconds, self._number(), call, arg, whose, False, -1.0]
        heappush(self._jobs, job)
        self._running = running
        if self._ringing:
            return job
        rates = self._rates
        rate = rates[running] if running < len(rates) else self._rate_of(running)
        if rate != self._rate:
            self._rate = rate
            self._arm()
        elif self._jobs[0] is job:
            job[_ALARM] = due = self._since + seconds / rate
            self._clock.at(due, self._ring, job)
        return job

    def stop(self, job: Job) -> Seconds:
        """Take ``job`` off the cores; returns the work that was left."""
        job[_OFF] = True
        if self._alone.pop(job[1], None) is not None:
            left: float = max(job[_ALARM] - self._clock.now, 0.0)
            self._running -= job[4].threads
            return left
        self._pass()
        left = job[0] - self._virtual
        self._running -= job[4].threads
        if not self._ringing:
            self._settle()
        return max(left, 0.0)

    def _end(self, job: Job) -> None:
        """A job that had a core for itself is done; unless it was taken off, or others came."""
        if self._alone.pop(job[1], None) is not None:
            whose = job[4]
            self._running -= whose.threads
            whose.job = None
            job[2](job[3])
            whose.go_on()

    def _crowd(self) -> None:
        """From now on jobs share the cores: what each has left is reckoned in the host's own time."""
        now = self._clock.now
        self._since = now
        self._rate = 0.0  # no alarm stands yet
        for job in self._alone.values():
            job[0] = self._virtual + max(job[_ALARM] - now, 0.0)
            job[_ALARM] = -1.0
            heappush(self._jobs, job)
        self._alone.clear()

    def _pass(self) -> None:
        """Bring the host's own time up to now."""
        now = self._clock.now
        if self._running:
            self._virtual += (now - self._since) * self._rate
        self._since = now

    def _rate_of(self, running: int) -> float:
        """How fast everything gets on while ``running`` threads want to."""
        rates = self._rates
        while len(rates) <= running:
            n = len(rates)
            others = min(1.0, max(0, n - self._own) / max(self.cores - self._own, 1))
            rates.append(min(1.0, self.cores / n) / (1.0 + (self._contention - 1.0) * others))
        return rates[running]

    def _settle(self) -> None:
        """Set the alarm anew after jobs have come and gone."""
        jobs = self._jobs
        while jobs and jobs[0][_OFF]:
            heappop(jobs)
        if jobs:
            running, rates = self._running, self._rates
            self._rate = rates[running] if running < len(rates) else self._rate_of(running)
            self._arm()
        else:
            self._virtual = 0.0  # idle: start over, before sums lose digits

    def _arm(self) -> None:
        """See that the clock calls when the first job is done. It need not where it was asked to already."""
        job = self._jobs[0]
        left = job[0] - self._virtual
        now = self._clock.now
        due = now + (left / self._rate if left > 0.0 else 0.0)
        if job[_ALARM] <= now or not -_SAME < due - job[_ALARM] < _SAME:
            job[_ALARM] = due
            self._clock.at(due, self._ring, job)

    def _ring(self, job: Job) -> None:
        """Out of date, unless ``job`` is the first, and done."""
        jobs = self._jobs
        now = self._clock.now
        if not jobs or jobs[0] is not job or not -_SAME < now - job[_ALARM] < _SAME:
            return
        self._since = now
        self._virtual = job[0]
        heappop(jobs)
        whose = job[4]
        self._running -= whose.threads
        self._ringing = True
        whose.job = None
        job[2](job[3])
        whose.go_on()
        self._ringing = False
        if jobs:
            self._settle()
        else:
            self._virtual = 0.0

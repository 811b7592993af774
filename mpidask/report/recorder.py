"""Keeps the record of a run, beside the scheduler.

It looks at the scheduler a few times a second. It is no plugin of Dask's: these are called for each step of each task,
even to do nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from mpidask.report.account import Account, Measured, Situation, WorkerLoad, rounded, split
from mpidask.report.record import Writer
from mpidask.report.seen import Gone, Kinds, Seen

__all__ = ["Recorder"]

_LOOK, _SLOW = 0.2, 1.0  # s between two looks; while there is nothing to do
_CALM = 10.0  # s for which there has been nothing to do then
_LOOK_EACH = 0.002  # the same for each worker, so that a thousand cost no more
_SAMPLE, _SAMPLE_EACH, _SAMPLE_PART = 1.0, 0.02, 1 / 300  # s between two samples; for each worker; of the time so far
_BEFORE = 0.02  # s by which what a worker did last was before another one took its place
_WRITING = 0.005  # part of the scheduler's time that samples may take
_DOUBLED = 16 << 20  # bytes of the record after which samples are half as many
_MOST_WORKERS = 2000  # beyond which samples tell of the whole run alone
_OVERLONG, _LONG = 3.0, 0.5  # times the mean of its kind, and s, beyond which a task is a straggler
_KNOWN = 3  # tasks of a kind of which the mean is known
_LONGEST, _REMEMBERED = 10, 1000  # tasks that are told, and kept in mind
_KINDS = 30
_METRIC = "mpidask-report"
_TICK = 0.025  # s between two rounds of a worker's event loop, 0.02 where no thread holds the interpreter's lock
_ONE_CORE = (0.02, 1.35)  # cores that a process uses whose threads wait for that lock


class Recorder:
    """Looks at a scheduler and writes down what it sees.

    deaths: returns name of a worker -> how often it died, and why it died last
    """

    def __init__(
        self,
        path: str,
        header: Mapping[str, Any],
        deaths: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._header, self._deaths = header, deaths
        self._writer = Writer(path)
        self._scheduler: Any = None
        self._account = Account()
        self._seen: dict[str, Seen] = {}  # by address
        self._gone, self._kinds = Gone(), Kinds()
        self._died: dict[str, int] = {}
        self._long: dict[str, tuple[float, str, float]] = {}  # key -> s that a task has run for, worker, begin
        self._began = self._looked = float(header["t"])
        self._epoch = max(time.time(), self._began) - time.monotonic()  # the run's clock may be that of another node
        self._sampled = self._wrote = self._began
        self._first: float | None = None  # when the first task was there
        self._most, self._arrived = 0, [self._began, 0.0]  # threads; since when, and threads times s until then
        self._took = 0.0  # s of the processor for the last sample
        self._looking: asyncio.Task[None] | None = None

    def start(self, scheduler: Any) -> None:
        """Begin; called within the scheduler's event loop."""
        self._scheduler = scheduler
        self._writer.write([{**self._header, "kind": "run", "listens": round(time.time(), 2)}])
        self._looking = asyncio.ensure_future(self._look_on())

    def close(self) -> None:
        """Look for the last time, and write what is left."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
            self._finish()
        self._writer.close()

    async def _look_on(self) -> None:
        with _harmless():
            while self._scheduler.status.name not in ("closing", "closed"):
                self._look()
                now, between = self._now(), self._between()
                if now - self._wrote >= between:
                    self._write(now, between)
                await asyncio.sleep(self._pause())
        self._looking = None  # a client has shut the scheduler down
        self._finish()

    def _finish(self) -> None:
        with _harmless():
            if self._scheduler.status.name == "running":
                self._look()
            now = self._now()
            self._write(now, 0.0, {"kind": "end", "t": now})

    def _write(self, now: float, between: float, *more: Mapping[str, Any]) -> None:
        """Write what there is; of a long record workers are written less often."""
        begun = time.thread_time()
        is_due = now - self._sampled >= between * 2 ** (self._writer.written // _DOUBLED)
        self._writer.write([*(self._sample(now) if is_due else ()), self._totals(), *more])
        self._wrote, self._took = now, time.thread_time() - begun

    def _now(self) -> float:
        """Return the time in s since 1970 by a clock that nobody sets meanwhile."""
        return self._epoch + time.monotonic()

    def _pause(self) -> float:
        since = self._scheduler.idle_since
        calm = since is not None and time.time() - since > _CALM and self._first is not None
        return max(_SLOW if calm else _LOOK, _LOOK_EACH * len(self._scheduler.workers))

    def _between(self) -> float:
        workers = len(self._scheduler.workers)
        so_far = self._now() - self._began
        return max(_SAMPLE, _SAMPLE_EACH * workers, so_far * _SAMPLE_PART, self._took / _WRITING)

    # ------------------------------------------------------------------------------ looking
    def _look(self) -> None:
        now = self._now()
        self._note_workers(now)
        self._kinds.look(self._scheduler.task_prefixes)
        states = self._scheduler.workers.values()
        situation = Situation(
            int(self._header.get("threads", 0)),
            [WorkerLoad(state.nthreads, len(state.processing), state.status.name == "paused") for state in states],
            queued=bool(getattr(self._scheduler, "queued", ())),
            overlong=self._has_overlong(),
            unrunnable=bool(self._scheduler.unrunnable),
        )
        if self._first is None and situation.with_task:
            self._first = now
        self._account.note(situation, max(0.0, now - self._looked))
        if (threads := min(situation.threads, situation.expected)) > self._most:
            self._most, self._arrived = threads, [now, round(self._account.idle.get("workers", 0.0), 3)]
        self._looked = now

    def _note_workers(self, now: float) -> None:
        """Take note of workers that have gone or come, and of those whose process has died."""
        there = self._scheduler.workers
        gone = [address for address, seen in self._seen.items() if there.get(address) is not seen.state]
        lines = self._let_go([self._seen.pop(address) for address in gone], now)
        for address in there.keys() - self._seen.keys():
            state = there[address]
            seen = self._seen[address] = Seen(state)
            about = {"name": seen.name, "host": state.host, "threads": state.nthreads, "limit": seen.limit}
            lines.append({"kind": "up", "t": now, **about})
        for name, death in self._deaths().items():
            if death.count != self._died.get(name, 0):
                self._died[name] = death.count
                lines.append({"kind": "died", "t": now, "name": name, "what": death.last})
        if lines:
            self._writer.write(lines)
        for seen in self._seen.values():
            self._hear(seen, seen.state, now)

    def _let_go(self, gone: Sequence[Seen], now: float) -> list[Mapping[str, Any]]:
        """Take note of workers that have gone; return the lines that say so, after what they did last."""
        for seen in gone:
            self._hear(seen, seen.state, now)
            self._gone.add(seen)
            for seconds, key, began in seen.report.get("longest", ()):
                if seconds > self._long.get(key, (0.0,))[0]:
                    self._long[key] = seconds, seen.name, began
        downs = [{"kind": "down", "t": now, "name": seen.name} for seen in gone]
        return [*self._changes(gone, self._sampled, now - _BEFORE), *downs]

    def _hear(self, seen: Seen, state: Any, now: float) -> None:
        """Take note of a worker's last heartbeat."""
        if state.last_seen == seen.heard:
            return
        since, seen.heard, seen.noted = now - (seen.noted or now), state.last_seen, now
        metrics = state.metrics
        seen.report = metrics.get(_METRIC) or seen.report
        seen.peak = max(seen.peak, metrics.get("memory", 0))
        seen.executing, seen.running = state.executing, sum(state.executing.values())
        running = sum(task.processing_on is state for task in state.executing)
        for task, duration in state.executing.items():
            if duration > self._long.get(str(task.key), (0.0,))[0]:
                self._long[str(task.key)] = duration, seen.name, state.last_seen - duration
        if len(self._long) > _REMEMBERED:
            self._long = dict(heapq.nlargest(_LONGEST, self._long.items(), key=lambda each: each[1][0]))
        cores = metrics.get("cpu", 0.0) / 100
        waits = running > 1 and _ONE_CORE[0] <= cores <= _ONE_CORE[1]
        if waits and metrics.get("event_loop_interval", 0.0) > _TICK:
            seen.gil += max(0.0, running - max(1.0, cores)) * since

    def _has_overlong(self) -> bool:
        """Whether a task runs that takes far longer than others of its kind; asked where few run."""
        few = [state for state in self._scheduler.workers.values() if len(state.processing) <= state.nthreads]
        return any(_is_overlong(task, duration) for state in few for task, duration in state.executing.items())

    # ------------------------------------------------------------------------------ writing
    def _sample(self, now: float) -> list[Mapping[str, Any]]:
        """Return a line with the workers that have changed, none if none have."""
        since, self._sampled = self._sampled, now
        return self._changes(self._seen.values(), since, now)

    def _changes(self, workers: Iterable[Seen], since: float, now: float) -> list[Mapping[str, Any]]:
        if len(self._scheduler.workers) > _MOST_WORKERS:
            return []
        changed: dict[str, list[Any]] = {}
        for seen in workers:
            entry = self._entry(seen)
            if entry != seen.written:
                before = seen.written[-1] if seen.written else {}
                kinds = {kind: seconds for kind, seconds in entry[-1].items() if seconds != before.get(kind)}
                changed[seen.name], seen.written = [*entry[:-1], kinds], entry
        line = {"kind": "sample", "t": round(now, 2), "since": round(since, 2), "workers": changed}
        return [line] if changed else []

    def _entry(self, seen: Seen) -> list[Any]:
        state, spent = seen.state, seen.report.get("seconds", {})
        computed = spent.get("cpu", 0.0) + spent.get("noncpu", 0.0) + seen.running
        spilled = state.metrics.get("spilled_bytes", {}).get("disk", 0)
        others = [round(spent.get(name, 0.0), 2) for name in ("transfer", "serialize", "disk")]
        kinds = {name: round(seconds, 2) for name, seconds in seen.report.get("kinds", {}).items()}
        running = len(state.executing)
        return [state.metrics.get("memory", 0), spilled, running, round(computed, 2), *others, kinds]

    def _totals(self) -> Mapping[str, Any]:
        gone, there, seen = self._gone, self._scheduler.workers, self._seen.items()
        spent, moved = gone.seconds.copy(), gone.moved.copy()
        for _, each in seen:
            spent.update(each.report.get("seconds", {}))
            moved.update(each.report.get("bytes", {}))
        running = sum(each.unfinished(there=address in there) for address, each in seen)
        computed, tasks, kinds = self._computed()
        lost = gone.lost + spent["lost"]
        measured = Measured(
            compute=computed + running + lost,
            gil=gone.gil + sum(each.gil for _, each in seen),
            lost=lost,
            transfer=spent["transfer"],
            spill=spent["disk"],
            serialize=spent["serialize"],
        )
        highest = max(filter(None, [gone.fullest, *self._seen.values()]), key=attrgetter("fullness"), default=None)
        return {
            "kind": "totals",
            "t": self._looked,
            "capacity": round(self._account.capacity, 3),
            "parts": rounded(split(self._account, measured)),
            "cpu": round(spent["cpu"], 3),
            "imports": round(spent["imports"], 3),
            "bytes": dict(moved),
            "tasks": tasks,
            "kinds": kinds,
            "longest": self._longest(),
            "peak": None if highest is None else [highest.name, highest.peak, highest.limit],
            "busiest": self._account.peak,
            "first": self._first,
            "arrived": self._arrived,
            "restarts": sum(self._died.values()),
            "workers": len(gone.names.union(each.name for _, each in seen)),
        }

    def _computed(self) -> tuple[float, int, list[list[Any]]]:
        """Return how long tasks were computed, how many, and kind, seconds, number and line of the heaviest kinds."""
        lines = dict(self._gone.lines)
        for seen in self._seen.values():
            lines.update(seen.report.get("lines", {}))
        found = self._kinds.sums()
        heaviest = heapq.nlargest(_KINDS, found)
        kinds = [[name, round(seconds, 3), number, lines.get(name)] for seconds, number, name in heaviest]
        return sum(each[0] for each in found), sum(each[1] for each in found), kinds

    def _longest(self) -> list[list[Any]]:
        """Return seconds, key, worker and beginning of the tasks that took longest, those that run included."""
        every = dict(self._long)
        for seen in self._seen.values():
            for seconds, key, began in seen.report.get("longest", ()):
                every[key] = max(every.get(key, (0.0, "", 0.0)), (seconds, seen.name, began))
        longest = heapq.nlargest(_LONGEST, every.items(), key=lambda each: each[1][0])
        return [[round(seconds, 3), key, *about] for key, (seconds, *about) in longest]


def _is_overlong(task: Any, duration: float) -> bool:
    if task.state != "processing" or duration < _LONG:
        return False
    number = task.prefix.state_counts["memory"]
    return bool(number >= _KNOWN and duration > _OVERLONG * task.prefix.all_durations["compute"] / number)


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Keep what goes wrong with the record from reaching the scheduler."""
    try:
        yield
    except Exception as error:
        logging.getLogger("distributed.mpidask").warning("the record of the run ends early", exc_info=error)

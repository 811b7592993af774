"""One sentence of advice on a run (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mpidask.report.quantity import amount, duration, percent
from mpidask.report.summary import Summary

__all__ = ["advise"]

_LEAST = 0.15  # of the time in which there was work; below that nothing is said
_WORK = 2.0  # s of threads with work below which nothing can be said
_SLOW_START = 20.0  # s
_SHORT = 0.05  # s of a task that is too short for the scheduler, where that cannot keep up
_SPILLED = 0.1  # of the memory of a worker
_MANY = 4  # tasks per thread, that are not too few
_FREE = 0.5  # of memory, and of cores, that could have more workers


def advise(run: Summary) -> str | None:
    """Return what would have helped most; None for a run that needs no advice."""
    work = run.capacity * (1 - run.share("unrunnable", "workers", "script"))
    found = [*_slow_start(run)]
    if work >= _WORK:
        found += [(weight / work, say) for weight, say in _of_work(run)]
    found = [each for each in found if each[0] >= _LEAST]
    if found:
        return max(found, key=lambda each: each[0])[1]()
    if work >= _WORK and run.mean < _SHORT and run.parts.get("scheduler", 0.0) >= _LEAST * work:
        return _short(run)  # what is left when all else is known
    return next(_unused(run), None)


def _slow_start(run: Summary) -> Iterator[tuple[float, Callable[[], str]]]:
    """Yield what is to be said of threads that waited while there was no work for them, with its share in all."""
    seconds, waited = run.arrived
    if seconds > _SLOW_START and waited > _LEAST * run.capacity:
        yield (
            min(run.share("workers"), waited / run.capacity),
            lambda: (
                f"workers took {duration(seconds)} to start: try --import-cache, or an environment "
                "with compiled bytecode on a faster file system"
            ),
        )
    if run.parts.get("unrunnable", 0.0) >= _WORK:
        yield run.share("unrunnable"), lambda: _unrunnable(run)
    if run.parts.get("script", 0.0) > _SLOW_START * run.threads and run.share("script") > 2 * _LEAST:
        yield (
            run.share("script"),
            lambda: (
                f"workers had nothing to do for {percent(run.share('script'))} of the time while the script worked "
                "alone: move that into tasks, or ask for fewer nodes"
            ),
        )


def _of_work(run: Summary) -> Iterator[tuple[float, Callable[[], str]]]:
    """Yield what is to be said of the time in which there were tasks, with the time of threads that it took."""
    parts = {name: run.parts.get(name, 0.0) for name in run.parts}
    yield parts.get("gil", 0.0), lambda: _gil(run)
    yield run.imports, lambda: _imports(run)
    yield parts.get("few_tasks", 0.0), lambda: _few_tasks(run)
    yield parts.get("stragglers", 0.0), lambda: _stragglers(run)
    spilling = parts.get("spill", 0.0)
    limit = run.peak[2] if run.peak else 0
    if limit and run.spilled > _SPILLED * limit:  # what it costs is more than the time of the writing
        spilling = max(spilling, 0.4 * run.capacity)
    yield spilling, lambda: _spill(run)
    yield parts.get("transfer", 0.0), lambda: _transfer(run)


def _unrunnable(run: Summary) -> str:
    return (
        f"threads had no task for {percent(run.share('unrunnable'))} of the time, while tasks asked for what no worker "
        "has: look at their resources= and workers="
    )


def _gil(run: Summary) -> str:
    return (
        f"tasks waited for Python's interpreter lock for {percent(run.share('gil'))} of the time: give workers one "
        "thread each (--nthreads 1), and ranks more of them (--workers-per-rank)"
    )


def _imports(run: Summary) -> str:
    return (
        f"tasks imported modules for {duration(run.imports)} in all: import them once per node, before there are "
        "tasks (--preload-import NAMES)"
    )


def _few_tasks(run: Summary) -> str:
    if run.tasks >= _MANY * run.threads and 2 * run.busiest <= run.threads:
        return (
            f"at most {run.busiest} of {run.threads} threads had a task at a time: "
            "half as many nodes would do, or tasks that depend less on each other"
        )
    return (
        f"there were too few tasks for {run.threads} threads, for {percent(run.share('few_tasks'))} of the time: "
        "make chunks smaller, or ask for fewer nodes"
    )


def _stragglers(run: Summary) -> str:
    which = "" if run.longest is None else f", the longest one {run.longest[0]} ({duration(run.longest[1])})"
    return (
        f"threads waited for a few tasks that took longer than others{which}: split these, or have them started first"
    )


def _spill(run: Summary) -> str:
    wrote, paused = f"wrote {amount(run.spilled)} to disk", f"paused for {percent(run.share('spill'))} of the time"
    return (
        f"workers {wrote if run.spilled else paused} for want of memory: give them more (fewer --workers-per-rank, "
        "more nodes), or make chunks smaller"
    )


def _transfer(run: Summary) -> str:
    return (
        f"threads waited for data from other workers for {percent(run.share('transfer'))} of the time: use fewer and "
        "larger workers, or keep together what is computed together"
    )


def _short(run: Summary) -> str:
    return (
        f"tasks took {duration(run.mean)} on average, too short for the scheduler to keep {run.threads} threads busy: "
        "make chunks larger"
    )


def _unused(run: Summary) -> Iterator[str]:
    """Yield what is to be said of cores without a thread, where there is memory for more."""
    memory = run.memory
    if memory is None or not run.threads or run.cores * _FREE < run.threads or memory > _FREE:
        return
    more = min(run.cores // run.threads, int(1 / max(memory, 0.01)))
    if more > 1 and run.workers:
        yield (
            f"workers used {percent(memory)} of their memory, and {run.threads} of {run.cores} cores: "
            f"{more} times as many would fit (--workers-per-rank)"
        )

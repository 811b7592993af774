"""A job that is only scheduler and workers: from options to what is submitted (pure)."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from mpidask import run_directory
from mpidask.batch import settings
from mpidask.batch.job import BatchJob
from mpidask.batch.records.record import Record
from mpidask.batch.settings import JobOptions
from mpidask.config import Options, as_keyword, as_option, inclusive
from mpidask.docstrings import DocumentedKeyword, keyword_of
from mpidask.errors import ArgumentError
from mpidask.options.loading import load
from mpidask.quantities import seconds

__all__ = ["KEYWORDS", "OF_OTHERS", "describe", "divided", "file_of", "idle_timeout", "serves"]

#: Options of a run that make no sense without a script, or that are an argument of `mpidask serve`.
OF_OTHERS = ("client_rank", "thread_grace", "scheduler_address")

#: Options of a job, and of the run in it, that a cluster object takes.
KEYWORDS: dict[str, DocumentedKeyword] = {
    field.name: keyword_of(field)
    for options in (JobOptions, Options)
    for field in dataclasses.fields(options)
    if field.name not in {*OF_OTHERS, "scheduler", "name", "quiet"}
}

_IDLE = "1 h"  # after which a job that nobody uses ends: nobody looks at it
_SERVE = ("-m", "mpidask.cli", "serve")


def describe(options: JobOptions, given: Mapping[str, Any], spelled: Callable[[str], str] = as_option) -> BatchJob:
    """Return the job of a scheduler and workers.

    given:   options of the run: name -> value; None counts as not given
    spelled: how they are called in messages
    Raises UsageError for a value that cannot be used.
    """
    chosen = load(given, spelled=spelled)
    values = {name: value for name, value in given.items() if value is not None} | settings.following(options, given)
    if chosen.scheduler:
        values["idle_timeout"] = chosen.idle_timeout or _IDLE
        if options.nodes * options.ranks_per_node == 1 and not inclusive(load(values)):  # there would be no worker
            values["inclusive_workers"] = True
    job = settings.describe(options, ("python",), chosen.walltime_margin, "mpidask-cluster", chosen.local_directory)
    return dataclasses.replace(job, command=(*settings.ranks_interpreter(options), *_SERVE, *_words(values)))


def idle_timeout(given: Mapping[str, Any]) -> str | None:
    """Return after what time such a job ends by itself when nobody uses it; None for never."""
    found = load(given).idle_timeout or _IDLE
    return found if seconds(found) else None


def divided(keywords: Mapping[str, Any]) -> tuple[JobOptions, dict[str, Any]]:
    """Return keywords as the options of the job, and those of the run that are given.

    Raises ArgumentError for one that is unknown, UsageError for a value that cannot be used.
    """
    jobs = {field.name for field in dataclasses.fields(JobOptions)}
    for name in keywords:
        if name not in KEYWORDS:
            close = difflib.get_close_matches(name, KEYWORDS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ArgumentError(f"unknown keyword: {name}", f"{hint}There are: {', '.join(sorted(KEYWORDS))}")
    of_job = {name: value for name, value in keywords.items() if name in jobs}
    options = settings.load(of_job, as_keyword, keywords.get("profile"))
    return options, {name: value for name, value in keywords.items() if name not in jobs}


def _words(values: Mapping[str, Any]) -> list[str]:
    """Return options of a run as words of a command line."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            off = "exclusive-workers" if name == "inclusive_workers" else f"no-{flag}"
            words += [f"--{flag if value else off}"]
        elif name == "import_cache":  # whose value may be left out
            words += [f"--{flag}={value}"]
        elif isinstance(value, tuple):
            words += [word for each in value for word in (f"--{flag}", each)]
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, Mapping) else str(value)]
    return words


def serves(record: Record) -> bool:
    """Whether a job is one that clients can attach to."""
    return record.words[1:4] == _SERVE and "--no-scheduler" not in record.words


def file_of(record: Record) -> str:
    """Return where a job says where its scheduler is."""
    words = record.words
    if serves(record) and "--scheduler-file" in words:
        return os.path.join(record.origin, words[words.index("--scheduler-file") + 1])
    return str(record.directory / run_directory.SCHEDULER)

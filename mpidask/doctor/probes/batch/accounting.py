"""Whether the batch system keeps accounts of finished jobs: without them some ends are not known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask import job_environment
from mpidask.doctor.finding import Finding, ok, warning
from mpidask.doctor.probe import Facts, Place, Probe, Scope
from mpidask.doctor.time_limit import share

_ANSWERS = 10.0  # of 60 s

#: What is said of a job that was never there, by systems that keep accounts.
_UNKNOWN = re.compile(r"not found|unknown job|no such job|invalid job ?id|does not exist", re.IGNORECASE)


def measure(_root: Path) -> dict[str, Any]:
    """Return what the command for finished jobs says when it is asked for job 1."""
    from mpidask.batch import registry
    from mpidask.batch.commands import runner
    from mpidask.batch.commands.command import Command, filled_words
    from mpidask.errors import MpidaskError

    try:
        system = registry.find_here()
    except MpidaskError as unknown:
        return {"command": "", "error": "", "title": unknown.what, "silent": True}
    if system.history is None:
        return {"command": "", "error": "", "title": system.title, "silent": False}
    fields = {"id_list": "1", "ids": ["1"], "id": "1", "base": "1", "user": job_environment.account()}
    words = filled_words(system.history.command, fields)
    try:
        output = runner.run(Command(argv=words), share(_ANSWERS))
        error = "" if output.status == 0 else (output.stderr + output.stdout).strip()[:500]
        error = "" if re.search(system.history.absent or "(?!)", error) else error
    except MpidaskError as raised:
        error = raised.what
    return {"command": words[0], "error": error, "title": system.title, "silent": False}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a system that is asked for finished jobs in vain."""
    if facts["silent"]:
        return
    if facts["error"] and not _UNKNOWN.search(facts["error"]):
        first = facts["error"].splitlines()[0]
        yield warning(
            f"{facts['title']} keeps no accounts: {facts['command']} says {first!r}",
            "`mpidask status` relies on run directories then; ask your site for accounting to see what jobs use",
        )
    elif facts["command"]:
        yield ok(f"{facts['command']} answers for finished jobs")
    else:
        yield ok(f"{facts['title']}: mpidask asks for no accounts")


PROBE = Probe("accounting", measure, judge, scope=Scope.ONCE, places=frozenset({Place.LOGIN}), seconds=40)

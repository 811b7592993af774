"""Whether the batch system answers, and what it tells of queues and accounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Place, Probe, Scope

_LOGIN = frozenset({Place.LOGIN})


def measure(_root: Path) -> dict[str, Any]:
    """Return the batch system here, its queues and the user's default account; or why it does not answer."""
    from mpidask.batch import registry, survey
    from mpidask.errors import MpidaskError

    try:
        found = survey.look()
    except MpidaskError as error:
        return {"error": error.what, "remedy": error.remedy}
    system = found.system
    return {
        "system": system.name,
        "title": system.title,
        "answers": system.name == "local" or registry.answers(system),
        "queues": list(found.queues),
        "default": found.default,
        "account": found.account,
        "command": system.detect or "",
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a batch system that does not answer."""
    if facts.get("error"):
        yield failure(facts["error"], facts["remedy"])
    elif not facts["answers"]:
        yield failure(
            f"{facts['title']} does not answer: `{facts['command']}` fails",
            f"run `{facts['command']}` yourself, and ask your site whether its service is up",
        )
    elif facts["system"] == "local":
        yield ok("no batch system: jobs run on this machine")
    else:
        yield ok(f"{facts['title']}{_queues(facts)}{_account(facts)}")
    if facts.get("queues") and not facts.get("default"):
        yield warning(
            f"no queue is the default; there are: {', '.join(facts['queues'])}", "name one: mpidask submit -q NAME"
        )


def _queues(facts: Facts) -> str:
    shown = facts["queues"][:6]
    more = f" and {len(facts['queues']) - 6} more" if len(facts["queues"]) > 6 else ""
    return f", queues {', '.join(shown)}{more}" if shown else ""


def _account(facts: Facts) -> str:
    return f", your account {facts['account']}" if facts["account"] else ""


PROBE = Probe("batch system", measure, judge, scope=Scope.ONCE, places=_LOGIN, seconds=40)

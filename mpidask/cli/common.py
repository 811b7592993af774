"""What the commands of a login node share: reading a command line, errors, and which job is meant."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mpidask import configuration
from mpidask.cli import command_line
from mpidask.errors import MpidaskError, UsageError, linked

if TYPE_CHECKING:
    from mpidask.batch.status import Standing
    from mpidask.batch.submission.handles import Handle

__all__ = ["choose", "find_jobs", "guarded", "job_argument", "live_jobs", "read", "remark", "the_only"]


def guarded(run: Callable[[], int]) -> int:
    """Run a command; return its exit status. What goes wrong is reported in plain words."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":  # a locale without UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run()
    except MpidaskError as error:
        error.report()
        return error.status
    except ValueError as error:
        malformed = configuration.as_usage_error(error)
        if malformed is None:
            raise
        malformed.report()
        return malformed.status
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def read(command: click.Command, argv: Sequence[str]) -> Mapping[str, Any] | None:
    """Return what a command line gives; None if only a text was wanted, which is printed."""
    given = command_line.read(command, argv)
    if isinstance(given, str):
        print(given)
        return None
    return given


def remark(profile: str | None) -> None:
    """Say on stderr what is to be said of a profile: that nobody has run it."""
    text = configuration.remark(configuration.read(profile).profiles)
    if text:
        sys.stderr.write(f"mpidask: {linked(text, 'profiles-of-sites')}\n")


def job_argument(name: str = "job", *, several: bool = False) -> click.Argument:
    """Return the argument that names jobs; a shell completes it."""
    return click.Argument([name], required=False, nargs=-1 if several else 1, shell_complete=_complete)


def _complete(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the jobs that begin like an incomplete word, the newest first."""
    from mpidask import batch

    try:
        handles = batch.jobs()
    except MpidaskError:  # there is a better time to report it
        return []
    said = {each.title: f"{each.record.job}, {each.record.standing.state.value}" for each in reversed(handles)}
    return [CompletionItem(title, help=text) for title, text in said.items() if title.startswith(incomplete)]


def find_jobs(tokens: Sequence[str]) -> list[Handle]:
    """Return the jobs that are named; raises UsageError for one that is not on record."""
    from mpidask import batch
    from mpidask.batch import settings

    options = settings.load({})
    return [batch.find(token, options) for token in tokens]


def live_jobs() -> list[tuple[Handle, Standing]]:
    """Return the jobs that wait or run, the oldest first, and how they stand."""
    from mpidask import batch
    from mpidask.batch.queries import monitor

    handles = batch.jobs()
    standings = monitor.look_again([handle.record for handle in handles])
    pairs = [(handle, standings[handle.name]) for handle in handles]
    return [(handle, standing) for handle, standing in pairs if handle.id and not standing.state.ended]


def choose(tokens: Sequence[str], verb: str, fits: Callable[[Handle], bool] = lambda _: True) -> list[Handle]:
    """Return the jobs that are named; without a name the only one that waits or runs, and that fits.

    verb: what is to be done with them, as the command is called
    Raises UsageError, with the choices if there are several.
    """
    if tokens:
        return find_jobs(tokens)
    return [the_only([(handle, standing) for handle, standing in live_jobs() if fits(handle)], verb)]


def the_only(jobs: Sequence[tuple[Handle, Standing]], verb: str) -> Handle:
    """Return the job if there is one; raises UsageError if there is none, or several."""
    if not jobs:
        raise UsageError(
            f"no job was given, and there is none to {verb}", "`mpidask status --all` lists what there was"
        )
    if len(jobs) == 1:
        return jobs[0][0]
    lines = [f"  {each.title}  {each.record.job}  {standing.state.value}" for each, standing in reversed(jobs)]
    raise UsageError(
        "\n".join(["no job was given, and there are several:", *lines]), f"mpidask {verb} {jobs[-1][0].title}"
    )

"""`mpidask doctor`: its command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mpidask.cli import command_line, common
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import UsageError

__all__ = ["COMMANDS"]

_DOCTOR = """\
Look for what keeps runs from starting or slows them down, and print what to do about it.

On a login node it looks at that node and at the batch system. With --submit a batch job looks, too. Under mpirun the
ranks look at their nodes and at the network between them. It ends within a minute. The exit status is 1 if there is a
failure."""

_PATIENCE = 20.0  # s


def _doctor(argv: Sequence[str]) -> int:
    from mpidask.batch import settings
    from mpidask.doctor import command, probe, time_limit
    from mpidask.quantities import seconds

    given = common.read(_command(), argv)
    if given is None:
        return 0
    asked = {key: given[key] for key in settings.JobOptions.__dataclass_fields__}
    stray = next((key for key, value in asked.items() if value not in (None, ())), None)
    if stray is not None and not given["submit"]:
        raise UsageError(f"--{stray.replace('_', '-')} describes a job", "add --submit: mpidask doctor --submit -N 2")
    job = settings.load(asked) if given["submit"] else None
    if given["time_limit"]:
        time_limit.set_limit(seconds(given["time_limit"], "--time-limit"))
    usual = min(_PATIENCE, time_limit.share(_PATIENCE))
    patience = seconds(given["patience"], "--patience") if given["patience"] else usual
    return command.run(job, patience, probe.chosen(given["probe"]), argv, as_json=given["json"])


def _command() -> click.Command:
    from mpidask.batch import settings

    params: list[click.Parameter] = [
        click.Option(["--submit"], is_flag=True, help="Look from within a batch job, too, and try the batch system."),
        click.Option(["--probe"], multiple=True, metavar="NAME", help="This alone, such as limits; repeatable."),
        click.Option(["--time-limit"], metavar="TIME", help="How long all may take. Default: 60s."),
        click.Option(["--json"], is_flag=True, help="For programs: an object."),
        click.Option(
            ["--patience"], metavar="TIME", help=f"How long to wait for the job of --submit. Default: {_PATIENCE:g}s."
        ),
        *command_line.options_of(settings.JobOptions),
    ]
    examples = ["mpidask doctor", "mpidask doctor --submit -N 2", "mpirun -n 4 mpidask doctor"]
    return CommandWithHelp("doctor", _DOCTOR, params, examples=examples)


COMMANDS = {"doctor": (_command, _doctor)}

"""What `--help` prints: a usage line, examples, and the options in panels, as wide as the terminal."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import CompletionItem

__all__ = ["PANELS", "REST", "CommandWithHelp"]

_WIDEST = 120  # columns of a line that is read without effort
_NARROWEST = 40
_HYPHEN, _SPACE = "\N{NON-BREAKING HYPHEN}", "\N{NO-BREAK SPACE}"
#: What stays on one line although it has spaces: what is typed, a default, a number with its unit, the last words.
_TOGETHER = re.compile(r"`[^`]{,32}`|(?<!\w)'[^']{,32}'|Default: \S+|\d+ (?:s|GiB|ranks)\b| \S+\Z")

#: Panel -> options that everybody may want, options that are needed less often (--help-all).
PANELS: dict[str, tuple[str, str]] = {
    "Resources": (
        "nodes cores_per_rank ranks_per_node gpus_per_rank memory_per_node walltime queue account",
        "parallel_environment",
    ),
    "Job": (
        "profile job_name system directive prologue python container requeue",
        "container_runtime container_bind epilogue launcher launch_timeout requeue_limit state_directory keep",
    ),
    "Watching": ("follow wait dry_run quiet", "poll_interval timeline"),
    "Workers": (
        "nthreads memory_limit workers_per_rank nanny gpus local_directory",
        """inclusive_workers min_workers startup_timeout shared_scratch worker_class worker_options data name
        preload_import import_cache""",
    ),
    "Script and scheduler": (
        "walltime_margin idle_timeout scheduler_file scheduler",
        "client_rank scheduler_rank scheduler_address scheduler_port thread_grace local_cluster",
    ),
    "Network": ("interface port_range", "client_interface client_address protocol"),
    "Security": ("tls", ""),
    "Dashboard and report": ("dashboard report", "dashboard_address"),
}
REST = "Options"  # the panel of options that are one command's own

_COMMON = {name for common, _ in PANELS.values() for name in common.split()}
_RARE = {name for _, rare in PANELS.values() for name in rare.split()}


class CommandWithHelp(click.Command):
    """A command with --help, --help-all and --version.

    arguments: what stands in the usage line behind the options
    examples:  command lines
    runs:      whether it ends with the user's program
    """

    def __init__(
        self,
        name: str,
        text: str,
        params: Sequence[click.Parameter],
        *,
        arguments: str = "",
        examples: Sequence[str] = (),
        runs: bool = False,
    ) -> None:
        is_long = any(each.name in _RARE for each in params)
        flags = [
            click.Option(["--help", "-h"], is_flag=True, help="Show this message."),
            click.Option(["--help-all"], is_flag=True, hidden=not is_long, help="Show all options."),
            click.Option(["--version"], is_flag=True, help="Show the version."),
        ]
        super().__init__(name, params=[*params, *flags], help=inspect.cleandoc(text), add_help_option=False)
        self._arguments, self._examples, self._runs, self._is_long = arguments, examples, runs, is_long

    def get_help(self, ctx: click.Context) -> str:
        """Return the text, as wide as the terminal, with colours if there is one."""
        ctx.terminal_width = max(_NARROWEST, min(shutil.get_terminal_size().columns - 1, _WIDEST))
        text = super().get_help(ctx).replace(_HYPHEN, "-").replace(_SPACE, " ")
        return text if _is_coloured() else click.unstyle(text)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, text, examples and panels."""
        formatter.write_usage(ctx.command_path, f"[OPTIONS] {self._arguments}".rstrip(), f"{_heading('Usage:')} ")
        formatter.write_paragraph()
        formatter.write_text(_unbroken(str(self.help)))
        if self._examples:
            with formatter.section(_heading("Examples")):
                formatter.write("".join(f"  {line}\n" for line in self._examples))
        every = bool(ctx.meta.get("every option"))
        for title, options in self._panels(every=every):
            rows = [row for option in options if (row := option.get_help_record(ctx)) is not None]
            with formatter.section(_heading(title)):
                formatter.write_dl([(click.style(names, bold=True), _unbroken(text)) for names, text in rows])
        if self._is_long and not every:
            formatter.write_paragraph()
            formatter.write_text(f"{ctx.command_path} --help-all shows all options.")

    def _panels(self, *, every: bool) -> Iterator[tuple[str, list[click.Parameter]]]:
        """Yield each panel that has options of this command, with those that are to be shown."""
        by_name = {str(option.name): option for option in self.params if option.param_type_name == "option"}
        for title, (common, rare) in PANELS.items():
            names = [*common.split(), *(rare.split() if every else ())]
            shown = [by_name[name] for name in names if name in by_name]
            if shown:
                yield title, shown
        yield REST, [option for name, option in by_name.items() if name not in _COMMON | _RARE]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return what an incomplete word may become: an option, or a file where a script is expected."""
        found = super().shell_complete(ctx, incomplete)
        return [*found, CompletionItem(incomplete, type="file")] if self._runs and incomplete[:1] != "-" else found


def _unbroken(text: str) -> str:
    """Return a text in which no option, and nothing else that belongs together, is parted at the end of a line."""
    return _TOGETHER.sub(lambda found: found[0].replace(" ", _SPACE), text).replace("-", _HYPHEN)


def _heading(text: str) -> str:
    return click.style(text, bold=True)


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

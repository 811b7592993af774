"""The commands: what each is for, and which module has it. Imports nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["COMPLETE", "ELSEWHERE", "HELP", "OF_RANKS", "VERSION", "is_for_ranks", "modules", "overview"]

OF_RANKS = ("run", "serve")
HELP, VERSION = ("--help", "-h", "--help-all", "help"), ("--version", "-V", "version")

COMPLETE = "_MPIDASK_COMPLETE"  # the environment variable with which a shell asks how a command line may go on

#: Heading -> command -> (module, what it does).
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Inside a job, on every rank": {
        "run": ("ranks", "Run a script: mpirun -n 8 mpidask run script.py"),
        "serve": ("ranks", "Start scheduler and workers for clients from elsewhere"),
    },
    "A script as a batch job": {
        "submit": ("submit", "Submit it: mpidask submit -N 4 --cores-per-rank 32 script.py"),
        "script": ("submit", "Print the job script instead"),
        "status": ("jobs", "Show what has become of jobs"),
        "top": ("top", "Watch a job: workers, tasks, memory, latest messages"),
        "logs": ("jobs", "Print the output of a job"),
        "report": ("jobs", "Show what a run was like: core-hours, timeline, memory, advice"),
        "cancel": ("jobs", "Cancel jobs"),
        "clean": ("jobs", "Remove logs and records of jobs that ended long ago"),
    },
    "A cluster for notebooks and shells": {
        "start": ("attach", "Submit a job of scheduler and workers: mpidask start -N 4"),
        "connect": ("attach", "Compute on it: mpidask connect JOB script.py"),
        "keys": ("attach", 'Have plain Dask join it: eval "$(mpidask keys JOB)"'),
        "dashboard": ("attach", "Open a tunnel to a job's dashboard"),
        "stop": ("attach", "Shut down jobs gracefully"),
    },
    "About mpidask": {
        "config": ("profiles", "Print a commented mpidask.yaml; what counts here; what is wrong"),
        "profile": ("profiles", "List, show and write profiles of sites"),
        "doctor": ("diagnosis.doctor", "Look for what is wrong with this machine, and say what helps"),
        "info": ("about", "Print what a report of a defect needs, such as versions"),
        "docs": ("about", "Open the documentation, or print where it is"),
        "completion": ("about", "Print the completion for a shell: bash, zsh, fish"),
        "help": ("", "Show this list, or a command's options: mpidask help submit"),
        "version": ("", "Show the version"),
    },
}
#: What others call it -> how it is called here.
ELSEWHERE = {
    **dict.fromkeys(("squeue", "sacct", "qstat", "bjobs", "oarstat", "jobs", "list", "ls", "ps"), "status"),
    **dict.fromkeys(("sbatch", "qsub", "bsub", "msub", "oarsub"), "submit"),
    **dict.fromkeys(("scancel", "qdel", "bkill", "oardel", "kill"), "cancel"),
    **dict.fromkeys(("follow", "wait", "tail", "attach"), "logs --follow"),
    **dict.fromkeys(("watch", "sstat"), "top"),
    **dict.fromkeys(("srun", "mpirun", "mpiexec"), "run"),
}
_NOT_LISTED = {"resubmit": "jobs"}  # job scripts call it


def modules() -> dict[str, str]:
    """Return command -> module of this room, for those commands that have options."""
    listed = {name: module for group in COMMANDS.values() for name, (module, _) in group.items() if module}
    return {**listed, **_NOT_LISTED}


def is_for_ranks(words: Sequence[str]) -> bool:
    """Whether a command line is one that every rank of an MPI job runs; asking for its help is not (pure)."""
    if not words or any(word in HELP[:3] for word in words[1:2]):
        return False
    return words[0] in OF_RANKS or (words[0].startswith("--") and words[0] not in (*HELP, *VERSION))


def overview(*, coloured: bool) -> str:
    """Return the list of commands; no line is longer than 80 columns (pure)."""
    bold, end = ("\x1b[1m", "\x1b[0m") if coloured else ("", "")
    return "\n".join(_lines(bold, end)) + "\n"


def _lines(bold: str, end: str) -> Iterator[str]:
    yield f"{bold}Usage:{end} mpidask COMMAND [OPTIONS] [ARGS]"
    for title, group in COMMANDS.items():
        yield f"\n{bold}{title}:{end}"
        for name, (_, text) in group.items():
            yield f"  {bold}{name:<10}{end}  {text}"
    yield "\nmpidask COMMAND --help shows options and examples; --help-all, all options."

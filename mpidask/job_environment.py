"""What a batch system says to a job in its environment, and whose job it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["account", "number", "set_by_the_batch_system", "slot", "text_of", "without_what_the_batch_system_has_set"]


def set_by_the_batch_system(environ: Mapping[str, str], root: Path = Path("/")) -> set[str]:
    """Return those variables of numerical libraries' threads that the batch system has set, not the user."""
    # HTCondor's STARTER_NUM_THREADS_ENV_VARS names all of these:
    # https://htcondor.readthedocs.io/en/latest/admin-manual/configuration-macros.html
    cpus = slot(environ, "Cpus", root)
    theirs = {name for name in environ if name.endswith("_NUM_THREADS") and cpus and number(environ, name) == cpus}
    # PBS sets this one alone, to the value of NCPUS: PBS Professional User's Guide, "OpenMP Jobs", https://help.altair.com/
    ncpus = number(environ, "NCPUS") if "PBS_JOBID" in environ else 0
    return theirs | ({"OMP_NUM_THREADS"} if ncpus and number(environ, "OMP_NUM_THREADS") == ncpus else set())


def without_what_the_batch_system_has_set(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without these variables: what the user has set stays where workers are started."""
    theirs = set_by_the_batch_system(environ)
    return {name: value for name, value in environ.items() if name not in theirs}


def account() -> str:
    """Return the name of the account that runs this, for a batch system or ssh: LOGNAME may tell of another one.

    Where nobody knows its name, as in a container that has no account of the user, its number.
    """
    import pwd  # not at the top: ranks that only wait do without

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def number(environ: Mapping[str, str], name: str) -> int:
    """Return the number that a variable holds; 0 for none."""
    text = environ.get(name, "").strip()
    return int(text) if text.isdigit() else 0


def slot(environ: Mapping[str, str], name: str, root: Path = Path("/")) -> int:
    """Return a number that HTCondor says of the job's slot; 0 for none.

    https://htcondor.readthedocs.io/en/latest/users-manual/services-for-jobs.html
    """
    path = environ.get("_CONDOR_MACHINE_AD")
    lines = (line.split() for line in text_of(root / path.lstrip("/")).splitlines()) if path else iter(())
    known = (words[2] for words in lines if len(words) == 3 and words[0].lower() == name.lower())
    return next((int(text) for text in known if text.isdigit()), 0)


def text_of(path: Path) -> str:
    """Return what a file holds, "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""How each container runtime starts a program in an image, an entry of facts each (pure)."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence

from mpidask.errors import UsageError

__all__ = ["RUNTIMES", "Container", "Runtime", "settle"]

#: Where programs of the image have their temporary files; MPI libraries and launchers meet there, too.
_TEMPORARY = "${TMPDIR:-/tmp}"


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How a program is started in an image.

    words:     the command, with the options that MPI needs: the nodes' network, shared memory, processes and variables
    bind:      the option that shows directories of the node in the container; None: the image itself says which
    between:   what separates several of them in one option; None: an option each
    directory: the option for the current directory, where that is not kept
    image:     the word that names the image
    unpacked:  the same for a directory
    gpus:      options for the node's GPUs
    launches:  whether these are options of srun, which starts the ranks
    """

    words: tuple[str, ...] = ()
    bind: str | None = "--bind="
    between: str | None = None
    directory: str | None = None
    image: tuple[str, ...] = ("{}",)
    unpacked: tuple[str, ...] | None = None
    gpus: tuple[str, ...] = ()
    launches: bool = False


_PODMAN = ("--rm", "--env-host", "--network=host", "--ipc=host", "--pid=host", "--userns=keep-id")

#: In the order in which they are looked for.
RUNTIMES: dict[str, Runtime] = {
    # https://apptainer.org/docs/user/main/cli/apptainer_exec.html
    "apptainer": Runtime(("apptainer", "exec"), gpus=("--nv",)),
    # https://docs.sylabs.io/guides/latest/user-guide/cli/singularity_exec.html
    "singularity": Runtime(("singularity", "exec"), gpus=("--nv",)),
    # https://docs.podman.io/en/latest/markdown/podman-run.1.html
    "podman": Runtime(
        ("podman", "run", *_PODMAN),
        bind="--volume=",
        directory="--workdir=",
        unpacked=("--rootfs", "{}"),
        gpus=("--device=nvidia.com/gpu=all",),
    ),
    # https://hpc.github.io/charliecloud/ch-run.html
    "charliecloud": Runtime(("ch-run",), directory="--cd=", image=("{}", "--")),
    # https://slurm.schedmd.com/containers.html: an OCI bundle, whose config.json has the binds
    "srun": Runtime(bind=None, image=("--container={}",), launches=True),
    # https://github.com/NVIDIA/pyxis
    "pyxis": Runtime(
        bind="--container-mounts=",
        between=",",
        directory="--container-workdir=",
        image=("--container-image={}",),
        launches=True,
    ),
}


@dataclasses.dataclass(frozen=True)
class Container:
    """An image, and what of the node is seen in it.

    image:   a file, a directory, or a name that the runtime knows
    runtime: a name of `RUNTIMES`
    further: further options for it
    binds:   directories of the node, or HERE:THERE; a shell variable in them is the node's
    working: the current directory of the program
    gpus:    whether it is to see the GPUs
    """

    image: str
    runtime: str
    further: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    working: str = ""
    gpus: bool = False

    @property
    def launches(self) -> bool:
        """Whether srun starts the container, with options of its own."""
        return RUNTIMES[self.runtime].launches

    def words(self, *directories: str) -> str:
        """Return the words before a program's, as the shell takes them: a command, or options of srun.

        directories: what is shown besides
        """
        facts = RUNTIMES[self.runtime]
        there = [word for word in (facts.directory and f"{facts.directory}{self.working}",) if word]
        image = facts.unpacked if facts.unpacked and os.path.isabs(self.image) else facts.image
        words = [
            *facts.words,
            *(facts.gpus if self.gpus else ()),
            *self._shown(facts, [self.working, *directories, *self.binds, _TEMPORARY]),
            *there,
            *self.further,
            *(word.format(self.image) for word in image),
        ]
        return " ".join(map(_quoted, words))

    def _shown(self, facts: Runtime, directories: Iterable[str]) -> list[str]:
        if facts.bind is None:
            return []
        pairs = [each if ":" in each.replace(":-", "") else f"{each}:{each}" for each in _outermost(directories)]
        if facts.between is not None:
            return [facts.bind + facts.between.join(pairs)]
        return [f"{facts.bind}{each}" for each in pairs]


def _outermost(directories: Iterable[str]) -> list[str]:
    """Return the directories but those that are seen with an earlier one: an image may have no place for them."""
    found: list[str] = []
    for each in directories:
        if not any(each == other or each.startswith(f"{other}/") for other in found):
            found.append(each)
    return found


def _quoted(word: str) -> str:
    """Return a word as the shell takes it; variables in it are the node's."""
    if "$" not in word:
        return shlex.quote(word)
    return '"' + word.replace("\\", r"\\").replace('"', r"\"").replace("`", r"\`") + '"'


def settle(
    image: str,
    runtime: str | None,
    binds: Sequence[str] = (),
    *,
    gpus: bool = False,
    which: Callable[[str], str | None] = shutil.which,
) -> Container:
    """Return the container for what a user names.

    runtime: name and further options, such as `apptainer --rocm`; None: the first that is installed here
    Raises UsageError for a runtime that is not known or not there, and for an image that is not there.
    """
    name, *further = shlex.split(runtime) if runtime else [_installed(which)]
    if name not in RUNTIMES:
        raise UsageError(f"the container runtime is {name!r}", f"there are: {', '.join(RUNTIMES)}")
    where = os.path.abspath(os.path.expanduser(image))
    if os.path.exists(where):
        image = where
    elif image.endswith(".sif") or image.startswith(("/", ".", "~")):
        raise UsageError(f"there is no container image {where}", "give the path of an image, or docker://NAME")
    return Container(image, name, tuple(further), tuple(binds), os.getcwd(), gpus)


def _installed(which: Callable[[str], str | None]) -> str:
    for name, facts in RUNTIMES.items():
        if facts.words and which(facts.words[0]):
            return name
    raise UsageError(
        "no container runtime is installed here",
        "name the one of the nodes: --container-runtime apptainer (container_runtime='apptainer'); "
        f"there are: {', '.join(RUNTIMES)}",
    )

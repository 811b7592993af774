"""How each container runtime starts a program in an image, an entry of facts each (pure)."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence

from mpidask.batch.binds import Bind, literal, opened, outermost, quoted
from mpidask.errors import UsageError
from mpidask.quantities import working_directory

__all__ = ["PROCESS", "RUNTIMES", "Container", "Runtime", "settle"]

#: The process on the node that stands for a rank in a container: `mpidask.launch` ends the rank with it.
PROCESS = "MPIDASK_CONTAINER_PROCESS"

#: Where programs of the image have their temporary files; MPI libraries and launchers meet there, too.
_TEMPORARY = Bind.parse("${TMPDIR:-/tmp}")


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
    user:      options that keep the user's name in the container, where that is not root
    through:   lines of bash that run the command, and give it what the runtime would hold back
    launches:  whether these are options of srun, which starts the ranks
    """

    words: tuple[str, ...] = ()
    bind: str | None = "--bind="
    between: str | None = None
    directory: str | None = None
    image: tuple[str, ...] = ("{}",)
    unpacked: tuple[str, ...] | None = None
    gpus: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    through: str = ""
    launches: bool = False


_PODMAN = ("--rm", "--network=host", "--ipc=host", "--pid=host")

#: Podman's own --env-host puts the node's PATH in the place of the image's. The launcher's connection is handed over as
#: the first further descriptor. Containers outlive a `podman run` that was killed, so ranks in them look for it.
_PODMAN_THROUGH = (
    f"export {PROCESS}=$$; given=(); "
    "for each in $(compgen -e); do case $each in PATH|LD_LIBRARY_PATH) ;; *) given+=(--env=$each) ;; esac; done; "
    '[ -z "$PMI_FD" ] || { exec 3<&$PMI_FD; PMI_FD=3; given+=(--preserve-fds=1); }; '
    'exec "${@:1:2}" "${given[@]}" "${@:3}"'
)

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
        user=("--userns=keep-id",),
        through=_PODMAN_THROUGH,
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
    binds:   further directories of the node
    working: the current directory of the program
    gpus:    whether it is to see the GPUs
    spill:   where workers spill; it is made if it is not there, because runtimes refuse what is missing
    root:    whether root runs it
    """

    image: str
    runtime: str
    further: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    working: str = ""
    gpus: bool = False
    spill: Bind | None = None
    root: bool = False

    @property
    def launches(self) -> bool:
        """Whether srun starts the container, with options of its own."""
        return RUNTIMES[self.runtime].launches

    def words(self, *directories: str) -> str:
        """Return the words before a program's, as the shell takes them: a command, or options of srun.

        directories: what is shown besides
        """
        facts = RUNTIMES[self.runtime]
        binds = (self.spill, *self.binds) if self.spill else self.binds
        found = os.path.isabs(self.image)  # else it is a name, and a variable in it is the node's
        image = facts.unpacked if facts.unpacked and found else facts.image
        words = [
            *facts.words,
            *(() if self.root else facts.user),
            *(facts.gpus if self.gpus else ()),
            *_options(facts, [*map(Bind.of, (self.working, *directories)), *binds, _TEMPORARY]),
            *([facts.directory + literal(self.working)] if facts.directory else []),
            *map(opened, self.further),
            *(word.format(literal(self.image) if found else opened(self.image)) for word in image),
        ]
        return " ".join([*self._making, *_through(facts), *map(quoted, words)])

    @property
    def _making(self) -> list[str]:
        """The words that make the spill directory and then run what follows."""
        if self.spill is None or self.launches:
            return []
        return ["sh", "-c", shlex.quote('mkdir -p "$0"; exec "$@"'), quoted(self.spill.here)]

    def before(self, nodes: int) -> str:
        """Return the command that makes the spill directory on each node before srun starts the container, if any."""
        if self.spill is None or not self.launches or RUNTIMES[self.runtime].bind is None:
            return ""
        return f"srun --nodes={nodes} --ntasks={nodes} mkdir -p {quoted(self.spill.here)}"


def _through(facts: Runtime) -> list[str]:
    return ["bash", "-c", shlex.quote(facts.through), "mpidask"] if facts.through else []


def _options(facts: Runtime, binds: Iterable[Bind]) -> list[str]:
    if facts.bind is None:
        return []
    pairs = [each.pair for each in outermost(binds)]
    if facts.between is not None:
        return [facts.bind + facts.between.join(pairs)]
    return [f"{facts.bind}{each}" for each in pairs]


def settle(
    image: str,
    runtime: str | None,
    binds: Sequence[Bind] = (),
    *,
    spill: str | None = None,
    gpus: bool = False,
    which: Callable[[str], str | None] = shutil.which,
) -> Container:
    """Return the container for what a user names.

    runtime: name and further options, such as `apptainer --rocm`; None: the first that is installed here
    spill:   where workers spill, as a user gives it
    Raises UsageError for a runtime that is not known or not there, and for an image that is not there.
    """
    name, *further = _words(runtime) if runtime else [_installed(which)]
    where = os.path.abspath(os.path.expanduser(image))
    if os.path.exists(where):
        image = where
    elif image.endswith(".sif") or image.startswith(("/", ".", "~")):
        raise UsageError(f"there is no container image {where}", "give the path of an image, or docker://NAME")
    kept = Bind.parse(spill) if spill else None
    root = os.geteuid() == 0
    return Container(image, name, tuple(further), tuple(binds), working_directory(), gpus=gpus, spill=kept, root=root)


def _words(runtime: str) -> list[str]:
    """Return the words of a runtime with its options; raises UsageError."""
    try:
        words = shlex.split(runtime)
    except ValueError as error:
        remedy = "a name and options are needed, such as 'apptainer --rocm'"
        raise UsageError(f"the container runtime is {runtime!r}: {error}", remedy) from None
    if not words or words[0] not in RUNTIMES:
        named = words[0] if words else runtime
        raise UsageError(f"the container runtime is {named!r}", f"there are: {', '.join(RUNTIMES)}")
    return words


def _installed(which: Callable[[str], str | None]) -> str:
    for name, facts in RUNTIMES.items():
        if facts.words and which(facts.words[0]):
            return name
    raise UsageError(
        "no container runtime is installed here",
        "name the one of the nodes: --container-runtime apptainer (container_runtime='apptainer'); "
        f"there are: {', '.join(RUNTIMES)}",
    )

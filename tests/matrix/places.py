"""Where a cell's programs run: on the host, or in a Debian of its own.

As root, every program of a cell has its own process ids, /dev/shm and mounts: all of it is gone with the program, and
cells that run at the same time do not see each other.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class MissingError(Exception):
    """This machine cannot have the cell."""


class FailedError(Exception):
    """A command failed; the message is what it printed."""


def run(words: list[str], log: Path, *, timeout: float, **more) -> None:
    """Run a command to its end, which may also be the deadline."""
    with log.open("ab") as file:
        file.write(f"$ {shlex.join(words)}\n".encode())
        file.flush()
        try:
            status = subprocess.run(
                words,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
                **more,
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"the deadline of {timeout:.0f} s"
    if status:
        raise FailedError(f"{shlex.join(words)[:120]} ended with {status}: see {log}")


def is_isolated() -> bool:
    """Whether programs can have mounts and process ids of their own."""
    words = [*_UNSHARE, "true"]
    return os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0


# With its first process all others of such a program end.
_UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]

_HOST = 'mount -t proc proc /proc; mount -t tmpfs -o mode=1777 shm /dev/shm; "$@"'

_DEBIAN = """set -e
root=$1 source=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$source" "$root/mnt"
mount --bind "$source/.matrix/results" "$root/media"
set +e
chroot "$root" "$@"
"""


class Host:
    """This machine."""

    def __init__(self, cache: Path, version: str) -> None:
        self.cache, self.version = cache, version
        self.source = str(ROOT)
        self.results = str(cache / "results")

    def prepare(self, packages: tuple[str, ...], log: Path) -> None:
        if packages:
            raise MissingError(f"Debian's {', '.join(packages)} are not installed on the host")

    def python(self) -> str:
        """Return the interpreter of that version: python3.X, or one of pyenv's or uv's."""
        home = Path.home()
        roots = [f"{os.environ.get('PYENV_ROOT', home / '.pyenv')}/versions", f"{home}/.local/share/uv/python"]
        names = [os.environ.get("PYTHON", ""), "python3", f"python{self.version}"]
        for root in roots:
            names += sorted(glob.glob(f"{root}/*{self.version}*/bin/python{self.version}"))
        for name in filter(None, map(shutil.which, filter(None, names))):
            if _version(name) == self.version:
                return name
        raise MissingError(f"no Python {self.version} on this machine")

    def environment(self, name: str) -> str:
        """Return the path of a cell's virtual environment, for programs of this place."""
        return str(self.cache / "environments" / name)

    def outside(self, path: str) -> Path:
        """Return the same path for programs of the host."""
        return Path(path)

    def words(self, words: list[str]) -> list[str]:
        """Return the command line that runs a program here."""
        return [*_UNSHARE, "sh", "-c", _HOST, "-", *words] if is_isolated() else words

    def install(self, prefix: str, packages: list[str], log: Path) -> None:
        """Install packages from PyPI."""
        run([f"{prefix}/bin/python", "-m", "pip", "install", "--quiet", *packages], log, timeout=400)


#: Two cells may share a Debian: one at a time changes it.
_LOCKS = defaultdict(threading.Lock)


class Debian(Host):
    """A Debian in a directory, made by debootstrap; root alone can make and enter it."""

    def __init__(self, cache: Path, version: str, suite: str, tools: Path) -> None:
        super().__init__(cache, version)
        self.suite, self.tools = suite, tools
        self.root = cache / "systems" / suite
        self.source, self.results = "/mnt", "/media"

    def prepare(self, packages: tuple[str, ...], log: Path) -> None:
        """Make the directory, unless it is there, and install Debian's packages."""
        with _LOCKS[self.suite]:
            self._prepare(packages, log)

    def _prepare(self, packages: tuple[str, ...], log: Path) -> None:
        if not is_isolated():
            raise MissingError("a Debian in a directory needs root")
        if shutil.which("debootstrap") is None:
            raise MissingError("needs debootstrap: apt-get install debootstrap")
        if not (self.root / "ready").exists():
            self._bootstrap(log)
        if packages and not (self.root / "ready" / "-".join(packages)).exists():
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            words = ["apt-get", "install", "--quiet", "-y", "--no-install-recommends", *packages]
            run(self.words(words), log, timeout=400, env=environ)
            (self.root / "ready" / "-".join(packages)).touch()

    def _bootstrap(self, log: Path) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        words = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", self.suite, str(self.root)]
        run(words, log, timeout=400)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.root / "etc" / name)
        (self.root / "ready").mkdir()

    def python(self) -> str:
        name = "/usr/bin/python3"
        version = _version(*self.words([name]))
        if version != self.version:
            raise MissingError(f"Debian {self.suite} has Python {version} now")
        return name

    def environment(self, name: str) -> str:
        return f"/opt/{name}"

    def outside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def words(self, words: list[str]) -> list[str]:
        return [*_UNSHARE, "sh", "-c", _DEBIAN, "-", str(self.root), str(ROOT), *words]

    def install(self, prefix: str, packages: list[str], log: Path) -> None:
        """Install packages that the host downloads: it alone knows how pip gets at them here."""
        with _LOCKS[self.suite]:
            self._install(prefix, packages, log)

    def _install(self, prefix: str, packages: list[str], log: Path) -> None:
        wheels = self.cache / "wheels" / self.version
        wheels.mkdir(parents=True, exist_ok=True)
        words = [str(self.tools / "bin/python"), "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
        run([*words, "--python-version", self.version, "--only-binary=:all:", *packages], log, timeout=400)
        inside = self.outside("opt/wheels")
        shutil.copytree(wheels, inside, dirs_exist_ok=True)
        names = [f"/opt/wheels/{Path(name).name}" if name.endswith(".whl") else name for name in packages]
        words = [f"{prefix}/bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", "/opt/wheels"]
        run(self.words([*words, *names]), log, timeout=400)


def _version(*words: str) -> str:
    """Return an interpreter's version, 3.X, or nothing if it does not work."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([*words, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    found = re.fullmatch(r"\d\.\d+", done.stdout.strip())
    return found.group() if found else ""

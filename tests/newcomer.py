"""A newcomer at a terminal: a real bash in which the commands of a page are typed as they stand, line by line."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import PATIENCE, SETTINGS
from namespaces import outside
from pages import Block, is_printed
from pexpect.fdpexpect import fdspawn

#: What the terminal shows when a command has ended, with its exit status.
PROMPT = "[$?] newcomer$ "
_PROMPT = r"\[(\d+)\] newcomer\$ "

_ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


def seen(printed: str) -> str:
    """Return what is to be seen in the end, without colours: a line that begins anew replaces what stood there."""
    lines = re.sub("\r+\n", "\n", _ESCAPES.sub("", printed)).split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines)


class Terminal:
    """A terminal with a shell."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.spawn = fdspawn(file, encoding="utf-8", codec_errors="replace", timeout=120 * PATIENCE)

    def until(self, pattern: str, timeout: float = 120) -> tuple[str, Any]:
        """Read until it matches; return what is to be seen of what was printed before, and the match."""
        self.spawn.expect(pattern, timeout=timeout * PATIENCE)
        return seen(self.spawn.before), self.spawn.match

    def type(self, text: str, timeout: float = 120) -> str:
        """Type lines, each when the one before has ended with status 0; return what they print."""
        said = []
        for line in text.splitlines():
            self.spawn.sendline(line)
            printed, prompt = self.until(_PROMPT, timeout)
            assert prompt[1] == "0", f"exit status {prompt[1]}: {printed}"
            said.append(printed.partition("\n")[2])  # without the line itself
        return "".join(said)

    def save(self, name: str, text: str) -> None:
        """Write a file where the shell is."""
        for line in (f"cat > {name} <<'END_OF_FILE'", *text.splitlines()):
            self.spawn.sendline(line)
        self.type("END_OF_FILE")

    def enter(self, command: str, prompt: str, timeout: float = 120) -> None:
        """Type a command that opens another shell, whose prompt this is, and go on in that."""
        self.spawn.sendline(command)
        self.until(prompt, timeout)
        self.type(f"PS1='{PROMPT}'; unset PROMPT_COMMAND")

    def follow(self, page: list[Block], kernel: Any = None) -> int:
        """Do what a page says, its cells in a kernel; return how many of its blocks were run."""
        printed, count = "", 0
        for block in page:
            if block.what == "file":
                self.save(block.words, block.text)
            elif block.what == "run":
                printed = kernel.run(block.text) if block.language == "python" else self.type(block.text, 300)
                count += 1
            elif block.what == "output":
                assert is_printed(block, printed), f"{block.page} shows\n{block.text}\nprinted was\n{printed}"
        return count


@contextlib.contextmanager
def at_a_terminal(directory: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Open a terminal with a bash in a directory; in the end all that was started in it is gone."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 180, 0, 0))
    bash = ("env", f"--chdir={directory}", "setsid", "--ctty", "--wait", "bash", "--noprofile", "--norc")
    shell = subprocess.Popen(outside(*bash), stdin=its, stdout=its, stderr=its, env={**environment})
    os.close(its)
    try:
        terminal = Terminal(ours)
        terminal.until(_PROMPT)
        yield terminal
    finally:
        os.close(ours)  # hangs up
        with contextlib.suppress(subprocess.TimeoutExpired):
            shell.wait(20)
        shell.send_signal(signal.SIGKILL)
        shell.wait(20)


def surroundings(home: Path) -> dict[str, str]:
    """Return the environment of a newcomer who has nothing at home but pip's settings and cache."""
    for name in (".cache/pip", ".config/pip"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(Path.home() / name)
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")  # the checkout may be another user's
    kept = {name: value for name, value in os.environ.items() if re.match("(?i)(PIP|SSL|REQUESTS)_|.*_proxy$", name)}
    return {
        **kept,
        **SETTINGS,
        "HOME": str(home),
        "USER": "root",
        "LOGNAME": "root",
        "PATH": f"{Path(sys._base_executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "PS1": PROMPT,
    }


class Kernel:
    """A Jupyter kernel that a newcomer has installed at home."""

    def __init__(self, name: str, home: Path, environment: Mapping[str, str]) -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        places = KernelSpecManager(kernel_dirs=[str(home / ".local/share/jupyter/kernels")], ensure_native_kernel=False)
        self.manager = KernelManager(kernel_name=name, kernel_spec_manager=places)
        self.manager.connection_file = str(home / "kernel.json")
        # No ports: another program may take them before the kernel does.
        self.place = tempfile.TemporaryDirectory(prefix="k-")
        self.manager.transport, self.manager.ip = "ipc", f"{self.place.name}/s"
        self.manager.start_kernel(env={**environment}, cwd=str(home))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(60 * PATIENCE)

    def run(self, code: str) -> str:
        """Run a cell; return what it shows."""
        shown: list[str] = []

        def show(message: Any) -> None:
            content = message["content"]
            shown.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        reply = self.client.execute_interactive(code, timeout=120 * PATIENCE, output_hook=show)
        assert reply["content"]["status"] == "ok", (code, reply["content"], shown)
        return "".join(shown)

    def end(self) -> None:
        """Shut it down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.place.cleanup()

"""Wheel and source archive: what the tools of the trade say of them, and that they install where there is nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.one_mpi, pytest.mark.thorough]

ROOT = Path(__file__).parents[2]
VERSION = subprocess.run(
    [sys.executable, "-c", "import mpidask; print(mpidask.__version__)"], capture_output=True, text=True, check=True
).stdout.strip()


def run(*words, **given):
    done = subprocess.run(
        list(map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
        **given,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The source archive, and the wheel that is made of it."""
    pytest.importorskip("build")
    place = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT)
    (archive,), (wheel,) = place.glob("*.tar.gz"), place.glob("*.whl")
    return archive, wheel


@pytest.mark.slow("makes an environment, and installs all that mpidask needs")
def test_what_is_published(made, tmp_path):
    """One test, for what it makes is large: read, checked, and installed twice."""
    archive, wheel = made
    assert archive.name == f"mpidask-{VERSION}.tar.gz"
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "docs/howto/troubleshooting.md",
        "packaging/conda/recipe.yaml",
    } <= names
    assert not [name for name in names if name.startswith((".venv", ".git/", "mpidask/site"))]
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert "mpidask/troubleshooting.md" in names
    places = {name.split("/")[0] for name in names}
    assert places == {"mpidask", f"mpidask-{VERSION}.dist-info", f"mpidask-{VERSION}.data"}  # Jupyter's configuration

    checked = run(sys.executable, "-m", "twine", "check", "--strict", archive, wheel)
    assert checked.count("PASSED") == 2, checked
    # W002: what Jupyter reads stands where it looks, and in the package for `mpidask jupyter`.
    run(Path(sys.executable).parent / "check-wheel-contents", "--ignore", "W002", wheel)
    rated = run(Path(sys.executable).parent / "pyroma", "--min=8", archive)
    remarks = [line for line in rated.splitlines() if line.startswith("Your package")]
    assert all("author-email" in line or "'url' field" in line for line in remarks), rated  # there is neither yet

    new = tmp_path / "new"
    venv.create(new, with_pip=True)
    pip = [new / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    clean = {**os.environ, "PYTHONPATH": "", "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    run(*pip, "-c", ROOT / "requirements" / "constraints.txt", wheel)
    for again in ([], [archive]):
        if again:
            run(*pip, "--no-deps", "--force-reinstall", *again)
        run(new / "bin" / "python", "-m", "pip", "check")
        assert VERSION in run(new / "bin" / "mpidask", "--version", env=clean, cwd=tmp_path)
        words = ["submit", "--system", "slurm", "--dry-run", "-N", "2", "-c", "print(1)"]
        assert "-m mpidask" in run(new / "bin" / "mpidask", *words, env=clean, cwd=tmp_path)  # where there is no MPI

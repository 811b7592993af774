"""The recipes of packaging/: read by their own tools, and with the dependencies of pyproject.toml."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import mpidask

pytestmark = pytest.mark.one_mpi

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Without mpi4py's MPI, which each has its own words for.
NOT_IN_SPACK = {"papermill"}  # which mpidask takes for parameters of notebooks if it is there
NEEDED = sorted(PROJECT["dependencies"])


def test_conda_needs_what_the_project_needs():
    recipe = yaml.safe_load((PACKAGING / "conda" / "recipe.yaml").read_text())
    assert recipe["context"]["version"] == mpidask.__version__
    run = [each.replace("dask-core", "dask") for each in recipe["requirements"]["run"]]
    assert run[:2] == [f"python {PROJECT['requires-python']}", "${{ mpi }}"]
    assert sorted(each.replace(" ", "") for each in run[2:]) == NEEDED
    assert recipe["about"]["license"] == PROJECT["license"]
    assert (PACKAGING / "conda" / recipe["source"]["path"]).resolve() == ROOT


def test_conda_renders_a_package_for_each_mpi():
    rattler = pytest.importorskip("rattler_build")
    recipe = rattler.Stage0Recipe.from_file(str(PACKAGING / "conda" / "recipe.yaml"))
    variants = rattler.VariantConfig.from_file(str(PACKAGING / "conda" / "variants.yaml"))
    rendered = [str(each.recipe.to_dict()) for each in recipe.render(variants)]
    assert len(rendered) == 2, rendered
    assert sorted(re.search(r"mpi_(\w+?)_py", each)[1] for each in rendered) == ["mpich", "openmpi"], rendered


def calls(path, name):
    """Return the calls of a function in a module: positional arguments, and those by name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            keywords = {each.arg: ast.literal_eval(each.value) for each in node.keywords}
            found.append(([ast.literal_eval(each) for each in node.args], keywords))
    return found


def test_spack_needs_what_the_project_needs():
    package = PACKAGING / "spack" / "packages" / "mpidask" / "package.py"
    always = [
        spec for (spec,), given in calls(package, "depends_on") if "when" not in given and given["type"] != "build"
    ]
    needed = [each.replace(">=", "@") + ":" * (">=" in each) for each in NEEDED]
    assert sorted(always) == sorted([f"py-{each}" for each in needed] + ["python@3.11:"])
    variants = {name for (name,), _ in calls(package, "variant")}
    for name in variants:
        found = {
            spec.removeprefix("py-")
            for (spec,), given in calls(package, "depends_on")
            if given.get("when") == f"+{name}"
        }
        assert found == set(PROJECT["optional-dependencies"][name]) - NOT_IN_SPACK
    assert yaml.safe_load((PACKAGING / "spack" / "repo.yaml").read_text())["repo"]["namespace"] == "mpidask"
    assert package.parents[4] == ROOT


EASYCONFIG = PACKAGING / "easybuild" / f"mpidask-{mpidask.__version__}-foss-2025b.eb"

#: In a process of its own: EasyBuild changes the process in which it runs.
PARSE = """
import sys
from easybuild.tools.options import set_up_configuration
set_up_configuration(args=["--allow-use-as-root-and-accept-consequences", "--ignore-osdeps", "--modules-tool=EnvironmentModules", "--module-syntax=Tcl", "--allow-modules-tool-mismatch"], silent=True)
from easybuild.framework.easyconfig.parser import EasyConfigParser
config = EasyConfigParser(sys.argv[1]).get_config_dict()
from easybuild.framework.easyconfig.easyconfig import get_easyblock_class
print(get_easyblock_class(config["easyblock"], name=config["name"]).__name__)
print(config["name"], config["version"], config["toolchain"], [each[0] for each in config["dependencies"]])
"""


def test_easybuild_parses_its_easyconfig(tmp_path):
    pytest.importorskip("easybuild.framework")
    pytest.importorskip("easybuild.easyblocks")
    environment = {"HOME": str(tmp_path), "PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "USER": "nobody"}
    words = [sys.executable, "-c", PARSE, str(EASYCONFIG)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=360, env=environment, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done
    block, config = done.stdout.splitlines()[-2:]
    assert block == "PythonPackage"
    assert config.startswith(f"mpidask {mpidask.__version__} {{'name': 'foss', 'version': '2025b'}} ")
    assert "'dask', 'mpi4py'" in config


def test_easybuild_has_modules_for_what_the_project_needs():
    """Those of the bundle are named in a comment."""
    text = EASYCONFIG.read_text().lower()
    for each in NEEDED:
        assert re.search(rf"\b{each.partition('>')[0]}\b", text), each


def apptainer():
    """Return the sections of the definition: name -> lines."""
    _, *parts = re.split(r"^%(\w+)\n", (PACKAGING / "apptainer" / "mpidask.def").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def docker():
    """Return the instructions of the Dockerfile: (instruction, words)."""
    text = (PACKAGING / "docker" / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], " ".join(line.split()[1:])) for line in lines]


def test_both_images_are_made_by_the_same_steps():
    def steps(text):
        found = [" ".join(line.split()) for line in re.split(r"\n|&&", text)]
        return [each for each in found if re.match(r"(DEBIAN_FRONTEND=\S+ )?(apt-get|rm|python3|/opt)", each)]

    ours = [step.replace("{{ MPI }}", "${MPI}") for step in steps(apptainer()["post"])]
    first = [words for name, words in docker() if name == "RUN"][:2]
    theirs = [step.replace("DEBIAN_FRONTEND=noninteractive ", "") for words in first for step in steps(words)]
    assert ours == theirs
    assert {"post", "environment", "files", "runscript", "test", "arguments"} <= set(apptainer())


def test_the_dockerfile_has_what_it_copies():
    known = {"FROM", "ARG", "RUN", "COPY", "ENV", "LABEL", "CMD", "WORKDIR", "ENTRYPOINT"}
    assert {name for name, _ in docker()} <= known
    for name, words in docker():
        if name == "COPY":
            assert all((ROOT / each).exists() for each in words.split()[:-1] if not each.startswith("--")), words
    assert [words for name, words in docker() if name == "FROM"] == [
        "debian:12 AS mpidask",
        "mpidask AS tutorial",
        "mpidask",
    ]


@pytest.mark.parametrize("path", [PACKAGING / "docker" / "start-slurm", ".ci/run", "do"])
def test_shell_can_read_it(path):
    subprocess.run(["sh", "-n", ROOT / path], check=True, timeout=20)


def test_every_extra_of_the_images_is_there():
    text = (PACKAGING / "docker" / "Dockerfile").read_text() + (PACKAGING / "apptainer" / "mpidask.def").read_text()
    named = {
        each
        for extras in re.findall(r"mpidask-source\[([^]]+)\]", text)
        for each in extras.split(",")
        if each.isalpha()
    }
    assert named | set(re.findall(r"MPI=(\w+)", text)) <= set(PROJECT["optional-dependencies"])


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_workflows_are_workflows():
    pytest.importorskip("check_jsonschema")
    words = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        *map(str, WORKFLOWS),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done


def test_workflows_run_what_a_developer_runs():
    text = "".join(path.read_text() for path in WORKFLOWS)
    assert ".ci/run" in text
    assert "./do test\n" in text
    for path in re.findall(r"packaging/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path


def test_every_recipe_is_described():
    page = (ROOT / "docs" / "howto" / "packages.md").read_text()
    for path in PACKAGING.iterdir():
        assert f"packaging/{path.name}" in page, path

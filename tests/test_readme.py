"""The README and the pages of a run and of its architecture say what is so."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from mpidask import errors
from mpidask.batch.settings import JobOptions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
A_RUN = (ROOT / "docs" / "reference" / "run.md").read_text()


def prose(path):
    """Return the sentences of a text without its code, tables, pictures and comments."""
    text = re.sub(r"^```.*?^```$|^\|.*?$|<[^>]*>|^#.*?$", "\n", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    return [each for each in re.split(r"(?<=[.:;?!])\s+|\n\n+|\n\* ", text) if each.strip()]


def test_the_readme_is_one_screen():
    assert len(README.split()) < 700


def test_sentences_are_short():
    kinds = ("tutorial", "howto", "migration", "reference", "explanation")
    pages = [ROOT / "README.md", *(page for kind in kinds for page in sorted((ROOT / "docs" / kind).glob("*.md")))]
    assert [(page.name, each) for page in pages for each in prose(page) if len(each.split()) > 25] == []


def test_every_option_of_a_job_is_in_the_reference():
    text = (ROOT / "docs" / "batch.md").read_text()
    for field in dataclasses.fields(JobOptions):
        assert f"--{field.name.replace('_', '-')}" in text, field.name


def test_exit_statuses_are_ours():
    for error in (errors.UsageError, errors.StartupError, errors.LostError, errors.WalltimeError):
        text = (ROOT / "docs" / "reference" / "exit-statuses.md").read_text()
        assert re.search(rf"^\| .* \| {error.status} \|$", text, re.MULTILINE), error


MODULES = sorted((ROOT / "mpidask").rglob("*.py"))
ROOMS = [path for path in MODULES if path.name == "__init__.py" and path.parent.name != "mpidask"]


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def name(path):
    return ".".join(path.relative_to(ROOT / "mpidask").with_suffix("").parts)


def fits(docstring):
    """Whether the first line is a sentence, which an empty line follows if there is more."""
    first, _, rest = docstring.partition("\n")
    return len(first.split()) > 3 and len(first) <= 100 and first.endswith(".") and rest[:1] in ("", "\n")


def test_every_module_says_in_a_sentence_what_is_in_it():
    assert {name(path): docstring(path) for path in MODULES if not fits(docstring(path))} == {}


def test_every_room_says_when_it_runs_and_what_it_may_import():
    rest = {name(path.parent): docstring(path).partition("\n\n")[2] for path in ROOMS}
    assert [room for room, text in rest.items() if not re.search(r"\bRuns\b", text)] == []
    assert [room for room, text in rest.items() if not re.search(r"\bMay\simport\b", text)] == []


def test_every_room_is_in_the_picture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    picture = text.partition("## The rooms")[2].split("```")[1]
    drawn = set(re.findall(r"[a-z][a-z_.]+[a-z]", picture))
    assert {name(path.parent) for path in ROOMS} <= drawn


def test_the_architecture_names_what_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = "|".join(path.name for path in (ROOT / "mpidask").iterdir() if path.is_dir())
    named = set(re.findall(rf"`((?:{rooms})[./][\w./]+)`", text))
    places = {each: ROOT / "mpidask" / each.removesuffix(".py").rstrip("/").replace(".", "/") for each in named}
    assert len(places) > 40
    missing = {each for each, place in places.items() if not (place.is_dir() or place.with_suffix(".py").exists())}
    fields = {
        each for each in missing if places[each].parent.with_suffix(".py").exists()
    }  # such as settings.JobOptions
    assert missing - fields == set()
    for each in fields:
        assert re.search(rf"\b{places[each].name}\b", places[each].parent.with_suffix(".py").read_text()), each


def test_every_decision_is_in_the_index_and_has_its_parts():
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    for record in records:
        title, *parts = re.findall(r"^#+ (.*)$", record.read_text(), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequence"], record.name
        assert f"* [{title}]({record.name})" in index
        assert int(record.name[:4]) == int(title.partition(".")[0])
    assert len({record.name[:4] for record in records}) == len(records) == index.count("\n* ")


@pytest.mark.parametrize("line", [line for line in A_RUN.splitlines() if line.startswith("mpirun -n 8 python")])
def test_command_lines_run(ranks, line):
    ranks.script("print('ran')")
    (ranks.work / "package").mkdir()
    (ranks.work / "package" / "__init__.py").write_text("")
    (ranks.work / "package" / "module.py").write_text("print('ran')")
    words = (
        line.replace("[options]", "--nthreads 1").replace("[arguments of the script]", "x").replace("[arguments]", "x")
    )
    words = words.replace('"code"', "print('ran')").split(" ")[6:]
    result = ranks(3, *words, environ={"PYTHONDONTWRITEBYTECODE": "1"})
    assert (result.status, result.stdout) == (0, "ran\n"), result


def test_banner_is_what_a_run_prints(ranks):
    result = ranks(4, ranks.script(""))
    labels = re.findall(r"^mpidask: (\w+)  ", result.stderr, re.MULTILINE)
    assert labels == re.findall(r"^mpidask: (\w+)  ", A_RUN, re.MULTILINE)


API = (ROOT / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"^```python\n(# (?:mpirun -n (\d+) )?python script.py\n.*?)^```", API, re.MULTILINE | re.DOTALL)


@pytest.mark.one_mpi
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_reference_run(ranks, number):
    code, n = EXAMPLES[number]
    result = ranks.python(int(n or 0), ranks.script(code))
    said = ["3", "client: 3\nranks: 4", "30", "client: 6\nranks: 4", "3 tls://", "3", "done: 3"]
    assert len(EXAMPLES) == len(said) == API.count("```python")
    assert (result.status, result.stdout.strip(), result.words) == (0, said[number], []), result
    assert not ranks.leftovers(), result


def test_signatures_in_the_reference_are_those_of_the_functions():
    import inspect

    import mpidask

    text = " ".join(API.split())
    for name in ("initialize", "execute", "send_close_signal"):
        signature = inspect.signature(getattr(mpidask, name))
        bare = signature.replace(
            parameters=[each.replace(annotation=each.empty) for each in signature.parameters.values()],
            return_annotation=signature.empty,
        )
        assert f"`{name}{bare}".replace("'", '"') in text, f"{name}{bare}"


def test_what_is_to_be_installed_can_be_had():
    """No index has mpidask: outside of a clone a remedy names the packages themselves."""
    rooms = [each for each in (ROOT / "mpidask").iterdir() if each.is_dir()]
    texts = [path for room in rooms for path in room.rglob("*.py")] + [*(ROOT / "docs").rglob("*.md")]
    named = [each.relative_to(ROOT).as_posix() for each in texts if re.search(r"mpidask\[", each.read_text())]
    assert named == ["docs/howto/install.md"], "which says what will be"


def test_what_the_extras_need_is_pinned():
    """`./do lock --keep` adds what is missing."""

    def normal(requirement):
        return re.sub("[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    files = [ROOT / "requirements" / f"{name}.txt" for name in ("constraints", "integrations")]
    pinned = {normal(line) for path in files for line in path.read_text().splitlines()}
    assert sorted({normal(each) for each in wanted} - pinned) == []


def test_what_is_pinned_can_be_had_on_the_oldest_python():
    """That of Debian 12, on which `./do slurm` and the others are to work; requirements/bounds.txt sees to it."""
    pins = {}
    for name in ("constraints", "integrations"):
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        pins[name] = {canonicalize_name(each): version for each, _, version in (line.partition("==") for line in lines)}
    wants = {
        (canonicalize_name(each.metadata["Name"]), each.version): each.metadata.get("Requires-Python", "")
        for each in distributions()
    }
    ours = {pin: wants[pin] for each in pins.values() for pin in each.items() if pin in wants}
    assert len(ours) > 50
    assert {pin: python for pin, python in ours.items() if not SpecifierSet(python).contains("3.11.2")} == {}
    bounds = (ROOT / "requirements" / "bounds.txt").read_text().splitlines()
    for bound in map(Requirement, (line for line in bounds if not line.startswith("#"))):
        for each in pins.values():
            assert bound.specifier.contains(each.get(canonicalize_name(bound.name), "0")), bound

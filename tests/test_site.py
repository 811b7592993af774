"""What the documentation's site says is so, and its generated pages have what they are generated from."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import itertools
import os
import pkgutil
import re
from pathlib import Path

import pytest
import yaml

import mpidask
from mpidask import errors
from mpidask.batch.settings import JobOptions
from mpidask.cli import about
from mpidask.config import Options

pytestmark = pytest.mark.one_mpi

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages():
    """Return the module that generates pages when the site is built."""
    spec = importlib.util.spec_from_file_location("pages", DOCS / "hooks" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_has_its_row_with_default_and_help(pages):
    text = pages.options()
    for kind in (Options, JobOptions):
        for field in dataclasses.fields(kind):
            (row,) = re.findall(rf"^\| `--{field.name.replace('_', '-')}[ \[`].*$", text, re.MULTILINE)
            assert field.metadata["help"].split("[")[0].split("|")[0].split("*")[0] in row
            if isinstance(field.default, str):
                assert f"| `{field.default}` |" in row


def test_errors_and_warnings_of_the_source_are_listed(pages, tmp_path):
    (tmp_path / "module.py").write_text(
        'raise UsageError(f"--nthreads is {n}", "give a number " f"from {least} up")\n'
        'raise ValueError("not ours")\n'
        'warn(f"{host} has no disk", "buy one", key="disks")\n'
    )
    text = pages.messages(tmp_path)
    assert "### UsageError" in text
    assert "| `` --nthreads is ... `` | `` give a number from ... up `` |" in text
    assert "* `` ... has no disk ``: [disks](../howto/troubleshooting.md#disks)" in text
    assert "not ours" not in text
    assert pages.messages().count("\n| `` ") > 100


def test_what_the_api_page_is_generated_from_is_there():
    for path in re.findall(r"^::: ([\w.]+)$", (DOCS / "reference" / "python.md").read_text(), re.MULTILINE):
        pkgutil.resolve_name(path)


def test_every_class_of_errors_is_explained():
    text = (DOCS / "howto" / "troubleshooting.md").read_text()
    explained = re.findall(r"^### (\w+(?:Error|Exception))$", text, re.MULTILINE)
    assert set(explained) == {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    for name in explained:
        section = text.partition(f"### {name}\n")[2].partition("\n##")[0]
        status = getattr(errors, name).status
        if status != errors.MpidaskError.status:
            assert re.search(rf"exit status {status}\b", section, re.IGNORECASE), name


WARNS = re.compile(r"(warn|runner\.warn_once|warning_text|linked|_?logger\.(warning|error|exception)|warnings\.warn)$")
MORE = "; more: mpidask docs "


def own_key(call):
    """Return the key that a call gives, as it stands in the source; None if it has none."""
    named = [each.value for each in call.keywords if each.arg == "key"]
    words = [*named, *call.args[1:]] if ast.unparse(call.func) == "linked" else named
    return ast.unparse(words[0]).strip("'") if words else None


def keys_in_source():
    """Yield (place, key) for all that warns, and all errors with a key of their own; the key is None without one."""
    for path in sorted((ROOT / "mpidask").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and WARNS.match(ast.unparse(node.func)):
                calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
                yield place, next((key for each in calls if (key := own_key(each))), None)
            elif isinstance(node, ast.Call) and re.match(r"\w+(Error|Exception)$", ast.unparse(node.func)):
                yield from ((place, key) for key in [own_key(node)] if key)
            elif isinstance(node, ast.JoinedStr) and path.parent.name == "watchdog":  # which imports nothing of ours
                said = re.fullmatch(rf"f['\"](warning|error): .*?({MORE}([\w-]+))?['\"]", ast.unparse(node))
                yield from ((place, each[3]) for each in [said] if each)


def test_every_error_and_warning_ends_with_an_entry_of_the_page():
    entries = about.entries((DOCS / "howto" / "troubleshooting.md").read_text())
    found = {(place, key) for place, key in keys_in_source() if key is None or not re.match(r"key$|\w+\.key$", key)}
    assert [(place, key) for place, key in found if key is None or key.lower() not in entries] == []
    warnings = (DOCS / "howto" / "troubleshooting.md").read_text().partition("## Warnings")[2].partition("\n## ")[0]
    stale = {each for each in about.entries(warnings) if each not in {key.lower() for _, key in found}}
    assert stale == set(), "nothing leads there"
    assert len(found) > 50


def test_what_is_printed_ends_with_the_command_that_explains_it(capsys):
    assert errors.UsageError("a", "b\nc").text() == (
        f"mpidask: error: a\nmpidask: remedy: b\nmpidask: remedy: c{MORE}UsageError\n"
    )
    assert errors.StartupError("a.\nb", key="x").text() == f"mpidask: error: a{MORE}x\nmpidask: b\n"
    assert errors.StartupError("a", "b").__notes__ == [f"remedy: b{MORE}StartupError"]
    errors.warn("a", "pip install ...", key="x")
    assert capsys.readouterr().err == f"mpidask: warning: a\nmpidask: remedy: pip install ...{MORE}x\n"


def test_mpidask_docs_prints_an_entry_without_the_site_and_with_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(about, "_PLACES", (tmp_path,))
    docs = about.COMMANDS["docs"][1]
    assert docs(["missing-ranks"]) == 0
    printed = capsys.readouterr().out
    assert "Missing ranks" in printed and "--startup-timeout" in printed and "No common network" not in printed
    assert docs(["startuperror"]) == 0
    assert "No common network" in capsys.readouterr().out, "the causes are below"
    with pytest.raises(errors.UsageError, match="no entry 'startuperor'") as raised:
        docs(["startuperor"])
    assert "mpidask docs startuperror" in raised.value.remedy
    (tmp_path / "index.html").write_text("")
    assert docs(["StartupError"]) == 0
    assert capsys.readouterr().out.endswith(f"file://{tmp_path}/howto/troubleshooting.html#startuperror\n")


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]


def anchors(text):
    """Return what links within a page may lead to."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}


def test_links_lead_somewhere(pages):
    generated = {DOCS / each for each in pages.GENERATED}
    wrong = []
    for path in TEXTS:
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target, anchor in re.findall(r"\]\(([^)\s#]*)(#[^)\s]*)?\)", text):
            place = Path(os.path.normpath(path.parent / target)) if target else path
            if target.startswith("https:") or place in generated:
                continue
            if not place.exists() or (anchor and anchor[1:] not in anchors(place.read_text())):
                wrong.append(f"{path.relative_to(ROOT)}: {target}{anchor}")
    assert wrong == []


def test_tests_that_the_docs_name_are_there():
    text = (DOCS / "reference" / "peculiarities.md").read_text()
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./\.\./([^)]+)\)", text)
    assert len(named) > 30
    assert [name for name, path in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_links_lead_to_pages_or_are_words(pages):
    text = "[a](../mpidask/config.py) [b](gpu.md#x) [c](../CHANGELOG.md) [d](https://x.org/) `[e](f)`"
    said = pages.relinked(text.partition(" `")[0], DOCS, "howto/x.md")
    assert said == "a [b](../gpu.md#x) [c](../changelog.md) [d](https://x.org/)"
    with pytest.raises(FileNotFoundError, match="nothing"):
        pages.relinked("[a](../nothing.py)", DOCS, "x.md")


def test_mpidask_docs_opens_the_site_or_says_where_it_would_be(monkeypatch, tmp_path, capsys):
    places = (tmp_path / "package", tmp_path / "clone")
    monkeypatch.setattr(about, "_PLACES", places)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UsageError, match="no documentation") as raised:
        about.COMMANDS["docs"][1]([])
    assert "./do docs" in raised.value.remedy
    for place in reversed(places):
        place.mkdir()
        (place / "index.html").write_text("")
        assert about.COMMANDS["docs"][1]([]) == 0
        assert capsys.readouterr().out == f"file://{place}/index.html\n"
    opened = []
    monkeypatch.setattr(about.webbrowser, "open", opened.append)
    monkeypatch.setattr(about.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    assert about.COMMANDS["docs"][1]([]) == 0
    assert opened == [f"file://{places[0]}/index.html"]


def test_in_a_clone_mpidask_docs_opens_what_do_docs_has_built(monkeypatch, tmp_path, capsys):
    """What is installed is a wheel, which does not know the clone that it is from."""
    monkeypatch.setattr(about, "_PLACES", (tmp_path / "package",))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".site").mkdir()
    (tmp_path / ".site" / "index.html").write_text("")
    with pytest.raises(errors.UsageError, match="no documentation"):
        about.COMMANDS["docs"][1]([])
    (tmp_path / "mpidask" / "cli").mkdir(parents=True)
    assert about.COMMANDS["docs"][1]([]) == 0
    assert capsys.readouterr().out == f"file://{tmp_path}/.site/index.html\n"


def test_each_page_stands_once_in_one_kind(pages):
    """`./do docs` complains of pages that are left out, not of those that stand twice or are called alike."""
    _, *kinds = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    found = {
        kind: [each for entry in entries for each in entry.items()] for each in kinds for kind, entries in each.items()
    }
    assert list(found) == ["Tutorial", "How-to", "Migration", "Reference", "Explanation"]
    labels, paths = zip(*itertools.chain(*found.values()), strict=True)
    assert len(set(labels)) == len(labels)
    assert len(set(paths)) == len(paths)
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if not re.match(r"\d{4}-", path.name)}
    assert {*paths, "index.md"} == written | {*pages.SHARED.values(), *pages.GENERATED}
    titles = [(DOCS / path).read_text().partition("\n")[0] for path in written]
    assert len(set(titles)) == len(titles)


def test_pictures_follow_the_colours_of_the_site(pages):
    for path in TEXTS:
        text = path.read_text()
        followed = pages.following_the_site(text)
        assert followed.count("#only-dark") == followed.count("#only-light") == text.count("<picture>"), path
        assert "<picture>" not in followed


def test_pictures_are_there_small_and_used():
    shown = set()
    for path in TEXTS:
        found = re.findall(r'!\[[^\]]*\]\(([^)\s]+)|\b(?:src|srcset)="([^"]+)"', path.read_text())
        shown |= {Path(os.path.normpath(path.parent / (one or other))) for one, other in found}
    pictures = {*(DOCS / "images").iterdir()}
    assert shown == pictures
    assert {each.name for each in pictures if each.stat().st_size > 100_000} == set()


#: Pictures that show no run.
DRAWINGS = {"picture.svg"}


def test_pictures_of_real_runs_are_taken_anew_by_one_command():
    code = "".join(path.read_text() for path in (DOCS / "hooks").glob("*.py"))
    pictures = [*(DOCS / "images").iterdir()]
    assert {each.name for each in pictures if not re.search(rf'"{each.stem}({each.suffix})?"', code)} == DRAWINGS


def test_the_citation_names_this_version():
    assert f"\nversion: {mpidask.__version__}\n" in (ROOT / "CITATION.cff").read_text()

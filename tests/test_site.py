"""What the documentation's site says is so, and its generated pages have what they are generated from."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pkgutil
import re
from pathlib import Path

import pytest

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
        'sys.stderr.write(f"mpidask: warning: {host} has no disk\\nmpidask: remedy: buy one\\n")\n'
    )
    text = pages.messages(tmp_path)
    assert "### UsageError" in text
    assert "| `` --nthreads is ... `` | `` give a number from ... up `` |" in text
    assert "* `` ... has no disk ``" in text
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


def test_the_citation_names_this_version():
    assert f"\nversion: {mpidask.__version__}\n" in (ROOT / "CITATION.cff").read_text()

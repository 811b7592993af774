"""Build the site's pages that are not files of docs/: generated references, and files of the repository's root.

MkDocs calls the functions `on_...` while `./do docs` builds the site. What is generated follows from the package that
is installed, so no page of it can be stale.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent

#: Files of the repository that are pages of the site.
SHARED = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}


_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)\s#]*)(#[^)\s]*)?\)")
#: A picture in light and in dark colours, as browsers choose it.
_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\s*'
    r'<img src="([^"]+)"([^>]*)>\s*</picture>'
)


def on_config(config: Any) -> Any:
    """Name the version that the site is of."""
    from mpidask import __version__

    config.site_name = f"mpidask {__version__}"
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made here."""
    from mkdocs.structure.files import File

    for source, page in SHARED.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=relinked((ROOT / source).read_text(), ROOT, page)))
    for page, text in GENERATED.items():
        files.append(File.generated(config, page, content=text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Have links to files outside docs/ lead to their page, or be plain text, and pictures have the site's colours."""
    uri = page.file.src_uri
    markdown = following_the_site(markdown)
    return relinked(markdown, (DOCS / uri).parent, uri) if page.file.abs_src_path else markdown


def following_the_site(markdown: str) -> str:
    """Return a text whose pictures are light or dark as the site is, which may not be what the browser prefers.

    https://squidfunk.github.io/mkdocs-material/reference/images/#light-and-dark-mode
    """
    return _PICTURE.sub(r'<img src="\2#only-light"\3>\n<img src="\1#only-dark"\3>', markdown)


def relinked(markdown: str, directory: Path, page: str) -> str:
    """Return a text in which all relative links lead to pages; raises FileNotFoundError for one that leads nowhere.

    Parameters
    ----------
    markdown : str
        The text.
    directory : Path
        Where its relative links begin.
    page : str
        Where the text is on the site.

    Returns
    -------
    str
        The text. A link to a file that is no page is its words.
    """
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(_with(directory, page), part) for part in parts)


def _with(directory: Path, page: str) -> Any:
    def link(match: re.Match[str]) -> str:
        words, target, anchor = match.groups(default="")
        if not target or re.match(r"[a-z]+:", target):
            return match.group()
        place = Path(os.path.normpath(directory / target))
        if place.is_relative_to(DOCS):
            uri = str(place.relative_to(DOCS))
        elif (name := str(place.relative_to(ROOT))) in SHARED:
            uri = SHARED[name]
        elif place.exists():
            return words
        else:
            raise FileNotFoundError(f"{page} has a link to {target}, which is not there")
        return f"[{words}]({os.path.relpath(uri, Path(page).parent)}{anchor})"

    return link


def options() -> str:
    """Return the page of all options."""
    from mpidask.batch.settings import JobOptions
    from mpidask.config import Options

    return _OPTIONS.format(run="\n".join(rows(Options)), job="\n".join(rows(JobOptions)))


def rows(kind: type) -> Iterator[str]:
    """Return a table's row for each field of a dataclass of options."""
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-")
        text, metavar, short = (field.metadata[key] for key in ("help", "metavar", "short"))
        switch = str(field.type).startswith("bool")
        value = f"{metavar}" if metavar.startswith("[") else f" {metavar}" if metavar else ""
        names = ", ".join(f"`{name}`" for name in (flag + value, *short))
        if switch:
            names += f", `--{'exclusive-workers' if field.name == 'inclusive_workers' else 'no-' + flag[2:]}`"
        yield f"| {names} | {_default(field.default)} | {_escaped(text)} |"


def _default(value: Any) -> str:
    if value in (None, ()):
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"`{value}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")


def commands() -> str:
    """Return the page of the command line: what --help-all prints for each command."""
    from mpidask.cli.commands import COMMANDS

    named = [name for group in COMMANDS.values() for name, (module, _) in group.items() if module]
    overview = _help("--help")
    sections = [f"## mpidask {name}\n\n```text\n{_help(name, '--help-all')}```\n" for name in named]
    return _COMMANDS.format(overview=overview) + "\n".join(sections)


def _help(*words: str) -> str:
    command = [sys.executable, "-m", "mpidask.cli", *words]
    environ = {**os.environ, "COLUMNS": "78"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(command)} exits with {done.returncode}: {done.stderr}")
    return done.stdout.rstrip() + "\n"


def messages(package: Path = ROOT / "mpidask") -> str:
    """Return the page of all errors and warnings that stand in the source of a package."""
    found: dict[str, set[tuple[str, str]]] = {}
    for node in _expressions(package):
        if isinstance(node, ast.Call) and (name := _called(node)) in _classes() and node.args:
            texts = [_template(each) for each in node.args]
            if re.search("[a-z]{3}", texts[0]):
                found.setdefault(name, set()).add((texts[0], (*texts, "")[1]))
    parts = [_of_class(name, sorted(found[name], key=_order)) for name in sorted(found)]
    listed = [_warned(text, key) for text, key in sorted(warnings(package), key=_order) if re.search("[a-z]{3}", text)]
    return _MESSAGES.format(errors="\n".join(parts), warnings="\n".join(listed))


def _warned(text: str, key: str) -> str:
    return f"* {_literal(text)}: [{key}](../howto/troubleshooting.md#{key.lower()})"


#: What warns, in mpidask.errors and elsewhere: the text comes first.
_WARN = ("warn", "warn_once", "warning_text", "linked")


def warnings(package: Path = ROOT / "mpidask") -> set[tuple[str, str]]:
    """Return text and key of all warnings in the source of a package that name their key."""
    found: set[tuple[str, str]] = set()
    for node in _expressions(package):
        if isinstance(node, ast.Call) and _called(node) in _WARN:
            keys = [*(each.value for each in node.keywords if each.arg == "key"), *node.args[1:2]]
            if keys and isinstance(keys[0], ast.Constant):
                found.add((_template(node.args[0]), str(keys[0].value)))
        elif isinstance(node, ast.JoinedStr | ast.Constant) and (text := _template(node)).startswith("warning: "):
            what, _, key = text.removeprefix("warning: ").partition("; more: mpidask docs ")
            found.add((what, key))
    return found


def _expressions(package: Path) -> Iterator[ast.AST]:
    """Return the expressions of the source; not the pieces of f-strings, which are texts, too."""
    for path in sorted(package.rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        pieces = {id(piece) for node in nodes if isinstance(node, ast.JoinedStr) for piece in node.values}
        yield from (node for node in nodes if id(node) not in pieces)


def _classes() -> set[str]:
    from mpidask import errors

    return {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _order(entry: Any) -> str:
    """Return what an entry is looked up by: its first word that is no value."""
    return re.sub(r"^\W+", "", str(entry)).lower()


def _of_class(name: str, entries: list[tuple[str, str]]) -> str:
    lines = "\n".join(f"| {_literal(what)} | {_literal(remedy)} |" for what, remedy in entries)
    return f"### {name}\n\n| message | remedy |\n|---|---|\n{lines}\n"


def _literal(text: str) -> str:
    line = re.sub(r"\.{4,}", "...", " ".join(text.split())).replace("|", "\\|")
    return f"`` {line} ``" if line.strip(".") else ""


def _template(node: ast.expr) -> str:
    """Return the text that an expression makes, with `...` for what is known only when it is made."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "..."


_OPTIONS = """\
# Options

This page is generated from the package. Where each option may stand: [configuration](configuration.md).

## Of a run

For `python -m mpidask`, `mpidask run`, `mpidask serve`, `mpidask submit`, `mpidask script` and `mpidask start`.
An empty default means: detected on the machine, or not used.

| option | default | meaning |
|---|---|---|
{run}

## Of a job

For `mpidask submit`, `mpidask script` and `mpidask start`. An empty default means: left to the site.

| option | default | meaning |
|---|---|---|
{job}
"""

_COMMANDS = """\
# Commands

This page is generated: it shows what `mpidask --help`, and `--help-all` of each command, print.

```text
{overview}```

"""

_MESSAGES = """\
# All messages

This page is generated from the source. `...` stands for a value.
[Troubleshooting](../howto/troubleshooting.md) explains the kinds of errors.

## Errors

{errors}
## Warnings

{warnings}
"""

#: Pages that follow from the package.
GENERATED = {"reference/options.md": options, "reference/commands.md": commands, "reference/messages.md": messages}

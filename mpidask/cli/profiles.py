"""`mpidask config`, `mpidask profile`: what counts here, whether it is right, and profiles of sites."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from mpidask import configuration
from mpidask.cli import common
from mpidask.cli.help_page import CommandWithHelp
from mpidask.doctor import profile
from mpidask.errors import MpidaskError, UsageError
from mpidask.options import loading
from mpidask.profiles import layers, packaged
from mpidask.profiles.checks import ANY, unknown_keys
from mpidask.profiles.file import content, tree

__all__ = ["COMMANDS"]

_CONFIG = """\
Print a commented mpidask.yaml: all options of runs and jobs, with their defaults.

Copy it to ~/.config/dask/mpidask.yaml, to /etc/dask for all users, or to a project's directory. `show` prints what
counts here, `check` looks for mistakes in all files."""

_PROFILE = """\
List the profiles of sites, show one, or write a new one for this machine.

A profile is a named piece of configuration: mpidask submit --profile NAME. `new` prints one with what the doctor finds
here: the batch system, its queues, your account, the network's interfaces and node-local space."""


def _config(argv: Sequence[str]) -> int:
    given = common.read(_config_command(), argv)
    if given is None:
        return 0
    action = given["action"]
    if action == "show":
        return _show(given["profile"], origin=given["origin"], every=given["all_keys"])
    if action == "check":
        return _check(given["profile"])
    if action is not None:
        raise UsageError(f"mpidask config does not know {action!r}", "mpidask config show, or mpidask config check")
    from mpidask.batch import settings

    sys.stdout.write(loading.template() + settings.template())
    return 0


def _show(profile: str | None, *, origin: bool, every: bool) -> int:
    """Print the keys that have a value."""
    import yaml

    found = configuration.read(profile)
    lines = {
        layers.normal(each.spelled): (_shown(each), each.value, found.place(*path) or "set by the program")
        for path, each in found.found.items()
    }
    for path, value in _defaults() if every else ():
        lines.setdefault(layers.normal(path), (".".join(path), value, "default"))
    for name, value, where in (lines[key] for key in sorted(lines)):
        text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
        print(f"{name}: {text}{f'  # {where}' if origin else ''}")
    return 0


def _shown(each: layers.Found) -> str:
    """Return a key as files have it: names of variables do not tell - from _."""
    return ".".join(each.spelled if each.place else (name.replace("_", "-") for name in each.spelled))


def _defaults() -> Iterator[tuple[layers.Path, Any]]:
    from mpidask.batch.settings import JobOptions
    from mpidask.config import Options
    from mpidask.options.loading import Settings

    for above, kind in ((("mpidask",), Options), (("mpidask",), Settings), (("mpidask", "batch"), JobOptions)):
        for field in dataclasses.fields(kind):
            value = list(field.default) if isinstance(field.default, tuple) else field.default
            yield (*above, field.name.replace("_", "-")), value


def _check(profile: str | None) -> int:
    """Print what is wrong in the files, each with its line; return 2 if anything is."""
    every = list(configuration.files())
    problems = [text for file in every for text in _wrong_keys(file)]
    if not problems:
        chosen = [profile, *([] if profile else _own_profiles())]
        problems = [*dict.fromkeys(text for each in chosen for text in _wrong_values(each))]
    print("\n".join(problems) if problems else f"{len(every)} files, no mistakes")
    return 2 if problems else 0


def _wrong_keys(file: str) -> list[str]:
    try:
        content(file)
    except UsageError as error:
        return [f"{error.what}; {error.remedy}"]
    found = sorted(unknown_keys(tree(file), _schema()), key=lambda each: each.line)
    return [f"{file}, line {each.line}: {each.what}; {each.remedy}" for each in found]


def _own_profiles() -> list[str]:
    """Return the profiles that files have and mpidask does not bring."""
    ours = (each.profiles for each in configuration.layers_here() if each.place != packaged.LAYER.place)
    return sorted({name for profiles in ours for name in profiles})


def _wrong_values(profile: str | None) -> list[str]:
    """Return what is wrong with the values that count, of each kind the first."""
    from mpidask.batch import registry, settings
    from mpidask.options.loading import load

    def systems() -> None:
        for name in configuration.section("batch", profile=profile).get("systems") or {}:
            registry.find(name)

    checks: list[Callable[[], object]] = [
        lambda: load({"profile": profile}),
        lambda: settings.load({}, profile=profile),
        systems,
    ]
    return [text for check in checks if (text := _message(check)) is not None]


def _message(check: Callable[[], object]) -> str | None:
    try:
        check()
    except MpidaskError as error:
        return f"{error.what}; {error.remedy}"
    return None


def _schema() -> dict[str, Any]:
    """Return which keys there may be."""
    from mpidask.batch.settings import JobOptions
    from mpidask.batch.system import BatchSystem, Workers
    from mpidask.config import Options
    from mpidask.jobqueue.keywords.table import SECTIONS, known, renamed
    from mpidask.options.loading import Settings

    def names(*kinds: type) -> dict[str, Any]:
        return {field.name: None for kind in kinds for field in dataclasses.fields(kind)}

    system = {**names(BatchSystem), "like": None, "workers": names(Workers)}
    options = {**names(Options, Settings), "batch": {**names(JobOptions), "systems": {ANY: system}}}
    of_classes = {
        section: dict.fromkeys([*(each.path for each in known(section)), *renamed(section)]) for section in SECTIONS
    }
    any_class = {key: None for section in of_classes.values() for key in section}
    profile = {**options, "about": None, "like": None, "jobqueue": any_class}
    others: dict[str, Any] = dict.fromkeys(configuration.sections_of_dask())
    return {**others, "mpidask": {**options, "profiles": {ANY: profile}}, "jobqueue": {ANY: None, **of_classes}}


def _profile(argv: Sequence[str]) -> int:
    given = common.read(_profile_command(), argv)
    if given is None:
        return 0
    actions: dict[str, Callable[[str | None], None]] = {"list": _list, "show": _print, "new": _new}
    action = given["action"] or "list"
    if action not in actions:
        raise UsageError(f"mpidask profile does not know {action!r}", f"mpidask profile {'|'.join(actions)}")
    if action != "list" and not given["name"]:
        raise UsageError(f"mpidask profile {action} needs a name", f"mpidask profile {action} NAME")
    actions[action](given["name"])
    return 0


def _declared() -> dict[str, Mapping[str, Any]]:
    """Return name -> profile, as the highest layer has it."""
    return {name: body for each in configuration.layers_here() for name, body in each.profiles.items()}


def _list(_name: str | None) -> None:
    for name, body in sorted(_declared().items()):
        about = body.get("about") or {}
        ran = f"run by {about['ran']}" if about.get("ran") else "run by nobody yet" if about else "yours"
        print(f"{name:<18}  {about.get('title') or '':<36}  {ran}")


def _print(name: str | None) -> None:
    """Print a profile as it may stand in a file of the configuration."""
    import yaml

    declared = _declared()
    if name not in declared:
        layers.chain(configuration.layers_here(), str(name))  # says which there are
    if declared[str(name)] is packaged.LAYER.profiles.get(str(name)):
        with open(packaged.file_of(str(name)), encoding="utf-8") as file:
            text = file.read()
    else:
        text = yaml.safe_dump(dict(declared[str(name)]), sort_keys=False)
    print(profile.declared(str(name), text))


def _new(name: str | None) -> None:
    """Print a profile with what the doctor finds on this machine."""
    from mpidask.doctor import login

    print(profile.declared(str(name), login.profile_here(str(name))))
    where = f"~/.config/dask/{name}.yaml"
    sys.stderr.write(f"mpidask: write it to {where}; `mpidask config check` looks for mistakes in it\n")


def _config_command() -> click.Command:
    return CommandWithHelp(
        "config",
        _CONFIG,
        [
            click.Argument(["action"], required=False),
            click.Option(["--profile"], metavar="NAME", help="With show and check: the profile that counts."),
            click.Option(["--origin"], is_flag=True, help="With show: print where each value stands."),
            click.Option(["--all", "all_keys"], is_flag=True, help="With show: print the defaults, too."),
        ],
        arguments="[show|check]",
        examples=[
            "mpidask config > ~/.config/dask/mpidask.yaml",
            "mpidask config show --origin --profile leonardo",
            "mpidask config check",
        ],
    )


def _profile_command() -> click.Command:
    return CommandWithHelp(
        "profile",
        _PROFILE,
        [click.Argument(["action"], required=False), click.Argument(["name"], required=False)],
        arguments="[list|show NAME|new NAME]",
        examples=["mpidask profile list", "mpidask profile show gadi", "mpidask profile new ours > ours.yaml"],
    )


COMMANDS = {"config": (_config_command, _config), "profile": (_profile_command, _profile)}

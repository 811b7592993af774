"""What is public says what it takes, returns and raises, in numpydoc's form, and editors can show it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys

import jedi
import pytest
import stubs

import mpidask
import mpidask.jobqueue
from mpidask import batch, config
from mpidask.attach import spec

#: Of numpydoc's, in its order: https://numpydoc.readthedocs.io/en/latest/format.html.
SECTIONS = ["Parameters", "Attributes", "Returns", "Other Parameters", "Raises", "See Also", "Notes", "Examples"]


def public():
    """Return name -> class or function, for all that is exported."""
    modules = (mpidask, mpidask.jobqueue)
    found = {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in module.__all__}
    return {name: value for name, value in found.items() if callable(value)}


def members():
    """Return name -> function or property, for what public classes have that is ours."""
    found = {}
    for value in public().values():
        for kind in value.__mro__ if inspect.isclass(value) else ():
            if kind.__module__.startswith("mpidask."):
                found |= {
                    f"{kind.__qualname__}.{name}": each for name, each in vars(kind).items() if is_method(name, each)
                }
    return found


def is_method(name, value):
    return not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property))


def unwrapped(value):
    return value.__func__ if isinstance(value, classmethod | staticmethod) else value


ALL = {**public(), **{name: unwrapped(value) for name, value in members().items()}}


def sections(value):
    """Return the summary, and title -> text of each section."""
    text = inspect.cleandoc(value.__doc__ or "")
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", text, flags=re.MULTILINE)
    return parts[0].strip(), dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(text):
    """Return name -> (type, description) of a section such as Parameters."""
    found = {}
    for name, kind, description in re.findall(r"^(\S.*?)(?: : (.*))?\n((?:(?: {4}.*)?\n?)*)", text, flags=re.MULTILINE):
        for each in name.split(", "):
            found[each] = (kind, inspect.cleandoc(description).strip())
    return found


def parameters(value):
    """Return the parameters of a signature as numpydoc spells them."""
    if isinstance(value, property):
        return []
    spelled = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    signature = inspect.signature(value.__init__ if inspect.isclass(value) else value)
    names = [f"{spelled.get(each.kind, '')}{name}" for name, each in signature.parameters.items()]
    return [name for name in names if name not in ("self", "cls")]


def returns(value):
    """Whether a function returns anything."""
    if isinstance(value, property) or inspect.isclass(value):
        return False
    return inspect.signature(value).return_annotation not in ("None", "NoReturn", None)


@pytest.mark.parametrize("value", ALL.values(), ids=ALL)
def test_parameters_and_what_is_returned_are_described(value):
    summary, found = sections(value)
    first, _, _ = summary.partition("\n")
    assert first.endswith(".") and len(first) <= 112, "the summary is a sentence on one line"
    assert list(found) == sorted(found, key=SECTIONS.index)
    inherits = inspect.isclass(value) and "__init__" not in vars(value)
    described = entries(found.get("Parameters", ""))
    if "Parameters" in found or not inherits:
        assert list(described) == parameters(value)
    if returns(value):
        assert "Returns" in found
    for title in ("Parameters", "Attributes", "Other Parameters"):
        for name, (kind, text) in entries(found.get(title, "")).items():
            assert kind and text.endswith((".", ":", "?")), (title, name)
    for title in ("Returns", "Raises"):
        for name, (_, text) in entries(found.get(title, "")).items():
            assert text.endswith("."), (title, name)


@pytest.mark.parametrize(
    "name", ["connect", "MPICluster", "Session", "initialize", "execute", "SLURMCluster", "time_left"]
)
def test_what_is_called_first_has_an_example(name):
    assert "Examples" in sections(getattr(mpidask, name))[1]


def test_what_raises_says_so():
    raising = ("connect", "MPICluster", "Session", "SLURMRunner", "initialize", "execute", "JobQueueCluster")
    assert [name for name in raising if "Raises" not in sections(getattr(mpidask, name))[1]] == []


def test_tab_completion_shows_the_api_alone():
    code = "import mpidask; print(sorted(dir(mpidask)) == sorted(mpidask.__all__), 'Any' in dir(mpidask))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_each_public_name_stands_once():
    from importlib.metadata import version

    assert mpidask.__version__ == version("mpidask")
    for name in mpidask.__all__:
        assert getattr(mpidask, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        mpidask.nothing  # noqa: B018


def test_signatures_have_the_keywords():
    known = {*spec.KEYWORDS, "name", "asynchronous", "timeout", "quiet", "others"}
    assert set(inspect.signature(mpidask.MPICluster).parameters) == known
    options = {each.name for each in dataclasses.fields(config.Options)}
    assert set(inspect.signature(mpidask.Session).parameters) == {"comm", "exit", *options, "options"}
    assert {"job", "timeout", "asynchronous", "set_as_default"} <= set(inspect.signature(mpidask.connect).parameters)


def test_the_signature_of_a_cluster_class_shows_the_keywords_of_its_jobs():
    class Derived(mpidask.SLURMCluster):
        def __init__(self, project):
            super().__init__(account=project)

    shown = inspect.signature(mpidask.SLURMCluster).parameters
    assert {"n_workers", "cores", "memory", "queue", "job_cpu", "remote_scheduler", "job_kwargs"} <= set(shown)
    assert "parallel_environment" not in shown, "of another batch system"
    assert list(inspect.signature(Derived).parameters) == ["project"]
    (signature,) = jedi.Interpreter("SLURMCluster(", [{"SLURMCluster": mpidask.SLURMCluster}]).get_signatures()
    assert "walltime" in [each.name for each in signature.params], "a notebook shows them, too"


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    "call",
    [
        "MPICluster",
        "connect",
        "Session",
        "SLURMRunner",
        "initialize",
        "execute",
        "SLURMCluster",
        "LocalJobCluster",
        "HTCondorCluster",
    ],
)
def test_editors_show_the_keywords(call, tmp_path, monkeypatch):
    monkeypatch.setattr(
        jedi.settings, "cache_directory", str(tmp_path)
    )  # else tests side by side share half-written files
    (signature,) = jedi.Script(f"import mpidask\nmpidask.{call}(").get_signatures()
    shown = [each.name for each in signature.params]
    assert set(inspect.signature(getattr(mpidask, call)).parameters) <= {*shown, "self"}


def test_what_editors_read_is_what_there_is():
    for path, text in stubs.stubs().items():
        assert path.read_text() == text, "python tests/stubs.py writes it anew"


def test_options_of_a_job_may_be_given_as_they_are_annotated():
    for field in dataclasses.fields(batch.Resources):
        if field.name in spec.KEYWORDS:
            annotation = inspect.signature(mpidask.MPICluster).parameters[field.name].annotation
            assert annotation.partition(" ")[0] in (str(field.type).partition(" ")[0], "str"), field.name

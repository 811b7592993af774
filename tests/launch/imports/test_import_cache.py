"""The import cache: what it imports is what would have been imported without it, and it is used only where it fits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import PATIENCE
from selection import some

from mpidask.launch.imports import import_cache

pytestmark = pytest.mark.one_mpi

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="files of other users are made by root")
LEADING = str(Path(import_cache.__file__).parents[2])  # where mpidask itself is imported from

TOLD = '''VALUE = "{:5}"
def where():
    """Return nothing."""
    raise KeyError("where")
'''


class Library:
    """A directory of modules in sys.path, and a cache of them."""

    def __init__(self, directory):
        self.directory, self.file = directory / "library", directory / "cache"
        package = self.directory / "parcel"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("from parcel import inner\n")
        (package / "inner.py").write_text("class Kind: pass\n")
        (package / "text").write_text("words")
        (self.directory / "fails.py").write_text("import told\nraise RuntimeError('no')\n")
        (self.directory / "later.py").write_text("VALUE = 'later'\n")
        self.tell("cache")

    def keep(self):
        """Keep the directory and the cache as they are, for `restore`."""
        shutil.copytree(self.directory.parent, self._kept)

    def restore(self):
        """Have them as they were, at the same place with the same times."""
        shutil.rmtree(self.directory.parent)
        shutil.copytree(self._kept, self.directory.parent)

    @property
    def _kept(self):
        return self.directory.parent.with_suffix(".kept")

    def tell(self, word):
        """Have the file of the module `told` say another word, unnoticed: size and time stay what they were."""
        path = self.directory / "told.py"
        before = path.stat().st_mtime_ns if path.exists() else None
        path.write_text(TOLD.format(word))
        if before is not None:
            os.utime(path, ns=(before, before))

    @property
    def environ(self):
        path = os.pathsep.join([str(self.directory), LEADING])
        return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}  # a .pyc would tell the old word

    def python(self, *words, **more):
        """Run Python in a directory without modules; return what it printed."""
        environ = {**os.environ, **self.environ, **more}
        done = subprocess.run(
            [sys.executable, *words],
            env=environ,
            cwd=self.file.parent,
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def record(self, *names):
        path = self.python(
            "-c", "import json; from mpidask.launch.imports.import_cache import *; print(json.dumps(fixed_path()))"
        )
        return self.python("-m", "mpidask.launch.imports.import_recorder", str(self.file), path, *names)

    def using(self, code):
        """Run code after `import told, parcel, distributed` from the cache."""
        return self.python("-c", f"IMPORTS = 'import told, parcel, distributed'\n{OPEN}{code}", FILE=str(self.file))


OPEN = """
import os, sys
from mpidask.launch.imports import import_cache
cache = import_cache.ImportCache(os.open(os.environ["FILE"], os.O_RDONLY))
before = list(sys.meta_path)
with import_cache.active(cache):
    exec(IMPORTS)
cache.close()
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a library and its cache: made once, which takes seconds."""
    made = Library(tmp_path_factory.mktemp("recorded") / "all")
    assert made.record("told", "parcel") == ""
    made.tell("disk")
    made.keep()
    return made


@pytest.fixture
def library(recorded):
    yield recorded
    recorded.restore()


# ------------------------------------------------------------------------ it is as ever
ATTRIBUTES = """
import json, sys
def looks(module):
    spec = getattr(module, "__spec__", None)
    about = [getattr(module, name, None) for name in ("__file__", "__cached__", "__package__", "__name__")]
    if spec is None: return about
    loader = spec.loader
    kind = f"{type(loader).__module__}.{type(loader).__qualname__}"
    same = getattr(module, "__loader__", None) is loader
    rest = [spec.name, spec.origin, spec.cached, spec.parent, spec.has_location, kind, same, len(vars(loader)) if not isinstance(loader, type) and "Tlz" not in kind else 0]
    return about + rest + [list(getattr(module, "__path__", [])), spec.submodule_search_locations and list(spec.submodule_search_locations)]
print(json.dumps({name: looks(module) for name, module in sorted(sys.modules.items()) if not name.startswith("mpidask")}))
"""


@pytest.mark.thorough
def test_modules_are_what_they_are_without_it(library):
    plain = json.loads(library.python("-c", "import told, parcel, distributed, mmap, importlib.util" + ATTRIBUTES))
    cached = json.loads(library.using(ATTRIBUTES))
    # Dask may look for something of ours in sys.modules; nothing else may be there, or lack.
    assert cached == plain
    assert len(plain) > 500
    assert plain["told"][0] == str(library.directory / "told.py")


def test_code_comes_from_the_cache_and_then_from_disk_again(library):
    code = """
import importlib
print(told.VALUE)
print(importlib.reload(told).VALUE)
del sys.modules["told"]
import told, later
print(told.VALUE, later.VALUE)
"""
    assert library.using(code).split() == ["cache", "disk", "disk", "later"]


def test_nothing_of_it_remains(library):
    code = """
print(sys.meta_path == [*before, *sys.meta_path[len(before):]], any("mpidask" in str(type(each)) for each in sys.meta_path))
print(os.environ["FILE"] in open("/proc/self/maps").read())
print([name for name in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{name}") == os.environ["FILE"]])
"""
    assert library.using(code).split("\n")[:3] == ["True False", "False", "[]"]


def test_nothing_of_it_remains_after_an_error(library):
    code = OPEN.replace("    exec(IMPORTS)", "    exec(IMPORTS)\n    raise OSError('in between')").replace(
        "with", "try:\n  with"
    )
    code = code.replace("    exec", "      exec").replace("    raise", "      raise")
    code = code.replace("cache.close()", "except OSError as error: print(error)\ncache.close()")
    look = 'print(sys.meta_path == before, os.environ["FILE"] in open("/proc/self/maps").read())'
    text = library.python("-c", f"IMPORTS = 'import told'\n{code}\n{look}", FILE=str(library.file))
    assert text.splitlines() == ["in between", "True False"]


def test_tracebacks_sources_and_resources_are_those_of_the_files(library):
    code = """
import importlib.resources, inspect, linecache, pickle, pkgutil, traceback
try:
    told.where()
except KeyError:
    print(traceback.format_exc())
print(inspect.getsource(told.where))
print(inspect.getsourcefile(distributed.Client), inspect.getsource(distributed.Client)[:12])
print(importlib.resources.files("parcel").joinpath("text").read_text(), pkgutil.get_data("parcel", "text"))
print(pickle.loads(pickle.dumps(parcel.inner.Kind)) is parcel.inner.Kind, [each.name for each in pkgutil.iter_modules(parcel.__path__)])
print(pickle.loads(pickle.dumps(told.__spec__)) == told.__spec__, repr(told))
"""
    text = library.using(code)
    file = library.directory / "told.py"
    assert f'File "{file}", line 4, in where\n    raise KeyError("where")\nKeyError' in text, text
    assert 'def where():\n    """Return nothing."""' in text
    assert "distributed/client.py class Client" in text
    assert "words b'words'" in text
    assert "True ['inner']" in text
    assert f"True <module 'told' from '{file}'>" in text


def test_what_is_looked_for_but_not_executed_is_as_ever(library):
    code = OPEN + "import importlib.util\nspec = None\n"
    code = code.replace("    exec(IMPORTS)", "    import importlib.util; spec = importlib.util.find_spec('told')")
    code = code.replace(
        "spec = None\n", "module = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(module)\n"
    )
    text = library.python("-c", code + "print(module.VALUE, type(spec.loader).__name__)", FILE=str(library.file))
    assert text.split() == ["disk", "SourceFileLoader"]


def test_packages_and_extensions_of_a_parent_that_is_elsewhere_are_left_alone(library):
    """A package that is not the recorded one must get its own parts."""
    other = library.file.parent / "other" / "parcel"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "inner.py").write_text("WHO = 'other'")
    code = OPEN.replace(
        "    exec(IMPORTS)",
        f"    import types; parcel = types.ModuleType('parcel'); parcel.__path__ = [{str(other)!r}]\n"
        "    sys.modules['parcel'] = parcel; import parcel.inner",
    )
    assert library.python("-c", code + "print(parcel.inner.WHO)", FILE=str(library.file)).split() == ["other"]


def test_code_that_cannot_be_read_is_taken_from_its_file_with_one_warning(library):
    recording = import_cache.ImportCache(os.open(library.file, os.O_RDONLY)).recording()
    content = bytearray(library.file.read_bytes())
    code = len(content) - sum(module.length for _, module in recording.items())
    for name in ("told", "parcel", "parcel.inner"):
        content[code + recording.get(name).start] = 0xFF
    library.file.write_bytes(content)
    lines = library.using("print(told.VALUE, parcel.inner.Kind)").splitlines()
    assert lines[0] == "disk  <class 'parcel.inner.Kind'>", lines
    assert [line for line in lines if "told could not be had from the import cache" in line] == lines[1:], lines


def test_what_ranks_import_before_the_cache_can_help_is_little(library):
    count = "import sys; before = set(sys.modules); import mpidask; given = set(sys.modules)\n"
    text = library.python(
        "-c", count + "import mpidask.launch.imports.import_cache; print(*sorted(set(sys.modules) - given))"
    )
    more = {name for name in text.split() if not name.startswith("importlib")}
    assert more <= {
        "mpidask.launch",
        "mpidask.launch.imports",
        "mpidask.launch.imports.import_cache",
        "mpidask.launch.imports.listing_finder",
        "mpidask.errors",
        "mmap",
        "contextlib",
    }, text


# ------------------------------------------------------------------------ the recorder
def test_the_file_is_this_users_alone_and_holds_plain_data(library):
    assert stat.S_IMODE(library.file.stat().st_mode) == 0o600
    block = memoryview(library.file.read_bytes())
    assert import_cache.is_whole(block)
    recording = import_cache.Recording(block)
    names = {name for name, _ in recording.items()}
    assert {"told", "parcel", "parcel.inner", "distributed", "ssl", "_ssl"} <= names
    assert not {"later", "sys", "builtins", "__main__"} & names  # not asked for; no files
    assert recording.get("_ssl").length == 0 and recording.get("ssl").length > 1000
    assert recording.names == ["parcel", "told"]


def test_nothing_of_the_working_directory_is_recorded(tmp_path):
    library = Library(tmp_path)
    (tmp_path / "beside.py").write_text("")
    library.record("beside", "told")
    recording = import_cache.Recording(memoryview(library.file.read_bytes()))
    assert recording.get("told") and not recording.get("beside")


def test_imports_that_are_not_those_of_the_file_system_are_left_out(tmp_path):
    import zipfile

    library = Library(tmp_path)
    (library.directory / "spread" / "part").mkdir(parents=True)  # a namespace package
    (library.directory / "spread" / "part" / "__init__.py").write_text("")
    with zipfile.ZipFile(library.directory / "packed.zip", "w") as archive:
        archive.writestr("packed.py", "VALUE = 1")
    (library.directory / "packer.py").write_text(
        "import sys, os\nsys.path.append(os.path.join(os.path.dirname(__file__), 'packed.zip'))\nimport packed\n"
    )
    library.record("spread.part", "packer")
    recording = import_cache.Recording(memoryview(library.file.read_bytes()))
    assert recording.get("packer")
    assert not any(recording.get(name) for name in ("spread", "spread.part", "packed"))


@pytest.mark.parametrize("words", [(), ("-O",), ("-OO",)])
def test_another_interpreter_is_told_apart(library, words):
    code = (
        "import os; from mpidask.launch.imports.import_cache import *\n"
        "cache = ImportCache(os.open(os.environ['FILE'], os.O_RDONLY)); print(difference(cache.recording()))"
    )
    said = library.python(*words, "-c", code, FILE=str(library.file))
    assert ("sys.flags.optimize" in said) is bool(words), said
    extra = library.python(*words, "-c", "import sys; sys.path.append('/extra')\n" + code, FILE=str(library.file))
    assert "/extra" in extra or words, extra
    fewer = library.python(
        *words, "-c", f"import sys; sys.path.remove({str(library.directory)!r})\n" + code, FILE=str(library.file)
    )
    assert str(library.directory) in fewer or words, fewer


def test_a_path_without_what_held_nothing_will_do(tmp_path):
    library = Library(tmp_path)
    (tmp_path / "empty").mkdir()
    path = [str(tmp_path / "empty"), str(library.directory), *import_cache.fixed_path()]
    library.python(
        "-m", "mpidask.launch.imports.import_recorder", str(library.file), json.dumps(path), "told", PYTHONPATH=LEADING
    )
    code = "import os; from mpidask.launch.imports.import_cache import *\nprint(repr(difference(ImportCache(os.open(os.environ['FILE'], os.O_RDONLY)).recording())))"
    recording = import_cache.Recording(memoryview(library.file.read_bytes()))
    assert str(tmp_path / "empty") in recording.found["sys.path"] and str(tmp_path / "empty") not in recording.roots
    own = [entry for entry in path if entry != str(tmp_path / "empty")]
    assert library.python("-c", f"import sys; sys.path[1:] = {own}\n" + code, FILE=str(library.file)) == "''\n"
    own.reverse()
    said = library.python(
        "-c",
        f"import os, json; from mpidask.launch.imports import import_cache; import sys; sys.path[1:] = {own}\n" + code,
        FILE=str(library.file),
    )
    assert "another order" in said


# ------------------------------------------------------------------------ all ranks
SHARE = """
import os, sys
from mpidask.launch.watchdog.watchdog import Watchdog
watchdog = Watchdog.start()
from mpidask.launch.comm.rank import Rank
rank = Rank.join(watchdog)
from mpidask.config import Options
from mpidask.errors import MpidaskError
from mpidask.launch.imports import import_cache, import_sharing
try:
    cache = import_sharing.share(rank, Options(import_cache=sys.argv[1], preload_import=tuple(sys.argv[2:])))
except MpidaskError as error:
    rank.fail(error)
with import_cache.active(cache):
    import told
if cache is not None:
    cache.close()
maps = open("/proc/self/maps").read()
sys.stdout.write(f"{rank.world.rank}{told.VALUE.strip()} " + "mapped " * ("memfd:mpidask" in maps))
rank.leave(0)
"""


@pytest.fixture
def shared(ranks, library):
    """Return how ranks fare that share the cache; they print their numbers and where the module came from."""

    def run(n=1, file=library.file, names=("told", "parcel"), command=(), **environ):
        words = [*command, sys.executable, ranks.script(SHARE), str(file), *names]
        result = ranks(n, command=words, environ={**library.environ, **environ})
        assert not result.leftover, result
        result.stdout = " ".join(sorted(result.stdout.split()))
        return result

    return run


def as_rank(number, setting):
    """Return words that start a program with a setting of the environment on one rank alone."""
    test = f'[ "${{PMI_RANK:-$OMPI_COMM_WORLD_RANK}}" = {number} ] && export {setting}; exec "$0" "$@"'
    return ["sh", "-c", test]


def warnings(result):
    return [line for line in result.stderr.splitlines() if "mpidask: " in line]


def test_rank_0_reads_the_file_and_all_import_from_it(shared, library):
    library.file.rename(library.directory / "cache")
    result = shared(3, library.directory / "cache")
    assert (result.status, result.stdout, result.stderr) == (0, "0cache 1cache 2cache", ""), result


def test_a_file_that_is_not_there_is_made(shared, library):
    library.file.unlink()
    assert shared(3).stdout == "0disk 1disk 2disk"
    assert stat.S_IMODE(library.file.stat().st_mode) == 0o600
    library.tell("other")
    result = shared(3)
    assert (result.status, result.stdout, result.stderr) == (0, "0disk 1disk 2disk", ""), result


@pytest.mark.thorough
def test_without_a_name_it_is_in_the_users_cache_directory(shared, library, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for variables in ({"XDG_CACHE_HOME": str(home / ".cache")}, {"XDG_CACHE_HOME": "", "HOME": str(home)}):
        result = shared(1, "auto", **variables)
        assert (result.status, result.stdout, result.stderr) == (0, "0disk", ""), result
    place = home / ".cache" / "mpidask"
    (file,) = place.iterdir()  # the same one
    assert [stat.S_IMODE(each.stat().st_mode) for each in (place, file)] == [0o700, 0o600]
    shared(1, "auto", ("told",), XDG_CACHE_HOME=str(home / ".cache"))
    assert len(list(place.iterdir())) == 2  # for other modules another one
    for number in range(10):
        (place / f"imports-{number}").write_text("")
        os.utime(place / f"imports-{number}", (number, number))
    file.unlink()
    shared(1, "auto", XDG_CACHE_HOME=str(home / ".cache"))
    assert len(list(place.iterdir())) == 8
    assert file.exists() and (place / "imports-9").exists() and not (place / "imports-3").exists()


def change_source(library):
    path = library.directory / "told.py"
    path.write_text(TOLD.format("new"))
    os.utime(path, (1, 1))


def remove_a_source(library):
    (library.directory / "parcel" / "inner.py").unlink()
    (library.directory / "parcel" / "__init__.py").write_text("")
    library.tell("new")


def shadow_in_the_path(library):
    """Something earlier in sys.path which is found there when it is recorded anew."""
    library.tell("new")
    (library.directory / "tornado").mkdir()
    origin = subprocess.check_output([sys.executable, "-c", "import tornado; print(*tornado.__path__)"], text=True)
    shutil.copytree(origin.strip(), library.directory / "tornado", dirs_exist_ok=True)


def truncate(library):
    os.truncate(library.file, 100_000)
    library.tell("new")


def empty(library):
    library.file.write_bytes(b"")
    library.tell("new")


def garble(library):
    content = bytearray(library.file.read_bytes())
    content[len(content) // 2] ^= 1
    library.file.write_bytes(content)
    library.tell("new")


def write_text(library):
    library.file.write_text("hello\n" * 100)
    library.tell("new")


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    "change",
    some(
        [change_source, remove_a_source, shadow_in_the_path, truncate, empty, garble, write_text],
        [change_source, shadow_in_the_path, garble],
    ),
)
def test_a_file_that_does_not_fit_any_more_is_made_anew(shared, library, change):
    change(library)
    result = shared()
    assert (result.status, result.stdout, result.stderr) == (0, "0new", ""), result
    library.tell("after")
    assert shared().stdout == "0new"


@pytest.mark.thorough
@pytest.mark.one_mpi
@pytest.mark.parametrize("setting", ["PYTHONOPTIMIZE=1", "PYTHONPATH"])
def test_another_interpreter_has_it_made_anew(shared, library, setting, tmp_path):
    name, _, value = setting.partition("=")
    (tmp_path / "more").mkdir()
    value = value or f"{tmp_path / 'more'}:{library.environ['PYTHONPATH']}"
    result = shared(1, **{name: value})
    assert (result.status, result.stdout, result.stderr) == (0, "0disk", ""), result
    library.tell("other")
    assert shared(1, **{name: value}).stdout == "0disk"


def test_a_rank_that_differs_imports_by_itself_and_rank_0_says_so_once(shared):
    result = shared(3, command=as_rank(1, "PYTHONOPTIMIZE=1"))
    assert (result.status, result.stdout) == (0, "0cache 1disk 2cache"), result
    (line,) = warnings(result)
    assert "rank 1 cannot use the import cache: sys.flags.optimize is 1, not 0" in line, result


def test_what_the_working_directory_holds_comes_first(shared, ranks):
    (ranks.work / "told.py").write_text("VALUE = 'mine'")
    result = shared(2)
    assert (result.status, result.stdout) == (0, "0mine 1mine"), result
    (line,) = warnings(result)
    assert "there is another told" in line and str(ranks.work) in line, result


def test_directories_without_code_in_the_working_directory_are_no_matter(shared, ranks):
    for name in ("told", "logging", "yaml"):
        (ranks.work / name).mkdir()
    (ranks.work / "distributed.txt").write_text("")
    result = shared(1)
    assert (result.status, result.stdout, result.stderr) == (0, "0cache", ""), result


def open_to_all(file):
    file.chmod(0o644)


def writable_by_the_group(file):
    file.chmod(0o620)


def link(file):
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


def fifo(file):
    file.unlink()
    os.mkfifo(file)


def directory(file):
    file.unlink()
    file.mkdir()


def give_away(file):
    os.chown(file, NOBODY, NOBODY)


REFUSED = {
    open_to_all: "others may use it (mode 644, not 600)",
    writable_by_the_group: "others may use it (mode 620, not 600)",
    link: "it is a link",
    fifo: "it is no plain file",
    directory: "Is a directory",
}


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    ("change", "words"),
    [*some(REFUSED.items(), [(link, REFUSED[link])]), pytest.param(give_away, "it is another user's", marks=as_root)],
)
def test_a_file_that_others_may_have_made_is_refused(shared, library, change, words):
    change(library.file)
    before = library.file.lstat()
    result = shared(2)
    assert (result.status, result.stdout) == (0, "0disk 1disk"), result
    (line,) = warnings(result)
    assert words in line and str(library.file) in line, result
    assert library.file.lstat().st_ino == before.st_ino  # left as it was


@pytest.mark.thorough
def test_a_file_that_cannot_be_written_is_a_mistake(shared, library):
    result = shared(3, library.directory / "missing" / "cache")
    assert (result.status, result.stdout) == (2, ""), result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert f"{library.directory}/missing/cache cannot be made: No such file or directory" in result.stderr, result
    assert "remedy: choose another place: --import-cache=FILE" in result.stderr, result
    assert "Traceback" not in result.stderr, result


def test_a_cache_directory_that_cannot_be_had_is_not(shared, tmp_path):
    (tmp_path / "file").write_text("")
    result = shared(2, "auto", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (result.status, result.stdout) == (0, "0disk 1disk"), result
    (line,) = warnings(result)
    assert "cannot be in" in line and "imports go without one" in line, result


def test_what_cannot_be_imported_is_left_to_workers_to_report(shared):
    result = shared(1, names=("told", "fails", "no_such_module"))
    assert (result.status, result.stdout, result.stderr) == (0, "0disk", ""), result


def test_the_recorder_ends_with_the_run(ranks, library):
    """An import that takes for ever is given up when the rank is gone."""
    (library.directory / "slow.py").write_text("import sys, time\nopen('slow', 'w')\ntime.sleep(600)")
    words = [sys.executable, ranks.script(SHARE), str(library.file), "slow"]
    run = ranks.start(2, command=words, environ=library.environ)
    deadline = time.monotonic() + 40 * PATIENCE
    while not (ranks.work / "slow").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.signal_group(signal.SIGKILL)
    assert not run.result(20).leftover


# ------------------------------------------------------------------------ the fork server
PRELOADED = """
import os
from mpidask.launch.imports import import_cache
cache = import_cache.offered()
with import_cache.active(cache):
    import told
if cache is not None:
    cache.close()
FOUND = cache is not None
"""

FORK = """
import multiprocessing, os, sys
from mpidask.launch.imports import import_cache

def look():
    import preloaded, told
    files = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
    left = [import_cache.VARIABLE in os.environ, "memfd:mpidask" in open("/proc/self/maps").read(), any("memfd:mpidask" in each for each in files)]
    print(preloaded.FOUND, told.VALUE, left, flush=True)

if __name__ == "__main__":
    cache = None
    if os.environ.get("FILE"):
        content = open(os.environ["FILE"], "rb").read()
        cache = import_cache.ImportCache.of_size(len(content))
        cache.room()[:] = content
        os.environ.update(import_cache.offer(cache))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    process = context.Process(target=look)
    process.start()
    process.join(50)
"""


@pytest.fixture
def fork(library):
    (library.directory / "preloaded.py").write_text(PRELOADED)
    script = library.file.parent / "forks.py"
    script.write_text(FORK)
    return lambda *flags, **environ: library.python(*flags, str(script), **environ).splitlines()


@pytest.mark.thorough
def test_a_fork_server_imports_from_what_its_rank_offers(fork, library):
    assert fork(FILE=str(library.file)) == ["True cache [False, False, False]"]


def test_nothing_is_offered_without_a_cache(fork):
    assert fork() == ["False disk  [False, False, False]"]


def test_a_fork_server_that_differs_imports_by_itself(fork, library):
    (warning, *rest) = sorted(fork("-O", FILE=str(library.file)), key=lambda line: "warning" not in line)
    assert rest == ["False disk  [False, False, False]"]
    assert "warning: the import cache is not used where workers are forked: sys.flags.optimize is 1" in warning


@pytest.mark.parametrize("target", ["/nonexistent", "fifo", "text", pytest.param("foreign", marks=as_root)])
def test_an_offer_that_is_none_is_not_taken(library, target, tmp_path):
    path = tmp_path / target
    if target == "fifo":
        os.mkfifo(path)
    elif target == "text":
        path.write_text("text")
    elif target == "foreign":
        shutil.copy(library.file, path)
        os.chown(path, NOBODY, NOBODY)
    code = "from mpidask.launch.imports.import_cache import *; print(offered())"
    lines = library.python("-c", code, MPIDASK_IMPORT_CACHE=str(path)).splitlines()
    assert lines[0] == "None"
    assert len(lines) == 2 and "mpidask: warning: the import cache is not used" in lines[1], lines


# ------------------------------------------------------------------------ runs
RUN = """
import sys
from distributed import Client, get_worker

def told():
    import told
    return told.VALUE.strip(), sorted(name for name in sys.modules if name == "told")

if __name__ == "__main__":
    client = Client()
    print(sorted(set(name for name, _ in client.run(told).values())))
    print([each.result() for each in client.map(lambda x: x + 1, range(3))])
"""


@pytest.mark.both_mpis
@pytest.mark.parametrize("n", some([1, 2, 4], [4]))
def test_a_run_is_as_without_it_and_its_workers_import_from_it(ranks, library, n):
    words = (f"--import-cache={library.file}", "--preload-import", "told,parcel", ranks.script(RUN))
    library.file.unlink()
    library.tell("first")
    result = ranks(n, *words, environ=library.environ)
    assert (result.status, result.stdout, result.words) == (0, "['first']\n[1, 2, 3]\n", []), result
    library.tell("disk")
    result = ranks(n, *words, environ=library.environ)
    assert (result.status, result.stdout, result.words) == (0, "['first']\n[1, 2, 3]\n", []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_refused_file_is_told_once_and_the_run_goes_on(ranks, library):
    library.file.chmod(0o666)
    result = ranks(
        4,
        f"--import-cache={library.file}",
        "--preload-import",
        "told,parcel",
        ranks.script(RUN),
        environ=library.environ,
    )
    assert (result.status, result.stdout) == (0, "['disk']\n[1, 2, 3]\n"), result
    (line,) = result.words
    assert "others may use it (mode 666, not 600); imports go without one" in line, result


def test_a_file_that_cannot_be_written_ends_the_run(ranks):
    result = ranks(3, "--import-cache=/proc/nowhere/cache", ranks.script(RUN))
    assert result.status == 2, result
    assert result.stderr.count("mpidask: error:") == 1 and "--import-cache=FILE" in result.stderr, result
    assert not result.leftover, result


@pytest.mark.thorough
def test_sessions_have_it_too(ranks, library):
    ranks.script(
        "import mpidask, os\n"
        "from distributed import Client\n"
        "def told():\n    import told\n    return told.VALUE.strip()\n"
        "if __name__ == '__main__':\n"
        "  with mpidask.Session(import_cache=os.environ['FILE'], preload_import=['told', 'parcel']) as session:\n"
        "    with Client(session) as client:\n"
        "        print(set(client.run(told).values()))\n"
    )
    result = ranks.python(3, "script.py", environ={**library.environ, "FILE": str(library.file)})
    assert (result.status, result.stdout, result.words) == (0, "{'cache'}\n", []), result


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.one_mpi
def test_the_agent_hardly_looks_at_the_file_system(ranks, library):
    """File operations of all processes of a run that are no ranks: those of the agent, above all."""
    counts = {}
    for words in ([], [f"--import-cache={library.file}"]):
        log = ranks.directory / f"calls{len(words)}"
        log.mkdir()
        trace = [
            "strace",
            "-ff",
            "-qq",
            "-s500",
            "-o",
            str(log / "of"),
            "-e",
            "trace=execve,open,openat,stat,newfstatat,lstat,statx",
        ]
        run = [sys.executable, "-m", "mpidask", *words, "--preload-import", "told,parcel", ranks.script(RUN)]
        result = ranks(0, command=[*trace, *run], environ=library.environ, timeout=120)
        assert result.status == 0, result
        served = [
            text for path in log.iterdir() if "servers.agent_main import main" in (text := path.read_text())[:2000]
        ]
        assert served
        counts[len(words)] = max(text.count(".pyc") for text in served)
    assert counts[1] < counts[0] / 3, counts

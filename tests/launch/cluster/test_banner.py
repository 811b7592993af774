"""What is printed while ranks meet and workers start, and ranks and sizes as the banner has them."""

from __future__ import annotations

from types import SimpleNamespace

from mpidask.launch.cluster import announce, banner
from mpidask.launch.comm.polling import SoFar
from mpidask.launch.watchdog import waiting
from mpidask.options import loading


def test_what_is_waited_for_while_ranks_meet(monkeypatch, capsys):
    assert waiting.words({3, 2}, 0, "n1") == "waiting for ranks 2, 3 on n1 to bring MPI up"
    assert waiting.words(range(10), 0, "n1").startswith("waiting for ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more on n1")
    assert waiting.words((), 4, "n1").endswith("all ranks on n1 are there, 4 are on other nodes")
    assert waiting.words((), 0, "n1") == ""
    assert waiting.words({0}, 4, "n1", unnamed=3).endswith(
        "which ranks on n1 are late cannot be seen from a container; 4 are on other nodes"
    )
    monkeypatch.setattr(announce, "PATIENCE", 0.0)
    for quiet, said in ((False, "mpidask: waiting for rank 1, rank 2 on n1\n"), (True, "")):
        with announce.meeting(SimpleNamespace(size=3), loading.load({"quiet": quiet}), {2: "n1"}) as show:
            show({0: None})
            show({0: None, 1: None})  # a log has a line now and then
        assert capsys.readouterr().err == said
    with announce.meeting(SimpleNamespace(size=2), loading.load({}), {}) as show:
        show({0: None, 1: None})  # the last one came late: nobody is waited for any more
    assert capsys.readouterr().err == ""


def test_whoever_keeps_a_run_from_starting_is_named(monkeypatch, capsys):
    monkeypatch.setattr(announce, "PATIENCE", 0.0)
    workers = [SimpleNamespace(rank=2), SimpleNamespace(rank=3)]
    hosts = dict.fromkeys(range(4), "n1")
    layout = SimpleNamespace(
        options=loading.load({}), hosts=hosts, workers=workers, roles=[None] * 4, hosting=(2,), startup_timeout=9.0
    )
    for reported, said in (
        ({0: {}, 1: {}, 2: SoFar({2: 1}), 3: {}}, "mpidask: 1/2 workers, missing: rank 3 on n1\n"),
        ({0: {}, 2: {2: 1, 3: 1}, 3: {}}, "mpidask: 2/2 workers, missing: rank 1 on n1\n"),
        ({0: {}, 1: {}, 2: {2: 1, 3: 1}, 3: {}}, ""),
    ):
        announce.StartupProgress(layout).show(reported)
        assert capsys.readouterr().err == said


def test_what_stands_after_the_script_is_its_own(monkeypatch):
    monkeypatch.delenv("DASK_MPIDASK__QUIET", raising=False)
    assert waiting.is_quiet(["--quiet", "script.py"])
    assert not waiting.is_quiet(["script.py", "--quiet"])
    assert not waiting.is_quiet(["-m", "module", "--quiet"])
    monkeypatch.setenv("DASK_MPIDASK__QUIET", "True")
    assert waiting.is_quiet(["script.py"])
    assert not waiting.is_quiet(["--no-quiet", "script.py"])


def test_ranks_and_sizes_are_written_as_people_read_them():
    assert banner.span([2, 3, 4, 7]) == "2-4, 7"
    assert (banner.amount(512), banner.amount(3 * 2**20), banner.amount(5 * 2**39)) == ("512 B", "3 MiB", "2560.0 GiB")
    assert banner.waiting([1, 3], {3: "n017"}) == "waiting for rank 1, rank 3 on n017"
    assert banner.progress(3, 4, "rank 3 on n017") == "3/4 workers, missing: rank 3 on n017"

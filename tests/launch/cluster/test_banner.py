"""What is printed while ranks meet and workers start, and ranks and sizes as the banner has them."""

from __future__ import annotations

from types import SimpleNamespace

from mpidask.launch.cluster import announce, banner
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


def test_ranks_and_sizes_are_written_as_people_read_them():
    assert banner.span([2, 3, 4, 7]) == "2-4, 7"
    assert (banner.amount(512), banner.amount(3 * 2**20), banner.amount(5 * 2**39)) == ("512 B", "3 MiB", "2560.0 GiB")
    assert banner.waiting([1, 3], {3: "n017"}) == "waiting for rank 1, rank 3 on n017"
    assert banner.progress(3, 4, "rank 3 on n017") == "3/4 workers, missing: rank 3 on n017"

"""Options of jobs: walltimes, and what the configuration has."""

from __future__ import annotations

import pytest

from mpidask.batch import settings
from mpidask.errors import UsageError
from mpidask.quantities import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:30:00", 5400), ("1-12:00:00", 129600), ("90min", 5400), ("90 minutes", 5400), ("2h", 7200), ("45 s", 45)],
)
def test_walltimes(text, expected):
    assert settings.walltime(text).total_seconds() == expected


@pytest.mark.parametrize("text", ["90", "1:30", "", "soon", "-5min"])
def test_walltimes_that_are_refused(text):
    with pytest.raises(UsageError):
        settings.walltime(text)


def test_minutes_may_be_written_as_the_reference_says():
    assert seconds("5 min") == seconds("5mins") == seconds("5m") == 300


def test_options_from_the_configuration(configured):
    file = configured("{account: abc, prologue: [module load x], ranks-per-node: 4}")
    options = settings.load({"account": None, "nodes": 2, "prologue": ()})
    assert (options.account, options.nodes, options.ranks_per_node) == ("abc", 2, 4)
    assert options.prologue == ("module load x",)
    assert settings.load({"account": "other"}).account == "other"
    configured("{walltime: '', queue: '', account: abc}")
    options = settings.load({"walltime": None})
    assert (options.walltime, options.queue, options.account) == (None, None, "abc"), "an empty text is none"
    with pytest.raises(UsageError, match="--walltime is given an empty text"):
        settings.load({"walltime": ""})
    configured("{acount: abc}")
    with pytest.raises(UsageError, match=r"mpidask\.batch\.acount") as caught:
        settings.load({})
    assert f"({file}, line " in caught.value.what

"""How batch systems tell of the jobs of a job array. The first line of each recorded file states where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpidask.batch import registry
from mpidask.batch.queries.questions import cancel_command, parse_answer, query_commands

pytestmark = pytest.mark.one_mpi

RECORDED = Path(__file__).parents[1] / "recorded"

#: file -> a line for each job: id, state, exit status, words
REPORTS = {
    "slurm": """
        162_3 PENDING 0 waits until enough nodes are free
        162_4 PENDING 0 JobArrayTaskLimit
        162_1 RUNNING 0 -
        162_2 FAILED 3 -
        163 RUNNING 0 -
    """,
    "slurm-history": """
        162_1 DONE 0 -
        162_2 FAILED 3 -
        162_12 CANCELLED 143 by 1001
        162_3 PENDING 0 -
        162_4 PENDING 0 -
        163 FAILED 0 -
    """,
    "sge": """
        13.1 RUNNING - -
        14 RUNNING - -
        13.2 PENDING - -
        13.12 HELD - -
        13.3 FAILED - -
    """,
    "pbs": """
        12[].pbs RUNNING - Job Array Began at Fri Nov 20 at 16:27
        12[1].pbs RUNNING - -
        12[2].pbs DONE 0 Subjob finished
        12[3].pbs DONE 3 -
        12[4].pbs PENDING - waits until enough nodes are free
        13.pbs HELD - held; release it with `qrls`
    """,
    "lsf": """
        2329803[1] RUNNING - -
        2329803[2] DONE - -
        2329803[3] FAILED 127 -
        2329803[4] PENDING - -
        2329803[12] HELD - -
        2329803[13] CANCELLED 143 cancelled
        2329804 RUNNING - -
    """,
}


def recorded(name):
    """Return the system and what it printed."""
    source, _, text = (RECORDED / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    assert source.startswith("# source: "), name
    return registry.find(name.split("-", maxsplit=1)[0]), text


@pytest.mark.parametrize("name", REPORTS)
def test_each_job_of_an_array_is_told_of_by_its_id(name):
    system, text = recorded(name)
    found = []
    for job_id, each in parse_answer(system, system.history if name.endswith("-history") else system.status, text)[
        0
    ].items():
        assert each.id == job_id
        status = "-" if each.exit_status is None else str(each.exit_status)
        found.append((job_id, each.state.name, status, system.plain(each.reason) or "-"))
    assert found == [tuple(line.split(None, 3)) for line in REPORTS[name].strip().splitlines()]


def test_every_file_is_read():
    assert {path.stem for path in RECORDED.glob("*.txt")} == set(REPORTS)


#: system -> what submit prints for a job array, its id, and that of the third element
SUBMITTED = {
    "slurm": ("162\n", "162", "162_3"),
    "sge": ("13.1-8:1\n", "13", "13.3"),
    "pbs": ("12[].pbs\n", "12[].pbs", "12[3].pbs"),
    "lsf": ("Job <2329803> is submitted to queue <short>.\n", "2329803", "2329803[3]"),
}


@pytest.mark.parametrize("name", SUBMITTED)
def test_the_id_of_an_element_follows_from_that_of_the_array(name):
    system = registry.find(name)
    output, array, element = SUBMITTED[name]
    assert system.parse_job_id(output) == array
    assert system.workers.element_id(array, 3) == element
    assert any(each == element for each in parse_answer(system, system.status, recorded(name)[1])[0])


def test_an_array_of_pbs_may_belong_to_a_server_of_any_name():
    assert registry.find("pbs").workers.element_id("4711[].pbs-1.site.org", 12) == "4711[12].pbs-1.site.org"


@pytest.mark.parametrize("name", SUBMITTED)
def test_elements_are_asked_for_and_cancelled_by_their_ids(name):
    system = registry.find(name)
    ids = [system.workers.element_id(SUBMITTED[name][1], index) for index in (1, 2)]
    assert set(ids) <= set(cancel_command(system, ids).argv)
    (question,) = query_commands(system, system.status, ids)
    asks_for_each = name in ("pbs", "lsf")  # the others tell of all that the user has
    assert set(ids).isdisjoint(question.argv) != asks_for_each


def test_systems_without_arrays_say_so():
    without = {
        name for name in registry.names() if (facts := registry.find(name).workers) is None or facts.index is None
    }
    assert set(registry.names()) - without == set(SUBMITTED)

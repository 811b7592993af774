"""What the batch systems' commands print, as recorded, is read as it is meant. The first line of a file names its source."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from mpidask.batch import registry
from mpidask.batch.job_state import JobState
from mpidask.batch.queries.questions import parse_answer
from mpidask.batch.system import BatchSystem

RECORDED = Path(__file__).parents[1] / "recorded"

#: system/file -> a line for each job: id, state, exit status, start, words. A start without a year is of any year.
REPORTS = {
    "slurm/status": """
        11 PENDING 0 - the partition is closed
        15 CANCELLED 0 2026-11-21T08:18:35 other jobs come first
        1 DONE 0 2026-11-21T08:18:33 -
        2 FAILED 3 2026-11-21T08:18:33 -
        5 FAILED 137 2026-11-21T08:18:33 the job could not be started, or was killed for its memory
        7 PENDING 0 - asks for more nodes than the partition has: it will never start
        8 PENDING 0 - asks for more time than the partition gives: it will never start
        9 PENDING 0 2026-11-21T08:23:33 waits until enough nodes are free
        10 PENDING 0 2026-11-21T08:28:00 other jobs come first
        12 PENDING 0 - waits for a job that failed: it will never start
        14 PENDING 0 2026-11-21T09:18:32 waits until its begin time
        16 PENDING 0 - asks for what the partition has not: it will never start
        17 FAILED 129 2026-11-21T08:18:39 asks for what the partition has not: it will never start
        18 PENDING 0 - nodes it needs are not available (down, or reserved for maintenance)
        6 HELD 0 - held; release it with `scontrol release`
        3 RUNNING 0 2026-11-21T08:18:33 -
        4 FAILED 143 2026-11-21T08:18:33 the walltime was reached
        20 FAILED 253 2026-11-21T08:18:33 out of memory
        21 FAILED 0 2026-11-21T08:18:33 a node failed
        22 HELD 0 2026-11-21T08:18:33 -
        23 UNKNOWN 0 2026-11-21T08:18:33 -
    """,
    "slurm/history": """
        1 DONE 0 - -
        2 FAILED 4 - -
        3 CANCELLED 143 - by 1001
        4 FAILED 0 - -
        5 FAILED 253 - -
        6 FAILED 137 - -
        7 FAILED 1 - -
    """,
    "sge/status": """
        14 RUNNING - 2026-11-20T16:04:00 -
        18 RUNNING - 2026-11-20T16:04:00 -
        15 HELD - - -
        16 PENDING - - -
        17 FAILED - - -
    """,
    "sge/explain": "17 UNKNOWN - - its output file could not be opened",
    "sge/explain-slots": "16 UNKNOWN - - there are not enough free slots in that parallel environment",
    "sge/history": "7 UNKNOWN 7 - -",
    "sge/history-crashed": "177 UNKNOWN 0 - a node failed",
    "sge/history-forced": "179 UNKNOWN 0 - cancelled by force (qdel -f), without an answer of its node",
    "sge/history-killed": "8 UNKNOWN 137 - killed by a signal",
    "sge/history-walltime": "9 UNKNOWN 137 - the walltime (h_rt) was reached, or a limit on CPU time or memory",
    "pbs/status": """
        7013474.pbs PENDING - 2023-02-14T02:10:01 waits until enough nodes are free
        1.pbshead RUNNING - 2026-11-20T16:27:22 -
        2.pbshead HELD - - held; release it with `qrls`
        3.pbshead PENDING - - asks for more than the site has: it will never start
    """,
    "pbs/history": """
        4.pbshead DONE 0 2026-11-20T16:27:22 -
        5.pbshead DONE 3 2026-11-20T16:27:22 -
        6.pbshead FAILED - 2026-11-20T16:27:22 the walltime was reached
        7.pbshead CANCELLED 143 2026-11-20T16:27:22 cancelled
        8.pbshead CANCELLED - - by root@pbshead
        9.pbshead CANCELLED - - -
        10.pbshead CANCELLED 137 2026-11-20T16:27:22 by tester@pbshead
        11[2].pbshead CANCELLED - - by tester@pbshead
    """,
    "pbs/history-none": "",
    "pbs/status-ended": "",
    "torque/status": """
        548.moab RUNNING - 2018-02-22T14:27:48 -
        9.torque01.bcgsc.ca DONE 0 2018-05-29T09:37:01 -
        10.torque01.bcgsc.ca PENDING - - waits until enough nodes are free
        522083.barnacle.ucsd.edu FAILED - 2017-10-20T04:30:41 the walltime was reached
        48[1].torque01.bcgsc.ca DONE 143 - waits for a job that failed: it will never start
    """,
    "oar/status": """
        8 CANCELLED - - cancelled by tester
        7 CANCELLED - 2026-11-21T08:02:02 cancelled by tester
        12 DONE 0 2026-11-21T08:03:55 -
        13 CANCELLED - 2026-11-21T08:04:00 cancelled by tester
        16 FAILED - 2026-11-21T08:04:32 the walltime was reached
        17 FAILED - 2026-11-21T08:05:06 the walltime was reached
        23 CANCELLED - 2026-11-21T08:05:43 cancelled by tester
        26 DONE 4 2026-11-21T08:14:15 -
        40 RUNNING - 2026-11-20T16:04:35 -
        41 PENDING - 2026-11-20T16:09:36 -
        42 HELD - - -
    """,
    "lsf/status": """
        861487 PENDING - - -
        861488 PENDING - 02-02T07:48:00 -
        5085611 HELD - - -
        764254593 RUNNING - 02-02T07:39:00 -
        872793 DONE - 02-02T14:54:00 -
        873206 FAILED 127 02-02T14:54:00 -
        764213236 FAILED 12 02-02T00:45:00 the walltime was reached
        12345678 CANCELLED 143 02-02T00:45:00 cancelled
        12345679 FAILED 143 02-02T00:45:00 out of memory
        5085607 UNKNOWN - 02-02T14:44:00 -
    """,
    "lsf/explain": "2637 UNKNOWN - - just submitted",
    "lsf/explain-resources": "2812 UNKNOWN - - no nodes are free now that have what it asks for",
    "moab/status": """
        5096381 RUNNING - 2019-03-23T17:40:01 -
        4761849 PENDING - - -
        881200 HELD - - -
    """,
    "moab/explain": "546324 UNKNOWN - - waits until enough nodes are free",
    "moab/history": """
        5087810 DONE 0 - -
        5087811 DONE 3 - -
        5087812 DONE 143 - -
        7624201 CANCELLED - - cancelled
    """,
    "htcondor/status": """
        125 RUNNING - 2026-11-20T15:19:23 -
        132 PENDING - - -
        133 HELD - 2026-11-20T15:19:23 held; release it with `condor_release`
        134 HELD - 2026-11-20T15:19:23 out of memory
        135 HELD - 2026-11-20T15:19:23 the machine cannot reach the job's files: is this directory on a file system that machines share?
        136 DONE 3 2026-11-20T15:19:23 -
        137 HELD - 2026-11-20T15:19:23 -
    """,
    "htcondor/explain": "98096 UNKNOWN - - no machine has what the job asks for, or shares this file system "
    "(`condor_q -better-analyze`)",
    "htcondor/explain-busy": "123 UNKNOWN - - waits for one of the machines that have what it asks for",
    "htcondor/history": """
        138 DONE 0 - -
        139 DONE 3 - -
        140 DONE 137 - -
        141 CANCELLED - - cancelled
        142 FAILED - - the walltime was reached
    """,
    "flux/status": """
        f23AbC PENDING - 2026-11-20T16:30:00 waits until enough nodes are free
        f23AbD PENDING - - waits for another job
        f23AbE PENDING - - waits for its priority, which your account (bank) gives
        f23AbF HELD - - held; release it with `flux job urgency ID default`
        f23AbG PENDING - - -
        fM7Zq9AKHno RUNNING - 2026-11-20T16:04:00 -
        fM7Zq9AKHnp RUNNING - 2026-11-20T16:04:00 -
        f5gKbygaj DONE 0 2026-11-20T16:04:00 -
        f5gKbygak FAILED 3 2026-11-20T16:04:00 -
        f5gKbygam FAILED 137 2026-11-20T16:04:00 -
        fdFmCpYwQZ5 FAILED 137 2026-11-20T16:04:00 a node failed
        f22ng39Z FAILED 142 2026-11-20T16:04:00 the walltime was reached
        f22ng39a CANCELLED - - cancelled
        f22ng39b FAILED 1 - no nodes have what the job asks for: it will never start
    """,
    "local/status": """
        4711 RUNNING - - -
        4712 RUNNING - - -
        4713 UNKNOWN - - -
    """,
}

SUBMITTED = {
    "slurm/submit": "10",
    "slurm/submit-cluster": "164",
    "sge/submit": "14",
    "sge/submit-array": "13",
    "pbs/submit": "1.pbshead",
    "torque/submit": "546324.srih001.hpc.wvu.edu",
    "oar/submit": "20",
    "lsf/submit": "984097",
    "lsf/submit-default": "2329803",
    "moab/submit": "4761849",
    "moab/submit-moab": "Moab.108133",
    "htcondor/submit": "27497829",
    "flux/submit": "fM7Zq9AKHno",
    "local/submit": "4711",
}

#: system/file -> the nodes that are down
DOWN = {"sge/down": ["mn4"], "pbs/down": ["n2", "n3"], "lsf/down": ["n2", "n3"]}

#: What tests/batch/queries/test_accounting.py reads.
ACCOUNTED = {"lsf/accounting"}

#: system/file -> what the plain words contain
REFUSED = {
    "slurm/refused-queue": "there is no such partition",
    "slurm/refused-memory": "no node has so much memory",
    "slurm/refused-many": "as many jobs in the queue as the site allows",
    "slurm/refused-account": "may not use that account",
    "sge/refused-queue": "there is no such queue",
    "sge/refused-resource": "the site has no such resource",
    "sge/refused-never": "no queue can ever run it",
    "sge/refused-many": "as many jobs in the queue as the site allows",
    "pbs/refused-many": "as many jobs in the queue as the site allows",
    "pbs/refused-limit": "as many jobs in the queue as the site allows",
    "pbs/refused-size": "beyond a limit of the queue",
    "pbs/refused-resources": "beyond a limit of the queue",
    "pbs/refused-queue": "there is no such queue",
    "torque/refused-many": "as many jobs in the queue as the site allows",
    "torque/refused-user": "may not use that queue",
    "torque/refused-size": "beyond a limit of the queue",
    "oar/refused-queue": "there is no such queue",
    "oar/refused-size": "no nodes have what the job asks for",
    "lsf/refused-queue": "there is no such queue",
    "lsf/refused-user": "may not use that queue",
    "lsf/refused-size": "does not give so many slots",
    "lsf/refused-limit": "beyond a limit of the queue",
    "lsf/refused-memory": "does not give so much memory",
    "lsf/refused-many": "as many jobs in the queue as the site allows",
    "moab/refused-queue": "there is no such queue",
    "moab/refused-silent": "Moab did not answer in time",
    "htcondor/refused-many": "as many jobs in the queue as the site allows",
    "htcondor/refused-silent": "does not answer",
    "flux/refused-many": "as many jobs in the queue as the site allows",
    "flux/refused-queue": "there is no such queue",
    "flux/refused-closed": "the queue is closed",
    "flux/refused-size": "beyond a limit of the queue",
}


@pytest.fixture(autouse=True)
def universal_time(monkeypatch):
    """Systems that tell seconds since 1970 are read in local time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def recorded(name: str) -> tuple[BatchSystem, str]:
    """Return the system and what it printed."""
    source, _, text = (RECORDED / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    assert source.startswith("# source: "), name
    return registry.find(name.split("/", maxsplit=1)[0]), text


@pytest.mark.parametrize("name", REPORTS)
def test_reports(name):
    system, text = recorded(name)
    kind = name.split("/")[1].split("-")[0]
    found = []
    for job_id, report in parse_answer(system, getattr(system, kind), text)[0].items():
        assert job_id == report.id
        status = "-" if report.exit_status is None else str(report.exit_status)
        found.append((job_id, report.state.name, status, report.start or "-", system.plain(report.reason) or "-"))
    expected = [tuple(line.split(None, 4)) for line in REPORTS[name].strip().splitlines()]
    # A start without a year is one close to today.
    found = [
        (*row[:3], row[3].removeprefix(row[3][:5]) if len(want[3]) == 14 else row[3], row[4])
        for row, want in zip(found, expected, strict=True)
    ]
    assert found == expected


@pytest.mark.parametrize("name", [name for name in REPORTS if name.endswith("/status")])
def test_nothing_in_a_list_of_jobs_is_left_unread(name):
    """What is said besides would be taken for a complaint."""
    system, text = recorded(name)
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert parse_answer(system, system.status, text)[1].strip() == ""


@pytest.mark.parametrize("name", DOWN)
def test_nodes_that_are_down(name):
    system, text = recorded(name)
    assert [match["id"] for match in re.finditer(system.down.row, text, re.MULTILINE)] == DOWN[name]


@pytest.mark.parametrize(
    ("name", "lost"), [("flux/status", {"fdFmCpYwQZ5": "elcap8767"}), ("sge/history-crashed", {"177": "mn3"})]
)
def test_the_node_that_a_job_has_lost_is_named(name, lost):
    system, text = recorded(name)
    reports = parse_answer(system, getattr(system, name.split("/")[1].split("-")[0]), text)[0]
    assert {job: each.lost for job, each in reports.items() if each.lost} == lost


@pytest.mark.parametrize("name", SUBMITTED)
def test_job_ids(name):
    system, text = recorded(name)
    assert system.parse_job_id(text) == SUBMITTED[name]


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    system, text = recorded(name)
    assert REFUSED[name] in (system.refusal(text) or ""), system.refusal(text)
    assert system.parse_job_id(text) is None
    assert system.refusal("something new went wrong") is None


def test_every_file_is_read_and_every_system_is_recorded():
    files = {f"{path.parent.name}/{path.stem}" for path in RECORDED.glob("*/*.txt")}
    assert files == {*REPORTS, *SUBMITTED, *REFUSED, *ACCOUNTED, *DOWN}
    for name in registry.names():
        kinds = {file.split("/")[1].split("-")[0] for file in files if file.startswith(f"{name}/")}
        system = registry.find(name)
        wanted = {"submit", "status", *(["refused"] if system.refusals else [])}
        wanted |= {kind for kind in ("explain", "history") if getattr(system, kind) is not None}
        assert wanted <= kinds, name


@pytest.mark.parametrize("name", registry.names())
def test_a_state_that_is_not_declared_is_unknown(name):
    system = registry.find(name)
    assert system.state("never seen") is JobState.UNKNOWN
    natives = [native for words in system.states.values() for native in words.split()]
    assert len(natives) == len(set(natives)), "a word has one meaning"


@pytest.mark.parametrize("name", registry.names())
def test_the_output_of_a_command_that_fails_says_nothing(name):
    system = registry.find(name)
    for query in filter(None, (system.status, system.explain, system.history)):
        assert parse_answer(system, query, "")[0] == {}
        assert parse_answer(system, query, "connection refused: 10.0.0.1:6817\nerror: 17 tries\n")[0] == {}

"""What `./do test` runs without --all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import pytest

#: Under Open MPI: start, endings, sessions, nodes, agents. Test in its file -> which of its cases, all where none are named.
UNDER_OPEN_MPI = {
    "test_agent.py::test_a_rank_hosts_as_many_workers_as_it_is_told": "",
    "test_agent.py::test_a_worker_has_what_its_rank_has": "",
    "test_agent.py::test_an_agent_that_is_lost_is_replaced": "",
    "test_agent.py::test_workers_are_forked_from_one_process": "",
    "test_doors.py::test_a_failed_rank_does_not_leave_the_others_waiting": "",
    "test_doors.py::test_a_rank_that_is_ended_ends_the_run": r"session-9-\d",
    "test_doors.py::test_ending": "(initialize|execute|session)-(exception|sys_exit_3)",
    "test_doors.py::test_in_the_middle_of_an_mpi_program": "one after another|asynchronous",
    "test_endings.py::test_script_ending": (
        "with_client|exception_after_client|sys_exit_3|os_exit_0|keyboard_interrupt|client_shutdown|"
        "task_holds_the_lock|task_left_process|much_output"
    ),
    "test_endings.py::test_standard_input_that_nobody_closes": "",
    "test_faults.py::test_a_launcher_that_goes_on_does_not_keep_a_lost_run": "",
    "test_faults.py::test_a_rank_that_is_ended_ends_the_run": "",
    "test_faults.py::test_a_signal_to_mpirun_ends_everything": "",
    "test_faults.py::test_ctrl_c_ends_everything": "",
    "test_jobs.py::test_flights": "4",
    "test_launcher.py::test_every_size_of_world": "0|1|4",
    "test_nodes.py::.*": "",
    "test_protocol.py::.*": "",
    "test_serve.py::test_clients_from_elsewhere_and_more_workers": "",
    "test_startup.py::test_a_launcher_of_another_mpi_is_refused": "",
    "test_startup.py::test_an_import_error_on_one_rank_names_it": "",
    "test_submit.py::test_flights": "slurm",
}

#: Files and tests whose thorough cases are MPICH's alone: MPI plays no part in what distinguishes them.
FEWER_UNDER_OPEN_MPI = {
    "test_connections.py",
    "test_doors.py::test_ending",
    "test_like_python.py",
    "test_script_process.py",
    "test_serve.py",
}

#: Test -> on which of local and Slurm it runs, where one of them shows what the other does, too. None of them: it takes long.
SYSTEMS = {
    # batch
    "test_a_broken_prologue": {"slurm"},
    "test_cancelled_while_it_runs": {"slurm"},
    "test_exit_statuses_of_two_jobs_at_once": {"slurm"},
    "test_flights": {"slurm"},
    "test_from_python": {"slurm"},
    "test_logs_by_rank_and_worker_after_the_end": {"slurm"},
    "test_interrupting_asks_whether_to_cancel": {"slurm"},
    "test_requeued_until_the_script_ends_by_itself": set(),
    "test_requeueing_is_bounded": {"local"},
    "test_the_table_and_the_values_for_programs": {"local"},
    "test_the_walltime_ends_the_run_in_order": {"slurm"},
    # jobqueue
    "test_a_day": {"slurm"},
    "test_a_scheduler_in_a_job": {"local"},
    "test_bursts": set(),
    "test_busy": set(),
    "test_a_lost_node": set(),
    "test_killed": {"slurm"},
    "test_killed_with_its_sentinel": set(),
    "test_lifetimes": set(),
    "test_strangers": {"local"},
    "test_waiting": set(),
    "test_with_keys": set(),
    # attach
    "test_a_cluster": {"slurm"},
    "test_a_cluster_in_an_event_loop": {"local"},
    "test_a_cluster_that_is_closed_at_once": {"slurm"},
    "test_a_cluster_that_is_not_closed_ends_with_the_program": {"local"},
    "test_a_cluster_whose_job_ends_says_so": {"slurm"},
    "test_a_job_that_failed": {"slurm"},
    "test_a_job_that_nobody_uses_ends_in_order": {"local"},
    "test_every_node_hosts_as_many_workers_as_it_suggests": {"slurm"},
    "test_keys_are_out_of_others_reach": {"local"},
    "test_several_clients_from_start_to_stop": {"slurm"},
    "test_the_cluster_of_a_killed_program_ends_by_its_idle_timeout": {"local"},
}
_EXPRESSIONS = [
    re.compile(rf"(.*/)?{test}(\[({cases or '.*'})\])?") for test, cases in UNDER_OPEN_MPI.items()
]  # fmt: skip


def shows_open_mpi(nodeid: str) -> bool:
    """Whether a test is one of those that run under Open MPI."""
    return any(expression.fullmatch(nodeid) for expression in _EXPRESSIONS)


def shows_system(test: str, system: str | None) -> bool:
    """Whether a test shows something on a batch system that it does not show on another one: Slurm stands for all."""
    return system is None or system in SYSTEMS.get(test, {"local", "slurm"})


def some(cases: Iterable[Any], chosen: Collection[Any]) -> list[Any]:
    """Return the cases of a test, those that are not chosen marked as thorough."""
    thorough = pytest.mark.thorough
    return [
        case if case in chosen else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=thorough)
        for case in cases
    ]

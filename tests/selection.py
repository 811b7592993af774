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
    "test_planted.py::test_four_ranks": "",
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
    "test_timeline.py::test_a_run_that_is_killed_leaves_it": "mpirun",
    "test_timeline.py::test_every_process_is_in_it": "",
}

#: Files and tests whose thorough cases are MPICH's alone: MPI plays no part in what distinguishes them.
FEWER_UNDER_OPEN_MPI = {
    "test_connections.py",
    "test_doors.py::test_a_mistake_ends_all_ranks_with_one_message",
    "test_doors.py::test_a_rank_that_is_ended_ends_the_run",
    "test_doors.py::test_ending",
    "test_endings.py::test_script_ending",
    "test_like_python.py",
    "test_script_process.py",
    "test_serve.py",
    "test_startup.py",
}

#: Test -> on which of local and Slurm it runs, where one of them shows what the other does, too. None of them: it takes long.
SYSTEMS = {
    # batch
    "test_a_broken_prologue": {"slurm"},
    "test_a_job_that_ends_well": {"local"},
    "test_a_job_that_is_killed": {"local"},
    "test_cancelled_while_it_runs": {"slurm"},
    "test_exit_statuses_of_two_jobs_at_once": {"slurm"},
    "test_flights": {"slurm"},
    "test_from_python": {"slurm"},
    "test_logs_by_rank_and_worker_after_the_end": {"slurm"},
    "test_interrupting_asks_whether_to_cancel": {"slurm"},
    "test_requeued_until_the_script_ends_by_itself": set(),
    "test_requeueing_is_bounded": {"local"},
    "test_the_table_and_the_values_for_programs": {"local"},
    "test_the_walltime_ends_the_run_in_order": {"local"},
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
#: Tests that take long, of a room of which shorter ones show much the same.
LONG = {
    "test_a_clean_cluster_after_the_end_of_one",
    "test_a_cluster_that_nobody_uses_ends",
    "test_a_cluster_whose_job_ends_says_so",
    "test_a_file_that_does_not_fit_any_more_is_made_anew",
    "test_a_job_of_another_cluster_is_found_by_its_script_and_warned_when_its_qos_makes_room",
    "test_a_job_that_nobody_uses_ends_in_order",
    "test_a_job_that_takes_too_much_memory",
    "test_a_module_that_initialises_cuda_is_not_forked",
    "test_a_package_as_the_program",
    "test_a_preempted_job_waits_and_runs_again",
    "test_a_rank_that_has_initialised_cuda_can_no_more_choose",
    "test_a_rank_that_is_late_for_mpi_is_named",
    "test_a_refused_file_is_told_once_and_the_run_goes_on",
    "test_a_run_whose_only_agent_is_lost_again_and_again_ends",
    "test_a_running_job_survives_its_follower",
    "test_a_scan_of_the_ports_does_no_harm",
    "test_a_scheduler_that_is_lost_while_workers_start_is_no_good_end",
    "test_a_script_without_a_guard_is_run_once",
    "test_a_session_knows_its_dashboard",
    "test_a_stopped_scheduler_or_client_ends_the_run",
    "test_a_stopped_worker_rank_does_not_hold_up_the_end",
    "test_a_variable_is_compared_with_the_cards",
    "test_a_worker_that_dies_leaves_those_beside_it_alone",
    "test_an_address_by_host_and_port",
    "test_an_early_agent_that_does_not_fit_begins_anew",
    "test_an_offer_that_is_none_is_not_taken",
    "test_clients_side_by_side",
    "test_clusters_that_do_not_come_up",
    "test_code_that_cannot_be_read_is_taken_from_its_file_with_one_warning",
    "test_editors_show_the_keywords",
    "test_every_node_hosts_as_many_workers_as_it_suggests",
    "test_from_within_an_interactive_step",
    "test_generated_scripts",
    "test_interrupting_asks_whether_to_cancel",
    "test_logs_by_rank_and_worker_after_the_end",
    "test_names_of_what_rests_are_those_of_dask",
    "test_no_answer_is_no_news",
    "test_one_question_for_all_jobs_and_all_shells",
    "test_option_lines_are_dask_jobqueue_s_but_for_listed_differences",
    "test_progress_is_shown_while_workers_start",
    "test_several_nodes",
    "test_stopping_what_waits_and_what_runs_a_script",
    "test_ten_times_the_ranks_take_ten_times_as_long",
    "test_the_dashboard_by_a_tunnel",
    "test_the_dashboard_on_this_machine",
    "test_the_dashboards_link_is_the_whole_one",
    "test_the_walltime_kills_a_job_that_does_not_end",
    "test_they_are_few",
    "test_through_the_queue",
    "test_what_a_killed_run_left_is_removed_by_the_next",
    "test_where_workers_keep_their_data",
    "test_within_a_firewall",
    "test_workers_wait_for_a_file_that_is_not_there_yet",
}

#: Test -> those of its many cases that take long and are left out.
LONG_CASES = {
    "test_ending": ".*-normal|session_exit-.*",
    "test_script_ending": (
        "syntax_error|much_output|no_dask_at_all|client_shutdown|atexit_computes|task_left_process|"
        "task_holds_the_lock|exception_after_client"
    ),
    "test_a_rank_that_is_ended_ends_the_run": "(execute|initialize)-.*",
    "test_a_mistake_ends_all_ranks_with_one_message": "(session|execute)-.*",
    "test_files_that_the_script_left_open_are_written": ".*_exit.*",
    "test_a_rank_hosts_as_many_workers_as_it_is_told": "unless.*",
    "test_what_cannot_be_had": r"words[5-9]-.*|words1\d-.*",
}
_EXPRESSIONS = [
    re.compile(rf"(.*/)?{test}(\[({cases or '.*'})\])?") for test, cases in UNDER_OPEN_MPI.items()
]  # fmt: skip


def shows_open_mpi(nodeid: str) -> bool:
    """Whether a test is one of those that run under Open MPI."""
    return any(expression.fullmatch(nodeid) for expression in _EXPRESSIONS)


def takes_long(test: str, case: str | None) -> bool:
    """Whether a test, or this case of it, takes long and shows much the same as others."""
    return test in LONG or bool(case and re.fullmatch(LONG_CASES.get(test, "$^"), case))


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

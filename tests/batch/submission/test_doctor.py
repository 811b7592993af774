"""`mpidask doctor --submit`: submit, status, logs, cancel, and what a job on two nodes of a real batch system finds."""

from __future__ import annotations

import json

import pytest


@pytest.mark.thorough
@pytest.mark.slow("two jobs, one with ranks on two nodes that measure")
def test_a_healthy_slurm_is_healthy(slurm):
    rooms = [word for name in ("mpi", "limits", "files", "batch", "network.interfaces") for word in ("--probe", name)]
    done = slurm.mpidask(
        "doctor", "--submit", "-N", "2", "--patience", "3min", "--json", "--time-limit", "3min", *rooms, timeout=300
    )
    findings = json.loads(done.stdout)["findings"]
    assert [each for each in findings if each["level"] == "failure"] == [], done
    assert done.returncode == 0, done
    found = {each["probe"]: each for each in findings if each["level"] == "ok"}
    for probe in ("batch.daemon", "batch.accounting", "batch.submit", "batch.status", "batch.logs", "batch.cancel"):
        assert probe in found, done
    assert found["mpi.meeting"]["what"].startswith("2 ranks met: 1 on mn")
    assert found["mpi.meeting"]["where"].startswith("job ")
    assert found["clock"]["what"] == "the clocks of all nodes agree"
    said = [each["what"] for each in findings if each["probe"] == "network.links"]
    assert any(what.startswith("a run takes eth0 (10.177.0.") for what in said), said
    assert "system: slurm" in json.loads(done.stdout)["profile"]
    assert slurm.left_over() == []


def test_a_job_that_waits_is_left_in_the_queue_and_said(slurm):
    words = ("--submit", "--directive=--hold", "--patience", "1s", "--probe", "limits.open_files")
    done = slurm.mpidask("doctor", *words, "--time-limit", "3min", timeout=200)
    assert done.returncode == 0, done
    assert "warning  status           job " in done.stdout, done
    assert "held" in done.stdout, done
    assert "remedy: read later what it finds: mpidask logs " in done.stdout, done
    assert "ok       cancel           job " in done.stdout, done


def test_a_batch_system_that_refuses_is_a_failure(slurm):
    done = slurm.mpidask("doctor", "--submit", "-q", "nosuch", "--probe", "limits.open_files")
    assert done.returncode == 1, done
    assert "failure  submit " in done.stdout, done
    assert "sinfo -s" in done.stdout, done

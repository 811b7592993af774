"""Typical mistakes: each gets a message that names value and remedy, and no job is submitted."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys

import dask.config
import pytest

from mpidask import cli, configuration
from mpidask.attach import spec
from mpidask.batch.submission import attempt, handles
from mpidask.cli import common, ranks
from mpidask.errors import UsageError
from mpidask.launch.cluster.run import GivenOptions
from mpidask.launch.resources import roles


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command line in this process: exit status, what it has printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "quick.py").write_text("")
    (tmp_path / "study.ipynb").write_text("{}")

    def submit(*_, **__):
        raise AssertionError("a job is submitted")

    monkeypatch.setattr(attempt, "run_submit", submit)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mpidask", *words])
        is_section = isinstance(dask.config.get("mpidask", {}), dict)
        with dask.config.set({"mpidask.batch.system": "local"}) if is_section else contextlib.nullcontext():
            if words[:1] in (("run",), ("serve",)):  # without MPI
                parse = ranks.parse_run if words[0] == "run" else ranks.parse_serve
                status = common.guarded(lambda: bool(parse(words[1:])))
            else:
                with pytest.raises(SystemExit) as end:
                    cli.main()
                status = end.value.code
        return status, capsys.readouterr()

    return run


#: What is typed -> what the message says.
MISTAKES = {
    # Options after the script.
    "submit quick.py --dry-run": ("--dry-run is an option of mpidask", "mpidask submit --dry-run quick.py\n"),
    "submit quick.py -t 1:00:00 x": ("-t is an option", "mpidask submit -t 1:00:00 quick.py x\n"),
    "submit -N 2 quick.py -N4": ("-N4 is an option", "mpidask submit -N 2 -- quick.py -N4\n"),
    "submit quick.py --follow": ("--follow is an option", "mpidask submit -- quick.py --follow\n"),
    "submit quick.py --wait --x": ("--wait is an option", "mpidask submit --wait quick.py --x\n"),
    "submit quick.py --help": ("--help is an option", "mpidask submit --help quick.py"),
    "submit -m package.module --nthreads=2": (
        "(-m package.module)",
        "mpidask submit -- -m package.module --nthreads=2",
    ),
    "script quick.py --system slurm": ("--system is an option", "mpidask script --system slurm quick.py"),
    "run quick.py --nthreads 2": ("--nthreads is an option", "mpidask run --nthreads 2 quick.py"),
    "run -c print() --no-nanny": ("--no-nanny is an option", "mpidask run -- -c 'print()' --no-nanny"),
    "connect 4711 quick.py --timeout 5": ("--timeout is an option", "mpidask connect --timeout 5 quick.py"),
    # Habits of sbatch, qsub, srun and mpirun.
    "submit -c 4 quick.py": ("-c 4 would run the code '4'", "--cores-per-rank"),
    "submit -m 4 quick.py": ("-m 4 would run the module '4'", "--mem"),
    "submit -n 4 quick.py": ("-n 4 is no option", "--ranks-per-node"),
    "submit --ntasks=4 quick.py": ("--ntasks=4 is no option", "--ranks-per-node"),
    "submit --cores 4 quick.py": ("--cores 4 is no option", "--cores-per-rank"),
    "submit --gpus 2 quick.py": ("--gpus 2 is no option", "--gpus-per-rank"),
    "submit --array 1-3 quick.py": ("--array 1-3 is no option", "once for each"),
    "submit --mail-user a@b quick.py": ("--mail-user a@b is no option", "--directive='--mail-user a@b'"),
    "submit --exclusive quick.py": ("--exclusive is no option", "--directive=--exclusive"),
    "submit -l select=2 quick.py": ("-l select=2 is no option", "-N NODES"),
    "start -n 4": ("-n 4 is no option of mpidask start", "--ranks-per-node"),
    "run -n 4 quick.py": ("-n 4 is no option", "mpirun -n"),
    "run --walltime 1:00:00 quick.py": ("--walltime 1:00:00 is no option", "mpidask submit"),
    # Commands.
    "statsu": ("unknown command: statsu", "did you mean status? mpidask status"),
    "quick.py 3": ("unknown command: quick.py", "mpidask run quick.py 3"),
    "squeue": ("unknown command: squeue", "did you mean status? mpidask status\n"),
    "sbatch -N 2 quick.py": ("unknown command: sbatch", "mpidask submit -N 2 quick.py\n"),
    "wait 4711": ("unknown command: wait", "mpidask logs --follow 4711\n"),
    "frobnicate": ("unknown command: frobnicate", "mpidask help"),
    "cancel": ("there is none to cancel", "mpidask status --all"),
    "cancel 4711": ("there is no job '4711' on record", "mpidask status --all"),
    "stop": ("there is none to stop", "mpidask status --all"),
    "stop 4711": ("there is no job '4711' on record", "mpidask status --all"),
    "logs": ("there is no job on record", "mpidask submit script.py"),
    "logs --tail some": ("'some' is not a valid integer", "--help"),
    "dashboard": ("none waits or runs", "mpidask start -N 4"),
    "connect": ("there is no job with a scheduler", "mpidask start -N 4"),
    "connect 4711 -c print()": ("there is no job '4711' on record", "mpidask status --all"),
    "connect 4711 nosuch.py": ("can't open 'nosuch.py'", "give the path"),
    "connect --nosuch": ("no option --nosuch", "--help"),
    "start quick.py": ("takes no script (quick.py)", "mpidask submit quick.py"),
    "completion tcsh": ("the shell 'tcsh'", "bash, zsh, fish"),
    # Options and their values.
    "submit": ("no script was given", "mpidask submit script.py"),
    "submit nosuch.py": ("can't open 'nosuch.py'", "give the path"),
    "submit -- nosuch.py": ("can't open 'nosuch.py'", "give the path"),
    "submit study.ipynb -p year": ("study.ipynb: argument -p/--parameters: expected 2 arguments", "-p NAME VALUE"),
    "submit study.ipynb 2026": ("study.ipynb: unrecognized arguments: 2026", "-p NAME VALUE"),
    "submit --nods 2 quick.py": ("no option --nods", "did you mean --nodes?"),
    "submit --serve": ("no option --serve", "--help"),
    "start --nods 2": ("no option --nods", "did you mean --nodes?"),
    "submit -N two quick.py": ("'two' is not a valid integer", "--help"),
    "submit -N 0 quick.py": ("nodes is 0", "1"),
    "submit -N": ("option '-N' requires an argument", "--help"),
    "submit --system slrum quick.py": ("no batch system 'slrum'", "did you mean slurm?"),
    "submit -t 90 quick.py": ("the walltime is '90'", "say 1:30:00"),
    "submit -t soon quick.py": ("the walltime is 'soon'", "such as 1:30:00"),
    "submit -t '' quick.py": ("--walltime is given an empty text", "leave it out"),
    "submit -q '' quick.py": ("--queue is given an empty text", "leave it out"),
    "submit --mem 4 quick.py": ("--memory-per-node is '4', 4 bytes", "with a unit it is more: '4 GB'"),
    "submit --mem '4 GB' quick.py": ("has no option for memory_per_node", "--memory-limit SIZE is for each worker"),
    "submit -J a,b quick.py": ("the job's name is 'a,b'", "letters"),
    "submit --nthreads 0 quick.py": ("--nthreads is 0", "from 1 up"),
    "submit --workers-per-rank 4 --no-nanny quick.py": ("--workers-per-rank 4 needs nannies", "--no-nanny"),
    "submit --worker-options {lifetime: quick.py": (
        "'{lifetime:' is no mapping in JSON",
        "single quotes: --worker-options",
    ),
    "submit --system sge --mem 4GiB quick.py": ("memory", "h_vmem"),
    "submit --system sge -N 2 quick.py": ("nodes", "qconf -spl"),
    "script --system slurm --requeue quick.py": ("--requeue needs a job on record", "mpidask submit --requeue"),
    "start --idle-timeout soon": ("--idle-timeout is 'soon'", "such as '90 s'"),
    "start --no-scheduler": ("needs one to join", "--scheduler-file"),
    "run": ("no script was given", "mpidask run script.py"),
    "serve --worker-options {": ("'{' is no mapping in JSON", "single quotes"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_typical_mistakes(typed, line):
    status, printed = typed(*shlex.split(line))
    what, remedy = MISTAKES[line]
    error, _, rest = printed.err.partition("mpidask: remedy: ")
    assert status == 2, printed
    assert error.startswith("mpidask: error: "), printed
    assert what in error, printed
    assert remedy in rest.replace("; more: mpidask docs UsageError\n", "\n"), printed
    assert rest.endswith("; more: mpidask docs UsageError\n"), printed
    assert printed.out == ""
    assert handles.jobs() == []


def test_what_is_the_scripts_own_passes(typed):
    for words in ("quick.py --array 3 -n 4 -time 5", "-- quick.py --wait -t 3", "quick.py -- --wait"):
        status, printed = typed("script", "--system", "slurm", *words.split())
        assert f" -m mpidask --workers-per-rank auto {words} &\n" in printed.out, printed
        assert status == 0


def test_options_by_the_names_of_other_launchers(typed):
    words = "--time 1:00:00 --partition p --ntasks-per-node 2 --cpus-per-task 3 --gpus quick.py"
    status, printed = typed("script", "--system", "slurm", *words.split())
    assert "#SBATCH -t 01:00:00\n" in printed.out or "#SBATCH -t 1:00:00\n" in printed.out, printed
    assert "#SBATCH --ntasks-per-node=2\n" in printed.out, printed
    assert "#SBATCH -p p\n" in printed.out, printed
    assert " -m mpidask --gpus quick.py &\n" in printed.out, printed
    assert status == 0


@pytest.mark.parametrize("words", ["statsu", "help", "version", ""])
@pytest.mark.parametrize("rank", [0, 3])
def test_one_message_under_mpirun(monkeypatch, capsys, words, rank):
    monkeypatch.setenv("PMI_RANK", str(rank))
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setattr(sys, "argv", ["mpidask", *words.split()])
    with pytest.raises(SystemExit) if words == "statsu" else contextlib.nullcontext():
        cli.main()
    assert bool("".join(capsys.readouterr())) is (rank == 0)


#: What stands in mpidask.yaml -> what is typed, what the message says.
FILES = {
    "nthreads: 4": ("run quick.py", "unknown key nthreads (FILE, line 1)", "did you mean mpidask.nthreads?"),
    "account: abc": ("submit quick.py", "unknown key account (FILE, line 1)", "did you mean mpidask.batch.account?"),
    "# sizes\nmpdask: {nthreads: 4}": ("run quick.py", "unknown key mpdask (FILE, line 2)", "did you mean mpidask?"),
    "mpidask:\n  nthreads: 4\n  memory-limt: 1": (
        "run quick.py", "unknown option: mpidask.memory-limt (FILE, line 3)", "did you mean memory_limit?",
    ),
    "mpidask:\n  worker-options: x": ("run quick.py", "mpidask.worker-options (FILE, line 2) is 'x'", "a mapping"),
    "mpidask:\n  nanny: true\n  nthreads: 0": ("run quick.py", "mpidask.nthreads (FILE, line 3) is 0", "from 1 up"),
    "mpidask:\n  batch:\n    nodes: two": ("submit quick.py", "mpidask.batch.nodes (FILE, line 3) is 'two'", "number"),
    "mpidask: 3": ("run quick.py", "mpidask (FILE, line 1) is 3", "a mapping"),
    "mpidask:\n  nthreads: [1": ("submit quick.py", "FILE, line 2, column 13 is no YAML", "mpidask config"),
}  # fmt: skip


@pytest.mark.parametrize("text", FILES)
def test_mistakes_in_files(typed, tmp_path, monkeypatch, text):
    line, what, remedy = FILES[text]
    file = tmp_path / "mpidask.yaml"
    file.write_text(f"{text}\n")
    monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
    try:
        section = dask.config.collect([str(tmp_path)], env={}).get("mpidask", {})
    except ValueError as error:  # raised where Dask is imported
        printed = configuration.as_usage_error(error).text()
    else:
        with dask.config.set({"mpidask": section}):
            status, output = typed(*line.split())
        assert status == 2, output
        printed = output.err
    assert what.replace("FILE", str(file)) in printed
    assert remedy in printed.partition("remedy: ")[2]
    assert not (tmp_path / "state").exists()


def test_a_malformed_file_is_one_message(tmp_path):
    (tmp_path / "mpidask.yaml").write_text("mpidask:\n  nthreads: [1\n")
    code = (
        "import sys; from mpidask.cli import main, ranks; from mpidask.errors import UsageError\n"
        "try:\n    ranks.parse_run(['quick.py'])\nexcept UsageError as error:\n    error.report()\n"
        "sys.argv[1:] = ['clean']; main()"
    )
    command = [sys.executable, "-c", code]
    environ = {**os.environ, "DASK_CONFIG": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 2 * 2), done


def test_the_keywords_of_python_are_spelled_as_such():
    for call, name in ((spec.divided, "nodes"), (lambda given: GivenOptions(given).options(4), "worker_options")):
        with pytest.raises(UsageError, match=f"^{name} is 'x'"):
            call({name: "x"})


def test_a_rank_that_is_not_there_is_said_to_need_more_ranks():
    with pytest.raises(UsageError) as caught:
        roles.assign(4, client=7)
    assert "rank 7, but there are 4 ranks" in caught.value.what
    assert "mpirun -n 8" in caught.value.remedy

"""Stands in for the commands of a batch system that cannot be had: its name tells which command it is.

Jobs really run, in the background. What is known of them lies in the directory $STANDIN: ID.pid, ID.exit (a status), ID.gone
(cancelled), ID.out. The elements of a job array are jobs whose ids are ID_INDEX. Every command answers in the form that the
manuals show.
"""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

PLACE = Path(os.environ["STANDIN"])
WORDS = sys.argv[1:]


def start(script, count=None, variable=""):
    """Run a job script, or `count` of it with the index in a variable, in sessions of their own; return the number."""
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several are submitted at a time: no number twice
        number = 1 + max((int(path.stem.split("_")[0]) for path in PLACE.glob("*.out")), default=0)
        for index in [None] if count is None else range(1, count + 1):
            run(str(number) if index is None else f"{number}_{index}", script, {variable or "INDEX": str(index)})
    return number


def run(number, script, more):
    with (PLACE / f"{number}.out").open("w") as out:
        job = subprocess.Popen(
            ["sh", "-c", 'bash "$0"; echo $? > "$1.part"; mv "$1.part" "$1"', script, PLACE / f"{number}.exit"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **more},
            start_new_session=True,
        )
    (PLACE / f"{number}.pid").write_text(str(job.pid))


def elements(pattern, text):
    """Return how many elements an option line asks for; None for no array."""
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else None


def state(number):
    """Return running, gone or an exit status."""
    if (PLACE / f"{number}.gone").exists():
        return "gone"
    file = PLACE / f"{number}.exit"
    return int(file.read_text()) if file.exists() else "running"


def cancel(numbers):
    for number in numbers:
        (PLACE / f"{number}.gone").touch()
        os.killpg(int((PLACE / f"{number}.pid").read_text()), signal.SIGTERM)


def numbers(words):
    """Return the jobs that words name."""
    named = [match for word in words for match in re.findall(r"(?<![-\w\[])f?(\d+)\b(?:\[(\d+)\])?", word)]
    ids = [f"{number}_{index}" if index else number for number, index in named]
    return [number for number in ids if (PLACE / f"{number}.out").exists()]


def every():
    return sorted(path.stem for path in PLACE.glob("*.out"))


def saved(text):
    """Write a script that was read from stdin where it can be run; return its path."""
    path = PLACE / f"script.{os.getpid()}"
    path.write_text(text)
    return str(path)


def bsub():
    text = sys.stdin.read()
    number = start(saved(text), elements(r"^#BSUB -J [^\[]*\[1-(\d+)\]", text), "LSB_JOBINDEX")
    print(f"Job <{number}> is submitted to default queue <normal>.")


def bjobs():
    rows = {"running": "RUN|-|Nov 21 08:00|-|-", "gone": "EXIT|130|Nov 21 08:00|-|TERM_OWNER: job killed by owner"}
    for number in numbers(WORDS[WORDS.index("-o") + 2 :]):
        now = state(number)
        ended = "DONE|-|Nov 21 08:00|-|-" if now == 0 else f"EXIT|{now}|Nov 21 08:00|-|TERM_UNKNOWN"
        job, _, index = number.partition("_")
        print(f"{job}|{rows.get(now, ended)}|{index or 0}")


def bkill():
    cancel(numbers(WORDS))


def bacct():
    """As of jobs that have ended: for 3 s, with 4 s of processor time and 5 MB."""
    for number in numbers(WORDS[WORDS.index("-l") + 1 :]):
        if state(number) != "running":
            print("     CPU_T     WAIT     TURNAROUND   STATUS     HOG_FACTOR    MEM    SWAP")
            print("      4.00        2              5     done         0.8000     5M      0M")
            print(" Total Run time consumed:         3      Average Run time consumed:       3")


def msub():
    print(f"\n{start(WORDS[0])}")


def showq():
    done = "-c" in WORDS
    jobs = []
    for number in every():
        now = state(number)
        if done and now != "running":
            code = "CNCLD" if now == "gone" else now
            jobs.append(
                f'<job CompletionCode="{code}" JobID="{number}" State="{"Removed" if now == "gone" else "Completed"}"/>'
            )
        elif not done and now == "running":
            jobs.append(f'<job JobID="{number}" StartTime="1795187963" State="Running" User="x"/>')
    print("<Data><Object>queue</Object><queue>", *jobs, "</queue></Data>", sep="\n")


def mjobctl():
    cancel(numbers(WORDS[1].split(",")))


def condor_submit():
    text = sys.stdin.read()
    script = re.search(r"^executable = (.*)$", text, re.MULTILINE | re.IGNORECASE)[1]
    arguments = re.search(r'^Arguments = "(.*)"$', text, re.MULTILINE)
    if arguments:  # https://htcondor.readthedocs.io/en/latest/man-pages/condor_submit.html: "arguments"
        text = arguments[1].replace('""', '"').replace("$(DOLLAR)", "$")
        words = re.findall(r"'((?:[^']|'')*)'|(\S+)", text)
        unquoted = [quoted.replace("''", "'") or plain for quoted, plain in words]
        script = saved(shlex.join(["exec", script, *unquoted]))
    number = start(script)
    print(f"{number}.0 - {number}.0")


def condor_q():
    for number in numbers(WORDS[: WORDS.index("-autoformat")]):
        if state(number) == "running":
            print(number, 2, 1795187963, "undefined", "undefined", "undefined")


def condor_history():
    for number in numbers(WORDS[:1]):
        now = state(number)
        if now == "gone":
            print(number, 3, "undefined", "undefined", "via condor_rm (by user x)")
        elif now != "running":
            print(number, 4, now, "undefined", "undefined")


def condor_rm():
    cancel(numbers(WORDS))


def flux():
    if "batch" in WORDS:
        print(f"f{start(WORDS[-1])}")
    elif WORDS[0] == "cancel":
        cancel(numbers(WORDS[1:]))
    elif WORDS[0] == "jobs":
        for number in numbers(WORDS[3:]):
            now = state(number)
            rows = {"running": "R||2026-11-21T08:00:00|-|node1| ", "gone": "CA|-128|-|-|node1|cancel "}
            ended = f"{'F' if now else 'CD'}|{now}|2026-11-21T08:00:00|-|node1| "
            print(f"f{number}|{rows.get(now, ended)}")


def qsub():
    count = elements(r"^#PBS -J 1-(\d+)", Path(WORDS[0]).read_text())
    number = start(WORDS[0], count, "PBS_ARRAY_INDEX")
    print(f"{number}[].server" if count else f"{number}.server")


def qstat():
    """As of a fresh OpenPBS, which keeps no history: -x is refused for every job, with status 0."""
    unknown = False
    for number in numbers(WORDS):
        job, _, index = number.partition("_")
        name = f"{job}{f'[{index}]' if index else ''}.server"
        if "-x" in WORDS:
            sys.stderr.write(f"qstat: PBS is not configured to maintain job history {name}\n")
        elif state(number) != "running":
            sys.stderr.write(f"qstat: Unknown Job Id {name}\n")
            unknown = True
        else:
            print(f"Job Id: {name}", "    job_state = R", "    substate = 42", "", sep="\n")
    sys.exit(153 if unknown else 0)


def qdel():
    cancel(numbers(word.split(".")[0] for word in WORDS))


globals()[Path(sys.argv[0]).name]()

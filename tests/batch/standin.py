"""Stands in for the commands of a batch system that cannot be had: its name tells which command it is.

Jobs really run, in the background. What is known of them lies in the directory $STANDIN: ID.pid, ID.exit (a status), ID.gone
(cancelled), ID.out. Every command answers in the form that the manuals show.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PLACE = Path(os.environ["STANDIN"])
WORDS = sys.argv[1:]


def start(script):
    """Run a job script in a session of its own; return its number."""
    number = 1 + len(list(PLACE.glob("*.out")))
    with (PLACE / f"{number}.out").open("w") as out:
        job = subprocess.Popen(
            ["sh", "-c", 'bash "$0"; echo $? > "$1.part"; mv "$1.part" "$1"', script, PLACE / f"{number}.exit"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    (PLACE / f"{number}.pid").write_text(str(job.pid))
    return number


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
    """Return the jobs that words name, all of them if they name none."""
    named = [int(found) for word in words for found in re.findall(r"(?<![-\w])f?(\d+)\b", word)]
    return [number for number in named if (PLACE / f"{number}.out").exists()]


def every():
    return sorted(int(path.stem) for path in PLACE.glob("*.out"))


def saved(text):
    """Write a script that was read from stdin where it can be run; return its path."""
    path = PLACE / f"script.{os.getpid()}"
    path.write_text(text)
    return str(path)


def bsub():
    print(f"Job <{start(saved(sys.stdin.read()))}> is submitted to default queue <normal>.")


def bjobs():
    rows = {"running": "RUN|-|Nov 21 08:00|-|-", "gone": "EXIT|130|Nov 21 08:00|-|TERM_OWNER: job killed by owner"}
    for number in numbers(WORDS[-1:]):
        now = state(number)
        ended = "DONE|-|Nov 21 08:00|-|-" if now == 0 else f"EXIT|{now}|Nov 21 08:00|-|TERM_UNKNOWN"
        print(f"{number}|{rows.get(now, ended)}")


def bkill():
    cancel(numbers(WORDS))


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
    script = re.search(r"^executable = (.*)$", sys.stdin.read(), re.MULTILINE)[1]
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
    print(f"{start(WORDS[0])}.server")


def qstat():
    for number in numbers(WORDS[2:]):
        now = state(number)
        told = {"running": ["job_state = R"], "gone": ["job_state = F", "Exit_status = 271"]}
        ended = [
            "job_state = F",
            f"Exit_status = {now}",
            "comment = Job run at Sat Nov 21 at 08:00 on (cn1) and finished",
        ]
        print(f"Job Id: {number}.server", *(f"    {line}" for line in told.get(now, ended)), "", sep="\n")


def qdel():
    cancel(numbers(word.split(".")[0] for word in WORDS))


globals()[Path(sys.argv[0]).name]()

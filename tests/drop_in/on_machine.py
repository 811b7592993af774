"""Run a directory of tests where a batch system is, as its ordinary user: on_machine.py SYSTEM DIRECTORY [pytest options]."""

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machines


def main():
    name, suite, *options = sys.argv[1:]
    try:
        with machines.borrowed(name) as machine:
            shutil.copytree(suite, machine.directory, dirs_exist_ok=True)
            if machine.user:
                shutil.chown(machine.directory, machine.user)
            passed = {name: value for name, value in os.environ.items() if name.startswith("DASK_MPIDASK__")}
            machine.environment = {**machine.environment, **passed, "PYTHONPATH": str(machine.directory / "plugins")}
            known = {"torque": "pbs"}.get(name, name)
            words = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "pytest_asyncio", "-E", known]
            done = machine.run(machine.python, *words, ".", *options, timeout=900)
            print(done.stdout[-30000:], done.stderr[-2000:])
            return done.returncode
    finally:
        machines.shut_down()


if __name__ == "__main__":
    sys.exit(main())

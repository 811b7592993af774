"""Start a cluster of 8 workers N times; count them 3 s after the start: `python count_workers.py N`."""

from __future__ import annotations

import collections
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import Launcher
from matrix.surroundings import environ

SCRIPT = """
import os, time
from distributed import Client
client = Client()
total = sum(client.gather(client.map(lambda x: x, range(20))))
time.sleep(3)
assert total == sum(client.gather(client.map(lambda x: x, range(20), pure=False)))
print(total, len(client.scheduler_info(n_workers=-1)["workers"]), len(client.run(os.getpid)))
"""


def main(number: int) -> bool:
    seen = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        ranks = Launcher(Path(name))
        script = ranks.script(SCRIPT)
        for _ in range(number):
            result = ranks(10, script, environ=environ(), timeout=180)
            text = (
                f"status {result.status}, printed {result.stdout.strip() or 'nothing'}; {' '.join(result.words)[:300]}"
            )
            seen["good" if result.status == 0 and result.stdout == "190 8 8\n" else text] += 1
        ranks.clean_up()
    good = seen.pop("good", 0)
    print(
        f"{sys.version.split()[0]}: {good} of {number} runs had their 8 workers", *seen.items(), sep="\n  ", flush=True
    )
    return good == number


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1])) else 1)

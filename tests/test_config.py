"""Options of a run: what configuration and callers may write, and what counts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mpidask import config, quantities
from mpidask.errors import UsageError
from mpidask.options import loading


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"nthreads": "two"}, "mpidask.nthreads in the configuration is 'two'"),
        ({"nanny": 2}, "mpidask.nanny in the configuration is 2"),
        ({"optimize": "no"}, "mpidask.optimize in the configuration is 'no': yes or no is needed"),
        ({"worker-options": "[1]"}, "mpidask.worker-options in the configuration is .* a mapping"),
        ({"scheduler": False}, "needs one to join"),
        ({"memory-limit": "much"}, "mpidask.memory-limit in the configuration is 'much'"),
        (
            {"workers-per-rank": "many"},
            "mpidask.workers-per-rank in the configuration is 'many': a number from 1 up is needed, or auto",
        ),
        ({"workers-per-rank": 2, "nanny": False}, "inside the rank itself there is one worker: leave --no-nanny out"),
        ({"memorylimit": 1}, "unknown option: mpidask.memorylimit in the configuration"),
    ],
)
def test_configuration_that_cannot_be_used(section, message):
    with pytest.raises(UsageError) as caught:
        loading.load({}, section)
    assert re.search(message, f"{caught.value.what}: {caught.value.remedy}")


@pytest.mark.parametrize(
    ("values", "number", "inclusive"),
    [
        ({}, 1, False),
        ({"workers_per_rank": 3}, 3, True),
        ({"workers_per_rank": 3, "inclusive_workers": False}, 3, False),
        ({"workers_per_rank": "auto"}, None, True),
        ({"workers_per_rank": "auto", "nanny": False}, 1, False),
        ({"workers_per_rank": 3, "nanny": False, "worker_class": "distributed.Nanny"}, 3, True),
    ],
)
def test_workers_per_rank(values, number, inclusive):
    options = loading.load(values, {})
    assert (config.workers_per_rank(options), config.inclusive(options)) == (number, inclusive)


def test_given_options_come_before_configured_ones():
    options = loading.load({"nthreads": 2, "nanny": None}, {"nthreads": 3, "nanny": False, "startup-timeout": 5})
    assert (options.nthreads, options.nanny, options.startup_timeout) == (2, False, "5")
    options = loading.load({"memory_limit": 2**30, "local_directory": Path("/x")}, {}, {"nthreads": 1, "nanny": False})
    assert (options.memory_limit, options.local_directory, options.nthreads) == (str(2**30), "/x", 1)
    assert loading.load({}, {"nthreads": 3, "optimize": False}, {"nthreads": 1}).nthreads == 3
    assert loading.load({"scheduler_file": "~/f"}, {}).scheduler_file == os.path.expanduser("~/f")
    assert loading.load({"worker_options": '{"lifetime": "1 h"}'}, {}).worker_options == {"lifetime": "1 h"}


@pytest.mark.parametrize(
    ("text", "wanted"), [("auto", None), ("0", 0), ("4 GiB", 2**32), ("0.25", 0.25), ("1.0", 1.0), ("2 MB", 2_000_000)]
)
def test_memory_is_bytes_or_a_part(text, wanted):
    assert quantities.memory(text) == wanted
    assert type(quantities.memory(text)) is type(wanted)


def test_the_template_holds_every_option_and_can_be_read():
    import yaml

    text = loading.template()
    assert yaml.safe_load(text) is None
    keys = yaml.safe_load("\n".join(line[2:] for line in text.splitlines()[1:]))["mpidask"]
    assert loading.load({}, keys) == config.Options()

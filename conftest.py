"""How all tests run, the README's and the docs' Python blocks among them; docstrings' by pytest's --doctest-modules."""

import os

# Before anything reads it: two workers with two threads of BLAS each, on two cores, wait for each other; a test of
# small matrices takes 27 times as long. Programs that the tests start take it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The few tests of inductor compile one small graph each, for which two more processes that import torch do not pay.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["README.md", "docs/*.md", "docs/*/*.md"]
).pytest()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker a run of files, which share what is made once a file; who is done first takes from the other."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run the blocks of a page that stand before this one: it may use their names, and another worker had them."""
    block = getattr(item, "example", None)
    if block is None:
        return
    done = block.namespace.setdefault("_done", set())
    for earlier in block.document.examples():
        if earlier.start < block.start and earlier.start not in done:
            earlier.evaluate()
            done.add(earlier.start)
    done.add(block.start)

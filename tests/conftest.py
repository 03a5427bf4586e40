"""Shared set-up: a fixed seed, and the pages of the docs that are written from what the tests found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import estimator_table
import pass_matrix

MATRIX = Path(__file__).parent.parent / "docs" / "evidence" / "pass-matrix.md"
ESTIMATORS = MATRIX.parent / "estimators.md"
PAIRS = "\n## Pairs of modes\n"

_found: dict[tuple[str, str, str], str] = {}
_estimates: estimator_table.Found = {}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    yield
    torch.set_num_threads(threads)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # With xdist this runs in the process that gathers the workers' reports.
    for key, value in report.user_properties:
        if key == "law" and report.when == "call":
            surrogate, hard, law = str(value).split("|")
            _found[surrogate, hard, law] = "ok" if report.passed else "FAIL"
        if key == "estimate" and report.when == "call":
            variable, objective, estimator, *numbers = str(value).split("|")
            _estimates[variable, objective, estimator] = (numbers[0], numbers[1], numbers[2], numbers[3])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    MATRIX.parent.mkdir(exist_ok=True)
    if pass_matrix.is_complete(_found):
        # The section on pairs is another command's; see tests/mode_pairs.py.
        _, heading, pairs = MATRIX.read_text().partition(PAIRS) if MATRIX.exists() else ("", "", "")
        MATRIX.write_text(pass_matrix.page(_found) + heading + pairs)
    if estimator_table.is_complete(_estimates):
        ESTIMATORS.write_text(estimator_table.page(_estimates))

"""Shared set-up: double precision, a fixed seed, and the pass-matrix written from what the laws found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import pass_matrix

MATRIX = Path(__file__).parent.parent / "docs" / "pass-matrix.md"

_found: dict[tuple[str, str, str], str] = {}


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


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and pass_matrix.is_complete(_found):
        MATRIX.parent.mkdir(exist_ok=True)
        MATRIX.write_text(pass_matrix.page(_found))

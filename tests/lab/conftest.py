"""What the lab's tests share: small runs that end within a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hardgrad_lab.experiments.bridges.sorting.config import Sorting, configure

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # SciPy reads it at import; one of scikit-learn's checks skips without


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep a test run from fighting over cores, and its sums in one order."""
    torch.set_num_threads(1)


@pytest.fixture
def samples() -> Path:
    """Return the folder of a few hundred real rows of each data set, to be given as ``--data``."""
    return Path(__file__).parent / "samples"


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of made-up hearts and sounds, to be given as ``--data``."""
    from lab.recordings import make

    folder = tmp_path_factory.mktemp("recordings")
    make(folder)
    return folder


@pytest.fixture
def tiny() -> Callable[..., Sorting]:
    """Return a maker of configurations that train in a blink."""

    def make(system: Any = "signum-dense", length: int = 3, **given: Any) -> Sorting:
        small = {"samples": 640, "batch": 32, "width": 16, "test_rows": 200, "curve_rows": 100, "evaluations": 4}
        return configure("fast", system, length, {**small, **given})

    return make

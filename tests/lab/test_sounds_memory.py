"""A fit that ends at a window says whether what came before it matters; on a device without a memory it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import signal

from hardgrad_lab.fit.memory import what_came_before
from hardgrad_lab.fit.rows import first_rows, held_out
from hardgrad_lab.fit.sounds.lags import hats
from hardgrad_lab.fit.tables import Table

Array = NDArray[np.float64]


def lines(
    x: Array, y: Array, *, knots: int = 30, window: int = 1, rate: int | None = 44_100, groups: Array | None = None
) -> list[str]:
    """Return what is said of a curve of so many knots, fitted by least squares to x as a branch without memory is."""
    labels = np.zeros(len(x), dtype=np.int64) if groups is None else groups.astype(np.int64)
    design = hats(x, np.unique(np.quantile(x, np.linspace(0, 1, knots))))
    predicted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return said(x, y, predicted, window, rate, labels)


def said(x: Array, y: Array, predicted: Array, window: int, rate: int | None, labels: NDArray[np.int64]) -> list[str]:
    _, test = held_out(np.arange(len(x)), first_rows(labels, len(x)), 0.1, blocks=True, seed=0)
    table = Table(
        inputs=pd.DataFrame({"input": x}), target=y, key="input", groups=labels, file=labels,
        row=np.arange(len(x)), paths=[], rate=rate,
    )  # fmt: skip
    fitted: Any = SimpleNamespace(ordered=True, test=test, predicted=predicted, model=SimpleNamespace(window=window))
    return what_came_before(fitted, table)


CURVES = (np.abs, lambda x: np.tanh(4 * x), lambda x: np.where(x < 0.2, x, 0.1), lambda x: np.sin(6 * x))


def music(kind: int, random: np.random.Generator, n: int) -> Array:
    match kind:
        case 0:
            x = random.uniform(-1, 1, n)
        case 1:
            x = signal.lfilter([1], [1, -0.99], random.normal(size=n))
        case 2:
            x = np.sin(np.arange(n) * random.uniform(0.01, 0.3)) * np.linspace(0.1, 1, n)
        case _:
            x = signal.lfilter([0.05], [1, -0.95], random.normal(size=n)) * np.repeat(
                random.uniform(0.1, 1, 10), n // 10
            )
    return x / np.abs(x).max()


def test_a_device_without_memory_gives_no_alarm_in_50_seeds() -> None:
    # The curve fitted is often too coarse, so that the error follows the row: white, colored, tonal and bursty inputs.
    for seed in range(50):
        random = np.random.default_rng(seed)
        x = music(seed % 4, random, 10_000)
        y = CURVES[seed % 3](x) + (0, 0.01, 0.1)[seed % 3] * random.normal(size=len(x))
        assert lines(x, y, knots=int(random.choice([3, 7, 20]))) == [], (seed, seed % 4, seed % 3)


@pytest.mark.parametrize("kind", range(4))
def test_a_filter_asks_for_a_window(kind: int) -> None:
    x = music(kind, np.random.default_rng(kind), 20_000)
    # 0.3 of the input five rows before: all of the error is explained by it.
    (line,) = lines(x, np.tanh(2 * x) + 0.3 * np.r_[np.zeros(5), x[:-5]])
    assert "the 63 rows before each would explain at least" in line
    assert line.endswith("try --window 64")


def test_past_a_window_a_longer_one_is_asked_for() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 20_000)
    y = x + 0.3 * np.r_[np.zeros(70), x[:-70]]
    assert lines(x, y, window=1) == [], "the 63 rows before do not hold it"
    (line,) = lines(x, y, window=64)
    assert "the 63 rows before those seen would explain at least 100%" in line or "at least 99%" in line
    assert line.endswith("try --window 128")


@pytest.mark.parametrize(("rate", "unit"), [(8000, "ms"), (None, "rows")])
def test_a_compressor_is_known_by_its_level(rate: int | None, unit: str) -> None:
    random = np.random.default_rng(0)
    n = 40_000
    x = random.normal(size=n) * np.repeat(np.exp(0.7 * random.normal(size=200)), n // 200)
    x /= np.abs(x).max()
    level = np.sqrt(signal.lfilter([1 / 400], [1, -1 + 1 / 400], x**2))
    (line,) = lines(x, x / (0.05 + level), rate=rate)
    assert "the level over the last" in line
    assert f" {unit} would explain at least" in line


def test_windows_end_at_a_recording() -> None:
    # Each recording begins with what the one before it ended with: to a window across them it would explain all.
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (200, 100))
    y = x.copy()
    y[1:, :2] += x[:-1, -2:]
    assert lines(x.ravel(), y.ravel(), rate=None, groups=np.repeat(np.arange(200), 100)) == []


def test_rows_without_an_order_and_few_rows_are_let_be() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 1000)
    assert lines(x, x + np.r_[0, x[:-1]]) == [], "100 test rows are too few"
    unordered: Any = SimpleNamespace(ordered=False, test=np.arange(1000), predicted=x)
    table = Table(
        inputs=pd.DataFrame({"input": x}), target=x, key="input", groups=np.zeros(1000, dtype=np.int64),
        file=np.zeros(1000, dtype=np.int64), row=np.arange(1000), paths=[],
    )  # fmt: skip
    assert what_came_before(unordered, table) == []

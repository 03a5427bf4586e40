"""A switch against a tree of ridge lines on a tariff.

Four linear price bands of consumption, 0 to 10,000 kWh, which meet at 1500, 3500 and 6000, and noise of a deviation of
5. For each number of rows and each model at its defaults: the RMSE on 20,000 fresh rows over that of the noise alone;
seconds of processor time to fit, and how many times the tree's. Processor time, because it hardly feels who else is on
the machine; the smallest of the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab import SwitchRegressor
from hardgrad_lab.baselines.leaves import RidgeTree
from hardgrad_lab.baselines.ridge import folds

Array = NDArray[np.float64]
EDGES, PRICES = (0.0, 1500.0, 3500.0, 6000.0, 10_000.0), (0.20, 0.35, 0.50, 0.80)
NOISE, UNSEEN = 5.0, 20_000


def _cost(kwh: Array) -> Array:
    paid: Array = np.interp(kwh, EDGES, np.cumsum([0.0, *np.diff(EDGES) * PRICES]))
    return paid


def _tariff(rows: int, seed: int) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    kwh = random.uniform(EDGES[0], EDGES[-1], rows)
    return kwh, _cost(kwh) + random.normal(0, NOISE, rows)


def _switch(branch: str) -> Callable[[Array, Array], Callable[[Array], Array]]:
    def fit(kwh: Array, paid: Array) -> Callable[[Array], Array]:
        model = SwitchRegressor(branch=branch, random_state=0).fit(kwh[:, None], paid)
        return lambda fresh: model.predict(fresh[:, None])

    return fit


def _tree(kwh: Array, paid: Array) -> Callable[[Array], Array]:
    middle, spread = kwh.mean(), kwh.std()
    made = RidgeTree((kwh - middle)[:, None] / spread, paid[:, None], folds(len(kwh), ordered=False, seed=0), seed=0)
    return lambda fresh: made.predict((fresh - middle)[:, None] / spread)[:, 0]


MODELS = {"tree of ridge lines": _tree, "switch, linear": _switch("linear"), "switch, mlp": _switch("mlp")}


def measure(sizes: tuple[int, ...], rounds: int, seed: int = 0) -> None:
    """Fit each model to so many rows, and print a line for each."""
    fresh, truth = (part for part in _tariff(UNSEEN, seed + 1))
    floor = float(np.sqrt(np.mean((_cost(fresh) - truth) ** 2)))
    print(f"{'':<20} {'rows':>8} {'RMSE / noise':>13} {'seconds':>8} {'/ tree':>7}")
    for rows in sizes:
        kwh, paid = _tariff(rows, seed)
        first = 0.0
        for name, fit in MODELS.items():
            times, errors = [], []
            for _ in range(rounds):
                began = time.process_time()
                predict = fit(kwh, paid)
                times.append(time.process_time() - began)
                errors.append(float(np.sqrt(np.mean((predict(fresh) - truth) ** 2))) / floor)
            first, error = first or min(times), errors[-1]
            print(f"{name:<20} {rows:>8,} {error:>13.3f} {min(times):>8.2f} {min(times) / first:>7.1f}", flush=True)

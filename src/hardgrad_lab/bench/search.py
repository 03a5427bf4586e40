"""What the search for ranges costs.

Five-range linear problems with four planted points. Seconds, and their ratio to one ridge fit of all rows in the same
run, for the path of all numbers of ranges up to eight, the choice of the number, and the bootstrap; the greatest
distance of a point from the planted one, in rows.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Literal

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.bench.race import medians

Policy = Literal["dynamic_programming", "tree"]
Criterion = Literal["bic", "held_out"]
POLICIES: tuple[Policy, ...] = ("dynamic_programming", "tree")
CRITERIA: tuple[Criterion, ...] = ("bic", "held_out")
EDGES = torch.tensor([-0.6, -0.25, 0.1, 0.5], dtype=torch.float64)


def _problem(n: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    key = torch.rand(n, generator=g, dtype=torch.float64) * 2 - 1
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    i = torch.bucketize(key, EDGES, right=True)
    weight = torch.randn(5, d, generator=g, dtype=torch.float64)
    return x, key, (x * weight[i]).sum(1) + 0.1 * torch.randn(n, generator=g, dtype=torch.float64)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    centerd = x - x.mean(0)
    scatter = centerd.T @ centerd
    weights: Tensor = torch.linalg.solve(scatter + 1e-6 * scatter.diagonal().diag(), centerd.T @ (y - y.mean()))
    return weights


def _off_by(found: hg.FoundRanges, key: Tensor) -> int:
    """The greatest number of rows between a found point and the planted one; -1 for another number of points."""
    if len(found) != len(EDGES) + 1:
        return -1
    points = torch.tensor(found.points[1:-1], dtype=torch.float64)
    return int((torch.bucketize(points, key.sort().values) - torch.bucketize(EDGES, key.sort().values)).abs().max())


def _search(
    rows: tuple[Tensor, Tensor, Tensor], policy: Policy, criterion: Criterion, bootstrap: int = 0
) -> hg.FoundRanges:
    seeded = torch.Generator().manual_seed(0)
    return hg.search_ranges(
        *rows, max_ranges=8, policy=policy, criterion=criterion, bootstrap=bootstrap, generator=seeded
    )


def measure(rounds: int) -> None:
    """Search rows of four sizes, and print a line for each way to do it."""
    for n, d in ((2_000, 10), (20_000, 10), (20_000, 40), (200_000, 10)):
        x, key, y = _problem(n, d, 0)
        one = medians({"": lambda: _ridge(x, y)}, rounds, warm=1)[""]  # noqa: B023
        print(f"\nn = {n:,}, d = {d}: one ridge fit {1e3 * one:.2f} ms")
        for policy, criterion in itertools.product(POLICIES, CRITERIA):
            search = partial(_search, (x, key, y), policy, criterion)
            took, rows = medians({"": search}, rounds, warm=1)[""], _off_by(search(), key)
            print(f"  {policy:20} {criterion:9} {took:7.3f} s {took / one:8.0f} fits   points off by {rows} rows")
            if n == 2_000 and (policy, criterion) == (POLICIES[-1], CRITERIA[-1]):
                took = medians({"": partial(search, bootstrap=100)}, 1, warm=0)[""]
                print(f"  {policy:20} {criterion:9} {took:7.3f} s {took / one:8.0f} fits   with 100 resamples")

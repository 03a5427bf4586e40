"""What the search for ranges costs. Usage: python benchmarks/search.py [--rounds 5]

Five-range linear problems with four planted points. Seconds, and their ratio to one ridge fit of all rows in the same
run, for the path of all numbers of ranges up to eight, the choice of the number, and the bootstrap; the greatest
distance of a point from the planted one, in rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import hardgrad as hg

EDGES = torch.tensor([-0.6, -0.25, 0.1, 0.5], dtype=torch.float64)


def problem(n: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    key = torch.rand(n, generator=g, dtype=torch.float64) * 2 - 1
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    i = torch.bucketize(key, EDGES, right=True)
    weight = torch.randn(5, d, generator=g, dtype=torch.float64)
    return key, x, (x * weight[i]).sum(1) + 0.1 * torch.randn(n, generator=g, dtype=torch.float64)


def ridge(x: Tensor, y: Tensor) -> Tensor:
    centerd = x - x.mean(0)
    scatter = centerd.T @ centerd
    return torch.linalg.solve(scatter + 1e-6 * scatter.diagonal().diag(), centerd.T @ (y - y.mean()))


def seconds(run: Callable[[], object], rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def off_by(found: hg.FoundRanges, key: Tensor) -> int:
    """The greatest number of rows between a found point and the planted one; -1 for another number of points."""
    if len(found) != len(EDGES) + 1:
        return -1
    points = torch.tensor(found.points[1:-1], dtype=torch.float64)
    return int((torch.bucketize(points, key.sort().values) - torch.bucketize(EDGES, key.sort().values)).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), up to 8 ranges, median of {options.rounds}")
    for n, d in ((2_000, 10), (20_000, 10), (20_000, 40), (200_000, 10)):
        key, x, y = problem(n, d, 0)
        one = seconds(lambda: ridge(x, y), options.rounds)  # noqa: B023
        print(f"\nn = {n:,}, d = {d}: one ridge fit {1e3 * one:.2f} ms")
        for policy in ("dynamic_programming", "tree"):
            for criterion in ("bic", "held_out"):

                def search(**more: int) -> hg.FoundRanges:
                    generator = torch.Generator().manual_seed(0)
                    settings = {"policy": policy, "criterion": criterion, "generator": generator}  # noqa: B023
                    return hg.search_ranges(x, key, y, max_ranges=8, **settings, **more)  # noqa: B023

                took, rows = seconds(search, options.rounds), off_by(search(), key)
                print(f"  {policy:20} {criterion:9} {took:7.3f} s {took / one:8.0f} fits   points off by {rows} rows")
        if n == 2_000:
            took = seconds(lambda: search(bootstrap=100), 1)
            print(f"  {policy:20} {criterion:9} {took:7.3f} s {took / one:8.0f} fits   with 100 resamples")


if __name__ == "__main__":
    main()

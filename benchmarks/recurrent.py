"""What switching along a sequence costs: forward and backward over one fused GRU on the same batch, in one run.

Usage: python benchmarks/recurrent.py [--rounds 20] [--time 64]

Rows differ in their keys. A range lasts a number of steps drawn evenly from 1 .. 2 * hold - 1, so hold on average;
"hold 1" draws a new range at every step. The plain loop is one cell call for each step and visited branch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import hardgrad as hg

FEATURES = 4


def keys_of(batch: int, steps: int, ranges: int, hold: int) -> Tensor:
    rows = []
    for _ in range(batch):
        lengths = torch.randint(1, 2 * hold, (steps,))
        rows.append((torch.randint(ranges, (steps,)) + 0.5).repeat_interleave(lengths)[:steps])
    return torch.stack(rows)


def race(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, called in turn so that a busy machine slows all alike."""
    for run in contestants.values():
        run()
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in list(contestants.items())[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def plain_loop(cells: list[nn.GRUCell], x: Tensor, index: Tensor) -> Tensor:
    h, outputs = x.new_zeros(len(x), cells[0].hidden_size), []
    for t in range(x.shape[1]):
        for i in index[:, t].unique().tolist():
            rows = (index[:, t] == i).nonzero()[:, 0]
            h = h.index_copy(0, rows, cells[i](x[rows, t], h[rows]))
        outputs.append(h)
    return torch.stack(outputs, 1)


def compare(batch: int, steps: int, hidden: int, ranges: int, hold: int, rounds: int) -> None:
    gru = nn.GRU(FEATURES, hidden, batch_first=True)
    x, key = torch.randn(batch, steps, FEATURES), keys_of(batch, steps, ranges, hold)
    condition = hg.Ranges(list(range(ranges + 1)))
    contestants: dict[str, Callable[[], object]] = {"fused": lambda: gru(x)[0].sum().backward()}
    for policy in ("shared", "per_branch", "reset"):
        switch = hg.RecurrentSwitch(condition, gru, state=policy)
        contestants[policy] = lambda switch=switch: switch(x, key)[0].sum().backward()
    cells = [nn.GRUCell(FEATURES, hidden) for _ in range(ranges)]
    index = condition.index(key)
    contestants["loop"] = lambda: plain_loop(cells, x, index).sum().backward()
    seconds = race(contestants, rounds)
    ratios = "  ".join(f"{name} {value / seconds['fused']:6.2f}" for name, value in seconds.items() if name != "fused")
    print(f"B {batch:3} H {hidden:3} N {ranges:3} hold {hold:3}   fused {1e3 * seconds['fused']:7.2f} ms   {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--time", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} thread(s), T={options.time}, {FEATURES} features, one layer")
    for batch, hidden, ranges in ((1, 8, 6), (32, 8, 6), (32, 64, 6), (32, 64, 64)):
        for hold in (1, 4, 16):
            compare(batch, options.time, hidden, ranges, hold, options.rounds)


if __name__ == "__main__":
    main()

"""What switching along a sequence costs: forward and backward over one fused GRU on the same batch, in one run.

Rows differ in their keys. A range lasts a number of steps drawn evenly from 1 .. 2 * hold - 1, so hold on average;
"hold 1" draws a new range at every step. The plain loop is one cell call for each step and visited branch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.bench.race import medians

FEATURES = 4


def _keys_of(batch: int, steps: int, ranges: int, hold: int) -> Tensor:
    rows = []
    for _ in range(batch):
        lengths = torch.randint(1, 2 * hold, (steps,))
        rows.append((torch.randint(ranges, (steps,)) + 0.5).repeat_interleave(lengths)[:steps])
    return torch.stack(rows)


def _plain_loop(cells: list[nn.GRUCell], x: Tensor, index: Tensor) -> Tensor:
    h, outputs = x.new_zeros(len(x), cells[0].hidden_size), []
    for t in range(x.shape[1]):
        for i in index[:, t].unique().tolist():
            rows = (index[:, t] == i).nonzero()[:, 0]
            h = h.index_copy(0, rows, cells[i](x[rows, t], h[rows]))
        outputs.append(h)
    return torch.stack(outputs, 1)


def _step(switch: nn.Module, x: Tensor, key: Tensor) -> None:
    switch(x, key)[0].sum().backward()


def _compare(batch: int, steps: int, hidden: int, ranges: int, hold: int, rounds: int) -> None:
    gru = nn.GRU(FEATURES, hidden, batch_first=True)
    x, key = torch.randn(batch, steps, FEATURES), _keys_of(batch, steps, ranges, hold)
    condition = hg.Ranges(list(range(ranges + 1)))
    contestants: dict[str, Callable[[], object]] = {"fused": lambda: gru(x)[0].sum().backward()}
    for policy in ("shared", "per_branch", "reset"):
        contestants[policy] = partial(_step, hg.RecurrentSwitch(condition, gru, state=policy), x, key)
    cells = [nn.GRUCell(FEATURES, hidden) for _ in range(ranges)]
    index = condition.index(key)
    contestants["loop"] = lambda: _plain_loop(cells, x, index).sum().backward()
    seconds = medians(contestants, rounds)
    ratios = "  ".join(f"{name} {value / seconds['fused']:6.2f}" for name, value in seconds.items() if name != "fused")
    print(f"B {batch:3} H {hidden:3} N {ranges:3} hold {hold:3}   fused {1e3 * seconds['fused']:7.2f} ms   {ratios}")


def measure(rounds: int, steps: int) -> None:
    """Compare batches, widths and ranges, and print a line for each."""
    torch.manual_seed(0)
    for batch, hidden, ranges in ((1, 8, 6), (32, 8, 6), (32, 64, 6), (32, 64, 64)):
        for hold in (1, 4, 16):
            _compare(batch, steps, hidden, ranges, hold, rounds)

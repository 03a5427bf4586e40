"""What a switch costs: forward and backward over one plain network on the same batch, for batches and ranges."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.bench import peers
from hardgrad_lab.bench.race import Contender, race

# Ways that run every branch on every row are left out where that is more work than this, in rows.
MOST_ROWS = 300_000
PEERS = {
    "where": peers.where,
    "vmap": peers.vmap,
    "cond": peers.cond,
    "gather": peers.gather,
    "padded": peers.padded,
    "sparse rows": peers.sparse_rows,
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What to measure.

    Args:
        rows: batch sizes.
        ranges: numbers of ranges.
        widths: the layers of a branch, inputs first.
        skewed: draw the keys from a Gaussian over ranges of equal width, as an audio signal's are, not evenly.
        adam: count a fused Adam step and the dropping of gradients in.
        seconds: how long to measure each cell.
        peers: whether to run the other ways too.
        other: the ``src`` folder of another checkout of hardgrad, whose bank is run too.
        device: where it all is.
    """

    rows: tuple[int, ...] = (1, 64, 1024, 16384)
    ranges: tuple[int, ...] = (2, 10, 64, 512)
    widths: tuple[int, ...] = (80, 100, 100, 1)
    skewed: bool = False
    adam: bool = False
    seconds: float = 3.0
    peers: bool = True
    other: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Cell:
    """One batch size and number of ranges: microseconds of the plain network, and what each way takes of it."""

    rows: int
    ranges: int
    plain: float
    ratios: dict[str, float] = field(default_factory=dict)


def measure(grid: Grid) -> Iterator[Cell]:
    """Measure the grid, cell by cell."""
    for ranges in grid.ranges:
        for rows in grid.rows:
            yield measure_cell(grid, rows, ranges)


def measure_cell(grid: Grid, rows: int, ranges: int) -> Cell:
    """Measure one batch size and one number of ranges."""
    torch.manual_seed(0)
    with torch.device(grid.device):
        contenders = _contenders(grid, rows, ranges)
    taken = race(contenders, grid.seconds, device=grid.device)
    return Cell(rows, ranges, 1e6 * taken["plain"], {name: t / taken["plain"] for name, t in taken.items()})


def _contenders(grid: Grid, rows: int, ranges: int) -> dict[str, Contender]:
    points = [-1 + 2 * i / ranges for i in range(ranges + 1)]
    key = torch.randn(rows).mul(0.25).clamp(-1, 1) if grid.skewed else torch.rand(rows) * 2 - 1
    x = torch.randn(rows, grid.widths[0])
    plain = network(grid.widths)
    contenders = {"plain": _step([*plain.parameters()], lambda: plain(x), grid.adam)}
    for bank in (True, False):
        switch = hg.Switch(hg.Ranges(points), network(grid.widths), bank=bank)
        run = _call(switch, x, key)
        contenders["switch, bank" if bank else "switch"] = _step([*switch.parameters()], run, grid.adam)
    if grid.other is not None:
        older = other_package(grid.other)
        switch = older.Switch(older.Ranges(points), network(grid.widths), bank=True)
        contenders["other bank"] = _step([*switch.parameters()], _call(switch, x, key), grid.adam)
    index = hg.Ranges(points).index(key)
    for name, build in PEERS.items() if grid.peers else ():
        if _too_much(name, rows, ranges) or (
            grid.adam and name == "sparse rows"
        ):  # no Adam here takes sparse gradients
            continue
        parameters, peer = build([network(grid.widths) for _ in range(ranges)])
        contenders[name] = _step(parameters, _call(peer, x, index), grid.adam)
    return contenders


def other_package(folder: Path) -> ModuleType:
    """Return the package ``hardgrad`` of another checkout, loaded beside this one.

    Raises:
        ValueError: if there is none.
    """
    if not (folder / "hardgrad" / "__init__.py").is_file():
        raise ValueError(f"--other must be a folder that holds the package hardgrad, got {folder}; give its src folder")
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "hardgrad"}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        # An operator is registered once in a process; ours serves both.
        with patch("torch.library.Library"), patch("torch.library.register_fake"):
            return importlib.import_module("hardgrad")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "hardgrad"]:
            del sys.modules[name]
        sys.modules.update(ours)


def network(widths: tuple[int, ...]) -> nn.Module:
    """Return linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(before, after)] if i == 0 else [nn.ReLU(), nn.Linear(before, after)]
    return nn.Sequential(*layers)


def _call(run: Callable[[Tensor, Tensor], Tensor], x: Tensor, by: Tensor) -> Callable[[], Tensor]:
    return lambda: run(x, by)


def _step(parameters: list[Tensor], forward: Callable[[], Tensor], adam: bool) -> Contender:
    def no_gradients() -> None:
        for parameter in parameters:
            parameter.grad = None

    def step() -> None:
        forward().square().mean().backward()

    if not adam:
        return Contender(step, before=no_gradients)
    optimizer = torch.optim.Adam(parameters, fused=True)

    def whole_step() -> None:
        optimizer.zero_grad()
        step()
        optimizer.step()

    return Contender(whole_step)


def _too_much(name: str, rows: int, ranges: int) -> bool:
    if name == "cond":
        return rows > 1 or ranges > 2  # one row at a time, and tens of milliseconds for each
    if name in ("where", "vmap"):
        return rows * ranges > MOST_ROWS or ranges > 64
    return name == "gather" and rows > 1024

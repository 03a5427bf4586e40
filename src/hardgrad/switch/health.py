"""What is wrong with a switch, range by range: never visited, dead, constant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardgrad._shown.page import page, points, words
from hardgrad._shown.pictures import bar
from hardgrad._shown.table import Table
from hardgrad._shown.width import wrapped
from hardgrad._torch_state import hides_values
from hardgrad.switch.branch_layer import BranchLayer
from hardgrad.switch.branches.state import evaluating

# Leaves whose units can die: what they return no longer depends on the row. All of torch's elementwise activations are
# in this module; attention is there too and has parts of its own.
ACTIVATIONS = tuple(
    kind
    for name, kind in vars(torch.nn.modules.activation).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and name not in ("Module", "MultiheadAttention")
)

COUNTERS = ("visits", "below", "above")


@dataclass(frozen=True)
class RangeHealth:
    """One range's.

    Args:
        label: the range.
        rows: how many of the inspected rows fell into it.
        visits: how many rows it has seen so far, these not counted.
        units: for each activation by name, (dead, all); a dead unit returns the same number for all rows.
        constant: whether the branch returns the same for all its rows; None with fewer than two different rows.
    """

    label: str
    rows: int
    visits: int
    units: dict[str, tuple[int, int]]
    constant: bool | None

    @property
    def dead(self) -> int:
        """How many units are dead."""
        return sum(dead for dead, _ in self.units.values())

    def problems(self) -> Iterator[str]:
        """Say what is wrong, a sentence each."""
        if not self.visits:
            yield f"range {self.label}: no row so far; its branch still has its initial weights."
        if not self.rows:
            yield f"range {self.label}: none of the inspected rows falls into it."
        for name, (dead, all_) in self.units.items():
            if dead == all_:
                yield (
                    f"range {self.label}: all {all_} units of layer {name} are dead, so no gradient passes it; build "
                    "the switch with normalize, or draw the branch's weights again."
                )
        if self.constant:
            yield f"range {self.label}: its branch returns the same for all its {self.rows} rows."


@dataclass(frozen=True, repr=False)
class Health:
    """What ``inspect`` found.

    Args:
        ranges: one entry a range.
    """

    ranges: tuple[RangeHealth, ...]

    @property
    def problems(self) -> list[str]:
        """Sentences, empty if nothing is wrong."""
        return [sentence for one in self.ranges for sentence in one.problems()]

    def __str__(self) -> str:
        return "\n".join([*self._table().lines(), *map(wrapped, self.problems)])

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        return f"<Health of {len(self.ranges)} ranges: {len(self.problems) or 'no'} problems>"

    def _repr_html_(self) -> str:
        """Return the table for a notebook, with what is wrong."""
        said = words("", "problems:") + points(self.problems) if self.problems else words("nothing is wrong")
        return page(self._table().html("ranges of a switch"), said)

    def _table(self) -> Table:
        rows = []
        for one in self.ranges:
            units = sum(all_ for _, all_ in one.units.values())
            dead = f"{one.dead} of {units}" if one.units else "-"
            output = "-" if one.constant is None else "constant" if one.constant else "varies"
            rows.append((one.label, f"{one.rows}", f"{one.visits}", dead, output))
        most = max((one.rows for one in self.ranges), default=0) or 1
        return Table(
            ("range", "rows", "visits", "dead units", "output"),
            rows,
            {1: [bar(one.rows / most) for one in self.ranges]},
        )


@torch.no_grad()
def inspect(switch: BranchLayer, x: Tensor, key: Tensor | None = None) -> Health:
    """Look for ranges that were never visited, whose units are dead, or whose branch returns a constant.

    Each branch runs once on its own rows, in evaluation mode; no visit is counted and nothing moves: weights, buffers,
    counters and torch's random numbers are afterwards what they were. Units are seen
    where an activation is a module (``torch.nn.ReLU()``), not where a branch calls a function.

    Args:
        switch: the switch.
        x: as for the switch; some thousand rows of training data do.
        key: as for the switch.

    Returns:
        A ``Health``; print it, or read ``.problems``.

    Raises:
        TypeError: for anything but a ``Switch``.
        ValueError: for a key that does not match x, as the switch raises, and for a branch that returns no tensor.

    Example:
        >>> import torch, hardgrad as hg
        >>> branch = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        >>> switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), branch)
        >>> _ = torch.nn.init.constant_(switch.branch(0)[0].bias, -9.0)
        >>> x = torch.linspace(0, 0.9, 10).unsqueeze(1)
        >>> _ = switch(x, key=x[:, 0])
        >>> for problem in hg.switch.inspect(switch, x, key=x[:, 0]).problems:
        ...     print(problem[:56])
        range [0, 1): all 4 units of layer 1 are dead, so no gra
        range [0, 1): its branch returns the same for all its 10
        range [1, 2]: no row so far; its branch still has its in
        range [1, 2]: none of the inspected rows falls into it.
    """
    if not isinstance(switch, BranchLayer):
        raise TypeError(
            f"inspect: switch must be a Switch, got {type(switch).__name__}; give the switch itself, out of its wrapper"
        )
    counters = [counter for name, counter in switch.ranges.named_buffers() if name.split(".")[-1] in COUNTERS]
    with _as_before(counters):
        rows, _, index, _ = switch.routed(x, key)
    if hides_values(index):
        raise RuntimeError(
            "inspect: values of the rows are read, which torch.func.vmap and the meta device hide; call it outside"
        )
    visits = switch.ranges.visits.tolist()
    own = switch.scaled(rows, index)
    ranges = []
    for i, branch in enumerate(switch.branches):
        mine = own[index == i]
        units, constant = _look(i, branch, mine) if len(mine) else ({}, None)
        ranges.append(RangeHealth(switch.ranges.label(i), len(mine), visits[i], units, constant))
    return Health(tuple(ranges))


def _look(i: int, branch: nn.Module, rows: Tensor) -> tuple[dict[str, tuple[int, int]], bool | None]:
    if not _varies(rows).any():  # one row, or one row many times, tells nothing
        return {}, None
    with _as_before(list(branch.buffers())), evaluating(branch), _watched(branch) as varied, _seed_kept(rows):
        output = branch(rows)
    if not isinstance(output, Tensor):
        raise ValueError(
            f"inspect: branch {i} ({type(branch).__name__}) must return one tensor, got {type(output).__name__}"
        )
    units = {name: (int((~moved).sum()), moved.numel()) for name, moved in varied.items()}
    return units, not bool(_varies(output).any())


@contextmanager
def _as_before(buffers: list[Tensor]) -> Iterator[None]:
    """Put buffers back after a while: counters, and whatever a branch keeps of the rows it sees."""
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, before in zip(buffers, kept, strict=True):
            if not torch.equal(buffer, before):
                buffer.copy_(before)


def _seed_kept(rows: Tensor) -> AbstractContextManager[None]:
    """Leave torch's random numbers where they are, whatever a branch draws."""
    return torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else [])


@contextmanager
def _watched(branch: nn.Module) -> Iterator[dict[str, Tensor]]:
    varied: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def see(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            if not len(output):
                return
            now = _varies(output)
            width = tuple(now.shape)  # one activation may serve layers of several widths
            key = name if varied.get(name, now).shape == now.shape else f"{name} {width}"
            varied[key] = varied.get(key, torch.zeros_like(now)) | now

        return module.register_forward_hook(see)

    handles = [watch(name or "0", module) for name, module in branch.named_modules() if isinstance(module, ACTIVATIONS)]
    try:
        yield varied
    finally:
        for handle in handles:
            handle.remove()


def _varies(rows: Tensor) -> Tensor:
    """Return for each column whether its rows differ."""
    flat = rows.flatten(1) if rows.ndim > 1 else rows.unsqueeze(1)
    return (flat != flat[:1]).any(0)

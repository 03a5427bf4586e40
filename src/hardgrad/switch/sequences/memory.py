"""Which state a recurrent branch reads at each step: one handed on, or one of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_forward_mode, in_transform
from hardgrad.switch.sequences import moments, pieces

# So few rows that torch's fused layers, a call for each run, lose to the cells whatever the runs' length (measured on a
# CPU, forward and backward over one fused call: 1 row 1.1 to 2.1 against 0.8 to 1.1, 32 rows 1.0 to 1.5 against 1.5).
FEW = 8


def _in_own_precision(function: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Tensor, Any]]:
    """Keep autocast out: it would hand on states in half precision, which forget, or in two precisions at once."""

    @functools.wraps(function)
    def run(branches: nn.ModuleList, x: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Any]:
        if not torch.is_autocast_enabled(x.device.type):
            return function(branches, x, *args, **options)
        with torch.autocast(x.device.type, enabled=False):
            return function(branches, x.to(_dtype(branches, x)), *args, **options)

    return run


def _dtype(branches: nn.ModuleList, x: Tensor) -> torch.dtype:
    """The dtype of the weights, also of a replica's, whose weights are no parameters."""
    for module in branches.modules():
        held: dict[str, Tensor | None] = {**module._parameters, **getattr(module, "_former_parameters", {})}
        for weight in held.values():
            if weight is not None and weight.is_floating_point():
                return weight.dtype
    return x.dtype


@_in_own_precision
def run_shared(branches: nn.ModuleList, x: Tensor, index: Tensor, hidden: Any) -> tuple[Tensor, Any]:
    """Run (B, T, F) by (B, T) with one state a row, whichever branch left it; return y and the state at the end."""
    visited = index.unique().tolist()
    one_kind = moments.alike([branches[i] for i in visited])
    fused = len(x) > FEW or x.is_cuda or not one_kind or len(visited) == 1
    fused = fused and not _differentiated_otherwise()
    if fused and bool((index == index[:1]).all()):
        return _in_step(branches, x, index[0], hidden)
    if not one_kind:
        return _round_by_round(branches, x, index, hidden)
    hidden = pieces.zeros(branches[visited[0]], len(x), x) if hidden is None else hidden
    lengths = torch.full(index.shape[:1], index.shape[1], device=index.device)
    plan = moments.schedule(lengths, index.reshape(-1), len(branches))
    y, hidden = moments.run(list(branches), x.flatten(0, 1), plan, hidden)
    return y.unflatten(0, index.shape), hidden


def _in_step(branches: nn.ModuleList, x: Tensor, index: Tensor, hidden: Any) -> tuple[Tensor, Any]:
    """All rows switch at the same steps: one call for each run."""
    taken, lengths = index.unique_consecutive(return_counts=True)
    outputs = []
    for i, part in zip(taken.tolist(), x.split(lengths.tolist(), 1), strict=True):
        y, new = pieces.steps(branches, i, part, hidden)
        _check_one_state(i, hidden, new)
        hidden = new
        outputs.append(y)
    _check_width(outputs)
    return torch.cat(outputs, 1), hidden


def _round_by_round(branches: nn.ModuleList, x: Tensor, index: Tensor, hidden: Any) -> tuple[Tensor, Any]:
    """Rows do not wait for each other: the n-th runs of all rows are a round, with one call for each branch in it."""
    starts = torch.ones_like(index, dtype=torch.bool)
    starts[:, 1:] = index[:, 1:] != index[:, :-1]
    first = starts.reshape(-1).nonzero()[:, 0]
    row, branch = first // index.shape[1], index.reshape(-1)[first]
    lengths = torch.diff(first, append=first.new_tensor([index.numel()]))
    number = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
    positions = torch.arange(index.numel(), device=index.device)
    plan = pieces.plan(positions, lengths, number * len(branches) + branch)
    outputs, begins = [], hidden is None
    for group in plan.groups(x.flatten(0, 1)):
        rows, i = row[group.pieces], group.number % len(branches)
        # Nothing was handed on yet in the first round: its branches begin.
        start = None if begins and group.number < len(branches) else pieces.take(hidden, rows)
        y, new = _call(branches, i, group, start)
        hidden = pieces.blank(new, len(x)) if hidden is None else hidden
        _check_one_state(i, hidden, new)
        hidden = pieces.put(hidden, rows, new)
        outputs.append(y)
    return _back(outputs, plan.steps).unflatten(0, index.shape), hidden


def run_per_branch(
    branches: nn.ModuleList, x: Tensor, index: Tensor, hidden: Any, *, reset: bool
) -> tuple[Tensor, Any]:
    """Run (B, T, F) by (B, T), each branch with states of its own; return y and the states at the end.

    ``reset`` starts each run of a range from zero, unless it goes on from the last call: of each row the branch of the
    last step alone has left a state then, the others zero. Else a branch goes on from where it stopped.
    """
    flat = index.reshape(-1)
    steps = flat.argsort(stable=True)  # by branch, then row, then time
    y, hidden = own_states(branches, x, flat[steps], steps, hidden, reset=reset)
    return _back([y], steps).unflatten(0, index.shape), hidden


@_in_own_precision
def own_states(
    branches: nn.ModuleList,
    x: Tensor,
    branch: Tensor,
    steps: Tensor,
    hidden: Any,
    *,
    reset: bool = False,
) -> tuple[Tensor, Any]:
    """The same for any (branch, step) pairs, (M,) each, sorted by branch, row and time; returns outputs (M, H)."""
    time, row = x.shape[1], steps // x.shape[1]
    begins = torch.ones_like(steps, dtype=torch.bool)
    begins[1:] = (branch[1:] != branch[:-1]) | (row[1:] != row[:-1])
    if reset:
        begins[1:] |= steps[1:] != steps[:-1] + 1
    heads = begins.nonzero()[:, 0]
    lengths = torch.diff(heads, append=heads.new_tensor([len(steps)]))
    rows, owner = row[heads], branch[heads]
    old = list(hidden or (None,) * len(branches))
    goes_on, is_last = torch.ones_like(owner, dtype=torch.bool), torch.ones_like(owner, dtype=torch.bool)
    if reset:
        is_last = steps[heads + lengths - 1] % time == time - 1
        goes_on = steps[heads] % time == 0
    taken, counts = owner.unique_consecutive(return_counts=True)
    starts, cut = {}, counts.tolist()
    columns = [taken.tolist(), rows.split(cut), goes_on.split(cut), is_last.split(cut)]
    for i, mine, on, _ in zip(*columns, strict=True):
        starts[i] = _start(branches[i], x, mine, on, old[i])
    y, ends = _run(branches, x.flatten(0, 1).index_select(0, steps), lengths, owner, starts)
    new: list[Any] = [None] * len(branches) if reset else old
    for i, mine, _, last in zip(*columns, strict=True):
        new[i] = _end(x, mine, last, None if reset else old[i], ends[i])
    return y, tuple(new)


def _start(branch: nn.Module, x: Tensor, rows: Tensor, goes_on: Tensor, old: Any) -> Any:
    if old is None or not bool(goes_on.any()):
        return pieces.zeros(branch, len(rows), x)
    places = goes_on.nonzero()[:, 0]
    return pieces.put(pieces.blank(old, len(rows)), places, pieces.take(old, rows[places]))


def _end(x: Tensor, rows: Tensor, is_last: Tensor, old: Any, ends: Any) -> Any:
    places = is_last.nonzero()[:, 0]
    if not len(places):
        return old
    old = pieces.blank(ends, len(x)) if old is None else old
    return pieces.put(old, rows[places], pieces.take(ends, places))


def _run(
    branches: nn.ModuleList, rows: Tensor, lengths: Tensor, owner: Tensor, starts: dict[int, Any]
) -> tuple[Tensor, dict[int, Any]]:
    """Run pieces sorted by their branch, all at once or branch by branch."""
    if len(starts) > 1 and moments.alike([branches[i] for i in starts]):
        start = pieces.map_state(lambda *parts: torch.cat(parts, 1), *starts.values())
        plan = moments.schedule(lengths, torch.repeat_interleave(owner, lengths), len(branches))
        y, end = moments.run(list(branches), rows, plan, start)
        counts = owner.unique_consecutive(return_counts=True)[1].tolist()
        return y, {i: pieces.cut(end, counts, number) for number, i in enumerate(starts)}
    plan_ = pieces.plan(torch.arange(len(rows), device=rows.device), lengths, owner)
    outputs, ends, first = [], {}, 0
    for group in plan_.groups(rows):
        i, here = group.number, group.pieces - first
        y, end = _call(branches, i, group, pieces.take(starts[i], here))
        outputs.append(y)
        ends[i] = pieces.take(end, here.argsort())
        first += len(here)
    return _back(outputs, plan_.steps), ends


def _differentiated_otherwise() -> bool:
    """Whether something else than a backward runs, of which torch's fused layers know little: then cells run."""
    return in_transform() or in_forward_mode()


def _call(branches: nn.ModuleList, i: int, group: pieces.Group, state: Any) -> tuple[Tensor, Any]:
    """``pieces.call``, or the same by cells."""
    if not (_differentiated_otherwise() and moments.alike([branches[i]])):
        return pieces.call(branches, i, group, state)
    device = group.rows.device
    rank = torch.arange(len(group.pieces), device=device)
    running = rank < group.sizes.to(device).unsqueeze(1)  # (steps, pieces)
    begins = group.sizes.cumsum(0).to(device) - group.sizes.to(device)
    place = (begins.unsqueeze(1) + rank).t()[running.t()]  # piece after piece
    plan = moments.schedule(running.sum(0), torch.full_like(place, i), len(branches))
    start = pieces.zeros(branches[i], len(rank), group.rows) if state is None else state
    y, end = moments.run(list(branches), group.rows.index_select(0, place), plan, start)
    return _back([y], place), end


def _back(outputs: list[Tensor], steps: Tensor) -> Tensor:
    """Join outputs and bring them from the order of steps into that of time."""
    _check_width(outputs)
    inverse = torch.empty_like(steps).scatter_(0, steps, torch.arange(len(steps), device=steps.device))
    return torch.cat(outputs).index_select(0, inverse)


def _check_width(outputs: list[Tensor]) -> None:
    widths = {output.shape[-1] for output in outputs}
    if len(widths) > 1:
        raise ValueError(
            f"RecurrentSwitch: branches must return one width, got {sorted(widths)}; give them one hidden size, or a "
            "head of one size"
        )


def check_one_state(branches: Sequence[nn.Module]) -> None:
    """Raise if torch's layers, whose states are known before they run, cannot hand one state on."""
    known = [pieces.zeros(branch, 0, torch.empty(0, device="cpu")) for branch in branches]
    for state in known:
        if state is not None:
            _check_one_state(None, next(other for other in known if other is not None), state)


def _check_one_state(i: int | None, handed: Any, left: Any) -> None:
    """Raise if what a branch left has another shape than what it was handed, None for nothing."""
    if handed is not None and pieces.shape(handed) != pieces.shape(left):
        raise pieces.one_shape(pieces.shape(handed), pieces.shape(left), i)

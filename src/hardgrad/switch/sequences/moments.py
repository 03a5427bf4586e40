"""Many recurrent branches at once: all cells of one moment in a few kernels, each row by its branch's weights.

A fused recurrent layer of torch runs one set of weights. Sequences that switch at different times then need a call for
each piece, and calls are what costs. Here a moment's rows lie sorted by branch: one matrix product for each branch in
it, and one set of elementwise kernels for all. Every cell's backward is linear in the incoming gradient, so its slopes
are computed for all moments at once, and the loop back in time is a multiplication and the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad._torch_state import in_forward_mode, in_transform
from hardgrad.switch.sequences import pieces
from hardgrad.switch.sequences.cells import CELLS, Cell


class Schedule(NamedTuple):
    """Cells by moment, within a moment by branch; a cell reads the state of another, or a start state."""

    order: Tensor  # (M,), the cells as they run, by their places in the caller's order
    before: Tensor  # (M,), whose state each reads: p < P the start state of piece p, P + m the m-th cell that ran
    moments: list[list[tuple[int, int, int]]]  # of each moment its (branch, from, to), cells from .. to - 1
    by_branch: Tensor  # (M,), the cells as they run, sorted by branch
    sizes: list[int]  # how many cells each branch has
    ends: Tensor  # (P,), of each piece the place of its last cell among those that ran


def alike(branches: Sequence[nn.Module]) -> bool:
    """Whether branches are torch's recurrent layers of one kind and one size, which can run together."""
    if not all(isinstance(b, nn.RNNBase) and pieces.is_plain(b) and not b.proj_size for b in branches):
        return False
    names = ("mode", "input_size", "hidden_size", "num_layers", "bias", "dropout", "training")
    return len({tuple(getattr(branch, name) for name in names) for branch in branches}) == 1


def schedule(lengths: Tensor, branch: Tensor, branches: int) -> Schedule:
    """Order the cells of pieces. lengths: (P,); branch: (M,), of each cell, piece after piece."""
    pieces, cells = len(lengths), len(branch)
    numbers, counting = torch.arange(pieces, device=branch.device), torch.arange(cells, device=branch.device)
    piece = torch.repeat_interleave(numbers, lengths)
    ends = lengths.cumsum(0)
    time = counting - (ends - lengths)[piece]
    order = (time * branches + branch).argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, counting)
    before = torch.where(time == 0, piece, pieces + rank.roll(1))[order]
    spans, sizes = (time * branches + branch)[order].unique_consecutive(return_counts=True)
    moments: list[list[tuple[int, int, int]]] = [[] for _ in range(int(lengths.max()))]
    start = 0
    for span, size in zip(spans.tolist(), sizes.tolist(), strict=True):
        moments[span // branches].append((span % branches, start, start + size))
        start += size
    taken = branch[order]
    counts = torch.bincount(taken, minlength=branches).tolist()
    return Schedule(order, before, moments, taken.argsort(stable=True), counts, rank[ends - 1])


def run(branches: Sequence[nn.Module], rows: Tensor, plan: Schedule, starts: Any) -> tuple[Tensor, Any]:
    """Run all cells.

    Args:
        branches: as ``alike`` demands; those without a cell may be anything.
        rows: (M, F), the cells' inputs, piece after piece.
        plan: from ``schedule``.
        starts: the pieces' states before their first cell, (layers, P, H), of an LSTM a pair of them.

    Returns:
        outputs (M, H) in the order of rows, and the pieces' states after their last cell, as ``starts``.
    """
    first = cast(nn.RNNBase, next(b for b, size in zip(branches, plan.sizes, strict=True) if size))
    cell, state = CELLS[first.mode], starts if isinstance(starts, tuple) else (starts,)
    given, wide = rows.dtype, torch.promote_types(rows.dtype, torch.float32)
    # Half precision along a sequence would round at every step: the cells run in float32, and the end is rounded once.
    x, state, ends = rows.index_select(0, plan.order).to(wide), tuple(part.to(wide) for part in state), []
    for layer in range(first.num_layers):
        if layer:
            x = F.dropout(x, first.dropout, first.training)
        weights = [_weights(b, layer, wide) if size else None for b, size in zip(branches, plan.sizes, strict=True)]
        table = _cells(x, torch.cat([part[layer] for part in state], -1), cell, plan, weights)
        ends.append(table.index_select(0, plan.ends))
        x = table[:, : first.hidden_size]
    inverse = torch.empty_like(plan.order).scatter_(0, plan.order, torch.arange(len(x), device=x.device))
    end = tuple(torch.stack(ends).to(given).split(first.hidden_size, -1))
    y = x.index_select(0, inverse).to(given)
    return y, end if first.mode == "LSTM" else end[0]


def _cells(
    x: Tensor, starts: Tensor, cell: type[Cell], plan: Schedule, weights: list[list[Tensor | None] | None]
) -> Tensor:
    """The states after all cells of one layer, (M, W)."""
    inputs = _project(x, plan, weights)
    flat = [t for part in weights if part for t in part[2:] if t is not None]
    if in_transform() or in_forward_mode():  # the Function below knows one gradient, of one batch
        return _plain_cells(inputs, starts, cell, plan, flat)
    table: Tensor = _Cells.apply(inputs, starts, cell, plan, *flat)[0]
    return table


def _weights(branch: nn.Module, layer: int, dtype: torch.dtype) -> list[Tensor | None]:
    """Weights and biases of the input, then of the state."""
    names = (f"weight_ih_l{layer}", f"bias_ih_l{layer}", f"weight_hh_l{layer}", f"bias_hh_l{layer}")
    weights: list[Tensor | None] = [getattr(branch, name, None) for name in names]
    return [None if weight is None else weight.to(dtype) for weight in weights]


def _project(x: Tensor, plan: Schedule, weights: list[list[Tensor | None] | None]) -> Tensor:
    """The inputs' share of all gates, each row by its branch's weights: (M, gates * H)."""
    parts = x.index_select(0, plan.by_branch).split(plan.sizes)
    gates = [F.linear(part, cast(Tensor, w[0]), w[1]) for part, w in zip(parts, weights, strict=True) if w]
    inverse = torch.empty_like(plan.by_branch)
    inverse.scatter_(0, plan.by_branch, torch.arange(len(x), device=x.device))
    return torch.cat(gates).index_select(0, inverse)


def _plain_cells(inputs: Tensor, starts: Tensor, cell: type[Cell], plan: Schedule, weights: Sequence[Tensor]) -> Tensor:
    """What ``_Cells`` computes, by operations that torch differentiates itself, in every mode and any number of times.

    Each moment writes the states of the pieces that ran anew, so it takes pieces x moments numbers.
    """
    maps, biases = _by_branch(plan, weights)
    piece = torch.arange(len(starts), device=plan.before.device)  # of each row of the table: start states, then cells
    now, states = starts, []
    for moment in plan.moments:
        start, stop = moment[0][1], moment[-1][2]
        mine = piece[plan.before[start:stop]]
        before = now.index_select(0, mine)
        h = before[:, : cell.hidden(inputs)]
        shared = torch.cat([F.linear(h[a - start : b - start], maps[i], biases[i]) for i, a, b in moment])
        states.append(cell.plain(inputs[start:stop], shared, before))
        now = now.index_copy(0, mine, states[-1])
        piece = torch.cat([piece, mine])
    return torch.cat(states)


class _Cells(torch.autograd.Function):
    """The states after all cells, (M, W), from the inputs' share of their gates and the start states, (P, W)."""

    @staticmethod
    def forward(
        inputs: Tensor, starts: Tensor, cell: type[Cell], plan: Schedule, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        gates, (maps, biases) = inputs.clone(), _by_branch(plan, weights)
        spans = [moment[-1][2] - moment[0][1] for moment in plan.moments]
        table = torch.cat([starts, starts.new_empty(len(inputs), starts.shape[1])])
        after, kept = table[len(starts) :], []
        columns = zip(plan.moments, plan.before.split(spans), gates.split(spans), after.split(spans), strict=True)
        for moment, before, own, out in columns:
            state = table.index_select(0, before)
            h = state[:, : cell.hidden(own)]
            shared = torch.empty_like(own)
            for i, start, stop in moment:
                rows = slice(start - moment[0][1], stop - moment[0][1])
                if (bias := biases[i]) is None:
                    torch.mm(h[rows], maps[i].t(), out=shared[rows])
                else:
                    torch.addmm(bias, h[rows], maps[i].t(), out=shared[rows])
            kept.append(cell.step(own, shared, state, out))
        return after.clone(), gates, torch.cat(kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        _, starts, ctx.cell, ctx.plan, *weights = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(starts, *output, *weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # torch's once_differentiable lets a constant gradient pass, and is then wrong
            raise RuntimeError(
                "RecurrentSwitch: gradients of branches that run together cannot be differentiated again, so "
                "create_graph must be False; make the branches modules of your own around torch's layers, which run "
                "one at a time"
            )
        starts, after, gates, kept, *weights = ctx.saved_tensors
        plan, cell = ctx.plan, ctx.cell
        maps, _biases = _by_branch(plan, weights)
        before = torch.cat([starts, after]).index_select(0, plan.before)
        slopes = cell.slopes(gates, kept, before, after)
        table, parts = torch.cat([torch.zeros_like(starts), grad]), []
        for moment in reversed(plan.moments):
            start, stop = moment[0][1], moment[-1][2]
            d = table[len(starts) + start : len(starts) + stop]
            of_gates, direct = cell.back(d, [slope[start:stop] for slope in slopes])
            h = direct.narrow(1, 0, cell.hidden(of_gates))
            for i, first, last in moment:
                h[first - start : last - start].addmm_(of_gates[first - start : last - start], maps[i])
            table.index_add_(0, plan.before[start:stop], direct)
            parts.append(of_gates)
        to_gates = torch.cat(parts[::-1])
        to_inputs = cell.inputs(table[len(starts) :], slopes, to_gates)
        to_weights = _to_weights(plan, to_gates, before[:, : cell.hidden(gates)], len(weights) > len(maps))
        return to_inputs, table[: len(starts)], None, None, *to_weights


def _by_branch(plan: Schedule, weights: Sequence[Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor | None]]:
    """The state's weights and biases of the branches that have cells, from their flat list."""
    taken = [i for i, size in enumerate(plan.sizes) if size]
    per_branch = len(weights) // len(taken)
    maps = dict(zip(taken, weights[::per_branch], strict=True))
    return maps, dict(zip(taken, weights[1::2], strict=True)) if per_branch == 2 else dict.fromkeys(taken)


def _to_weights(plan: Schedule, to_gates: Tensor, before: Tensor, biased: bool) -> list[Tensor]:
    """Each branch's gradients: one product over all of its cells."""
    grads = []
    sizes = [size for size in plan.sizes if size]
    parts = (t.index_select(0, plan.by_branch).split(sizes) for t in (to_gates, before))
    for gates, h in zip(*parts, strict=True):
        grads.append(gates.t() @ h)
        if biased:
            grads.append(gates.sum(0))
    return grads

"""Pieces of sequences, grouped so that each group is one call of one recurrent module.

A piece is some steps of one sequence that a module reads one after another. Pieces of a group start together; the
longest come first, so that at every step those still running are the first few. That is the layout of torch's
``PackedSequence``, in which a fused recurrent layer reads sequences of unequal length without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class Group(NamedTuple):
    """One call: its number as the caller gave it, its pieces (numbers, longest first), and its rows step by step."""

    number: int
    pieces: Tensor
    rows: Tensor
    sizes: Tensor  # how many pieces run at each step; on the CPU, where PackedSequence wants it


class Plan(NamedTuple):
    """Which step each row of the groups, one after another, is read from; and the sizes to cut them by."""

    steps: Tensor
    numbers: list[int]
    pieces: tuple[Tensor, ...]
    sizes: tuple[Tensor, ...]

    def groups(self, rows: Tensor) -> Iterator[Group]:
        """Pick rows by ``steps`` and cut them into groups."""
        cut = rows.index_select(0, self.steps).split([int(size.sum()) for size in self.sizes])
        yield from map(Group, self.numbers, self.pieces, cut, self.sizes)


def plan(steps: Tensor, lengths: Tensor, group: Tensor) -> Plan:
    """Order pieces for their calls.

    Args:
        steps: int64 (M,), positions of the pieces' steps, piece after piece, each in the order of time.
        lengths: int64 (P,), steps of each piece, at least one.
        group: int64 (P,), the number of each piece's group; groups run from the smallest number to the greatest.
    """
    pieces, longest = len(lengths), int(lengths.max())
    order = (group * (longest + 1) + longest - lengths).argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(pieces, device=order.device))
    piece = torch.repeat_interleave(torch.arange(pieces, device=order.device), lengths)
    time = torch.arange(len(steps), device=order.device) - (lengths.cumsum(0) - lengths)[piece]
    moment = group[piece] * longest + time
    packed = (moment * pieces + rank[piece]).argsort()
    moments, sizes = moment[packed].unique_consecutive(return_counts=True)
    numbers, spans = (moments // longest).unique_consecutive(return_counts=True)
    counts = group[order].unique_consecutive(return_counts=True)[1]
    return Plan(steps[packed], numbers.tolist(), order.split(counts.tolist()), sizes.cpu().split(spans.tolist()))


def call(branch: nn.Module, group: Group, state: Any) -> tuple[Tensor, Any]:
    """Run a module over a group; outputs lie as the group's rows, the state's dimension 1 as its pieces."""
    slabs = group.sizes.unique_consecutive(return_counts=True)
    sizes, spans = slabs[0].tolist(), slabs[1].tolist()
    if len(sizes) > 1 and is_plain(branch):
        packed, state = branch(PackedSequence(group.rows, group.sizes), state)
        return cast(Tensor, packed.data), state
    outputs, ended = [], []
    slabs_of_rows = group.rows.split([size * span for size, span in zip(sizes, spans, strict=True)])
    for rows, size, span, after in zip(slabs_of_rows, sizes, spans, [*sizes[1:], 0], strict=True):
        y, state = branch(rows.unflatten(0, (span, size)).transpose(0, 1), state)
        outputs.append(y.transpose(0, 1).flatten(0, 1))
        ended.append(each(lambda t: t[:, after:], state))  # noqa: B023 (called at once)
        state = each(lambda t: t[:, :after], state)  # noqa: B023 (called at once)
    if len(outputs) == 1:
        return outputs[0], ended[0]
    return torch.cat(outputs), each(lambda *parts: torch.cat(parts, 1), *reversed(ended))


def is_plain(branch: nn.Module) -> bool:
    """Whether a module is torch's recurrent layer as it is, with nothing hooked to it that wants to be called."""
    hooks = (branch._forward_hooks, branch._forward_pre_hooks, branch._backward_hooks, branch._backward_pre_hooks)
    return type(branch) in (nn.GRU, nn.LSTM, nn.RNN) and not any(hooks)


def each(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply a function to the tensors of states, which are tensors or tuples of them."""
    if isinstance(states[0], Tensor):
        return function(*states)
    return tuple(each(function, *parts) for parts in zip(*states, strict=True))


def zeros(branch: nn.Module, batch: int, like: Tensor) -> Any:
    """Return a module's state before the first step, dimension 1 being the batch. ``like``: (..., F)."""
    if isinstance(branch, nn.RNNBase):
        h = like.new_zeros(branch.num_layers, batch, branch.proj_size or branch.hidden_size)
        return (h, like.new_zeros(branch.num_layers, batch, branch.hidden_size)) if branch.mode == "LSTM" else h
    with torch.no_grad():  # a module of one's own tells its state's shape by one step
        _, state = branch(like.new_zeros(1, 1, like.shape[-1]), None)
    return each(lambda t: t.new_zeros(t.shape[0], batch, *t.shape[2:]), state)


def take(state: Any, rows: Tensor) -> Any:
    """Return the state of some rows."""
    return each(lambda t: t.index_select(1, rows), state)


def put(state: Any, rows: Tensor, new: Any) -> Any:
    """Return the state with some rows replaced."""
    return each(lambda t, part: t.index_copy(1, rows, part.to(t.dtype)), state, new)


def cut(state: Any, sizes: list[int], number: int) -> Any:
    """Return one of the parts that a state falls into."""
    return each(lambda t: t.split(sizes, 1)[number], state)

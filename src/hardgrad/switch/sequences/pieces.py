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

from hardgrad.switch.branches.state import output_of_copy

TORCHS = (nn.GRU, nn.LSTM, nn.RNN)


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


def call(branches: nn.ModuleList, i: int, group: Group, state: Any) -> tuple[Tensor, Any]:
    """Run branch i over a group; outputs lie as the group's rows, the state's dimension 1 as its pieces."""
    slabs = group.sizes.unique_consecutive(return_counts=True)
    sizes, spans = slabs[0].tolist(), slabs[1].tolist()
    if len(sizes) > 1 and is_plain(branches[i]):
        packed, state = branches[i](PackedSequence(group.rows, group.sizes), state)
        return cast(Tensor, packed.data), state
    outputs, ended = [], []
    slabs_of_rows = group.rows.split([size * span for size, span in zip(sizes, spans, strict=True)])
    for rows, size, span, after in zip(slabs_of_rows, sizes, spans, [*sizes[1:], 0], strict=True):
        y, state = steps(branches, i, rows.unflatten(0, (span, size)).transpose(0, 1), state)
        outputs.append(y.transpose(0, 1).flatten(0, 1))
        ended.append(map_state(lambda t: t[:, after:], state))  # noqa: B023 (called at once)
        state = map_state(lambda t: t[:, :after], state)  # noqa: B023 (called at once)
    if len(outputs) == 1:
        return outputs[0], ended[0]
    return torch.cat(outputs), map_state(lambda *parts: torch.cat(parts, 1), *reversed(ended))


def steps(branches: nn.ModuleList, i: int, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Call branch i on (B, T, F) and a state, None for the beginning; a module of one's own gets copies to write in."""
    branch = branches[i]
    if is_plain(branch):
        y, state = branch(x, state)
        return y, state
    try:
        returned = branch(x.clone(), map_state(torch.clone, state))
    except RuntimeError as error:
        _explain(i, branch, x, state, error)
        raise
    except ValueError as error:
        if x.shape[:2].numel() > 1:
            raise
        raise ValueError(
            f"RecurrentSwitch: branch {i} ({type(branch).__name__}) got one step of one sequence, and raised: "
            f"{error}; where keys flicker, pieces are that short: use a norm without statistics of the batch, such as "
            "LayerNorm, or calm the key with a Hysteresis"
        ) from error
    return _checked(i, branch, x, returned)


def _explain(i: int, branch: nn.Module, x: Tensor, handed: Any, error: RuntimeError) -> None:
    """Raise a ValueError if a branch failed because another's state, of another shape, was handed to it."""
    if handed is None or isinstance(error, torch.OutOfMemoryError):
        return
    try:
        own = shape(output_of_copy("RecurrentSwitch", f"branch {i}", branch, x[:1, :1], None)[1])
    except Exception:  # the branch fails by itself: its own error says more
        return
    if own != shape(handed):
        raise one_shape(shape(handed), own, i) from error


def one_shape(handed: Any, own: Any, i: int | None = None) -> ValueError:
    """Return the error for states that cannot be handed on."""
    return ValueError(
        'RecurrentSwitch: state="shared" hands one state from branch to branch, so all must have one shape, got '
        f"{handed} and {own}{'' if i is None else f' of branch {i}'}; use branches of one kind and size, or "
        'state="per_branch"'
    )


def _checked(i: int, branch: nn.Module, x: Tensor, returned: Any) -> tuple[Tensor, Any]:
    name = f"RecurrentSwitch: branch {i} ({type(branch).__name__})"
    if not isinstance(returned, tuple | list) or len(returned) != 2 or not isinstance(returned[0], Tensor):
        many = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise ValueError(
            f"{name} must return y (B, T, H) and its state, got {type(returned).__name__}{many}; return the "
            "two as a tuple"
        )
    y, state = returned
    if y.ndim != 3 or y.shape[:2] != x.shape[:2]:
        raise ValueError(f"{name} must return y (B, T, H) = {(*x.shape[:2], 'H')}, got {tuple(y.shape)}")
    if not _is_state(state, len(x)):
        raise ValueError(
            f"{name} must return a state that is a tensor, or a tuple of them, with the batch, {len(x)}, in dimension "
            f"1, got {shape(state) if _is_state(state, None) else type(state).__name__}"
        )
    return y, state


def _is_state(state: Any, batch: int | None) -> bool:
    if isinstance(state, Tensor):
        return batch is None or (state.ndim > 1 and state.shape[1] == batch)
    return isinstance(state, tuple | list) and bool(state) and all(_is_state(part, batch) for part in state)


def is_plain(branch: nn.Module) -> bool:
    """Whether a module is torch's recurrent layer as it is, with nothing hooked to it that wants to be called."""
    hooks = (branch._forward_hooks, branch._forward_pre_hooks, branch._backward_hooks, branch._backward_pre_hooks)
    return type(branch) in TORCHS and not any(hooks) and "forward" not in vars(branch)


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply a function to the tensors of states, which are tensors, tuples of them, or None."""
    if states[0] is None:
        return None
    if isinstance(states[0], Tensor):
        return function(*states)
    return tuple(map_state(function, *parts) for parts in zip(*states, strict=True))


def shape(state: Any) -> Any:
    """Return the shapes of a state's tensors but for the batch, as nested as they are."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else tuple("B" if i == 1 else n for i, n in enumerate(state.shape))
    return tuple(map(shape, state))


def zeros(branch: nn.Module, batch: int, like: Tensor) -> Any:
    """Return the state of torch's layers before the first step, dimension 1 being the batch. ``like``: (..., F).

    None for a module of one's own: it takes None for zeros, and only a real call of it tells their shape. A call on
    zeros to find out would count rows, draw random numbers and move statistics of a branch that nobody took.
    """
    if type(branch) not in TORCHS:
        return None
    layer = cast(nn.RNNBase, branch)
    h = like.new_zeros(layer.num_layers, batch, layer.proj_size or layer.hidden_size)
    return (h, like.new_zeros(layer.num_layers, batch, layer.hidden_size)) if layer.mode == "LSTM" else h


def blank(state: Any, batch: int) -> Any:
    """Return zeros like a state, for another batch."""
    return map_state(lambda t: t.new_zeros(t.shape[0], batch, *t.shape[2:]), state)


def take(state: Any, rows: Tensor) -> Any:
    """Return the state of some rows."""
    return map_state(lambda t: t.index_select(1, rows), state)


def put(state: Any, rows: Tensor, new: Any) -> Any:
    """Return the state with some rows replaced."""
    return map_state(lambda t, part: t.index_copy(1, rows, part.to(t.dtype)), state, new)


def cut(state: Any, sizes: list[int], number: int) -> Any:
    """Return one of the parts that a state falls into."""
    return map_state(lambda t: t.split(sizes, 1)[number], state)

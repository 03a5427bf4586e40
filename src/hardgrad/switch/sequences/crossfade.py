"""A switch without clicks: for some steps after a change of range, the outputs of both branches are blended."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._tracing import eagerly
from hardgrad.switch.arguments import whole
from hardgrad.switch.branch_layer import BranchLayer
from hardgrad.switch.branches.state import evaluating
from hardgrad.switch.conditions.condition import count
from hardgrad.switch.keys import branch_of, check_sequences, key_of, refuse_learning
from hardgrad.switch.sequences import memory
from hardgrad.switch.sequences.recurrent import RecurrentState, RecurrentSwitch

READS_KEYS = (
    "CrossFade: how many steps fade depends on the keys, which a compiled or exported graph cannot read; call it "
    "outside the graph, or let torch.compile break the graph here (fullgraph=False)"
)


class FadeState(NamedTuple):
    """What a ``CrossFade`` knows at the end of a chunk.

    Attributes:
        recent: int64 (B, max(length, 1)), the ranges of the last steps.
        switch: the state of a ``RecurrentSwitch``, None for a ``Switch``.
    """

    recent: Tensor
    switch: RecurrentState | None

    def detach(self) -> FadeState:
        """Return the same state without its history, to cut backpropagation through time."""
        return FadeState(self.recent, None if self.switch is None else self.switch.detach())


class CrossFade(nn.Module):
    r"""Blend, for k steps after a change of range, the branch that was left with the one that was entered.

    .. math:: y_t = \sum_i g\big(s_{t,i}\big) f_i(x_t; \theta_i), \qquad
        s_{t,i} = \frac{\left|\{0 \le j \le k : i_{t-j} = i\}\right|}{k + 1}

    The share s of a branch is the part of the last k + 1 steps that were in its range, so after a change the new
    branch's shares are 1 / (k + 1), 2 / (k + 1), ... 1, and a key that flickers blends all the ranges it was in: no
    weight ever moves by more than 1 / (k + 1) a step, which bounds every jump. Before the first step of a sequence it
    counts as having been in that step's range. Only steps within k of a change run more than one branch.

    Within a fade **the branch that was left learns too**, by its weight g: a step of one range trains the branch of
    another. ``train_old=False`` keeps the branches separate: those that were left give their value alone, and no
    gradient goes through them, neither into their weights nor into x. They then run in evaluation mode (those of a
    ``Switch``), so that their statistics take in no step of another range.

    A ``RecurrentSwitch`` must keep its states ``"per_branch"``: the branch that was left runs on for k steps, with the
    state it has, and then waits. With the other two it would need a second state beside the one it gives away.

    Args:
        switch: a ``Switch`` with a key for each time step, or a ``RecurrentSwitch``. Owned: its parameters are this
            layer's.
        length: k, how many steps a fade takes, at least zero; zero is the plain switch.
        curve: g, "linear" for g(s) = s, or "equal_power" for g(s) = sin(pi s / 2), scaled so that the squares sum to
            one: for branches whose outputs are uncorrelated, which linear weights would make quieter half way.
        train_old: whether the branches that were left get a gradient.

    Shape:
        x: (B, T, ...). key: (B, T), with a ``Grid`` or ``If`` (B, T, K). Returns y, as the switch does, and a
        ``FadeState``, which given to the next call goes on where this one ended, also for a ``Hysteresis``.

    Raises:
        ValueError: for a switch of another type, a ``RecurrentSwitch`` whose state is not "per_branch", a length
            below zero, a key that does not match x, a state of another batch, or points that learn, in training.
        RuntimeError: in an exported graph, in one that ``torch.compile`` must not break, and for keys that ``vmap``
            holds: the number of steps that fade depends on the keys. A ``torch.func`` derivative that is compiled fails
            in torch: differentiate outside of compiled code.

    Example:
        >>> import torch, hardgrad as hg
        >>> class Constant(torch.nn.Module):
        ...     def __init__(self, value):
        ...         super().__init__()
        ...         self.value = value
        ...     def forward(self, x):
        ...         return torch.full_like(x, self.value)
        >>> switch = hg.Switch(hg.Ranges([-1, 0, 1]), [Constant(0.0), Constant(1.0)])
        >>> key = torch.tensor([[-0.5, -0.5, 0.5, 0.5, 0.5, 0.5, -0.5]])
        >>> y, state = hg.CrossFade(switch, 3)(torch.zeros(1, 7), key)
        >>> y.tolist()
        [[0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 0.75]]
    """

    def __init__(
        self,
        switch: BranchLayer | RecurrentSwitch,
        length: int,
        *,
        curve: Literal["linear", "equal_power"] = "linear",
        train_old: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(switch, BranchLayer | RecurrentSwitch):
            raise ValueError(f"CrossFade: switch must be a Switch or a RecurrentSwitch, got {type(switch).__name__}")
        if isinstance(switch, RecurrentSwitch) and switch.state != "per_branch":
            raise ValueError(
                f'CrossFade: a RecurrentSwitch must be built with state="per_branch", got {switch.state!r}: a branch '
                "that fades out needs a state of its own to run on with"
            )
        try:
            self.length = whole("CrossFade", "length", length, 0)
        except ValueError:
            raise ValueError(
                f"CrossFade: length must be a whole number, zero or more, got {length!r}; zero is no fade"
            ) from None
        if not isinstance(train_old, bool):
            raise TypeError(f"CrossFade: train_old must be True or False, got {train_old!r}")
        _check.one_of("CrossFade", "curve", curve, ("linear", "equal_power"))
        self.switch = switch
        self.curve = curve
        self.train_old = train_old

    def forward(self, x: Tensor, key: Tensor | None = None, state: FadeState | None = None) -> tuple[Tensor, FadeState]:
        result: tuple[Tensor, FadeState] = eagerly(READS_KEYS, self._eager, x, key, state)
        return result

    def _eager(self, x: Tensor, key: Tensor | None, state: FadeState | None) -> tuple[Tensor, FadeState]:
        key = key_of("CrossFade", self.switch.key, x, key)
        index = self._index(x, key, state)
        inner = None if state is None else state.switch
        if not index.numel():
            return self._nothing(x, index, state)
        self.switch.ranges.add_visits(count(index.reshape(-1), self.switch.ranges.branches), key)
        before = max(self.length, 1)
        past = index[:, :1].expand(-1, before) if state is None else state.recent
        ranges = torch.cat([past, index], 1)
        step, branch, share = _shares(ranges[:, before - self.length :], self.length)
        gain = share if self.curve == "linear" else _equal_power(step, share, index.numel())
        current = branch == index.reshape(-1)[step]
        if isinstance(self.switch, RecurrentSwitch):
            y, inner = self._recurrent(x, index, step, branch, current, gain, inner)
        else:
            y = self._plain(x, index, step, branch, current, gain)
        return y, FadeState(ranges[:, ranges.shape[1] - before :].clone(), inner)

    def _index(self, x: Tensor, key: Tensor, state: FadeState | None) -> Tensor:
        ranges = self.switch.ranges
        refuse_learning(self, ranges)
        check_sequences("CrossFade", ranges, x, key)
        if state is not None and not isinstance(state, FadeState):
            raise TypeError(
                f"CrossFade: state must be the FadeState that an earlier call returned, got {type(state).__name__}; "
                "start with state=None"
            )
        recent = (len(x), max(self.length, 1))
        if state is not None and state.recent.shape != recent:
            raise ValueError(
                f"CrossFade: state must be of x's {recent[0]} sequences and the last {recent[1]} steps, got "
                f"{tuple(state.recent.shape)}; start a new batch with state=None"
            )
        return branch_of(ranges, key, "CrossFade", None if state is None else state.recent[:, -1])

    def _plain(self, x: Tensor, index: Tensor, step: Tensor, branch: Tensor, current: Tensor, gain: Tensor) -> Tensor:
        if self.train_old or bool(current.all()):
            return _blend(self._outputs(x, step, branch), step, gain, index)
        y = _blend(self._outputs(x, step[current], branch[current]), step[current], gain[current], index)
        with torch.no_grad(), evaluating(cast(BranchLayer, self.switch).branches):
            old = _blend(self._outputs(x, step[~current], branch[~current]), step[~current], gain[~current], index)
        return y + old.detach()  # forward mode does not ask about no_grad

    def _outputs(self, x: Tensor, step: Tensor, branch: Tensor) -> Tensor:
        rows = x.flatten(0, 1).index_select(0, step)
        return cast(BranchLayer, self.switch).bundle().run(rows, branch, owned=True)  # a fading branch is not visited

    def _recurrent(
        self,
        x: Tensor,
        index: Tensor,
        step: Tensor,
        branch: Tensor,
        current: Tensor,
        gain: Tensor,
        state: RecurrentState | None,
    ) -> tuple[Tensor, RecurrentState]:
        hidden = None if state is None else state.hidden
        y, hidden = memory.own_states(cast(RecurrentSwitch, self.switch).branches, x, branch, step, hidden)
        if not self.train_old:
            y = torch.where(current.unsqueeze(-1), y, y.detach())
        return _blend(y, step, gain, index), RecurrentState(hidden, index[:, -1])

    def _nothing(self, x: Tensor, index: Tensor, state: FadeState | None) -> tuple[Tensor, FadeState]:
        if state is None and len(x):
            raise ValueError("CrossFade: x must have a time step if there is no state yet, got T = 0")
        recent = index.new_zeros(0, max(self.length, 1)) if state is None else state.recent
        if isinstance(self.switch, RecurrentSwitch):
            y, inner = self.switch.empty(x, index, None if state is None else state.switch)
            return y, FadeState(recent, inner)
        nowhere = index.reshape(-1)
        return self._outputs(x, nowhere, nowhere).unflatten(0, index.shape), FadeState(recent, None)

    def extra_repr(self) -> str:
        return f"length={self.length}, curve={self.curve!r}, train_old={self.train_old}"


def _shares(ranges: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every (step, branch) with a share, and the share, sorted by branch, row and time. ranges: (B, steps + T)."""
    if not steps:
        branch, step = ranges.reshape(-1).sort(stable=True)
        return step, branch, torch.ones_like(step, dtype=torch.float64)
    shares = []
    for i in ranges.unique().tolist():
        so_far = nn.functional.pad((ranges == i).cumsum(1), (1, 0))
        among = (so_far[:, steps + 1 :] - so_far[:, : -steps - 1]).reshape(-1)
        step = among.nonzero()[:, 0]
        shares.append((step, torch.full_like(step, i), among[step].double() / (steps + 1)))
    step, branch, share = (torch.cat(parts) for parts in zip(*shares, strict=True))
    return step, branch, share


def _equal_power(step: Tensor, share: Tensor, steps: int) -> Tensor:
    gain = (share * (math.pi / 2)).sin()
    power = share.new_zeros(steps).index_add(0, step, gain.square())
    return gain / power[step].sqrt()


def _blend(outputs: Tensor, step: Tensor, gain: Tensor, index: Tensor) -> Tensor:
    """Add each step's outputs up by their gains: (M, ...) to (B, T, ...); half precision is rounded once."""
    wide = torch.promote_types(outputs.dtype, torch.float32)
    gain = gain.to(wide).reshape(-1, *[1] * (outputs.ndim - 1))
    y = outputs.new_zeros(index.numel(), *outputs.shape[1:], dtype=wide)
    return cast(Tensor, y.index_add(0, step, gain * outputs).to(outputs.dtype).unflatten(0, index.shape))

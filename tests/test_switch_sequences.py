"""Switches along a sequence: memory across a switch, hysteresis, cross-fades; all against plain loops over steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.switch.recurrent import RecurrentState

POINTS = [-1.0, -0.3, 0.4, 1.0]
POLICIES = ["shared", "per_branch", "reset"]
KINDS: list[Callable[..., nn.Module]] = [nn.GRU, nn.LSTM, nn.RNN]


class WithHead(nn.Module):
    """A module of one's own: a recurrent layer, and an output layer on it."""

    def __init__(self, kind: Callable[..., nn.Module], features: int, hidden: int, out: int) -> None:
        super().__init__()
        self.body = kind(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, out)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.body(x, state)
        return self.head(h), state


def sequences(batch: int, time: int, features: int = 3, *, hold: int = 3) -> tuple[Tensor, Tensor]:
    """Inputs and keys whose ranges last some steps, other ones in each row; of the last range none."""
    key = (torch.rand(batch, -(-time // hold)).repeat_interleave(hold, 1)[:, :time] * 1.4 - 1).double()
    jitter = torch.rand(batch, time) < 0.2
    key = torch.where(jitter, -0.9, key)
    return torch.randn(batch, time, features, dtype=torch.float64), key.clamp(max=0.39)


# The reference: one row, one step, one cell at a time, with torch's cells.


def cell_of(layer: nn.RNNBase, number: int) -> Callable[[Tensor, Any], Any]:
    cell = {"GRU": nn.GRUCell, "LSTM": nn.LSTMCell, "RNN_TANH": nn.RNNCell}[layer.mode](
        layer.input_size if number == 0 else layer.hidden_size, layer.hidden_size, dtype=torch.float64
    )
    weights = {name: getattr(layer, f"{name}_l{number}") for name, _ in cell.named_parameters()}
    return lambda x, h: torch.func.functional_call(cell, weights, (x, h))


def step_of(branch: nn.Module, x: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
    """x (F,); state: one entry a layer, (1, H) or a pair of them."""
    body = branch.body if isinstance(branch, WithHead) else branch
    x, left = x[None], []
    for number in range(body.num_layers):
        left.append(cell_of(body, number)(x, state[number]))
        x = left[-1][0] if isinstance(left[-1], tuple) else left[-1]
    return (branch.head(x) if isinstance(branch, WithHead) else x)[0], left


def nothing(branch: nn.Module) -> list[Any]:
    body = branch.body if isinstance(branch, WithHead) else branch
    zero = torch.zeros(1, body.hidden_size, dtype=torch.float64)
    return [(zero, zero) if body.mode == "LSTM" else zero] * body.num_layers


def plain_loop(switch: hg.RecurrentSwitch, x: Tensor, index: Tensor) -> Tensor:
    rows = []
    for sequence, taken in zip(x, index.tolist(), strict=True):
        states = [nothing(branch) for branch in switch.branches]
        before, outputs = None, []
        for x_t, i in zip(sequence, taken, strict=True):
            if switch.state == "shared" and before is not None:
                states[i] = states[before]
            if switch.state == "reset" and i != before:
                states[i] = nothing(switch.branches[i])
            y, states[i] = step_of(switch.branches[i], x_t, states[i])
            outputs.append(y)
            before = i
        rows.append(torch.stack(outputs))
    return torch.stack(rows)


def gradients(model: nn.Module, loss: Tensor, x: Tensor) -> list[Tensor | None]:
    model.zero_grad()
    x.grad = None
    loss.backward()
    return [x.grad, *(p.grad for p in model.parameters())]


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected) or isinstance(found, Tensor)
    if isinstance(found, Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    elif isinstance(found, list | tuple):
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    else:
        assert found == expected


def branch_of(form: str, kind: Callable[..., nn.Module]) -> nn.Module:
    if form == "head":
        return WithHead(kind, 3, 4, 2)
    return kind(3, 4, num_layers=2 if form == "two layers" else 1, batch_first=True)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["one layer", "two layers", "head"])
@pytest.mark.parametrize("batch", [1, 5])
def test_equals_a_plain_loop_of_cells(policy: Any, kind: Any, form: str, batch: int) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), branch_of(form, kind), state=policy).double()
    x, key = sequences(batch, 17)
    x.requires_grad_()
    weight = torch.randn(batch, 17, 1, dtype=torch.float64)
    expected = plain_loop(switch, x, switch.ranges.index(key))
    wanted = gradients(switch, (expected * weight).sum(), x)
    y, _ = switch(x, key)
    assert_same(y, expected)
    found = gradients(switch, (y * weight).sum(), x)
    assert_same(found, wanted)
    assert all(p.grad is None for p in switch.branch(2).parameters())
    assert all(p.grad is not None for p in switch.branch(1).parameters())


@pytest.mark.parametrize("policy", POLICIES)
def test_rows_that_switch_together_equal_a_plain_loop(policy: Any) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(3, 4, batch_first=True), state=policy).double()
    x, key = sequences(3, 12)
    key = key[:1].expand(3, 12)
    assert_same(switch(x, key)[0], plain_loop(switch, x, switch.ranges.index(key)))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("form", ["two layers", "head"])
def test_chunks_equal_one_call(policy: Any, form: str) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), branch_of(form, nn.LSTM), state=policy).double()
    x, key = sequences(4, 23)
    whole, end = switch(x, key)
    wanted = gradients(switch, whole.square().sum(), x.requires_grad_())
    state, parts = None, []
    for cut in torch.tensor_split(torch.arange(23), [1, 2, 9, 9, 16]):  # one chunk is empty
        y, state = switch(x[:, cut], key[:, cut], state)
        parts.append(y)
    chunked = torch.cat(parts, 1)
    assert_same(chunked, whole)
    assert_same(state, end)
    assert_same(gradients(switch, chunked.square().sum(), x)[1:], wanted[1:])


def test_detached_state_cuts_the_gradient_and_keeps_the_value() -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.LSTM(3, 4, batch_first=True), state="per_branch")
    x, key = (t.float() for t in sequences(2, 8))
    x.requires_grad_()
    _, state = switch(x, key)
    cut = state.detach()
    assert_same(cut.hidden[0], state.hidden[0])
    assert cut.hidden[2] is None
    y, _ = switch(torch.randn(2, 8, 3), key, cut)
    y.sum().backward()
    assert x.grad is None


def test_branches_of_different_kinds() -> None:
    kinds = [nn.GRU(3, 4, batch_first=True), nn.LSTM(3, 4, 2, batch_first=True), WithHead(nn.RNN, 3, 7, 4)]
    for policy in ("per_branch", "reset"):
        switch = hg.RecurrentSwitch(hg.Ranges([-1, -0.3, 0, 1]), copy.deepcopy(kinds), state=policy).double()
        x, key = sequences(4, 15)
        assert_same(switch(x, key)[0], plain_loop(switch, x, switch.ranges.index(key)))
    with pytest.raises(ValueError, match="hands one state from branch to branch"):
        hg.RecurrentSwitch(hg.Ranges([-1, 0, 1]), kinds[:2], state="shared")
    heads = [WithHead(nn.GRU, 3, 4, 2), WithHead(nn.GRU, 3, 5, 2)]
    with pytest.raises(ValueError, match="must have one shape"):
        hg.RecurrentSwitch(hg.Ranges([-1, 0, 1]), heads, state="shared")(torch.randn(1, 2, 3), torch.zeros(1, 2))


def test_separation_along_sequences() -> None:
    """With "reset", a switch and its optimiser equal one model and optimiser for each range, fed its own runs."""
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(3, 4, batch_first=True), state="reset").double()
    alone = [copy.deepcopy(branch) for branch in switch.branches]
    together = torch.optim.AdamW(switch.parameters(), lr=0.05, weight_decay=0.1)
    each = [torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1) for model in alone]
    for _ in range(4):
        x, key = sequences(2, 9)
        together.zero_grad()
        switch(x, key)[0].square().sum().backward()
        together.step()
        index = switch.ranges.index(key)
        for i, (model, optimizer) in enumerate(zip(alone, each, strict=True)):
            runs = [
                x[row, start:stop]
                for row in range(2)
                for start, stop in _runs(index[row].tolist())
                if index[row, start] == i
            ]
            optimizer.zero_grad()
            if runs:
                sum(model(run[None])[0].square().sum() for run in runs).backward()
                optimizer.step()
    for branch, model in zip(switch.branches, alone, strict=True):
        assert_same(list(branch.parameters()), list(model.parameters()))


def _runs(taken: list[int]) -> list[tuple[int, int]]:
    cuts = [0, *(t for t in range(1, len(taken)) if taken[t] != taken[t - 1]), len(taken)]
    return list(zip(cuts, cuts[1:], strict=False))


@pytest.mark.parametrize("policy", POLICIES)
def test_nan_stays_in_its_sequence(policy: Any) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(3, 4, batch_first=True), state=policy).double()
    x, key = sequences(3, 9)
    clean, _ = switch(x[[0, 2]], key[[0, 2]])
    wanted = gradients(switch, clean.sum(), x)[1:]
    x[1] = torch.nan
    key[1] = 0.9  # a range of its own
    y, _ = switch(x, key)
    assert_same(y[[0, 2]], clean)
    found = gradients(switch, y.sum(), x)[1:]
    assert_same(found[:8], wanted[:8])
    assert all(grad.isnan().any() for grad in found[8:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("policy", POLICIES)
def test_dtypes_copies_and_files(dtype: torch.dtype, policy: Any) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.LSTM(3, 4, batch_first=True), state=policy).to(dtype)
    x, key = sequences(3, 9)
    y, state = switch(x.to(dtype), key)
    y.sum().backward()
    assert y.dtype is dtype
    assert switch.ranges.visits.sum() == 27
    twin = copy.deepcopy(switch)
    other = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.LSTM(3, 4, batch_first=True), state=policy).to(dtype)
    other.load_state_dict(switch.state_dict())
    for each in (twin, other):
        assert torch.equal(each(x.to(dtype), key)[0], y)
    empty, nowhere = switch(x[:0].to(dtype), key[:0])
    assert empty.shape == (0, 9, 4)
    assert nowhere.index.shape == (0,)
    still, same = switch(x[:, :0].to(dtype), key[:, :0], state)
    assert still.shape == (3, 0, 4)
    assert same is state


def test_keys_from_a_column_a_grid_and_a_hysteresis() -> None:
    x, key = sequences(2, 30)
    x[..., 1] = key
    gru = nn.GRU(3, 4, batch_first=True)
    by_column = hg.RecurrentSwitch(hg.Ranges(POINTS), gru, state="shared", key=1, init="identical").double()
    assert_same(by_column(x)[0], by_column(x, key)[0])
    grid = hg.Grid(hg.Ranges(POINTS), hg.Ranges([-9, 0, 9]))
    by_grid = hg.RecurrentSwitch(grid, gru, state="reset").double()
    keys = torch.stack([key, x[..., 0]], -1)
    assert_same(by_grid(x, keys)[0], plain_loop(by_grid, x, grid.index(keys)))
    calm = hg.RecurrentSwitch(hg.Hysteresis(hg.Ranges(POINTS), 0.2), gru, state="shared").double()
    whole, _ = calm(x, key)
    assert_same(whole, plain_loop(calm, x, calm.ranges.index(key)))
    first, state = calm(x[:, :13], key[:, :13])
    assert_same(torch.cat([first, calm(x[:, 13:], key[:, 13:], state)[0]], 1), whole)


def test_mistakes_are_named() -> None:
    ranges, gru = hg.Ranges([-1, 0, 1]), nn.GRU(3, 4, batch_first=True)
    with pytest.raises(ValueError, match="state must be one of 'shared', 'per_branch', 'reset', got 'none'"):
        hg.RecurrentSwitch(ranges, gru, state="none")
    with pytest.raises(ValueError, match="got a bidirectional GRU for range 0"):
        hg.RecurrentSwitch(ranges, nn.GRU(3, 4, batch_first=True, bidirectional=True), state="shared")
    with pytest.raises(ValueError, match="build it with batch_first=True"):
        hg.RecurrentSwitch(ranges, nn.GRU(3, 4), state="shared")
    switch = hg.RecurrentSwitch(ranges, gru, state="shared")
    with pytest.raises(ValueError, match=r"got x \(2, 5, 3\) and key \(2,\)"):
        switch(torch.randn(2, 5, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="forward must be given a key"):
        switch(torch.randn(2, 5, 3))
    _, state = switch(torch.randn(2, 5, 3), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="state must be of x's 3 sequences, got one of 2"):
        switch(torch.randn(3, 5, 3), torch.zeros(3, 5), state)
    with pytest.raises(ValueError, match="must have a time step if there is no state yet"):
        switch(torch.randn(3, 0, 3), torch.zeros(3, 0))
    unequal = [nn.GRU(3, 4, batch_first=True), nn.GRU(3, 5, batch_first=True)]
    with pytest.raises(ValueError, match=r"branches must return one width, got \[4, 5\]"):
        hg.RecurrentSwitch(ranges, unequal, state="reset")(torch.randn(1, 2, 3), torch.tensor([[-0.5, 0.5]]))
    assert isinstance(state, RecurrentState)

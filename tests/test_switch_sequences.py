"""Switches along a sequence: memory across a switch, hysteresis, cross-fades; all against plain loops over steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.switch.sequences.recurrent import RecurrentState

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
@pytest.mark.parametrize("batch", [2, 12])
def test_rows_that_switch_together_equal_a_plain_loop(policy: Any, batch: int) -> None:
    """Many rows run fused, a call for each run; few run as cells."""
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(3, 4, batch_first=True), state=policy).double()
    x, key = sequences(batch, 12)
    key, x = key[:1].expand(batch, 12), x.requires_grad_()
    expected = plain_loop(switch, x, switch.ranges.index(key))
    wanted = gradients(switch, expected.square().sum(), x)
    y, _ = switch(x, key)
    assert_same(y, expected)
    assert_same(gradients(switch, y.square().sum(), x), wanted)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("options", [{"bias": False}, {"nonlinearity": "relu"}, {"dropout": 0.5}])
def test_options_of_torchs_layers(policy: Any, options: dict[str, Any]) -> None:
    """Against torch's own fused layer, fed each run by itself; dropout, in eval, does nothing."""
    kind = nn.RNN if "nonlinearity" in options else nn.LSTM
    layer = kind(3, 4, num_layers=2, batch_first=True, **options)
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), layer, state=policy).double()
    x, key = sequences(3, 15)
    x.requires_grad_()
    if "dropout" in options:
        loud = switch(x, key)[0]
        assert not torch.equal(loud, switch(x, key)[0])
        switch.eval()
    rows = [switch(x[row : row + 1, t : t + 1], key[row : row + 1, t : t + 1]) for row in range(3) for t in (0,)]
    states, parts = [state for _, state in rows], [[y] for y, _ in rows]
    for t in range(1, 15):
        for row in range(3):  # one step of one row: torch's own layer, with the state of the step before
            y, states[row] = switch(x[row : row + 1, t : t + 1], key[row : row + 1, t : t + 1], states[row])
            parts[row].append(y)
    expected = torch.cat([torch.cat(row, 1) for row in parts])
    wanted = gradients(switch, expected.square().sum(), x)
    y, _ = switch(x, key)
    assert_same(y, expected)
    assert_same(gradients(switch, y.square().sum(), x), wanted)


def test_second_derivatives_are_refused() -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(3, 4, batch_first=True), state="shared").double()
    x, key = sequences(3, 9)
    x.requires_grad_()
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(switch(x, key)[0].sum(), x, create_graph=True)
    own = hg.RecurrentSwitch(hg.Ranges(POINTS), WithHead(nn.GRU, 3, 4, 2), state="shared").double()
    x, key = x.detach()[:2, :4].requires_grad_(), key[:2, :4]
    assert torch.autograd.gradgradcheck(lambda x: own(x, key)[0], x)


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
        hg.RecurrentSwitch(hg.Ranges([-1, 0, 1]), heads, state="shared")(
            torch.randn(1, 2, 3), torch.tensor([[-0.5, 0.5]])
        )


def test_separation_along_sequences() -> None:
    """With "reset", a switch and its optimizer equal one model and optimizer for each range, fed its own runs."""
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
    return list(pairwise(cuts))


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
    assert nowhere.last.shape == (0,)
    still, same = switch(x[:, :0].to(dtype), key[:, :0], state)
    assert still.shape == (3, 0, 4)
    assert same is state


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("batch", [2, 12])
def test_autocast_leaves_the_states_alone(policy: Any, batch: int) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.GRU(3, 4, batch_first=True), state=policy)
    x, key = sequences(batch, 9)
    x, key = x.float(), key[:1].expand(batch, 9)
    wanted, _ = switch(x, key)
    with torch.autocast("cpu", torch.bfloat16):
        first, state = switch(x[:, :4], key[:, :4])
        second, _ = switch(x[:, 4:], key[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), wanted)


def test_hooks_and_layers_of_ones_own_are_called() -> None:
    class Doubled(nn.GRU):
        def forward(self, x: Tensor, state: Any = None) -> Any:
            y, state = super().forward(x, state)
            return 2 * y, state

    gru = nn.GRU(3, 4, batch_first=True)
    plain = hg.RecurrentSwitch(hg.Ranges(POINTS), gru, state="reset", init="identical").double()
    doubled = Doubled(3, 4, batch_first=True)
    doubled.load_state_dict(gru.state_dict())
    own = hg.RecurrentSwitch(hg.Ranges(POINTS), doubled, state="reset", init="identical").double()
    x, key = sequences(3, 12)
    y, _ = plain(x, key)
    assert_same(own(x, key)[0], 2 * y)
    called = []
    for branch in plain.branches:
        branch.register_forward_hook(lambda *_: called.append(1))
    assert_same(plain(x, key)[0], y)
    assert called


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


# Keys per time step on the plain switch.


def test_a_key_per_step_routes_every_step_alone() -> None:
    switch = hg.Switch(hg.Ranges(POINTS), nn.Linear(3, 2)).double()
    x, key = sequences(4, 11)
    index = switch.ranges.index(key)
    expected = torch.stack(
        [torch.stack([switch.branch(int(index[row, t]))(x[row, t]) for t in range(11)]) for row in range(4)]
    )
    assert_same(switch(x, key), expected)


# Hysteresis.


def schmitt(ranges: hg.Ranges, margin: float, key: Tensor, start: list[int] | None = None) -> list[list[int]]:
    points, rows = ranges.points, []
    for row, sequence in enumerate(key.tolist()):
        now = None if start is None else start[row]
        taken = []
        for k in sequence:
            plain = int(ranges.index(torch.tensor(k, dtype=key.dtype)))
            if now is None:
                now = plain
            low = points[now] - margin if now > 0 else -float("inf")
            high = points[now + 1] + margin if now < len(ranges) - 1 else float("inf")
            stays = low <= k < high if ranges.closed == "left" else low < k <= high
            now = now if stays else plain
            taken.append(now)
        rows.append(taken)
    return rows


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.25, 0.7])
def test_hysteresis_equals_a_plain_loop(closed: Any, margin: float) -> None:
    ranges = hg.Ranges([-1, -0.5, 0.0, 0.25, 1], closed=closed)
    walk = (torch.randn(3, 400, dtype=torch.float64) * 0.1).cumsum(1).sin()
    noise = torch.rand(3, 400, dtype=torch.float64) * 2.2 - 1.1
    edges = torch.tensor(ranges.points, dtype=torch.float64)[torch.randint(5, (3, 400))]
    ends = edges + margin * torch.randint(-1, 2, (3, 400))
    for key in (walk, noise, edges, ends):
        hysteresis = hg.Hysteresis(ranges, margin)
        found = hysteresis(key)
        assert found.tolist() == schmitt(ranges, margin, key)
        assert torch.equal(hysteresis.visits, torch.bincount(found.reshape(-1), minlength=4))
        if margin == 0:
            assert torch.equal(found, ranges.index(key))
        start = torch.tensor([3, 0, 1])
        assert hysteresis.index(key, start).tolist() == schmitt(ranges, margin, key, start.tolist())
        first = hysteresis.index(key[:, :131])
        chunks = torch.cat([first, hysteresis.index(key[:, 131:], first[:, -1])], 1)
        assert torch.equal(chunks, found)


def test_hysteresis_calms_a_noisy_key() -> None:
    key = torch.sin(torch.linspace(1, 21, 2000, dtype=torch.float64)) + 0.05 * torch.randn(1, 2000, dtype=torch.float64)
    plain, calm = (
        each.index(key).diff().count_nonzero()
        for each in (hg.Ranges([-2, 0, 2]), hg.Hysteresis(hg.Ranges([-2, 0, 2]), 0.3))
    )
    assert calm == 6  # pi, 2 pi ... 6 pi
    assert plain > 20


def test_hysteresis_of_other_dtypes_and_shapes() -> None:
    hysteresis = hg.Hysteresis(hg.Ranges([0, 10, 20, 30]), 2)
    assert hysteresis(torch.tensor([[5, 11, 12, 9, 8, 7, 25]])).tolist() == [[0, 0, 1, 1, 1, 0, 2]]
    assert hysteresis(torch.tensor([[[5.0, 11.9, 12.0]]], dtype=torch.bfloat16)).tolist() == [[[0, 0, 1]]]
    assert hysteresis(torch.zeros(0, 4)).shape == (0, 4)
    assert hysteresis(torch.zeros(2, 0)).shape == (2, 0)
    one = hg.Hysteresis(hg.Ranges([0, 1]), 0.1)
    assert one(torch.rand(2, 3)).tolist() == [[0] * 3] * 2
    copied = copy.deepcopy(hysteresis)
    copied.load_state_dict(hysteresis.state_dict())
    assert torch.equal(copied.visits, hysteresis.visits)
    assert "margin=2" in repr(copied)


def test_hysteresis_in_a_switch() -> None:
    hysteresis = hg.Hysteresis(hg.Ranges(POINTS), 0.2)
    switch = hg.Switch(hysteresis, nn.Linear(3, 2), normalize=True).double()
    x, key = sequences(4, 50)
    index = torch.tensor(schmitt(hg.Ranges(POINTS), 0.2, key))
    center = torch.tensor([-0.65, 0.05, 0.7], dtype=torch.float64)[index].unsqueeze(-1)
    half = torch.tensor([0.35, 0.35, 0.3], dtype=torch.float64)[index].unsqueeze(-1)
    every = torch.stack([branch((x - center) / half) for branch in switch.branches])
    assert_same(switch(x, key), every.gather(0, index[None, ..., None].expand(1, -1, -1, 2))[0])
    assert torch.equal(hysteresis.visits, torch.bincount(index.reshape(-1), minlength=3))


def test_hysteresis_mistakes_are_named() -> None:
    ranges = hg.Ranges([-1, 0, 1], outside="error")
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"margin must be a (finite|real) number.*, got"):
            hg.Hysteresis(ranges, margin)
    with pytest.raises(ValueError, match="ranges must be plain Ranges, got Hysteresis"):
        hg.Hysteresis(hg.Hysteresis(ranges, 0.1), 0.1)
    hysteresis = hg.Hysteresis(ranges, 0.1)
    with pytest.raises(ValueError, match=r"key must be \(B, T\), the last dimension being time, got \(4,\)"):
        hysteresis(torch.zeros(4))
    with pytest.raises(ValueError, match=r"got NaN in row \(1, 2\)"):
        hysteresis(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, torch.nan]]))
    with pytest.raises(ValueError, match=r"got 2 in row \(0, 1\)"):
        hysteresis(torch.tensor([[0.0, 2.0]]))
    with pytest.raises(ValueError, match=r"start must have one range for each sequence, shape \(2,\), got \(3,\)"):
        hysteresis(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"start must be ranges 0 \.\. 1, got 0 \.\. 2"):
        hysteresis(torch.zeros(2, 3), torch.tensor([0, 2]))
    with pytest.raises(Exception, match="each step's range waits for the one before"):
        torch.compile(hysteresis, backend="eager", fullgraph=True)(torch.zeros(2, 3))
    switch = hg.RecurrentSwitch(ranges, nn.GRU(3, 4, batch_first=True), state="shared")
    with pytest.raises(Exception, match="which branch runs for how long depends on the keys"):
        torch.compile(switch, backend="eager", fullgraph=True)(torch.zeros(2, 5, 3), torch.zeros(2, 5))


# Cross-fades.


def blended(outputs: Tensor, index: Tensor, steps: int, curve: str = "linear") -> tuple[Tensor, Tensor]:
    """Blend every branch's outputs (N, B, T, H) by a plain loop; also the gains (N, B, T)."""
    gains = torch.zeros(outputs.shape[:3], dtype=outputs.dtype)
    for row, taken in enumerate(index.tolist()):
        for t in range(len(taken)):
            window = [taken[max(t - j, 0)] for j in range(steps + 1)]
            for i in set(window):
                gains[i, row, t] = window.count(i) / (steps + 1)
    if curve == "equal_power":
        gains = (gains * torch.pi / 2).sin()
        gains = gains / gains.square().sum(0).sqrt()
    return (gains.unsqueeze(-1) * outputs).sum(0), gains


@pytest.mark.parametrize("curve", ["linear", "equal_power"])
@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("train_old", [True, False])
def test_cross_fade_equals_a_plain_loop(curve: Any, steps: int, train_old: bool) -> None:
    switch = hg.Switch(hg.Ranges(POINTS), nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))).double()
    fade = hg.CrossFade(switch, steps, curve=curve, train_old=train_old)
    x, key = sequences(4, 19, hold=4)
    x.requires_grad_()
    index = switch.ranges.index(key)
    every = torch.stack([branch(x) for branch in switch.branches])
    if not train_old:
        here = torch.nn.functional.one_hot(index, 3).permute(2, 0, 1).unsqueeze(-1).bool()
        every = torch.where(here, every, every.detach())
    expected, gains = blended(every, index, steps, curve)
    wanted = gradients(fade, expected.square().sum(), x)
    y, _ = fade(x, key)
    assert_same(y, expected)
    if curve == "equal_power":
        assert_same(gains.square().sum(0), torch.ones_like(key))
    found = gradients(fade, y.square().sum(), x)
    assert_same(found[:9], wanted[:9])
    assert found[9:] == [None] * 4  # the last range was never entered
    assert torch.equal(switch.ranges.visits, torch.bincount(index.reshape(-1), minlength=3))
    if steps == 0:
        assert torch.equal(y, switch(x, key))


def test_a_flickering_key_blends_all_its_ranges() -> None:
    switch = hg.Switch(hg.Ranges(POINTS), nn.Linear(3, 2)).double()
    x, key = torch.randn(3, 40, 3, dtype=torch.float64), torch.rand(3, 40, dtype=torch.float64) * 2 - 1
    every = torch.stack([branch(x) for branch in switch.branches])
    for curve in ("linear", "equal_power"):
        expected, gains = blended(every, switch.ranges.index(key), 5, curve)
        assert (gains > 0).all(0).any()  # three branches at once
        assert_same(hg.CrossFade(switch, 5, curve=curve)(x, key)[0], expected)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("margin", [None, 0.2])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_cross_fade_by_chunks_equals_one_call(recurrent: bool, margin: float | None, steps: int) -> None:
    ranges = hg.Ranges(POINTS) if margin is None else hg.Hysteresis(hg.Ranges(POINTS), margin)
    if recurrent:
        switch = hg.RecurrentSwitch(ranges, nn.GRU(3, 4, batch_first=True), state="per_branch").double()
    else:
        switch = hg.Switch(ranges, nn.Linear(3, 4)).double()
    fade = hg.CrossFade(switch, steps)
    x, key = sequences(4, 23)
    whole, end = fade(x, key)
    state, parts = None, []
    for cut in torch.tensor_split(torch.arange(23), [1, 3, 3, 15]):
        y, state = fade(x[:, cut], key[:, cut], state)
        parts.append(y)
    assert_same(torch.cat(parts, 1), whole)
    assert_same(state, end)
    state.detach()
    assert fade(x[:0], key[:0])[0].shape == (0, 23, 4)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("train_old", [True, False])
def test_recurrent_cross_fade_runs_the_old_branch_on(steps: int, train_old: bool) -> None:
    switch = hg.RecurrentSwitch(hg.Ranges(POINTS), nn.LSTM(3, 4, batch_first=True), state="per_branch").double()
    fade = hg.CrossFade(switch, steps, train_old=train_old)
    x, key = sequences(3, 21, hold=4)
    x.requires_grad_()
    index = switch.ranges.index(key)
    _, gains = blended(torch.zeros(3, 3, 21, 1, dtype=torch.float64), index, steps)
    blends: list[list[Any]] = [[0.0] * 21 for _ in range(3)]
    for i, branch in enumerate(switch.branches):
        for row in range(3):
            state = nothing(branch)
            for t in range(21):
                if gains[i, row, t] > 0:
                    y, state = step_of(branch, x[row, t], state)
                    y = y if train_old or index[row, t] == i else y.detach()
                    blends[row][t] = blends[row][t] + gains[i, row, t] * y
    expected = torch.stack([torch.stack(row) for row in blends])
    wanted = gradients(fade, expected.square().sum(), x)
    y, _ = fade(x, key)
    assert_same(y, expected)
    found = gradients(fade, y.square().sum(), x)
    assert_same(found[:9], wanted[:9])
    assert found[9:] == [None] * 4


def test_a_hysteresis_goes_on_from_chunk_to_chunk() -> None:
    hysteresis = hg.Hysteresis(hg.Ranges([-1, 0, 1]), 0.2)
    key = torch.tensor([[0.5, 0.1, -0.1, -0.1], [-0.5, -0.1, 0.1, 0.1]])  # a new start at the third step would switch
    x = torch.randn(2, 4, 3)
    recurrent = hg.RecurrentSwitch(hysteresis, nn.GRU(3, 4, batch_first=True), state="reset")
    _, state = recurrent(x[:, :2], key[:, :2])
    _, state = recurrent(x[:, 2:], key[:, 2:], state)
    assert state.last.tolist() == [1, 0]
    fade = hg.CrossFade(hg.Switch(hysteresis, nn.Linear(3, 4)), 2)
    _, state = fade(x[:, :2], key[:, :2])
    _, state = fade(x[:, 2:], key[:, 2:], state)
    assert state.recent.tolist() == [[1, 1], [0, 0]]


def test_the_largest_jump_shrinks_as_one_over_k() -> None:
    """Two constants 1 apart: whatever the key does, no output moves by more than 1 / (k + 1) a step."""
    switch = hg.Switch(hg.Ranges([-1, 0, 1]), [_Constant(0.0), _Constant(1.0)])
    key = torch.rand(3, 400, dtype=torch.float64) * 2 - 1
    key[1] = torch.sin(torch.arange(400) / 20)
    for steps in (0, 1, 3, 7, 15, 31):
        y, _ = hg.CrossFade(switch, steps)(torch.zeros(3, 400, dtype=torch.float64), key)
        jump = y.diff(dim=1).abs().max(1).values
        assert jump.max() <= 1 / (steps + 1) + 1e-12
        torch.testing.assert_close(jump[1], torch.tensor(1 / (steps + 1), dtype=torch.float64))


class _Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


@pytest.mark.parametrize("bank", [False, True])
@pytest.mark.parametrize("time", [1, 200])
def test_no_steps_of_fading_are_the_plain_switch_bit_for_bit(bank: bool, time: int) -> None:
    switch = hg.Switch(hg.Ranges(POINTS), nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), bank=bank)
    x, key = sequences(4, time)
    assert torch.equal(hg.CrossFade(switch, 0)(x.float(), key)[0], switch(x.float(), key))


def test_cross_fade_mistakes_are_named() -> None:
    ranges, gru = hg.Ranges([-1, 0, 1]), nn.GRU(3, 4, batch_first=True)
    with pytest.raises(ValueError, match="switch must be a Switch or a RecurrentSwitch, got Linear"):
        hg.CrossFade(nn.Linear(3, 3), 2)
    for policy in ("shared", "reset"):
        with pytest.raises(ValueError, match='must be built with state="per_branch", got'):
            hg.CrossFade(hg.RecurrentSwitch(ranges, gru, state=policy), 2)
    switch = hg.Switch(ranges, nn.Linear(3, 2))
    for steps in (-1, 1.5):
        with pytest.raises(ValueError, match="length must be a whole number, zero or more"):
            hg.CrossFade(switch, steps)
    with pytest.raises(ValueError, match="curve must be one of 'linear', 'equal_power', got 'cubic'"):
        hg.CrossFade(switch, 2, curve="cubic")
    fade = hg.CrossFade(switch, 2)
    with pytest.raises(ValueError, match=r"got x \(5, 3\) and key \(5,\)"):
        fade(torch.randn(5, 3), torch.zeros(5))
    _, state = fade(torch.randn(2, 5, 3), torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"state must be of x's 3 sequences and the last 2 steps, got \(2, 2\)"):
        fade(torch.randn(3, 5, 3), torch.zeros(3, 5), state)
    with pytest.raises(ValueError, match="must have a time step if there is no state yet"):
        fade(torch.randn(3, 0, 3), torch.zeros(3, 0))
    with pytest.raises(ValueError, match="CrossFade: forward must be given a key"):
        fade(torch.randn(3, 2, 3))
    with pytest.raises(Exception, match="how many steps fade depends on the keys"):
        torch.compile(fade, backend="eager", fullgraph=True)(torch.randn(2, 5, 3), torch.zeros(2, 5))


def test_points_that_learn_are_refused_where_no_gradient_reaches_them() -> None:
    x, key = sequences(2, 6)
    learned = hg.LearnedRanges(POINTS)
    recurrent = hg.RecurrentSwitch(learned, nn.GRU(3, 4, batch_first=True), state="shared").double()
    fade = hg.CrossFade(hg.Switch(learned, nn.Linear(3, 2)), 3).double()
    for layer in (recurrent, fade):
        with pytest.raises(ValueError, match=f"{type(layer).__name__}: ranges must not learn here"):
            layer(x, key)
        layer.eval()(x, key)
        learned.requires_grad_(False)
        layer.train()(x, key)
        learned.requires_grad_(True)

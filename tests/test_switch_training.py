"""What helps to train a switch: losses and norms range by range, history, health, and surgery on ranges."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

POINTS = [0.0, 1.0, 2.0, 3.0]


def switch_of(ranges: Any = None, **options: Any) -> hg.Switch:
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.Linear(4, 1))
    return hg.Switch(hg.Ranges(POINTS) if ranges is None else ranges, branch, **options).double()


def rows(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, x[:, 0] * 3


def train(switch: hg.Switch, optimizer: torch.optim.Optimizer, steps: int, key: Any = None) -> None:
    for step in range(steps):
        x, keys = rows(60, seed=step)
        optimizer.zero_grad()
        (switch(x, keys if key is None else key(keys)) - x.sum(1, keepdim=True).sin()).square().mean().backward()
        optimizer.step()


# Losses and norms.


def test_mean_per_branch_is_the_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    loss = torch.rand(50, 7, 3, generator=generator, dtype=torch.float64)
    index = torch.randint(0, 4, (50, 7), generator=generator)
    index[index == 2] = 3  # branch 2 has no row
    weights = torch.tensor([1.0, 2.0, 5.0, 0.5], dtype=torch.float64)
    means = {i: loss[index == i].mean().item() for i in (0, 1, 3)}
    assert hg.per_branch_mean(loss, index, 4).item() == pytest.approx(sum(means.values()) / 3)
    assert hg.per_branch_mean(loss, index).item() == pytest.approx(sum(means.values()) / 3)
    expected = (means[0] + 2 * means[1] + 0.5 * means[3]) / 3.5
    assert hg.per_branch_mean(loss, index, weights=weights).item() == pytest.approx(expected)


def test_a_small_range_is_not_drowned() -> None:
    loss = torch.ones(100, requires_grad=True)
    index = torch.tensor([0] * 99 + [1])
    hg.per_branch_mean(loss, index).backward()
    assert loss.grad is not None
    assert loss.grad[:99].sum().item() == pytest.approx(0.5)
    assert loss.grad[99].item() == pytest.approx(0.5)


def test_mean_per_branch_in_a_graph_and_without_rows() -> None:
    loss, index = torch.rand(6), torch.tensor([0, 0, 2, 2, 2, 0])
    compiled = torch.compile(hg.per_branch_mean, backend="eager", fullgraph=True)
    assert compiled(loss, index, 3).item() == pytest.approx(hg.per_branch_mean(loss, index, 3).item())
    with pytest.raises(Exception, match="branches must be given in a graph"):
        torch.export.export(Mean(), (loss, index))
    assert hg.per_branch_mean(torch.zeros(0), index[:0]).item() == 0
    large = torch.full((2,), 6e4, dtype=torch.float16)  # their sum would overflow
    assert hg.per_branch_mean(large, index[:2]).item() == pytest.approx(6e4, rel=1e-3)


class Mean(nn.Module):
    def forward(self, loss: Tensor, index: Tensor) -> Tensor:
        return hg.per_branch_mean(loss, index)


@pytest.mark.parametrize(
    ("loss", "weights", "message"),
    [
        (torch.zeros(3), None, r"loss must begin with index's shape \(4,\), got \(3,\)"),
        (torch.zeros(()), None, "loss must begin with index's shape"),
        (torch.zeros(4), torch.ones(3), r"weights must have shape \(2,\), one a branch, got \(3,\)"),
    ],
)
def test_mean_per_branch_refuses(loss: Tensor, weights: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hg.per_branch_mean(loss, torch.tensor([0, 0, 1, 1]), 2, weights)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_clipping_is_that_of_each_branch_alone(norm_type: float) -> None:
    switch = switch_of()
    x, key = rows(40)
    (switch(x, key.clamp(max=1.9)) * (1 + 9 * (key > 1)).unsqueeze(1)).sum().backward()
    alone = copy.deepcopy(switch.branches)
    for mine, theirs in zip(alone.parameters(), switch.branches.parameters(), strict=True):
        mine.grad = None if theirs.grad is None else theirs.grad.clone()
    norms = hg.clip_grad_norm_per_branch_(switch, 2.0, norm_type)
    expected = [nn.utils.clip_grad_norm_(alone[i].parameters(), 2.0, norm_type).item() for i in (0, 1)]
    assert norms[:2].tolist() == pytest.approx(expected)
    assert norms[2].isnan()
    for mine, theirs in zip(switch.branches.parameters(), alone.parameters(), strict=True):
        assert (mine.grad is None and theirs.grad is None) or torch.equal(mine.grad, theirs.grad)
    with pytest.raises(ValueError, match="max_norm must be above 0, got 0"):
        hg.clip_grad_norm_per_branch_(switch, 0)


def test_means_of_many_rows_and_of_half_precision() -> None:
    loss = torch.zeros(2**24 + 2**22)  # where a float32 count that grows by ones has stopped at 2 ** 24
    loss[: 2**22] = 1
    assert hg.per_branch_mean(loss, torch.zeros(len(loss), dtype=torch.int64), 1).item() == pytest.approx(0.2)
    loss = torch.tensor([6e4, 6e4, 1.0], dtype=torch.float16, requires_grad=True)
    mean = hg.per_branch_mean(loss, torch.tensor([0, 0, 1]))
    mean.backward()
    assert mean.item() == pytest.approx((6e4 + 1) / 2, rel=1e-3)
    assert loss.grad.tolist() == [0.25, 0.25, 0.5]
    history = hg.switch.History(hg.Ranges(POINTS))
    history.add(loss, torch.tensor([0, 0, 1]))
    history.mark()
    assert history.loss[0, :2].tolist() == [float(loss[0].detach()), 1.0]


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 6e4), (torch.bfloat16, 1e30), (torch.float64, 1e200)])
def test_large_gradients_are_clipped_and_not_wiped_out(dtype: torch.dtype, size: float) -> None:
    switch = hg.Switch(hg.Ranges(POINTS), nn.Linear(4, 4, bias=False)).to(dtype)
    grads = [torch.full((4, 4), size, dtype=dtype), torch.full((4, 4), 1e-3, dtype=dtype)]
    for branch, grad in zip(switch.branches, grads, strict=False):
        branch.weight.grad = grad.clone()
    norms = hg.clip_grad_norm_per_branch_(switch, 1.0)
    assert norms[:2].tolist() == pytest.approx([4 * float(grads[0][0, 0]), 4 * float(grads[1][0, 0])])
    assert switch.branch(0).weight.grad.double().flatten().tolist() == pytest.approx([0.25] * 16, rel=1e-2)
    assert torch.equal(switch.branch(1).weight.grad, grads[1])


def test_sparse_gradients_are_clipped() -> None:
    switch = hg.Switch(hg.Ranges(POINTS), nn.Embedding(5, 2, sparse=True))
    switch(torch.tensor([1, 1, 3]), torch.full((3,), 0.5)).sum().backward()
    assert hg.clip_grad_norm_per_branch_(switch, 1.0)[0].item() == pytest.approx(10**0.5)
    assert switch.branch(0).weight.grad.to_dense().norm().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda loss, index: hg.per_branch_mean([1.0], index), "loss must be a tensor, got list"),
        (lambda loss, index: hg.per_branch_mean(loss, index.double()), "index must be branch numbers, int64, got"),
        (lambda loss, index: hg.per_branch_mean(loss, index - 1), r"index must be branch numbers at least 0, got -1"),
        (
            lambda loss, index: hg.per_branch_mean(loss, index, 1),
            r"index must be branch numbers 0 \.\. 0, got 0 \.\. 1",
        ),
        (lambda loss, index: hg.per_branch_mean(loss, index, 1.5), "branches must be a whole number"),
        (lambda loss, index: hg.per_branch_mean(loss, index, weights=torch.tensor([1.0, -3.0])), "weights must be fin"),
        (lambda loss, index: hg.per_branch_mean(loss, index, weights=torch.tensor([1.0, math.nan])), "weights must be"),
        (lambda loss, index: hg.per_branch_mean(loss.to(torch.complex64), index), "loss must be real numbers"),
        (lambda loss, index: hg.clip_grad_norm_per_branch_(switch_of(), math.nan), "max_norm must be a real number"),
        (lambda loss, index: hg.clip_grad_norm_per_branch_(switch_of(), 1.0, 0), "norm_type must be above 0, got 0"),
        (lambda loss, index: hg.clip_grad_norm_per_branch_(nn.Linear(1, 1), 1.0), "switch must be a Switch"),
        (lambda loss, index: hg.switch.History(nn.Linear(1, 1)), "switch must be a switch or its ranges, got Linear"),
        (lambda loss, index: hg.switch.History(hg.Ranges(POINTS)).add(loss, index + 9), r"index must be .* 0 \.\. 2"),
        (
            lambda loss, index: hg.switch.History(hg.Ranges(POINTS)).load_state_dict({"loss": loss}),
            "state must be what",
        ),
        (lambda loss, index: hg.switch.inspect(nn.Linear(1, 1), loss, loss), "switch must be a Switch, got Linear"),
    ],
)
def test_wrong_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(torch.ones(4), torch.tensor([0, 0, 1, 1]))


# History.


def test_history_is_the_mean_of_each_range_under_its_own_number() -> None:
    history = hg.switch.History(switch_of())
    kept: list[tuple[Tensor, Tensor]] = []
    for interval in range(3):
        seen: list[tuple[Tensor, Tensor]] = []
        for batch in range(2):
            generator = torch.Generator().manual_seed(10 * interval + batch)
            index = torch.randint(0, 2 + (interval > 0), (20,), generator=generator)
            losses = torch.rand(20, 2, generator=generator, dtype=torch.float64, requires_grad=True)
            history.add(losses, index)
            seen.append((losses.detach(), index))
        history.mark(100 * interval)
        kept.append((torch.cat([a for a, _ in seen]), torch.cat([b for _, b in seen])))
    for t, (losses, index) in enumerate(kept):
        for i in range(3):
            mine = losses[index == i]
            assert history.visits[t, i].item() == len(mine)
            if len(mine):
                assert history.loss[t, i].item() == pytest.approx(mine.mean().item())
    assert history.loss[0, 2].isnan()
    assert not history.loss.requires_grad
    assert history.steps == [0, 100, 200]
    restored = hg.switch.History(hg.Ranges(POINTS))
    restored.load_state_dict(history.state_dict())
    assert str(restored) == str(history)
    assert torch.equal(restored.visits, history.visits)
    assert str(history).splitlines()[3].startswith("[2, 3]")


def test_history_refuses_what_does_not_fit() -> None:
    history = hg.switch.History(hg.Ranges(POINTS))
    assert history.loss.shape == (0, 3)
    with pytest.raises(ValueError, match="losses must begin with index's shape"):
        history.add(torch.zeros(()), torch.tensor([0]))
    other = hg.switch.History(hg.Ranges([0.0, 1.0]))
    with pytest.raises(ValueError, match="has 3 ranges, and this one 1"):
        other.load_state_dict(history.state_dict())


# Health.


def test_inspection_names_what_is_dead_constant_or_unvisited_and_nothing_else() -> None:
    switch = switch_of(normalize=[0])
    for branch in switch.branches:
        branch[1] = nn.ReLU()
        nn.init.constant_(branch[0].bias, 4.0)  # every unit lives: weights are below 1, and x within 3
    x, key = rows(90)
    assert hg.switch.inspect(switch, x, key).problems[0].startswith("range [0, 1): no row so far")
    switch(x, key)
    visits = switch.ranges.visits.clone()
    state = copy.deepcopy(switch.state_dict())
    healthy = hg.switch.inspect(switch, x, key)
    assert [each.rows for each in healthy.ranges] == visits.tolist()
    assert healthy.problems == []
    with torch.no_grad():
        switch.branch(1)[0].bias[:3] = -99.0  # three of four units
        switch.branch(2)[0].bias[:] = -99.0
    found = hg.switch.inspect(switch, x, key)
    assert [each.dead for each in found.ranges] == [0, 3, 4]
    assert found.ranges[2].constant is True
    assert [sentence[:14] for sentence in found.problems] == ["range [2, 3]: "] * 2
    assert str(found).splitlines()[3].split()[-4:] == ["4", "of", "4", "constant"]
    assert torch.equal(switch.ranges.visits, visits)
    switch.load_state_dict(state)
    few = hg.switch.inspect(switch, x[:1], key[:1])
    assert [each.constant for each in few.ranges].count(None) == 3
    assert sum("none of the inspected rows" in sentence for sentence in few.problems) == 2
    assert switch.training


def test_inspection_moves_nothing_of_the_users_either() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()
            self.narrow, self.wide = nn.Linear(2, 3), nn.Linear(3, 5)
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            x = self.act(self.wide(self.act(self.narrow(x))))  # one activation, two widths
            return nn.functional.dropout(x, 0.5, True)

    ranges = hg.Grid(hg.Ranges(POINTS), hg.Ranges(POINTS))
    switch = hg.Switch(ranges, Counts())
    x, key = torch.randn(60, 2), torch.rand(60, 2) * 9 - 3
    before, seed = copy.deepcopy(switch.state_dict()), torch.get_rng_state()
    health = hg.switch.inspect(switch, x, key)
    assert all(torch.equal(value, before[name]) for name, value in switch.state_dict().items())
    assert torch.equal(torch.get_rng_state(), seed)
    units = next(each.units for each in health.ranges if each.rows > 1)
    assert [all_ for _, all_ in units.values()] == [3, 5]
    assert pickle.loads(pickle.dumps(health)) == copy.deepcopy(health) == health


def test_a_history_of_every_layer_and_through_its_own_surprises() -> None:
    switch = switch_of()
    recurrent = hg.RecurrentSwitch(switch.ranges, nn.GRU(2, 2, batch_first=True), state="per_branch")
    for layer in (switch, recurrent, hg.CrossFade(recurrent, 2), hg.LayerMask([nn.Tanh()], switch.ranges)):
        history = hg.switch.History(layer)
        with torch.inference_mode():
            history.add(torch.ones(2), torch.tensor([0, 1]))
        history.add(torch.ones(2, requires_grad=True), torch.tensor([0, 1]))
        history.mark()
        assert history.visits.tolist() == [[2, 2, 0]]
        assert str(pickle.loads(pickle.dumps(history))) == str(copy.deepcopy(history)) == str(history)
    saved = history.state_dict()
    history.load_state_dict(saved)
    saved["loss"].zero_()
    assert history.loss[0, 0] == 1
    with pytest.raises(RuntimeError, match="add keeps sums between calls"):
        torch.func.grad(lambda t: history.add(t, torch.tensor([0, 1])))(torch.ones(2))
    began = hg.switch.History(switch)
    switch.split(1, at=1.5)
    with pytest.raises(ValueError, match="has 4 ranges now, and 3 when this history began"):
        began.add(torch.ones(2), torch.tensor([0, 3]))
    assert "range 2" in str(began)


# Surgery.

OPTIMIZERS: list[Any] = [
    lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    lambda p: torch.optim.AdamW(p, lr=0.01),
    lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("normalize", [False, [0]])
def test_right_after_a_split_the_switch_is_the_same_function(learned: bool, normalize: Any) -> None:
    switch = switch_of(hg.LearnedRanges(POINTS) if learned else hg.Ranges(POINTS), normalize=normalize)
    optimizer = torch.optim.Adam(switch.parameters(), lr=0.01)
    train(switch, optimizer, 5)
    x, key = rows(200)
    visits = switch.ranges.visits.clone()
    before = torch.cat([switch.eval()(x[i : i + 1], key[i : i + 1]) for i in range(200)])
    switch.ranges.visits.copy_(visits)
    points = switch.ranges.points
    switch.split(1, at=1.5, optimizer=optimizer)
    after = torch.cat([switch(x[i : i + 1], key[i : i + 1]) for i in range(200)])
    assert torch.equal(after, before)
    assert switch.ranges.points == (*points[:2], 1.5, *points[2:])
    assert switch.ranges.branches == len(switch.branches) == 4
    assert switch.ranges.visits.sum().item() == visits.sum().item() + 200
    train(switch.train(), optimizer, 3)
    assert not torch.equal(switch.branch(1)[0].weight, switch.branch(2)[0].weight)
    copy.deepcopy(switch).load_state_dict(switch.state_dict())


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_split_branch_goes_on_with_the_optimizer_state(make: Any) -> None:
    # All rows go to one half: it must end where the branch ends without the split, and the other half must stay.
    whole, parted = switch_of(), switch_of()
    optimizers = [make(switch.parameters()) for switch in (whole, parted)]
    for switch, optimizer in zip((whole, parted), optimizers, strict=True):
        train(switch, optimizer, 6)
    start = copy.deepcopy(parted.branch(1).state_dict())
    parted.split(1, at=1.5, optimizer=optimizers[1])
    for switch, optimizer in zip((whole, parted), optimizers, strict=True):
        train(switch, optimizer, 6, key=lambda key: 1.5 + 0 * key)
    halves = [parted.branch(i).state_dict() for i in (1, 2)]
    for name, value in whole.branch(1).state_dict().items():
        assert torch.equal(halves[0][name], start[name])
        torch.testing.assert_close(halves[1][name], value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("keep", ["i", "j", "most_visited", "mean"])
@pytest.mark.parametrize("learned", [False, True])
def test_merge_keeps_whom_it_says(keep: Any, learned: bool) -> None:
    switch = switch_of(hg.LearnedRanges(POINTS) if learned else hg.Ranges(POINTS))
    optimizer = torch.optim.Adam(switch.parameters(), lr=0.01)
    train(switch, optimizer, 4)
    switch.ranges.visits.copy_(torch.tensor([5, 6, 70]))
    weights = [branch[0].weight.detach().clone() for branch in switch.branches]
    momenta = [optimizer.state[branch[0].weight]["exp_avg"].clone() for branch in switch.branches]
    points = switch.ranges.points
    switch.merge(2, 1, optimizer, keep=keep)
    expected = {"i": 2, "j": 1, "most_visited": 2}
    if keep == "mean":
        assert torch.allclose(switch.branch(1)[0].weight, (weights[1] + weights[2]) / 2)
        assert torch.allclose(optimizer.state[switch.branch(1)[0].weight]["exp_avg"], (momenta[1] + momenta[2]) / 2)
    else:
        assert torch.equal(switch.branch(1)[0].weight, weights[expected[keep]])
        assert torch.equal(optimizer.state[switch.branch(1)[0].weight]["exp_avg"], momenta[expected[keep]])
    assert torch.equal(switch.branch(0)[0].weight, weights[0])
    assert switch.ranges.points == (*points[:2], points[3])
    assert switch.ranges.visits.tolist() == [5, 76]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in switch.parameters()}
    train(switch, optimizer, 3)


def test_split_then_merge_is_where_it_was() -> None:
    switch = switch_of(hg.LearnedRanges(POINTS), normalize=[0])
    optimizer = torch.optim.Adam(switch.parameters(), lr=0.01)
    train(switch, optimizer, 5)
    state = copy.deepcopy(switch.state_dict())
    moved = {k: v.clone() for k, v in optimizer.state[switch.ranges.inner].items()}
    switch.split(0, at=0.5, optimizer=optimizer)
    switch.merge(0, 1, optimizer, keep="mean")
    for name, value in switch.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-14, atol=0)
    assert all(torch.equal(v, optimizer.state[switch.ranges.inner][k]) for k, v in moved.items())


def test_warm_start_gives_every_branch_the_model() -> None:
    switch = switch_of()
    model = copy.deepcopy(switch.branch(0))
    nn.init.normal_(model[0].weight)
    switch.warm_start(model)
    x, key = rows(30)
    torch.testing.assert_close(switch(x, key), model(x))
    nn.init.zeros_(model[0].weight)
    assert switch.branch(1)[0].weight.abs().sum() > 0


def test_surgery_refuses_and_changes_nothing() -> None:
    switch, scaled = switch_of(), switch_of(normalize=[0])
    other = torch.optim.Adam(nn.Linear(1, 1).parameters())
    grid = hg.Switch(hg.Grid(hg.Ranges(POINTS)), nn.Linear(1, 1))
    mixed = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), [nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))])
    before = copy.deepcopy(switch.state_dict())
    for act, message in (
        (lambda: switch.split(1, at=2.0), r"at must be inside range 1, \[1, 2\), got 2"),
        (lambda: switch.split(3, at=2.5), "a range must be 0 to 2, got 3"),
        (lambda: switch.split(1, at=1.5, optimizer=other), "optimizer must be the one that trains the switch"),
        (lambda: switch.merge(0, 2), "j must be the range before or after i, got 0 and 2"),
        (lambda: switch.merge(0, 1, keep="best"), "keep must be one of"),  # type: ignore[arg-type]
        (lambda: switch.merge(0, 1, other), "optimizer must be the one that trains the switch"),
        (lambda: scaled.merge(0, 1, keep="mean"), "normalize gave them different scales"),
        (lambda: mixed.merge(0, 1, keep="mean"), "branches must be alike to be averaged"),
        (lambda: grid.split(0, at=0.5), "ranges must be Ranges or LearnedRanges, got Grid"),
        (lambda: scaled.warm_start(scaled.branch(0)), "must be built without normalize"),
        (lambda: switch.warm_start(nn.Linear(2, 1)), "model must have the weights of branch 0, but"),
    ):
        with pytest.raises(ValueError, match=message):
            act()
    assert all(torch.equal(value, before[name]) for name, value in switch.state_dict().items())
    assert len(switch.branches) == 3

"""Learned points: the gradient against differences, the routing against plain ranges, the placing against every cut."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

POINTS = [-1.0, -0.4, 0.1, 1.0]


def mlp(features: int = 2, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, outputs))


def pair(**options: Any) -> tuple[hg.Switch, hg.Switch]:
    """A switch on learned points and its twin on fixed ones."""
    torch.manual_seed(0)
    learned = hg.Switch(hg.LearnedRanges(POINTS, band=1.0), mlp(), **options)
    fixed = hg.Switch(hg.Ranges(POINTS), mlp(), **options)
    fixed.branches.load_state_dict(learned.branches.state_dict())
    return learned, fixed


def constant(levels: list[float], points: list[float], band: float) -> hg.Switch:
    """A switch whose branches return a constant each."""
    switch = hg.Switch(hg.LearnedRanges(points, band=band), nn.Linear(1, 1)).double()
    for branch, level in zip(switch.branches, levels, strict=True):
        nn.init.zeros_(branch.weight)
        nn.init.constant_(branch.bias, level)
    return switch


def square(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().sum(1)


# The promise: nothing but the points notices.


@pytest.mark.parametrize("normalize", [False, [0]])
@pytest.mark.parametrize("shape", [(300,), (30, 10)])
def test_values_and_ordinary_gradients_are_those_of_plain_ranges(normalize: Any, shape: tuple[int, ...]) -> None:
    results = []
    for switch in pair(normalize=normalize):
        torch.manual_seed(1)
        x = (torch.rand(*shape, 2) * 2 - 1).requires_grad_()
        torch.manual_seed(2)  # of the dropout
        y = switch(x, x[..., 0])
        y.square().sum().backward()
        results.append([y, x.grad, *(p.grad for p in switch.branches.parameters()), torch.rand(1)])
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_a_branch_next_door_stays_as_it_was() -> None:
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    switch = hg.Switch(hg.LearnedRanges([0.0, 1.0, 2.0], band=1.0), branch)
    before = copy.deepcopy(switch.branch(1).state_dict())
    x = torch.full((6, 1), 0.9) + torch.randn(6, 1) * 1e-3
    switch(x, x[:, 0]).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in switch.branch(1).state_dict().items())
    assert all(p.grad is None for p in switch.branch(1).parameters())
    assert all(module.training for module in switch.modules())
    assert switch.ranges.inner.grad.abs() > 0
    assert switch.ranges.visits.tolist() == [6, 0]


@pytest.mark.parametrize("way", ["eval", "no_grad", "band"])
def test_nothing_is_lent_outside_training(way: str) -> None:
    switch, _ = pair()
    x = torch.rand(50, 2)
    if way == "eval":
        switch.eval()
    if way == "band":
        switch.ranges.band = None
    with torch.set_grad_enabled(way != "no_grad"):
        y = switch(x, x[:, 0])
    if way != "no_grad":
        y.sum().backward()
    assert switch.ranges.inner.grad is None


# The gradient.


def test_the_gradient_is_the_plain_sum_of_the_docstring() -> None:
    switch, _ = pair(normalize=[0])
    for branch in switch.branches:
        branch[1].p = 0.0
    switch.double()
    switch.ranges.band = 0.7
    x = torch.rand(200, 2, dtype=torch.float64) * 2 - 1
    y = switch(x, x[:, 0])
    y.pow(3).sum().backward()
    expected = [0.0, 0.0]
    for row in range(200):
        k, own = x[row, 0].item(), int(switch.ranges.index(x[row, 0]))
        for i in range(2):  # inner point i has range i below it and range i + 1 above
            h = 0.7 * min(POINTS[i + 1] - POINTS[i], POINTS[i + 2] - POINTS[i + 1])
            u = abs(k - POINTS[i + 1])
            if u < h and own in (i, i + 1):
                below, above = (switch.bundle().predict(x[[row]], torch.tensor([j])) for j in (i, i + 1))
                slope = 3 * y[row].detach().square()
                expected[i] += ((slope * (below - above)[0]).sum() * (1 - u / h) / h).item()
    assert switch.ranges.inner.grad.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("point", [0.3, 0.5, 0.62])
def test_it_estimates_the_slope_of_the_expected_loss(point: float, exact: bool) -> None:
    # Keys of density 2 k on [0, 1], target k, branches that return 0.4 and 0.4 + jump. The expected loss is an integral
    # in closed form; smoothed over the point by the triangle, its central difference has no noise. 1e6 rows: one sigma
    # of the estimate is under 0.5 % of the slope, the bound is 3 %, and 2 jumps are the first order's own error.
    jump, band = 0.02, 0.1
    switch = constant([0.4, 0.4 + jump], [0.0, point, 1.0], band)
    key = torch.rand(1_000_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64).sqrt()
    rows = key.unsqueeze(1)
    if exact:
        hg.switch.threshold_loss(switch, rows, key, rows, square).backward()
    else:
        square(switch(rows, key), rows).mean().backward()
    h = band * min(point, 1 - point)

    def loss(p: float) -> Tensor:
        u = torch.linspace(-h, h, 20_001, dtype=torch.float64)
        weight = (1 - u.abs() / h) / h
        edge = p + u

        # d/dp of the two integrals of 2 k (c - k) ** 2, by their antiderivative at the moving edge alone
        def area(c: float) -> Tensor:
            return c * c * edge**2 - 4 / 3 * c * edge**3 + edge**4 / 2

        return torch.trapezoid(weight * (area(0.4) - area(0.4 + jump)), u)

    slope = (loss(point + 1e-4) - loss(point - 1e-4)).item() / 2e-4
    assert abs(slope) > 1e-4
    # (own - other) by first order misses jump ** 2 each way, which cancels but for the density's tilt.
    allowed = 0.03 * abs(slope) + (0.0 if exact else 0.05 * jump**2)
    assert switch.ranges.inner.grad.item() == pytest.approx(slope, abs=allowed)


def test_rows_served_well_push_nowhere_and_misrouted_ones_push_home() -> None:
    # Targets break at 0; rows in [0, 0.2) are on the wrong side of a point at 0.2.
    switch = constant([-1.0, 1.0], [-1.0, 0.2, 1.0], 0.5)
    for low, high, sign in ((0.2, 0.6, 0.0), (-0.2, 0.0, 0.0), (0.05, 0.2, 1.0)):
        x = torch.linspace(low, high - 1e-6, 50, dtype=torch.float64).unsqueeze(1)
        switch.zero_grad()
        square(switch(x, x[:, 0]), torch.where(x < 0, -1.0, 1.0)).mean().backward()
        assert switch.ranges.inner.grad.sign().item() == sign  # descent moves the point down


def test_descent_brings_points_back() -> None:
    torch.manual_seed(0)
    ranges = hg.LearnedRanges([-1.0, -0.2, 0.6, 1.0], band=1.0)
    switch = hg.Switch(ranges, nn.Linear(1, 1), normalize=True)
    optimizer = torch.optim.Adam(
        [{"params": switch.branches.parameters(), "lr": 0.05}, {"params": ranges.parameters(), "lr": 4e-3}]
    )
    for step in range(500):
        ranges.band = 1.0 - 0.95 * step / 500
        x = torch.rand(256, 1) * 2 - 1
        target = torch.where(x < -0.4, -1.0, torch.where(x < 0.4, x, 1.0 - x))
        optimizer.zero_grad()
        (switch(x, x[:, 0]) - target).square().mean().backward()
        optimizer.step()
    assert ranges.points[1:-1] == pytest.approx((-0.4, 0.4), abs=0.02)


def test_the_exact_difference_is_a_zero_that_moves_points_alone() -> None:
    switch, _ = pair()
    switch.ranges.band = 0.5
    x, target = torch.rand(40, 2) * 2 - 1, torch.randn(40, 3)
    zero = hg.switch.threshold_loss(switch, x, x[:, 0], target, square)
    zero.backward()
    assert zero.item() == 0
    assert all(parameter.grad is None for parameter in switch.branches.parameters())
    assert switch.ranges.inner.grad.abs().min() > 0
    assert switch.ranges.visits.sum() == 0


# Ill cases.


def test_points_keep_their_order_and_agree_with_the_tensor() -> None:
    ranges = hg.LearnedRanges([0.0, 1.0, 2.0, 3.0, 4.0])
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        inner = torch.rand(3, generator=generator, dtype=torch.float64) * 6 - 1
        with torch.no_grad():
            ranges.inner.copy_(inner)
        points = ranges.points
        assert all(a + 0.019 < b for a, b in itertools.pairwise(points))
        assert ranges.tensor(torch.device("cpu")).tolist() == pytest.approx(points, rel=1e-12)
        if sorted(inner.tolist()) == inner.tolist() and inner[0] > 0.1 and inner[2] < 3.9:
            gaps = inner.diff()
            if gaps.min() > 0.1:
                assert points[1:-1] == tuple(inner.tolist())


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("rows", [3, 200])
def test_routing_is_that_of_plain_ranges_at_the_current_points(closed: Any, rows: int) -> None:
    learned = hg.LearnedRanges(POINTS, closed=closed)
    with torch.no_grad():
        learned.inner.copy_(torch.tensor([-0.25, 0.3], dtype=torch.float64))
    plain = hg.Ranges(learned.points, closed=closed)
    key = torch.cat([torch.tensor([-0.25, 0.3, -9.0, 9.0]), torch.rand(rows) * 2 - 1])[:rows]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert torch.equal(learned.index(key.to(dtype)), plain.index(key.to(dtype)))


def test_a_step_is_seen_at_once_in_every_dtype() -> None:
    ranges = hg.LearnedRanges([0.0, 1.0, 2.0])
    key = torch.tensor([1.2])
    assert ranges.index(key).item() == 1
    ranges.inner.grad = torch.tensor([-1.0], dtype=torch.float64)
    torch.optim.SGD(ranges.parameters(), lr=0.5).step()
    assert ranges.points == (0.0, 1.5, 2.0)
    assert ranges.index(key).item() == 0
    ranges.inner.data.sub_(0.5)  # behind autograd's back, too
    assert ranges.index(key).item() == 1


def test_no_cast_touches_the_points() -> None:
    switch = hg.Switch(hg.LearnedRanges([0.0, 0.1, 1.0]), nn.Linear(1, 1), normalize=True)
    scale = switch.normalise.centre.clone()
    switch.half().to(torch.bfloat16).float()
    assert switch.ranges.inner.dtype is torch.float64
    assert switch.ranges.points == (0.0, 0.1, 1.0)
    assert torch.equal(switch.normalise.centre, scale)
    assert switch.branch(0).weight.dtype is torch.float32


def test_rows_far_away_or_on_the_point_and_empty_batches() -> None:
    switch = constant([0.0, 1.0], [0.0, 1.0, 2.0], 0.1)
    far = torch.tensor([[0.2], [1.9]], dtype=torch.float64)
    switch(far, far[:, 0]).sum().backward()
    assert switch.ranges.inner.grad.tolist() == [0.0]
    on = torch.tensor([[1.0]], dtype=torch.float64)
    switch(on, on[:, 0]).sum().backward()
    assert switch.ranges.inner.grad.tolist() == [-10.0]  # (0 - 1) / h
    switch(far[:0], far[:0, 0]).sum().backward()
    assert switch.ranges.inner.grad.tolist() == [-10.0]


def test_one_range_has_nothing_to_learn() -> None:
    switch = hg.Switch(hg.LearnedRanges([0.0, 1.0]), nn.Linear(1, 1))
    switch(torch.rand(4, 1), torch.rand(4)).sum().backward()
    assert switch.ranges.points == (0.0, 1.0)


def test_scaled_gradients_of_half_precision_stay_finite() -> None:
    switch = hg.Switch(hg.LearnedRanges([0.0, 1.0, 2.0], band=1e-3), nn.Linear(1, 1)).to(torch.bfloat16)
    x = torch.full((4, 1), 1.0, dtype=torch.bfloat16)
    switch(x, x[:, 0]).sum().backward()
    assert bool(switch.ranges.inner.grad.isfinite().all())


def test_copies_and_states_carry_the_points() -> None:
    switch = hg.Switch(hg.LearnedRanges([0.0, 1.0, 2.0]), nn.Linear(1, 1), normalize=True)
    with torch.no_grad():
        switch.ranges.inner.fill_(1.25)
    x = torch.linspace(0, 2, 9).unsqueeze(1)
    y = switch(x, x[:, 0])
    assert torch.equal(copy.deepcopy(switch)(x, x[:, 0]), y)
    other = hg.Switch(hg.LearnedRanges([0.0, 0.5, 2.0]), nn.Linear(1, 1), normalize=True)
    other.load_state_dict(switch.state_dict())
    assert other.ranges.points == (0.0, 1.25, 2.0)
    assert torch.equal(other(x, x[:, 0]), y)  # the scale is loaded too
    plain = hg.Switch(hg.Ranges([0.0, 1.25, 2.0]), nn.Linear(1, 1))
    other.ranges.load_state_dict(plain.ranges.state_dict())
    assert other.ranges.points == (0.0, 1.25, 2.0)
    with pytest.raises(ValueError, match="as many points, and the saved outer two"):
        hg.LearnedRanges([0.0, 1.0, 3.0]).load_state_dict(switch.ranges.state_dict())


@pytest.mark.parametrize("band", [0.0, -1.0, 1.5, float("nan")])
def test_a_band_must_be_a_share(band: float) -> None:
    with pytest.raises(ValueError, match=r"band must be .*above 0 and at most 1, or None"):
        hg.LearnedRanges([0.0, 1.0, 2.0], band=band)


def test_learned_points_need_finite_ends() -> None:
    with pytest.raises(ValueError, match="give the outer ranges an end"):
        hg.LearnedRanges([float("-inf"), 0.0, 1.0])


# Graphs.


def test_export_routes_by_the_current_points() -> None:
    switch, _ = pair(normalize=[0])
    with torch.no_grad():
        switch.ranges.inner.copy_(torch.tensor([-0.6, 0.35]))
    switch.eval()
    x = torch.rand(64, 2) * 2 - 1
    batch = torch.export.Dim("batch")
    program = torch.export.export(switch, (x, x[:, 0]), dynamic_shapes=({0: batch}, {0: batch})).module()
    few = x[:7]
    torch.testing.assert_close(program(few, few[:, 0]), switch(few, few[:, 0]))


@torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)
def test_compiled_training_lends_the_same_gradient() -> None:
    switch, _ = pair(normalize=[0])
    for branch in switch.branches:
        branch[1].p = 0.0
    x = torch.rand(100, 2) * 2 - 1
    gradients = []
    for run in (switch, torch.compile(switch, backend="aot_eager", fullgraph=True)):
        switch.zero_grad()
        run(x, x[:, 0]).square().sum().backward()
        gradients.append([p.grad.clone() for p in switch.parameters()])
    for eager, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)


# Placing all points at once.


def test_refine_finds_what_trying_every_cut_finds() -> None:
    generator = torch.Generator().manual_seed(5)
    levels = [-1.0, 0.4, 0.0, 0.9]
    for _ in range(20):
        switch = constant(levels, [0.0, 2.5, 5.0, 7.5, 10.0], 0.5)
        key = torch.randint(0, 11, (14,), generator=generator).double()  # with ties
        rows, target = key.unsqueeze(1), torch.randn(14, 1, generator=generator, dtype=torch.float64)
        done = hg.switch.refine(switch, rows, key, target, square, window=float("inf"))
        order = key.argsort()
        places = [a for a, b in zip(key[order], key[order][1:], strict=False) if a < b]
        best = min(
            sum(
                (levels[sum(k.item() > p.item() for p in cut)] - t.item()) ** 2
                for k, t in zip(key, target, strict=True)
            )
            for cut in itertools.combinations(places, 3)
        )
        assert done.loss_after * 14 == pytest.approx(best, rel=1e-9)
        assert done.loss_after <= done.loss_before + 1e-12 or done.before != done.after


def test_refine_moves_no_further_than_its_window() -> None:
    x = torch.linspace(0, 10, 1001, dtype=torch.float64).unsqueeze(1)
    target = (x > 2.0).double()
    for window, found in ((0.25, 3.75), (0.9, 2.0)):
        switch = constant([0.0, 1.0], [0.0, 5.0, 10.0], 0.5)
        done = hg.switch.refine(switch, x, x[:, 0], target, square, window=window)
        assert done.after[1] == pytest.approx(found, abs=0.011)
        assert switch.ranges.visits.sum() == 0


def test_refine_and_training_in_turn_find_every_level() -> None:
    # Four levels, each inner point 30 % of a range too far: the gradient alone loses some to the break next door.
    torch.manual_seed(0)
    true = [0.0, 1.0, 2.0, 3.0, 4.0]
    ranges = hg.LearnedRanges([0.0, 1.3, 2.3, 3.3, 4.0], band=None)
    switch = hg.Switch(ranges, nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)), normalize=True)
    optimizer = torch.optim.Adam(switch.branches.parameters(), lr=0.02)
    everything = torch.rand(3_000, 1) * 4
    for step in range(1000):
        x = everything[torch.randint(len(everything), (128,))]
        optimizer.zero_grad()
        square(switch(x, x[:, 0]), x.floor()).mean().backward()
        optimizer.step()
        if step >= 300 and step % 100 == 99:  # before, the branches know too little to be asked
            hg.switch.refine(switch, everything, everything[:, 0], everything.floor(), square, window=0.35)
    assert ranges.points == pytest.approx(true, abs=5e-3)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda y, t: (y - t).square().mean(), "one number a row"),
        (lambda y, t: (y - t)[:, 0] / 0, "loss must be finite"),
    ],
)
def test_a_wrong_loss_is_told(loss: Any, message: str) -> None:
    switch = constant([0.0, 1.0], [0.0, 1.0, 2.0], 0.5)
    x = torch.rand(9, 1, dtype=torch.float64) * 2
    with pytest.raises(ValueError, match=message):
        hg.switch.refine(switch, x, x[:, 0], x, loss)
    assert switch.ranges.points == (0.0, 1.0, 2.0)


@pytest.mark.parametrize("which", ["refine", "threshold_loss", "agreement"])
def test_plain_ranges_are_refused(which: str) -> None:
    switch = hg.Switch(hg.Ranges([0.0, 1.0, 2.0]), nn.Linear(1, 1))
    x = torch.rand(5, 1)
    more = () if which == "agreement" else (x, square)
    with pytest.raises(ValueError, match=f"{which}: switch must have LearnedRanges"):
        getattr(hg.switch, which)(switch, x, x[:, 0], *more)


# How far hard and soft are apart.


def test_agreement_is_the_soft_mixture_written_out() -> None:
    switch = constant([0.0, 2.0, 5.0], [0.0, 1.0, 3.0, 4.0], 0.8)
    x = torch.rand(400, 1, dtype=torch.float64) * 4
    report = hg.switch.agreement(switch, x, x[:, 0])
    hard = switch(x, x[:, 0])[:, 0]
    k = x[:, 0]
    soft = hard.detach().clone()
    other = torch.zeros_like(k)
    for point, width, levels in ((1.0, 1.0, (0.0, 2.0)), (3.0, 1.0, (2.0, 5.0))):
        u = ((k - point) / (0.8 * width)).clamp(-1, 1)
        above = torch.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)
        soft += torch.where(u.abs() < 1, levels[0] + above * (levels[1] - levels[0]) - hard, torch.zeros_like(k))
        other += torch.where(k < point, above, 1 - above)
    assert report.choice == pytest.approx(1 - other.mean().item(), rel=1e-9)
    assert report.difference == pytest.approx(((soft - hard).norm() / hard.norm()).item(), rel=1e-9)
    assert report.jump == pytest.approx([j / hard.square().mean().sqrt().item() for j in (2.0, 3.0)], rel=1e-9)
    assert sum(report.rows) == int(((k - 1).abs() < 0.8).sum() + ((k - 3).abs() < 0.8).sum())
    assert f"{report.choice:.1%}" in str(report)

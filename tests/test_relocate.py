"""A range moved to where one is missing: costs and gains against trying every cut by least squares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.switch.learning.relocate import LEAST_ROWS, _line_errors


def levels(points: list[float], values: list[float], **kwargs: object) -> hg.Switch:
    """A switch whose branches are constants."""
    switch = hg.Switch(hg.LearnedRanges(points), nn.Linear(1, 1), **kwargs).double()
    for branch, value in zip(switch.branches, values, strict=True):
        nn.init.zeros_(branch.weight)
        nn.init.constant_(branch.bias, value)
    return switch


def rows(n: int = 400, high: float = 4.0) -> Tensor:
    return torch.linspace(0, high, n, dtype=torch.float64).unsqueeze(1)


def staircase(x: Tensor) -> Tensor:
    return x.floor().clamp(max=3)


def test_errors_of_lines_are_those_of_least_squares() -> None:
    torch.manual_seed(0)
    at, y = torch.rand(30, dtype=torch.float64).sort().values, torch.randn(30, 2, dtype=torch.float64)
    found = _line_errors(at, y)
    for m in range(3, 31):
        design = torch.stack([torch.ones(m, dtype=torch.float64), at[:m]], 1)
        left = y[:m] - design @ torch.linalg.lstsq(design, y[:m]).solution
        torch.testing.assert_close(found[m - 1], left.square().sum())


@pytest.mark.parametrize("surplus", [0, 1, 2, 3])
def test_a_surplus_range_goes_where_a_break_is_missing(surplus: int) -> None:
    # Four levels. One range is cut in two, by a point 0.4 above its lower end; another has to serve two levels.
    for missing in range(3):
        kept = [point for point in (1.0, 2.0, 3.0) if point != missing + 1.0]
        points = sorted([0.0, *kept, surplus + 0.4, 4.0])
        values = []
        for low in points[:-1]:
            of = staircase(torch.tensor(low + 1e-6)).item()
            values.append(missing + 0.5 if of in (missing, missing + 1) and missing + 1.0 not in points else of)
        if surplus in (missing, missing + 1):
            continue  # the surplus point is then in the range that needs it
        switch = levels(points, values)
        x = rows()
        done = hg.switch.relocate(switch, x, x[:, 0], staircase(x))
        assert done is not None
        assert done.cost == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(
            torch.tensor(switch.ranges.points), torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), rtol=0, atol=0.011
        )


def test_costs_and_gains_are_those_of_every_cut_tried() -> None:
    torch.manual_seed(0)
    x = rows(60)
    target = staircase(x) + 3 * (x > 3) + 0.1 * torch.randn(60, 1, dtype=torch.float64)
    switch = levels([0.0, 0.6, 1.4, 4.0], [0.1, 0.7, 2.2])
    index = switch.ranges.index(x[:, 0])

    def error(mine: Tensor, value: float) -> float:
        return (target[mine] - value).square().sum().item()

    middle = (index == 1).nonzero()[:, 0]
    tried = [error(middle[:c], 0.1) + error(middle[c:], 2.2) for c in range(len(middle) + 1)]
    cost = min(tried) - error(middle, 0.7)
    last = (index == 2).nonzero()[:, 0]

    def line(mine: Tensor) -> float:
        design = torch.stack([torch.ones(len(mine), dtype=torch.float64), x[mine, 0]], 1)
        return (target[mine] - design @ torch.linalg.lstsq(design, target[mine]).solution).square().sum().item()

    cuts = range(LEAST_ROWS, len(last) - LEAST_ROWS + 1)
    gain = line(last) - min(line(last[:c]) + line(last[c:]) for c in cuts)
    done = hg.switch.relocate(switch, x, x[:, 0], target, worth=1.0)
    assert done is not None
    assert (done.given_up, done.split) == (1, 2)
    assert done.cost == pytest.approx(cost)
    assert done.gain == pytest.approx(gain)


@pytest.mark.parametrize("bank", [False, True], ids=["modules", "bank"])
@pytest.mark.parametrize(("points", "values", "moved"), [
    ([0.0, 0.4, 1.0, 2.0, 4.0], [0.0, 0.0, 1.0, 2.5], [1, 2, 3, 3]),  # upwards
    ([0.0, 2.0, 3.0, 3.4, 4.0], [0.5, 2.0, 3.0, 3.0], [0, 0, 1, 2]),  # downwards; of the twins the first is given up
])  # fmt: skip
def test_weights_optimizer_state_and_scales_move_along(
    points: list[float], values: list[float], moved: list[int], bank: bool
) -> None:
    switch = levels(points, values, normalize=True, bank=bank)
    optimizer = torch.optim.AdamW(switch.branches.parameters(), lr=0.0)
    x = rows()
    (switch(x, x[:, 0]) - staircase(x) - 1).square().sum().backward()
    optimizer.step()
    before = [(b.bias.item(), optimizer.state[b.bias]["exp_avg"].item()) for b in switch.branches]
    scales = switch.normalise.centre.tolist()
    held = list(switch.parameters())
    done = hg.switch.relocate(switch, x, x[:, 0], staircase(x), optimizer)
    assert done is not None
    if done.given_up == 2:  # either of the twins may go
        moved = [0, 0, 1, 3]
    after = [(b.bias.item(), optimizer.state[b.bias]["exp_avg"].item()) for b in switch.branches]
    assert after == [before[i] for i in moved]
    assert switch.normalise.centre.tolist() == [scales[i] for i in moved]
    assert all(a is b for a, b in zip(held, switch.parameters(), strict=True))


def test_a_state_is_dropped_where_the_branch_that_moves_in_has_none() -> None:
    switch = levels([0.0, 0.4, 1.0, 2.0, 4.0], [0.0, 0.0, 1.0, 2.5])
    optimizer = torch.optim.Adam(switch.branches.parameters(), lr=0.0)
    x = torch.full((3, 1), 0.7, dtype=torch.float64)
    (switch(x, x[:, 0]) - 1).sum().backward()  # the second branch alone has been trained
    optimizer.step()
    done = hg.switch.relocate(switch, rows(), rows()[:, 0], staircase(rows()), optimizer)
    assert done is not None
    assert done.given_up in (0, 1)
    trained = [branch.bias in optimizer.state for branch in switch.branches]
    assert trained == ([True, False, False, False] if done.given_up == 0 else [False] * 4)


def test_nothing_moves_where_nothing_is_missing() -> None:
    x = rows()
    switch = levels([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0])
    assert hg.switch.relocate(switch, x, x[:, 0], staircase(x)) is None
    assert switch.ranges.points == (0.0, 1.0, 2.0, 3.0, 4.0)
    alone = levels([0.0, 4.0], [1.0])
    assert hg.switch.relocate(alone, x, x[:, 0], staircase(x)) is None


def test_a_move_must_be_worth_its_cost() -> None:
    # Giving up the range from 0 to 1 costs 100 rows of an error of 1; a break at 3.5 would gain 0.25 on some.
    x = rows()
    target = staircase(x) + 0.5 * (x > 3.5)
    switch = levels([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.25])
    assert hg.switch.relocate(switch, x, x[:, 0], target) is None


def test_mistakes_are_named() -> None:
    x = rows()
    plain = hg.Switch(hg.Ranges([0, 2, 4]), nn.Linear(1, 1)).double()
    with pytest.raises(ValueError, match="LearnedRanges, got Ranges"):
        hg.switch.relocate(plain, x, x[:, 0], x)
    mixed = hg.Switch(hg.LearnedRanges([0, 2, 4]), [nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))])
    with pytest.raises(ValueError, match="one architecture, but branch 1"):
        hg.switch.relocate(mixed.double(), x, x[:, 0], x)
    with pytest.raises(ValueError, match=r"outputs' shape \(1,\) for each row, got \(\)"):
        hg.switch.relocate(levels([0.0, 2.0, 4.0], [0.0, 1.0]), x, x[:, 0], x[:, 0])
    with pytest.raises(ValueError, match=r"worth must be at least 1, got 0.5"):
        hg.switch.relocate(levels([0.0, 2.0, 4.0], [0.0, 1.0]), x, x[:, 0], x, worth=0.5)

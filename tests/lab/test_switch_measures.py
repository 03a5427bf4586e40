"""What is measured of a model on switches' rows: the error by hand, range by range, dead branches, solved rivals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hardgrad as hg
from hardgrad_lab.experiments.switches.measure import by_range, dead_branches, esr, predict, solved
from hardgrad_lab.experiments.switches.rows import Part, Rows
from hardgrad_lab.experiments.switches.table import spread


def parts(n: int = 64) -> Part:
    key = torch.linspace(-1, 1, n)
    return Part(x=key[:, None], key=key, y=(2 * key)[:, None])


def test_esr_by_hand() -> None:
    assert esr(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]])) == pytest.approx(4 / 17)
    assert esr(torch.zeros(3, 1), torch.ones(3, 1)) == 1


def test_the_ranges_errors_add_up_to_the_whole() -> None:
    part = parts()
    said = part.y + torch.randn(part.y.shape)
    found = by_range(said, part, (-1.0, -0.3, 0.2, 1.0), "")
    assert sum(found[f"esr_range_{i}"] for i in range(3)) == pytest.approx(esr(said, part.y))
    assert sum(found[f"rows_range_{i}"] for i in range(3)) == 64
    assert "esr_range_1" not in by_range(said, part, (-1.0, 2.0, 3.0), "x")


def test_measuring_leaves_the_visits_alone() -> None:
    switch = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), nn.Linear(1, 1))
    switch(torch.zeros(2, 1), torch.zeros(2))
    before = switch.ranges.visits.clone()
    predict(switch, parts())
    assert torch.equal(switch.ranges.visits, before)


def test_a_dead_branch_is_counted() -> None:
    torch.manual_seed(0)
    switch = hg.Switch(hg.Ranges([-1.0, 0.0, 0.5, 1.0]), nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)))
    for branch in switch.branches:
        nn.init.ones_(branch[0].weight)  # type: ignore[index]
        nn.init.constant_(branch[0].bias, 2.0)  # type: ignore[index]
    part = parts()
    assert dead_branches(switch, part) == 0
    nn.init.constant_(switch.branch(1)[0].bias, -50.0)  # type: ignore[index]
    assert dead_branches(switch, part) == 1
    flat = Part(x=part.x, key=part.key, y=torch.where(part.key[:, None] >= 0, 1.0, part.key[:, None]))
    assert dead_branches(switch, flat) == 0, "a constant is right where the target is one"
    assert dead_branches(switch, part.take(part.key < 0)) == 2, "no row has trained the other two"
    assert dead_branches(nn.Linear(1, 1), part) == 0


def test_what_needs_no_training_is_solved_on_the_training_rows() -> None:
    train, test = parts(), parts(30)
    found = solved(Rows(train=train, tests={"test": test}, points=(-1.0, 0.0, 1.0)))
    # The target is twice the key: the gain is 2, and the mean is 0.
    assert found["esr_best-gain"] == pytest.approx(0, abs=1e-10)
    assert found["esr_constant"] == pytest.approx(1)
    assert set(found) == {"esr_constant", "esr_best-gain", "esr_linear"}


def test_figures_of_a_table_are_medians() -> None:
    assert spread([3e-6, 1e-6, 2e-5]) == "3.0e-06 [1.0e-06, 2.0e-05]"
    assert spread([0.5]) == "0.5"
    assert spread([0.0504, 0.0501]) == "0.05"
    assert spread([1.125, 1.1]) == "1.11 [1.1, 1.12]"

"""User code that writes in place: a branch, a hook, a key function, a router, a loss, and whoever gets the output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

ONE, TWO = torch.full((6,), 0.5), torch.linspace(0.1, 1.9, 6)


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2.0)
        return x * self.weight


class WritesNot(Writes):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2.0) * self.weight


def hooked() -> nn.Module:
    branch = nn.Linear(2, 2)
    branch.register_forward_pre_hook(double)
    return branch


def double(_: nn.Module, inputs: tuple[Tensor]) -> None:
    inputs[0].mul_(2.0)


def patched() -> nn.Module:
    branch = nn.Linear(2, 2)
    forward = branch.forward
    branch.forward = lambda x: forward(x.mul_(2.0))  # as wrappers of modules do
    return branch


class Doubles(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2.0)


# A branch that writes, and one that computes the same without.
PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "relu": (
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)),
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(2, 2)),
    ),
    "a view first": (
        lambda: nn.Sequential(nn.Flatten(), nn.Hardtanh(inplace=True), nn.Linear(2, 2)),
        lambda: nn.Sequential(nn.Flatten(), nn.Hardtanh(), nn.Linear(2, 2)),
    ),
    "a function": (Writes, WritesNot),
    "a hook": (hooked, lambda: Doubles(2, 2)),
    "a forward replaced": (patched, lambda: Doubles(2, 2)),
}


def both(kind: str) -> tuple[hg.Switch, hg.Switch]:
    switches = []
    for make in PAIRS[kind]:
        torch.manual_seed(0)
        switches.append(hg.Switch(hg.Ranges([0, 1, 2]), [make(), make()]))
    return switches[0], switches[1]


@pytest.mark.parametrize("key", [ONE, TWO, ONE[:0]], ids=["one range", "two ranges", "no rows"])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_branch_may_write_into_its_rows(kind: str, key: Tensor) -> None:
    writes, plain = both(kind)
    found = []
    for switch in (writes, plain):
        torch.manual_seed(1)
        x = torch.randn(len(key), 2)
        given = x.clone().requires_grad_()
        before = nn.Linear(2, 2)
        y = switch(given, key)  # a leaf that asks for a gradient may not be written to
        (y.sum() + switch(before(x), key).square().sum()).backward()
        assert torch.equal(given, x)
        found.append([y, given.grad, before.weight.grad, *(p.grad for p in switch.parameters())])
    for one, other in zip(*found, strict=True):
        assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("kind", ["relu", "a function"])
def test_learned_points_see_the_rows_as_they_came(kind: str) -> None:
    found = []
    for make in PAIRS[kind]:
        torch.manual_seed(0)
        switch = hg.Switch(hg.LearnedRanges([0, 1, 2.0], band=1.0), [make(), make()], key=0)
        x = torch.stack([TWO, TWO - 1], 1).requires_grad_()
        switch(x).square().sum().backward()
        found.append([switch.ranges.inner.grad, x.grad])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("key", [ONE, TWO], ids=["one range", "two ranges"])
@pytest.mark.parametrize("branch", [nn.Identity(), nn.Flatten(), nn.Dropout(0.0), nn.Sequential()])
def test_the_output_may_be_written_to(branch: nn.Module, key: Tensor) -> None:
    x = torch.randn(6, 2)
    before = x.clone()
    y = hg.Switch(hg.Ranges([0, 1, 2]), branch)(x, key)
    assert torch.equal(y, x)
    y.zero_()
    assert torch.equal(x, before)


def test_a_key_function_and_a_router_that_write_are_named() -> None:
    class Own(hg.switch.Router):
        def index(self, key: Tensor) -> Tensor:
            return key.clamp_(0, 1).long()

        def label(self, i: int) -> str:
            return str(i)

    x = torch.randn(6, 2)
    with pytest.raises(ValueError, match=r"Switch: key must not write into the tensor that it gets"):
        hg.Switch(hg.Ranges([0, 1]), nn.Linear(2, 1), key=lambda x: x.clamp_(0, 1)[:, 0])(x)
    with pytest.raises(ValueError, match=r"Switch: Own.index must not write into the tensor that it gets"):
        hg.Switch(Own(2), nn.Linear(2, 1))(x, x[:, 0])
    with torch.inference_mode():  # where no tensor tells: it gets a copy
        x = torch.randn(6, 2) * 3
        before = x.clone()
        hg.Switch(hg.Ranges([0, 1]), nn.Linear(2, 1), key=lambda x: x.clamp_(0, 1)[:, 0])(x)
        assert torch.equal(x, before)


def test_a_loss_that_writes_places_the_same_points() -> None:
    def switch() -> hg.Switch:
        torch.manual_seed(0)
        return hg.Switch(hg.LearnedRanges([0.0, 1.2, 2.0]), nn.Linear(1, 1))

    x = torch.linspace(0, 2, 21).unsqueeze(1)
    target = (x - 0.95).sign()
    losses = (lambda y, t: (y - t).square().sum(1), lambda y, t: y.sub_(t.mul_(1.0)).square_().sum(1))
    done = [hg.switch.refine(switch(), x, x[:, 0], target, loss) for loss in losses]
    assert done[0] == done[1]
    assert torch.equal(target, (x - 0.95).sign())

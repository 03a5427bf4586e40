"""A bridge under observation: truths in closed form, and training that notices nothing."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

SIGMA = 0.6
Map = Callable[[Tensor], Tensor]


class Known(nn.Module):
    """An approximator that is a known function, with a weight that nobody asks."""

    def __init__(self, function: Map) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) + 0 * self.weight


def blurred_sign(x: Tensor) -> Tensor:
    return torch.erf(x / (SIGMA * math.sqrt(2)))


def look(hard: Map, approximation: Map, x: Tensor, **options: object) -> hg.doctor.Sighting:
    bridge = hg.Bridge(hard, Known(approximation))
    weight = torch.linspace(-1, 2, x.numel()).view(x.shape)
    with hg.doctor.Watch(bridge, every=1, sigma=SIGMA, **options) as watch:
        (bridge(x.clone().requires_grad_()) * weight).sum().backward()
    assert len(watch.records) == 1
    assert watch.records[0].error is None
    return watch.records[0]


X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4], [0.1, 0.8, -1.5]])


@pytest.mark.parametrize("x", [X, X[0], X.view(3, 1, 3)], ids=["batch", "one sample", "planes"])
def test_a_bridge_that_lends_the_blurred_slope_is_right(x: Tensor) -> None:
    """The slope of erf(x / (sigma sqrt 2)) is that of E sign(x + sigma v)."""
    found = look(hg.hard.sign, blurred_sign, x, noise="gaussian", budget=100_000)
    # The distance is debiased: what is left of it is of the order of the noise.
    assert found.relative_error < 2 * found.truth_error
    assert found.truth_error < 0.05
    assert found.cosine == pytest.approx(1, abs=4.5 * found.cosine_error + 1e-3)
    assert found.norm_ratio == pytest.approx(1, abs=4.5 * found.truth_error)
    assert (found.noise, found.sigma) == ("gaussian", SIGMA)


def test_a_threshold_is_held_against_the_sigmoid_without_noise() -> None:
    found = look(hg.hard.step, lambda x: torch.sigmoid(x / SIGMA), X)
    assert (found.truth, found.noise, found.truth_error) == ("enumeration", "logistic", 0)
    assert found.relative_error < 1e-5
    assert found.cosine == pytest.approx(1)


@pytest.mark.parametrize(("factor", "error"), [(2.0, 1.0), (0.25, 0.75), (-1.0, 2.0)])
def test_a_wrong_length_and_a_wrong_sign(factor: float, error: float) -> None:
    found = look(hg.hard.step, lambda x: factor * torch.sigmoid(x / SIGMA), X)
    assert found.relative_error == pytest.approx(error, rel=1e-4)
    assert found.norm_ratio == pytest.approx(abs(factor), rel=1e-4)
    assert found.cosine == pytest.approx(math.copysign(1, factor), rel=1e-4)


def test_a_bridge_that_lends_nothing_has_no_angle() -> None:
    found = look(hg.hard.step, lambda x: 0 * x, X)
    assert (found.cosine, found.norm_ratio) == (None, 0)
    assert found.relative_error == pytest.approx(1)


def test_only_what_the_bridge_lends_counts() -> None:
    """The input is used beside the bridge too; that part of its gradient is not the bridge's."""
    bridge, x = hg.Bridge(hg.hard.step, Known(lambda x: torch.sigmoid(x / SIGMA))), X.clone().requires_grad_()
    with hg.doctor.Watch(bridge, every=1, sigma=SIGMA) as watch:
        (bridge(x).sum() + 100 * x.square().sum()).backward()
    assert watch.records[0].relative_error < 1e-5


def model(hard: Map) -> nn.Sequential:
    torch.manual_seed(0)
    network = hg.approximators.suggest(hard, torch.randn(16, 4))
    return nn.Sequential(nn.Linear(3, 4), hg.Bridge(hard, network), nn.ReLU(inplace=True), nn.Linear(4, 2))


def train(hard: Map, watched: bool, steps: int = 12) -> tuple[list[Tensor], hg.doctor.Watch | None]:
    net = model(hard)
    watch = hg.doctor.Watch(net[1], every=4, budget=2000) if watched else None
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(16, 3)).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in net.parameters()] + [torch.rand(3)], watch


@pytest.mark.parametrize("hard", [hg.hard.sign, hg.hard.sort, lambda x: hg.hard.bernoulli(x.sigmoid())])
def test_training_is_bit_for_bit_what_it_was(hard: Map) -> None:
    plain, _ = train(hard, watched=False)
    seen, watch = train(hard, watched=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert [s.call for s in watch.records] == [4, 8, 12]
    assert [s.error for s in watch.records] == [None] * 3
    again = train(hard, watched=True)[1]
    assert again.records == watch.records


def test_what_is_written_down() -> None:
    _, watch = train(hg.hard.sign, watched=True)
    fields = json.loads(watch.to_json())
    assert fields["every"] == 4
    assert [hg.doctor.Sighting(**record) for record in fields["records"]] == watch.records
    lines = str(watch).splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["call", "cosine", "error", "length", "imitation", "truth"]
    assert lines[1].split()[0] == "4"
    assert all(s.imitation_error > 0 for s in watch.records)


def test_calls_that_lend_nothing_are_not_counted() -> None:
    bridge = hg.Bridge(hg.hard.sign, Known(blurred_sign))
    with hg.doctor.Watch(bridge, every=1, sigma=SIGMA) as watch:
        bridge(X)  # nobody wants a gradient
        with torch.no_grad():
            bridge(X.clone().requires_grad_())
        bridge.eval()(X.clone().requires_grad_())
        bridge.train()(X.clone().requires_grad_())  # never asked
        torch.func.grad(lambda x: bridge(x).sum())(X)
        assert watch.records == []
        bridge(X.clone().requires_grad_()).sum().backward()
        assert [s.call for s in watch.records] == [2]
        copy.deepcopy(bridge)(X.clone().requires_grad_()).sum().backward()
        bridge(X.clone().requires_grad_()).sum().backward()
        assert [s.call for s in watch.records] == [2, 3]
    bridge(X.clone().requires_grad_()).sum().backward()
    assert len(watch.records) == 2


def test_a_graph_gone_through_twice_is_one_sighting() -> None:
    bridge = hg.Bridge(hg.hard.sign, Known(blurred_sign))
    with hg.doctor.Watch(bridge, every=1, sigma=SIGMA) as watch:
        loss = bridge(X.clone().requires_grad_()).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert len(watch.records) == 1


def test_a_shared_bridge_is_seen_call_by_call() -> None:
    """Two calls in one step, gradients arriving in reverse: each keeps its own cotangent."""
    bridge, x = hg.Bridge(hg.hard.step, Known(lambda x: torch.sigmoid(x / SIGMA))), X.clone().requires_grad_()
    with hg.doctor.Watch(bridge, every=1, sigma=SIGMA) as watch:
        (bridge(x).sum() + (bridge(x + 0.2) * X).sum()).backward()
    assert sorted(s.call for s in watch.records) == [1, 2]
    assert all(s.relative_error < 1e-5 for s in watch.records)


def test_trouble_is_a_record_and_training_goes_on() -> None:
    def hard(x: Tensor) -> Tensor:
        return (x - x.mean(0)).sign()

    bridge, x = hg.Bridge(hard, Known(blurred_sign)), X.clone().requires_grad_()
    with hg.doctor.Watch(bridge, every=1, sigma=SIGMA) as watch:
        bridge(x).sum().backward()
    assert x.grad is not None
    assert "each row of the batch by itself" in watch.records[0].error
    assert "each row" in str(watch)
    bridge = hg.Bridge(lambda x: torch.zeros_like(x) + 1.0, Known(blurred_sign))
    with hg.doctor.Watch(bridge, every=1) as watch:
        bridge(X.clone().requires_grad_()).sum().backward()
    assert watch.records[0].cosine is None
    assert "not told apart from zero" in str(watch)


class Counting(nn.Module):
    """A hard function with a memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.sign()


def test_a_hard_function_with_a_memory_is_called_as_a_copy() -> None:
    hard = Counting()
    bridge = hg.Bridge(hard, Known(blurred_sign))
    with hg.doctor.Watch(bridge, every=1) as watch:
        bridge(X.clone().requires_grad_()).sum().backward()
    assert hard.calls == 1
    assert watch.records[0].error is None


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"must be a hardgrad\.Bridge, got Sequential; give the layer"):
        hg.doctor.Watch(model(hg.hard.sign))
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        hg.doctor.Watch(model(hg.hard.sign)[1], every=0)

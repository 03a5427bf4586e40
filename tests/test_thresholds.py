"""Thresholds, margins and levels that are tensors: their values, and the gradients that twins lend them."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

import hardgrad as hg
from hardgrad.hard import quantize, sign, step
from hardgrad.surrogate import twins

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Shapes of x and of what is broadcast with it: a number, a channel, a row, both larger than the other.
SHAPES = [((4, 3), ()), ((4, 3), (3,)), ((4, 3), (4, 1)), ((3,), (4, 3)), ((4, 1), (1, 3)), ((), (2,)), ((0, 3), (3,))]
NAN = math.nan


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7), b.nan_to_num(7))


def one_by_one(f: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """The function of numbers, an entry at a time."""
    x, *others = torch.broadcast_tensors(x, *others)
    values = [f(v, *(o.item() for o in rest)) for v, *rest in zip(*(t.flatten() for t in (x, *others)), strict=True)]
    return torch.stack(values).view(x.shape) if values else x


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_does_what_its_numbers_do(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    for (shape, other), wide in itertools.product(SHAPES, (torch.float32, torch.float16)):
        x = (torch.randint(-8, 9, shape, generator=g) / 4).to(dtype)
        t = (torch.randint(0, 9, other, generator=g) / 4).to(wide)
        low, high = -t - 0.3, torch.rand(other, generator=g).to(wide)
        assert same(step(x, t), one_by_one(step, x, t))
        assert same(sign(x, t), one_by_one(sign, x, t))
        for n in (2, 3, 16):
            wanted = one_by_one(lambda x, low, high, n=n: quantize(x, n, low, high), x, low, high)
            assert same(quantize(x, n, low, high), wanted)
            assert same(quantize(x, n, low, 2.0), one_by_one(lambda x, low, n=n: quantize(x, n, low, 2.0), x, low))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_nearest_of_sorted_values_in_exact_arithmetic(dtype: torch.dtype) -> None:
    """Half way the one of even number; with evenly spaced values, what a number of levels gives."""
    g = torch.Generator().manual_seed(1)
    for n, lead in itertools.product((2, 3, 5, 8, 9), ((), (3,), (4, 1))):
        levels = (torch.randint(-9, 10, (*lead, n), generator=g) / 4).sort(-1).values
        x = (torch.randint(-40, 41, (4, 3), generator=g) / 8).to(dtype)
        rows = levels.expand(4, 3, n).reshape(-1, n).tolist()
        wanted = []
        for v, row in zip(x.flatten().tolist(), rows, strict=True):
            middles = [(Fraction(a) + Fraction(b)) / 2 for a, b in itertools.pairwise(row)]
            place = sum(v > m if i % 2 == 0 else v >= m for i, m in enumerate(middles))
            assert abs(row[place] - v) == min(abs(each - v) for each in row)
            wanted.append(row[place])
        assert same(quantize(x, levels), torch.tensor(wanted).view(4, 3).to(dtype))
    even = torch.linspace(-1, 3, 9)
    x = torch.randint(-40, 41, (99,), generator=g).to(dtype) / 8
    assert same(quantize(x, even), quantize(x, 9, -1.0, 3.0))


def test_nan_and_what_a_transform_hides_are_nan() -> None:
    x = torch.tensor([0.2, 0.7, NAN])
    at = torch.tensor([NAN, 0.5, 0.5])
    assert same(sign(x, at), torch.tensor([NAN, 1.0, NAN]))
    assert same(quantize(x, 3, 0.0, at + 0.5), torch.tensor([NAN, 0.5, NAN]))
    assert same(quantize(x, 3, at, 1.5), torch.tensor([NAN, 0.5, NAN]))
    levels = torch.tensor([[0.0, NAN], [0.0, 1.0], [0.0, 1.0]])
    assert same(quantize(x, levels), torch.tensor([NAN, 1.0, NAN]))
    assert vmap(sign, (None, 0))(x[:2], torch.tensor([0.5, -0.5])).tolist()[0] == [0, 1]
    assert vmap(sign, (None, 0))(x[:2], torch.tensor([0.5, -0.5]))[1].isnan().all()
    swapped = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert vmap(lambda b: quantize(x[:2], 2, *b))(swapped).isnan().tolist() == [[False] * 2, [True] * 2]
    assert vmap(lambda b: quantize(x[:2], b))(swapped).isnan().tolist() == [[False] * 2, [True] * 2]


def _four(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return quantize(x, 4, low, high)


def _logistic(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _normal(z: Tensor) -> Tensor:
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


NOISE = {"logistic": (twins.sigmoid(1.0), _logistic, 40.0), "normal": (twins.gaussian(1.0), _normal, 9.0)}
EDGES = {"step": (step, lambda twin: twin, 0.0), "sign": (sign, twins.dead_zone, 0.3)}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("edge", EDGES)
def test_signs_are_those_of_a_smoothed_objective(noise: str, edge: str) -> None:
    """d/dt and d/dx of E[c hard(x + noise, t)]: a sum over the noise, differenced, against the layer's gradient."""
    twin, density, reach = NOISE[noise]
    hard, make, least = EDGES[edge]
    n = torch.arange(-reach, reach, 1e-3, dtype=torch.float64)
    weight = density(n) * 1e-3
    c = torch.tensor([1.5, -0.7, 2.0], dtype=torch.float64)
    x = torch.tensor([0.4, -1.3, 0.1], dtype=torch.float64)
    t = torch.tensor([0.5, 0.2, 1.1], dtype=torch.float64) + least

    def smoothed(x: Tensor, t: Tensor) -> Tensor:
        return c * (hard(x.unsqueeze(-1) + n, t.unsqueeze(-1)) * weight).sum(-1)

    layer = hg.straight_through(hard, make(twin))
    x.requires_grad_()
    t.requires_grad_()
    y = layer(x, t)
    assert torch.equal(y, hard(x, t))
    (c * y).sum().backward()
    h = 0.1 + 1e-9  # whole cells, and no point on an edge
    with torch.no_grad():
        by_x, by_t = (smoothed(x + h, t) - smoothed(x - h, t)), (smoothed(x, t + h) - smoothed(x, t - h))
    # The difference is over 0.2, so its own error is of the order of h squared.
    torch.testing.assert_close(x.grad, by_x / (2 * h), rtol=0.02, atol=2e-3)
    torch.testing.assert_close(t.grad, by_t / (2 * h), rtol=0.02, atol=2e-3)


def test_a_quantizer_of_learned_bounds() -> None:
    """With r the place that was taken and u the exact one, both from 0 to 1: 1, u - r and r - u inside."""
    layer = hg.straight_through(_four, twins.quantizer(4))
    low, high = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (-0.5, 2.5))
    for value in (-0.9, -0.1, 0.3, 1.2, 2.4, 2.6):
        x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        y = layer(x, low, high)
        assert torch.equal(y, quantize(x, 4, -0.5, 2.5))
        got = torch.stack(torch.autograd.grad(y.sum(), (x, low, high))).flatten().tolist()
        u, r = (min(max((value + 0.5) / 3, 0.0), 1.0), (y.item() + 0.5) / 3)
        wanted = [float(-0.5 < value < 2.5), u - r, r - u] if 0 < u < 1 else [0.0, 1.0 - r, r]
        assert got == pytest.approx(wanted, abs=1e-12)


def test_bounds_learn_to_fit_and_move_as_the_objective_smoothed_by_spread_data() -> None:
    """Over evenly spread x the mean gradient is the derivative of the mean loss, which is smooth: by differences."""
    layer = hg.straight_through(_four, twins.quantizer(4))
    x = torch.arange(-1, 3, 1e-4, dtype=torch.float64) + 5e-5
    bounds = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-0.3, 2.2)]

    def slope(i: int) -> float:
        moved = [[b.item() + s * 0.01 * (i == j) for j, b in enumerate(bounds)] for s in (1, -1)]
        return sum(s * quantize(x, 4, *m).mean().item() for s, m in zip((1, -1), moved, strict=True)) / 0.02

    got = torch.autograd.grad(layer(x, *bounds).mean(), bounds)
    assert [g.item() for g in got] == pytest.approx([slope(0), slope(1)], abs=1e-3)


def test_levels_that_learn() -> None:
    """The level taken gets one, less what lies between two levels; evenly spaced, that is what learned bounds get."""
    layer = hg.straight_through(quantize, twins.quantizer())
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    low, high = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-0.8, 1.1))
    share = torch.linspace(0, 1, 4, dtype=torch.float64)
    y = layer(x, low + (high - low) * share)
    other = hg.straight_through(_four, twins.quantizer(4))(x, low, high)
    torch.testing.assert_close(y, other)
    c = torch.randn(50, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad((c * out).sum(), (x, low, high)) for out in (y, other)), strict=True):
        torch.testing.assert_close(a, b)
    levels = torch.tensor([[0.0, 1.0, 4.0], [-1.0, 0.0, 2.0]], requires_grad=True)
    x = torch.tensor([1.6, 9.0], requires_grad=True)
    layer(x, levels).sum().backward()
    assert x.grad is not None
    assert levels.grad is not None
    torch.testing.assert_close(levels.grad, torch.tensor([[0.0, 0.2, -0.2], [0.0, 0.0, 1.0]]))
    assert x.grad.tolist() == [1, 0]


STEPS = {"sigmoid": twins.sigmoid(2.0, 0.3), "tanh": twins.tanh(), "arctan": twins.arctan(), "clipped": twins.clipped()}


@pytest.mark.parametrize("name", STEPS)
def test_a_threshold_moves_the_center_of_a_twin(name: str) -> None:
    x, t = torch.randn(5, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    layer = hg.straight_through(step, STEPS[name])
    y = layer(x, t)
    assert torch.equal(y, (x >= t).float())
    gx, gt = torch.autograd.grad(y.sum(), (x, t))
    moved = (x - t).detach().requires_grad_()
    torch.testing.assert_close(gx, torch.autograd.grad(STEPS[name](moved).sum(), moved)[0])
    torch.testing.assert_close(gt, -gx.sum(0))


class Learned(nn.Module):
    """A layer with a tensor of its own, as a user writes it."""

    def __init__(self, layer: nn.Module, *tensors: Tensor) -> None:
        super().__init__()
        self.layer, self.tensors = layer, nn.ParameterList(tensors)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x, *self.tensors)
        return y


def _layers() -> dict[str, Learned]:
    ste = hg.straight_through
    return {
        "step": Learned(ste(step, twins.sigmoid(2.0)), torch.tensor([0.1, -0.2, 0.3])),
        "sign": Learned(ste(sign, twins.dead_zone(twins.sigmoid(2.0))), torch.tensor([0.1, 0.2, 0.3])),
        "quantize": Learned(ste(_four, twins.quantizer(4)), -torch.ones(3), torch.tensor(0.7)),
        "levels": Learned(ste(quantize, twins.quantizer()), torch.randn(3, 5).sort(-1).values),
    }


def gradients(f: Callable[[Tensor], Tensor], model: Learned, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    return list(torch.autograd.grad(f(x).square().sum(), [x, *model.parameters()]))


@pytest.mark.parametrize("name", list(_layers()))
def test_every_mode(name: str) -> None:
    model, x = _layers()[name], torch.randn(6, 3)
    y, wanted = model(x), gradients(model, model, x)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradients(compiled, model, x), wanted)
    weights = dict(model.named_parameters())

    def loss(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, (row,)).square().sum()

    by_row = vmap(grad(loss), (None, 0))({k: v.detach() for k, v in weights.items()}, x)
    torch.testing.assert_close([by_row[k].sum(0) for k in weights], wanted[1:])
    program = torch.export.export(model.eval(), (x,))
    assert torch.equal(program.module()(x), y)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), hg.strip(model)):
        assert torch.equal(other(x), y)
        with pytest.warns(UserWarning, match=r"in eval\(\)"):
            assert not any(g.any() for g in gradients(other, other, x))  # zeros, and a word, for all of them
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gradients(other.train(), other, x)
    half = model.train().half()
    torch.testing.assert_close([g.float() for g in gradients(half, half, x.half())], wanted, rtol=0.1, atol=0.03)


def test_in_compiled_eval_a_threshold_gets_zeros_and_a_word() -> None:
    layer = hg.straight_through(step, twins.sigmoid(3.0)).eval()
    x, t = torch.randn(5, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    with pytest.warns(UserWarning, match="in eval"):
        torch.compile(layer, backend="aot_eager", fullgraph=True)(x, t).sum().backward()
    assert x.grad is not None
    assert t.grad is not None
    assert x.grad.any() == t.grad.any() == 0
    lends = hg.straight_through(step, twins.sigmoid(3.0), differentiable_in_eval=True).eval()
    assert torch.autograd.grad(lends(x.detach(), t).sum(), t)[0].all()


def test_a_bridge_lends_a_threshold_its_gradient() -> None:
    """What a bridge learned of a function at one place serves at all places and widths."""
    bridge = hg.Bridge(step, hg.approximators.elementwise())
    x, t = torch.randn(40, 1, requires_grad=True), torch.randn(1, requires_grad=True)
    y = bridge(x - t)
    assert torch.equal(y, step(x, t))
    gx, gt = torch.autograd.grad(y.sum(), (x, t))
    torch.testing.assert_close(gt, -gx.sum(0))
    assert gx.any()
    unit = hg.Bridge(lambda u: quantize(u, 4), hg.approximators.elementwise())
    low, high = torch.tensor([-0.3], requires_grad=True), torch.tensor([1.9], requires_grad=True)
    y = hg.graft(quantize(x, 4, low, high), low + (high - low) * unit((x - low) / (high - low)))
    assert torch.equal(y, quantize(x, 4, low, high))
    assert all(g.any() for g in torch.autograd.grad(y.sum(), (x, low, high)))


def test_a_threshold_without_a_twin_is_refused() -> None:
    with pytest.raises(ValueError, match="soft must be given"):
        hg.straight_through(step)(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="floating point, got torch"):
        hg.straight_through(step, twins.tanh())(torch.zeros(2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="quantizer: levels must be"):
        twins.quantizer(1)
    with pytest.raises(TypeError, match="dead_zone: step must be"):
        twins.dead_zone(0.5)  # type: ignore[arg-type]  # the mistake

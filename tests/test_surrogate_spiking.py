"""Twins of a spike: the derivative each one states, its peak, its area, and where it must stay finite."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad.surrogate import twins


@dataclass(frozen=True)
class Stated:
    """What a docstring says, written down again from the formulas, in terms of z = x - center."""

    make: Callable[..., Callable[..., Tensor]]
    shape: float
    primitive: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    peak: float
    area: float
    kinks: tuple[float, ...] = ()
    units: float = 0.0  # of rounding, which a derivative of the form s (1 - s) has at its ends

    def twin(self, center: float = 0.0) -> Callable[..., Tensor]:
        return self.make(self.shape, center=center)


STATED = {
    "fast_sigmoid": Stated(
        twins.fast_sigmoid, 25.0, lambda z: z / (1 + 25 * z.abs()), lambda z: (1 + 25 * z.abs()) ** -2.0, 1.0, 2 / 25
    ),
    "triangle": Stated(
        twins.triangle, 0.8,
        lambda z: torch.where(z < 0, 0.5 * (1 + z / 0.8) ** 2 * (z > -0.8), 1 - 0.5 * (1 - z / 0.8) ** 2 * (z < 0.8)),
        lambda z: (1 - z.abs() / 0.8).relu() / 0.8, 1.25, 1.0, (-0.8, 0.0, 0.8),
    ),
    "rectangle": Stated(
        twins.rectangle, 0.5,
        lambda z: (z + 0.25).relu() / 0.5 - (z - 0.25).relu() / 0.5, lambda z: 2 * (z.abs() <= 0.25).to(z), 2.0, 1.0,
        (-0.25, 0.25),
    ),
    "gaussian": Stated(
        twins.gaussian, 0.5, lambda z: 0.5 * torch.erfc(-z / (0.5 * 2**0.5)),
        lambda z: torch.exp(-2 * z.square()) / (0.5 * math.sqrt(2 * math.pi)), 0.7978845608, 1.0,
    ),
    "leaky": Stated(
        twins.leaky, 0.1, lambda z: torch.where(z > 0, z, 0.1 * z), lambda z: (z > 0).to(z) * 0.9 + 0.1, 1.0,
        math.inf, (0.0,),
    ),
    "sigmoid": Stated(
        twins.sigmoid, 4.0, lambda z: 1 / (1 + torch.exp(-4 * z)), lambda z: torch.cosh(2 * z) ** -2.0, 1.0, 1.0,
        units=8,
    ),
    "tanh": Stated(
        twins.tanh, 2.0, lambda z: -1 + 2 / (1 + torch.exp(-4 * z)), lambda z: 2 * torch.cosh(2 * z) ** -2.0, 2.0, 2.0,
        units=8,
    ),
    "arctan": Stated(
        twins.arctan, 2.0, lambda z: 0.5 + torch.atan(math.pi * z) / math.pi, lambda z: 1 / (1 + (math.pi * z) ** 2),
        1.0, 1.0,
    ),
}  # fmt: skip
every_twin = pytest.mark.parametrize("stated", STATED.values(), ids=STATED)
WIDE = torch.tensor([-1e4, -100.0, -3.0, -0.7, -0.1, 0.0, 0.1, 0.7, 3.0, 100.0, 1e4], dtype=torch.float64)


def slope(twin: Callable[..., Tensor], x: Tensor) -> Tensor:
    """The gradient that a step lends by the twin."""
    x = x.clone().requires_grad_()
    hg.straight_through(hg.hard.step, twin)(x).sum().backward()
    assert x.grad is not None
    return x.grad


def test_every_twin_of_a_spike_is_stated_here() -> None:
    """Those with a center and one number of shape; what a derivative states is written down here a second time."""
    public = {name: value for name, value in vars(twins).items() if inspect.isfunction(value) and name[0] != "_"}
    spikes = {name for name, make in public.items() if "center" in inspect.signature(make).parameters}
    missing = sorted(spikes - set(STATED))
    assert missing == [], f"each needs a line in STATED of tests/test_surrogate_spiking.py: {', '.join(missing)}"


@every_twin
def test_the_derivative_is_the_stated_one_and_that_of_the_value(stated: Stated) -> None:
    center, h = 0.3, 1e-6
    z = torch.cat([torch.linspace(-3, 3, 41, dtype=torch.float64) + 0.013, WIDE])
    twin = stated.twin(center)
    torch.testing.assert_close(twin(z + center), stated.primitive(z), rtol=1e-12, atol=1e-13)
    # At x itself, not at z: z + center - center is not z, and at a kink that matters.
    seen = slope(twin, z + center)
    torch.testing.assert_close(seen, stated.derivative(z + center - center), rtol=1e-9, atol=1e-15)
    smooth = z[(z.abs() < 4) & torch.stack([(z - k).abs() > 1e-3 for k in (*stated.kinks, 9.0)]).all(0)]
    numeric = (stated.primitive(smooth + h) - stated.primitive(smooth - h)) / (2 * h)
    kept = smooth.abs() > 1e-3  # the fast sigmoid bends within h of its center
    torch.testing.assert_close(slope(twin, smooth + center)[kept], numeric[kept], rtol=1e-5, atol=1e-8)


@every_twin
def test_peak_area_and_sides_are_the_stated_ones(stated: Stated) -> None:
    # Midpoints; beyond 2,000 the fast sigmoid has 2 / (25 * 50,001) left, which the tolerance covers.
    edges = torch.cat([torch.linspace(0, 2, 20_001, dtype=torch.float64), torch.logspace(0.302, 3.302, 20_001)[1:]])
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    right, left = slope(stated.twin(), middle), slope(stated.twin(), -middle)
    peak = slope(stated.twin(), torch.tensor([0.0, 1e-12], dtype=torch.float64)).amax()
    assert peak == pytest.approx(stated.peak, rel=1e-9)
    assert max(left.amax(), right.amax()) <= peak
    if stated.area == math.inf:
        assert (right == 1).all()
        assert (left == stated.shape).all()
        return
    torch.testing.assert_close(left, right, rtol=0, atol=stated.units * 2**-53)
    beside = torch.nextafter(torch.tensor(stated.kinks), torch.tensor(math.inf))
    assert torch.equal(slope(stated.twin(), beside), slope(stated.twin(), -beside)), "to the last bit"
    assert ((left + right) * width).sum().item() == pytest.approx(stated.area, rel=2e-4)


@every_twin
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_is_single_rounded_once_and_finite_on_every_number(stated: Stated, dtype: torch.dtype) -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype)
    x = x[x.isfinite()]
    for twin in (stated.twin(), stated.twin(0.3)):
        seen = slope(twin, x)
        assert torch.equal(twin(x), twin(x.float()).to(dtype))
        assert torch.equal(seen, slope(twin, x.float()).to(dtype))
        assert seen.isfinite().all()
        assert twin(x)[x.float().abs() <= 1e4].isfinite().all()
        assert (seen >= 0).all()


@every_twin
def test_single_is_right_far_out_and_never_negative(stated: Stated) -> None:
    x = torch.cat([-torch.logspace(-6, 4, 101), torch.logspace(-6, 4, 101), torch.tensor([3e38, -3e38])])
    seen, true = slope(stated.twin(), x), stated.derivative(x.double())
    torch.testing.assert_close(seen.double(), true, rtol=1e-5, atol=max(stated.units * 2**-24, 1e-37))
    ends = torch.tensor([math.inf, -math.inf])
    expected = torch.tensor([1.0, 0.1]) if stated.area == math.inf else torch.zeros(2)
    assert torch.equal(slope(stated.twin(), ends), expected)
    assert slope(stated.twin(), torch.tensor([math.nan, 0.1]))[1] > 0, "a NaN stays in its place"


@every_twin
def test_a_threshold_moves_the_step_and_gets_what_x_gets_against_it(stated: Stated) -> None:
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    threshold = torch.tensor([0.2, -0.3, 0.11], dtype=torch.float64, requires_grad=True)
    spikes = hg.straight_through(hg.hard.step, stated.twin(0.5))(x, threshold)
    assert torch.equal(spikes, (x >= threshold).to(x.dtype))
    spikes.sum().backward()
    torch.testing.assert_close(threshold.grad, -stated.derivative(x - threshold.detach() - 0.5).sum(0))
    assert torch.equal(stated.twin(0.5)(x, 0.25), stated.twin(0.75)(x))


@every_twin
def test_twins_travel_and_say_what_they_are(stated: Stated) -> None:
    twin = pickle.loads(pickle.dumps(stated.twin(0.5)))
    assert torch.equal(twin(WIDE), stated.twin(0.5)(WIDE))
    assert f"={stated.shape}" in repr(twin)


@every_twin
def test_transforms_and_graphs_give_the_same_gradient(stated: Stated) -> None:
    layer = hg.straight_through(hg.hard.step, stated.twin(0.1))
    x = torch.linspace(-1.5, 1.5, 9)
    expected = slope(stated.twin(0.1), x)
    torch.testing.assert_close(torch.func.grad(lambda t: layer(t).sum())(x), expected)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(layer))(x), expected)
    _, forward = torch.func.jvp(stated.twin(0.1), (x,), (torch.ones(9),))
    torch.testing.assert_close(forward, expected)
    torch.compiler.reset()  # all layers are one program, of which torch keeps eight forms
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    leaf = x.clone().requires_grad_()
    compiled(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, expected)


@every_twin
def test_second_derivatives_are_those_of_the_formula(stated: Stated) -> None:
    x = torch.tensor([-0.62, -0.2, -0.03, 0.03, 0.2, 0.62], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(stated.twin()(x).sum(), x, create_graph=True)
    second = torch.autograd.grad(first.sum(), x)[0] if first.requires_grad else torch.zeros_like(x)
    h = 1e-6
    z = x.detach()
    numeric = (stated.derivative(z + h) - stated.derivative(z - h)) / (2 * h)
    torch.testing.assert_close(second, numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: twins.fast_sigmoid(0.0), "fast_sigmoid: slope must be above 0, got 0.0; it is how fast"),
        (lambda: twins.triangle(-1.0), "triangle: width must be above 0, got -1.0; it is how far"),
        (lambda: twins.rectangle(math.inf), "rectangle: width must be above 0 and finite, got inf"),
        (lambda: twins.gaussian(center=math.nan), "gaussian: center must be finite, got nan; it is where the step is"),
        (lambda: twins.leaky(1.5), "leaky: below must be at least 0 and at most 1, got 1.5"),
        (lambda: twins.leaky("no"), "leaky: below must be a number, got str"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()

"""The two-point layer: its gradient is that of the smoothed function, its value and its cost are what it says."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.utils.checkpoint import checkpoint

import hardgrad as hg

Function = Callable[[Tensor], Tensor]
DOUBLE = torch.float64
X = torch.tensor([0.3, -0.7, 1.1], dtype=DOUBLE)
V = torch.tensor([1.0, -2.0], dtype=DOUBLE)
SCALE = torch.tensor([0.5, 0.2, 1.3], dtype=DOUBLE)


def bent(x: Tensor) -> Tensor:
    """Two outputs of three inputs, with stairs and products, so that every direction says something else."""
    return torch.stack([(4 * x[:, 0]).round() * x[:, 1] + x[:, 2] ** 3, (x[:, 0] * x[:, 2]).sin() - x[:, 1].exp()], 1)


def gradient(layer: nn.Module, *inputs: Tensor, v: Tensor = V) -> Tensor:
    """What the first input gets, each row for itself."""
    leaf = inputs[0].clone().requires_grad_()
    (found,) = torch.autograd.grad((layer(leaf, *inputs[1:]) * v).sum(), leaf)
    return found


def smoothed_slope(f: Function, x: Tensor, scale: Tensor, v: Tensor = V) -> Tensor:
    """The slope between the ends of each number's step, averaged over all signs of the others."""
    slope = torch.zeros_like(x)
    for i in range(len(x)):
        signs = [(1, -1) if j != i else (1,) for j in range(len(x))]
        each = []
        for u in itertools.product(*signs):
            at = [x + scale * torch.tensor(u, dtype=x.dtype), x + scale * torch.tensor(u, dtype=x.dtype)]
            at[0][i], at[1][i] = x[i] + scale[i], x[i] - scale[i]
            each.append((v * (f(at[0][None]) - f(at[1][None]))).sum() / (2 * scale[i]))
        slope[i] = torch.stack(each).mean()
    return slope


class Seen:
    """A function that keeps where it was asked."""

    def __init__(self, f: Function) -> None:
        self.f = f
        self.points: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.points.append(x.clone())
        return self.f(x)


# ------------------------------------------------------------------------------------------------ what the gradient is


def test_the_mean_over_all_directions_is_the_smoothed_gradient() -> None:
    """Each of the eight directions, as they come, gives its own formula; their mean is the smoothed slope exactly."""
    found: dict[tuple[float, ...], Tensor] = {}
    for seed in range(60):
        seen = Seen(bent)
        layer = hg.perturb(seen, SCALE, generator=torch.Generator().manual_seed(seed))
        got = gradient(layer, X[None])[0]
        plus, minus = seen.points[1][0], seen.points[2][0]
        u = ((plus - minus) / (2 * SCALE)).round()
        torch.testing.assert_close(plus, X + SCALE * u)
        want = (V * (bent((X + SCALE * u)[None]) - bent((X - SCALE * u)[None]))).sum() / 2 * u / SCALE
        torch.testing.assert_close(got, want)
        found[tuple(u.tolist())] = got
    assert set(found) == set(itertools.product((1.0, -1.0), repeat=3))
    torch.testing.assert_close(torch.stack(list(found.values())).mean(0), smoothed_slope(bent, X, SCALE))


def test_all_coordinates_are_central_differences() -> None:
    want = torch.stack(
        [(V * (bent((X + step)[None]) - bent((X - step)[None]))).sum() / (2 * step.sum()) for step in SCALE.diag()]
    )
    for samples in (None, 3, 50):
        layer = hg.perturb(bent, SCALE, directions="coordinates", samples=samples)
        torch.testing.assert_close(gradient(layer, X[None])[0], want)


@pytest.mark.parametrize("samples", [1, 2])
def test_drawn_coordinates_are_unbiased_over_all_draws(samples: int) -> None:
    """A row draws without replacement; the mean over all subsets is all of the coordinates."""
    whole = gradient(hg.perturb(bent, SCALE, directions="coordinates"), X[None])[0]
    drawn = gradient(hg.perturb(bent, SCALE, directions="coordinates", samples=samples), X.expand(200, 3))
    rows = {tuple(row.tolist()) for row in drawn}
    subsets = [set(each) for each in itertools.combinations(range(3), samples)]
    want = {tuple((whole[i] * 3 / samples).item() if i in subset else 0.0 for i in range(3)) for subset in subsets}
    assert {tuple(round(n, 9) for n in row) for row in rows} == {tuple(round(n, 9) for n in row) for row in want}
    torch.testing.assert_close(torch.tensor(sorted(want), dtype=DOUBLE).mean(0), whole)


def _within_four_errors(found: Tensor, want: Tensor) -> None:
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - want).abs() < 4 * error + 1e-12).all(), (found.mean(0), want, error)


@pytest.mark.parametrize("options", [{}, {"samples": 3}, {"directions": "coordinates", "samples": 2}])
def test_the_mean_is_within_four_standard_errors(options: dict[str, Any]) -> None:
    """4,000 rows of one x, each with directions of its own; seed 0 of conftest."""
    coordinates = "directions" in options
    want = gradient(hg.perturb(bent, SCALE, directions="coordinates"), X[None])[0]
    want = want if coordinates else smoothed_slope(bent, X, SCALE)
    _within_four_errors(gradient(hg.perturb(bent, SCALE, **options), X.expand(4000, 3)), want)


NORMAL: dict[str, dict[str, Any]] = {"antithetic": {}, "leave one out": {"antithetic": False, "samples": 3}}


def _matrix(x: Tensor) -> Tensor:
    return x @ torch.tensor([[1.0, 0.5], [-2.0, 0.25], [3.0, 4.0]], dtype=x.dtype)


def _quadratic(x: Tensor) -> Tensor:
    return torch.stack([(x * x).sum(1), x[:, 0] * x[:, 1]], 1)


def _density(x: Tensor, scale: Tensor) -> Tensor:
    return (-(x / scale).square() / 2).exp() / (scale * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("options", NORMAL.values(), ids=NORMAL)
@pytest.mark.parametrize("shape", ["linear", "quadratic", "step"])
def test_normal_noise_has_the_gaussian_closed_form(shape: str, options: dict[str, Any]) -> None:
    """20,000 rows, 4 standard errors: linear and quadratic functions keep their slope, a step gets a density."""
    f, v, want = {
        "linear": (_matrix, V, torch.tensor([0.0, -2.5, -5.0], dtype=DOUBLE)),
        "quadratic": (_quadratic, V, 2 * X - 2 * torch.stack([X[1], X[0], 0 * X[0]])),
        "step": (hg.hard.step, torch.tensor([1.0, -3.0, 2.0], dtype=DOUBLE), None),
    }[shape]
    if want is None:
        want = v * _density(X, SCALE)
    found = gradient(hg.perturb(f, SCALE, noise="normal", **options), X.expand(20_000, 3), v=v)
    _within_four_errors(found, want)
    assert (found.std(0) / math.sqrt(len(found)) < 0.1 * want.abs().max()).all()


def test_leave_one_out_lessens_the_noise_of_a_constant() -> None:
    """A constant added to f changes nothing."""
    draws = [
        gradient(hg.perturb(lambda x, c=c: _matrix(x) + c, 0.1, noise="normal", antithetic=False, samples=4,
                            generator=torch.Generator().manual_seed(1)), X[None])
        for c in (0.0, 1000.0)
    ]  # fmt: skip
    torch.testing.assert_close(draws[0], draws[1], rtol=1e-6, atol=1e-6)


def _stairs_with_memory(x: Tensor) -> Tensor:
    """Rounded to 1/8, then a recursive filter over the numbers of a row, then rounded again."""
    state, outputs = torch.zeros_like(x[:, 0]), []
    for each in ((8 * x).round() / 8).unbind(1):
        state = 0.8 * state + each
        outputs.append((8 * state).round() / 8)
    return torch.stack(outputs, 1)


def test_a_step_narrower_than_the_stairs_is_useless_and_one_as_wide_is_right() -> None:
    """16 knobs: against the gradient of the same program without its rounding, 64 rows."""
    x = torch.rand(64, 16, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    v = torch.randn(64, 16, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    decay = 0.8 ** (torch.arange(16.0)[:, None] - torch.arange(16.0)).clamp_min(0).to(DOUBLE)
    truth = v @ decay.tril()

    def cosine(scale: float) -> float:
        found = gradient(hg.perturb(_stairs_with_memory, scale, directions="coordinates"), x, v=v)
        return torch.nn.functional.cosine_similarity(found.flatten(), truth.flatten(), 0).item()

    assert cosine(1e-4) < 0.3
    assert cosine(0.125) > 0.9
    assert cosine(0.25) > 0.95


# ------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("options", [{}, {"directions": "coordinates"}])
def test_pairs_at_a_bound_keep_their_width_and_are_divided_by_what_they_span(options: dict[str, Any]) -> None:
    seen = Seen(lambda x: x * x)
    layer = hg.perturb(seen, 0.2, low=0.0, high=torch.tensor([1.0, 1.0, 0.1, torch.inf], dtype=DOUBLE), **options)
    x = torch.tensor([[0.0, 0.95, 0.02, 7.0]], dtype=DOUBLE)
    found = gradient(layer, x, v=torch.ones(1))
    ends = torch.tensor([[0.0, 0.4], [0.6, 1.0], [0.0, 0.1], [6.8, 7.2]], dtype=DOUBLE)
    asked = torch.cat(seen.points[1:]).t()
    # The slope of a square between two points is their sum.
    if options:
        torch.testing.assert_close(found[0], ends.sum(1))
    for i in range(4):
        assert {round(n, 9) for n in asked[i].tolist()} - {x[0, i].item()} <= {round(n, 9) for n in ends[i].tolist()}
        assert asked[i].min() >= 0.0
    assert asked.max(1).values[:3].le(torch.tensor([1.0, 1.0, 0.1])).all()


def test_a_bounded_linear_function_keeps_its_slope() -> None:
    x = torch.rand(50, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    layer = hg.perturb(lambda x: 3 * x[:, :1], 0.3, low=0.0, high=1.0, directions="coordinates")
    torch.testing.assert_close(gradient(layer, x, v=torch.ones(1))[:, 0], torch.full((50,), 3.0, dtype=DOUBLE))


def test_normal_noise_is_clamped_to_the_bounds() -> None:
    """At the upper bound half of the steps stay there: a slope of one half for f(x) = x; 20,000 rows, 4 errors."""
    seen = Seen(lambda x: x)
    layer = hg.perturb(seen, 0.1, noise="normal", low=0.0, high=1.0)
    found = gradient(layer, torch.ones(20_000, 1, dtype=DOUBLE), v=torch.ones(1))
    _within_four_errors(found, torch.full((1,), 0.5, dtype=DOUBLE))
    assert max(point.max() for point in seen.points) <= 1.0
    assert min(point.min() for point in seen.points) >= 0.0


def test_bounds_of_a_box_are_taken_over() -> None:
    box = hg.BlackBox(_squares, low=torch.tensor([0.0, -1.0]), high=1.0)
    layer = hg.perturb(box, 0.2, directions="coordinates")
    found = gradient(layer, torch.tensor([[1.0, -1.0]]), v=torch.ones(1))
    torch.testing.assert_close(found, torch.tensor([[1.6, -1.6]]))
    own = hg.perturb(box, 0.2, directions="coordinates", low=0.9, high=2.0)
    torch.testing.assert_close(gradient(own, torch.tensor([[1.0, 1.5]]), v=torch.ones(1)), torch.tensor([[2.2, 3.0]]))


def _squares(row: Any) -> Any:
    return row * row


# ----------------------------------------------------------------------------------------------------- value and cost


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, 3),
        ({"samples": 4}, 9),
        ({"directions": "coordinates"}, 7),
        ({"directions": "coordinates", "samples": 2}, 5),
        ({"noise": "normal", "samples": 4}, 9),
        ({"noise": "normal", "samples": 4, "antithetic": False}, 5),
    ],
)
def test_calls_are_counted_and_the_backward_makes_none(options: dict[str, Any], calls: int) -> None:
    seen = Seen(bent)
    layer, x = hg.perturb(seen, SCALE, **options), X.expand(5, 3).clone().requires_grad_()
    y = layer(x)
    assert torch.equal(y, bent(x))
    assert len(seen.points) == calls
    y.sum().backward(retain_graph=True)
    first = x.grad.clone()
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * first)
    assert len(seen.points) == calls
    for quiet in (lambda: layer(x.detach()), torch.no_grad()(lambda: layer(x)), lambda: layer.eval()(x)):
        assert torch.equal(quiet(), y)
        calls += 1
        assert len(seen.points) == calls


def test_a_checkpoint_gives_the_same_draws() -> None:
    layer, x = hg.perturb(bent, SCALE, samples=2), X.expand(5, 3)

    def run(call: Function) -> Tensor:
        torch.manual_seed(5)
        leaf = x.clone().requires_grad_()
        call(leaf).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    plain = run(layer)
    for reentrant in (False, True):
        assert torch.equal(run(lambda t, r=reentrant: checkpoint(layer, t, use_reentrant=r)), plain)


def test_rows_do_not_feel_each_other() -> None:
    x = torch.randn(6, 3, dtype=DOUBLE)
    layer = hg.perturb(bent, SCALE, directions="coordinates")
    whole = gradient(layer, x)
    x[3] = torch.nan
    spoilt = gradient(layer, x)
    assert torch.equal(spoilt[[0, 1, 2, 4, 5]], whole[[0, 1, 2, 4, 5]])
    assert spoilt[3].isnan().all()


def test_a_generator_repeats_and_a_copy_goes_on_from_there() -> None:
    layer = hg.perturb(bent, SCALE, generator=torch.Generator().manual_seed(3))
    x = X.expand(20, 3)
    first = gradient(layer, x)
    others = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    second = gradient(layer, x)
    assert not torch.equal(first, second)
    for other in others:
        assert torch.equal(gradient(other, x), second)
    state = torch.get_rng_state()
    gradient(layer, x)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_empty_batch_and_an_empty_row() -> None:
    for shape in ((0, 3), (2, 0)):
        x = torch.zeros(shape, requires_grad=True)
        for options in ({}, {"directions": "coordinates"}, {"noise": "normal"}):
            layer = hg.perturb(lambda t: t * 2, 0.1, **options) if shape[1] else hg.perturb(lambda t: t * 2, 0.1)
            layer(x).sum().backward()
            assert x.grad is not None
            assert x.grad.shape == shape


# --------------------------------------------------------------------------------------------- several inputs, dtypes


def _mixed(signal: Tensor, knobs: Tensor, mode: Tensor) -> Tensor:
    return signal * knobs.prod(1, keepdim=True) + mode.unsqueeze(1)


def test_inputs_beside_the_perturbed_one_pass_through() -> None:
    signal, mode = torch.randn(4, 5, dtype=DOUBLE), torch.arange(4)
    knobs = torch.rand(4, 2, dtype=DOUBLE).requires_grad_()
    layer = hg.perturb(_mixed, (None, torch.tensor([0.1, 0.2]), None), directions="coordinates")
    y = layer(signal, knobs, mode)
    assert torch.equal(y, _mixed(signal, knobs, mode))
    y.sum().backward()
    torch.testing.assert_close(knobs.grad, signal.sum(1, keepdim=True) * knobs.detach().flip(1))


def test_two_inputs_of_two_dtypes_and_shapes_are_perturbed_together() -> None:
    a = torch.randn(3, 2, 2, dtype=DOUBLE, requires_grad=True)
    b = torch.randn(3, requires_grad=True)
    layer = hg.perturb(lambda a, b: a.sum((1, 2)) * b, (0.5, 0.25), directions="coordinates")
    layer(a, b).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (DOUBLE, torch.float32)
    torch.testing.assert_close(a.grad, b.detach().to(DOUBLE).view(3, 1, 1).expand(3, 2, 2))
    torch.testing.assert_close(b.grad, a.detach().sum((1, 2)).float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_divides_by_the_step_that_was_taken(dtype: torch.dtype) -> None:
    """0.01 is not a bf16 number, and 1.01 is 1.0078125 there."""
    x = torch.tensor([[1.0, 3.0]], dtype=dtype)
    layer = hg.perturb(lambda t: 4 * t, 0.01, directions="coordinates")
    assert gradient(layer, x, v=torch.ones(1, dtype=dtype)).tolist() == [[4.0, 4.0]]
    with pytest.raises(ValueError, match=r"perturb\(<lambda>\): number 1 of row 0 must be moved by scale"):
        hg.perturb(lambda t: t, 1e-4)(torch.tensor([[1e-4, 3.0]], dtype=dtype, requires_grad=True))
    box = hg.perturb(hg.BlackBox(_squares), 1e-3, directions="coordinates")
    y = box(leaf := x.clone().requires_grad_())
    y.sum().backward()
    assert (y.dtype, leaf.grad.dtype) == (dtype, dtype)
    torch.testing.assert_close(leaf.grad, 2 * x, rtol=1e-2, atol=0)


def test_a_bound_may_be_rounded_as_the_input_is() -> None:
    """0.3 is 0.30078125 in bf16, and 0.7 is 0.69921875."""
    x = torch.tensor([[0.3, 0.7]], dtype=torch.bfloat16)
    bounds = {"low": torch.tensor([0.0, 0.7]), "high": torch.tensor([0.3, 1.0])}
    layer = hg.perturb(hg.BlackBox(_squares), 0.1, directions="coordinates", **bounds)
    found = gradient(layer, x, v=torch.ones(1, dtype=torch.bfloat16))
    torch.testing.assert_close(found.float(), torch.tensor([[0.4, 1.6]]), rtol=1e-2, atol=0)
    with pytest.raises(ValueError, match="number 0 of row 0 must be within low and high"):
        layer((x + 0.02).requires_grad_())


def test_where_nothing_can_be_read_a_lost_step_is_not_a_zero() -> None:
    layer = hg.perturb(lambda t: t.round(), 1e-9)
    found = vmap(grad(lambda t: layer(t.unsqueeze(0)).sum()), randomness="different")(torch.full((4, 2), 0.3))
    assert not found.isfinite().any()


# ------------------------------------------------------------------------------------------------------ boxes, workers


class Batches(hg.BlackBox):
    """A box that notes how many rows each call had, and needs no processes for that."""

    def __init__(self, **options: Any) -> None:
        super().__init__(_squares, **options)
        self.rows: list[int] = []

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        self.rows.append(len(x))
        return torch.from_numpy(_squares(x.float().numpy())).to(x.dtype)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"workers": 4}, [14]),  # 16 rows at a time are enough for four workers
        ({"workers": 1}, [4, 4, 4, 2]),
        ({}, [2] * 7),
        ({"workers": 1, "batched": True}, [2] * 7),
    ],
)
def test_points_are_asked_together_where_workers_wait(options: dict[str, Any], rows: list[int]) -> None:
    box = Batches(**options)
    x = torch.tensor([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]], dtype=torch.bfloat16, requires_grad=True)
    layer = hg.perturb(box, 0.25, directions="coordinates")
    y = layer(x)
    assert box.rows == rows
    assert torch.equal(y, x * x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


class Fails(hg.BlackBox):
    """A box with workers whose program fails on its tenth row."""

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        from hardgrad.black_box.errors import BoxError

        raise BoxError.of("BlackBox(fails)", 9, "ValueError: no")


def test_a_failing_row_is_named_as_one_of_the_batch() -> None:
    layer = hg.perturb(Fails(_squares, workers=4), 0.1, directions="coordinates")
    with pytest.raises(RuntimeError, match="row 9: ValueError: no") as failed:
        layer(torch.rand(4, 3, requires_grad=True))
    assert failed.value.__notes__ == ["perturb(Fails): points beside x were asked too; that is row 1 of x"]


def test_rows_that_go_to_a_program_are_counted() -> None:
    box = hg.BlackBox(_squares)
    layer = hg.perturb(box, 0.1, samples=3)
    layer(torch.rand(5, 2, requires_grad=True))
    assert box.calls == 5 * 7
    layer.eval()(torch.rand(5, 2, requires_grad=True))
    assert box.calls == 5 * 8


# --------------------------------------------------------------------------------------------------- words of mistakes


def _layer(*inputs: Tensor, f: Callable[..., Any] = bent, scale: Any = 0.1, **options: Any) -> Callable[[], object]:
    return lambda: hg.perturb(f, scale, **options)(*inputs)


LEAF = torch.zeros(2, 3, requires_grad=True)
MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no function": (_layer(f=3), "perturb: f must be a function"),
    "scale of zero": (_layer(scale=0.0), "perturb: scale must be above 0 and finite, .* got 0.0"),
    "scale with a zero": (_layer(scale=torch.tensor([0.1, 0.0])), "perturb: scale must be above 0 and fin"),
    "scale of a word": (_layer(scale="0.1"), "perturb: scale must be a number, got str '0.1'"),
    "a scale that would learn": (_layer(scale=torch.ones(3, requires_grad=True)), "scale must need no gradient"),
    "no scale": (_layer(scale=(None, None)), "perturb: scale must be given for an input at least"),
    "NaN bound": (_layer(low=math.nan), "perturb: low must be a number, got nan"),
    "directions": (_layer(directions="all"), "perturb: directions must be one of 'random', 'coordinates', got 'all'"),
    "noise": (_layer(noise="gumbel"), "perturb: noise must be one of 'normal', got 'gumbel'"),
    "noise along coordinates": (_layer(noise="normal", directions="coordinates"), "noise needs directions='random'"),
    "one-sided pairs": (_layer(antithetic=False), "perturb: antithetic=False needs noise='normal', got None"),
    "alone": (_layer(antithetic=False, noise="normal"), "antithetic=False needs samples of at least 2, got None"),
    "row shape": (_layer(LEAF, scale=torch.ones(2)), r"scale must broadcast to one row .* \(3,\), got \(2,\)"),
    "one scale for two": (_layer(LEAF, LEAF), "scale must be a tuple with an entry for each of the 2 inputs, got one"),
    "bounds for two": (_layer(LEAF, low=(0.0, 0.0)), "low must be a tuple with an entry for each of the 1 inputs"),
    "no batch": (_layer(torch.tensor(0.0, requires_grad=True)), "input 0 must begin with the batch"),
    "two batches": (_layer(LEAF, LEAF[:1], scale=(0.1, 0.1)), "input 1 must begin with the batch, as input 0 does"),
    "integers": (_layer(torch.zeros(2, 3, dtype=torch.long)), "input 0 must be floating point, got torch.int64"),
    "a gradient nobody gives": (
        _layer(LEAF, LEAF, f=lambda a, b: a * b, scale=(0.1, None)),
        "input 1 requires gradients and has scale None, so it would get none",
    ),
    "parameters": (_layer(LEAF, f=nn.Linear(3, 2)), "f has parameters that require gradients and get none here"),
    "outside": (_layer(LEAF, low=0.5), "number 0 of row 0 must be within low and high, .* got 0.0"),
    "no room": (_layer(LEAF, low=0.0, high=0.0), "number 0 of row 0 must be moved by scale"),
    "lost": (_layer(LEAF + 1e9), "number 0 of row 0 must be moved by scale, .* got 1000000000.0"),
    "lost at the other end": (_layer(LEAF, scale=1e39), "number 0 of row 0 must be moved by scale"),
    "mean over the batch": (_layer(LEAF, f=lambda x: x.mean()), r"f must return a row for each of the 2 rows .* \(\)"),
    "no tensor": (_layer(LEAF, f=lambda x: x.numpy()), "f must return a tensor, got ndarray; hardgrad.BlackBox"),
    "integer value": (_layer(LEAF, f=lambda x: x.long()), "f must return a floating dtype, got torch.int64"),
    "another shape": (
        _layer(LEAF.expand(2, 3), f=lambda x: x[:, : 2 + int(x[0, 0] > 0)], directions="coordinates"),
        r"f must return the same shape beside x as at x, got \(3,\) and \(2,\)",
    ),
    "generator": (_layer(generator=3), "perturb: generator must be a torch.Generator or None"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake: str) -> None:
    call, sentence = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()


def test_a_frozen_module_is_taken_and_the_rest_of_the_model_learns() -> None:
    model = nn.Sequential(nn.Linear(3, 3), hg.perturb(nn.Linear(3, 2).requires_grad_(False), 0.1, samples=2))
    model(torch.randn(4, 3)).sum().backward()
    assert model[0].weight.grad.abs().sum() > 0


def test_eval_says_so_for_several_inputs() -> None:
    layer = hg.perturb(lambda a, b: a * b, (None, 0.1)).eval()
    a, b = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    with pytest.warns(UserWarning, match=r"perturb\(<lambda>\): in eval\(\) no gradient passes"):
        layer(a, b).sum().backward()
    assert a.grad.count_nonzero() == b.grad.count_nonzero() == 0


def test_the_output_may_be_changed_in_place() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    y = hg.perturb(lambda t: t, 0.25, directions="coordinates")(x)
    y.mul_(2.0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2, 3), 2.0))
    assert torch.equal(y, 2 * x)


def test_a_second_derivative_is_refused_in_every_way_of_asking() -> None:
    layer, x = hg.perturb(lambda t: t**3, 0.25, directions="coordinates"), torch.ones(2, 3, dtype=DOUBLE)

    def slope(t: Tensor) -> Tensor:
        return grad(lambda t: layer(t).sum())(t).sum()

    torch.testing.assert_close(slope(x), torch.tensor(6 * (3 + 0.25**2), dtype=DOUBLE))  # ((1+s)^3 - (1-s)^3) / 2s
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(layer(leaf).sum(), leaf, create_graph=True)
    compiled = torch.compile(slope, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), slope(x))
    for second in (lambda: grad(slope)(x), lambda: first.sum().backward()):
        with pytest.raises(RuntimeError, match="perturb: its gradient has no derivative of its own"):
            second()
    with pytest.raises(Exception, match="perturb: its gradient has no derivative of its own"):
        torch.compile(grad(slope), backend="aot_eager", fullgraph=True)(x)


def test_strip_and_export_keep_f_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), hg.perturb(hg.hard.round, 0.5)).eval()
    x = torch.randn(2, 3)
    stripped = hg.strip(model)
    assert torch.equal(stripped(x), model(x))
    for each in (model, model.train()):
        program = torch.export.export(each, (x,))
        assert torch.equal(program.module()(x), model(x))
        assert sum(node.op == "call_function" for node in program.graph.nodes) == 2  # the linear map and the rounding

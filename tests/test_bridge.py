"""The bridge beyond the laws: learning, options, bad input, stripping, and what it tells of itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.two_track import two_tracks

SIGN = partial(hg.hard.sign, margin=0.5)


def bridge(**options: object) -> hg.Bridge:
    return hg.Bridge(SIGN, hg.approximators.mlp(4, 4, hidden=(16,)), **options)


def test_an_unchanged_loop_trains_both() -> None:
    model = nn.Sequential(nn.Linear(4, 4), bridge(), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = torch.rand(256, 4) * 2 - 1
    target = (x[:, 0] > x[:, 1]).long()
    history = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        history.append((loss.item(), model[1].fidelity().relative_error))
    assert history[-1][0] < 0.5 * history[0][0]
    assert history[-1][1] < 0.6 < history[0][1]
    wall = nn.Sequential(nn.Linear(4, 4), hg.bridge.HardLayer(SIGN), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match=r"HardLayer\(sign\): no gradient passes"):
        wall(x).sum().backward()
    assert wall[0].weight.grad.abs().sum() == 0


def test_task_gradient_does_not_enter_the_approximator_nor_the_penalty_the_input() -> None:
    layer, x = bridge(weight=0.0), torch.randn(5, 4, requires_grad=True)
    layer(x).sum().backward()
    assert all(p.grad.abs().sum() == 0 for p in layer.parameters())
    layer, x = bridge(), torch.randn(5, 4, requires_grad=True)
    (layer(x) * 0).sum().backward()
    assert x.grad.abs().sum() == 0
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_conditioning_lets_the_penalty_reach_the_input() -> None:
    layer, x = bridge(conditioning=True), torch.randn(5, 4, requires_grad=True)
    (layer(x) * 0).sum().backward()
    z = x.detach().clone().requires_grad_()
    (10 * (layer.approximator(z) - SIGN(x.detach())).pow(2).sum() / 5).backward()
    torch.testing.assert_close(x.grad, z.grad)


@pytest.mark.parametrize("distance", [lambda a, t: (a - t).abs(), lambda a, t: (a - t).abs().sum(1)])
def test_distance_is_summed_and_divided_by_the_batch(distance: object) -> None:
    layer, x = bridge(distance=distance, weight=3.0), torch.randn(5, 4)
    with hg.penalties() as bag:
        layer(x)
    torch.testing.assert_close(bag.total(), 3 * (layer.approximator(x) - SIGN(x)).abs().sum(1).mean())


def test_two_tracks_equal_two_calls() -> None:
    """The linear layer computed once, and the general way, give the same tensors and gradients."""
    dense = nn.Sequential(nn.Linear(3, 8), nn.Sequential(nn.Tanh(), nn.Linear(8, 5, bias=False)), nn.ELU()).double()
    hooked = copy.deepcopy(dense)
    hooked.register_forward_hook(lambda *_: None)  # a hook sends it the general way
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    found = []
    for network in (dense, hooked):
        lend_from, learn_from = x.clone().requires_grad_(), x.clone().requires_grad_()
        lend, learn = two_tracks(network, lend_from, learn_from)
        torch.testing.assert_close(lend, learn)
        first = torch.autograd.grad(
            lend.sin().sum() + learn.square().sum(), [lend_from, learn_from, *network.parameters()], create_graph=True
        )
        # Second order: of the task's gradient into the input alone, of the penalty's into the weights too.
        sum(g.square().sum() for g in first).backward()
        second = [lend_from.grad, learn_from.grad, *(p.grad for p in network.parameters())]
        lent_alone = torch.autograd.grad(network_lend(network, x), list(network.parameters()), allow_unused=True)
        found.append([lend, *first, *second])
        assert lent_alone == (None,) * len(lent_alone)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def network_lend(network: nn.Module, x: Tensor) -> Tensor:
    """A number of the task's gradient, through which no weight may be reached."""
    entry = x.clone().requires_grad_()
    lend, _ = two_tracks(network, entry, x)
    (gradient,) = torch.autograd.grad(lend.sin().sum(), entry, create_graph=True)
    return gradient.square().sum()


class _HalveInPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5)


@pytest.mark.parametrize(
    ("writes", "same"), [(nn.ELU(inplace=True), nn.ELU()), (_HalveInPlace(), nn.Linear(5, 5, bias=False))]
)
def test_approximators_may_work_in_place(writes: nn.Module, same: nn.Module) -> None:
    if isinstance(same, nn.Linear):
        same.weight.data.copy_(0.5 * torch.eye(5))
    found = []
    first, last = nn.Linear(3, 5), nn.Linear(5, 2)
    for middle in (writes, same.requires_grad_(False)):
        x = torch.linspace(-2, 2, 12).view(4, 3).requires_grad_()
        first.zero_grad()
        hg.Bridge(lambda t: t[:, :2].sign(), nn.Sequential(first, middle, last))(x).sum().backward()
        found.append([x.grad, first.weight.grad.clone()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_normalization_counts_a_batch_once() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    reference = copy.deepcopy(network)
    x = torch.randn(8, 4)
    hg.Bridge(SIGN, network)(x)
    reference(x)
    for name, buffer in reference.named_buffers():
        assert torch.equal(network.get_buffer(name), buffer), name


def test_recurrent_layer_counts_every_call() -> None:
    layer, x = bridge(), torch.randn(5, 4)
    state = x
    inputs = []
    for _ in range(3):
        inputs.append(state.detach())
        state = layer(state) * 0.7
    state.sum().backward()
    actual = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    sum(10 * (layer.approximator(z) - SIGN(z)).pow(2).sum() / 5 for z in inputs).backward()
    for a, p in zip(actual, layer.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


def test_frozen_approximator_lends_and_does_not_move() -> None:
    layer, x = bridge().requires_grad_(False), torch.randn(5, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in layer.parameters())


def test_autocast_leaves_double_precision_alone() -> None:
    layer, x = bridge().double(), torch.randn(5, 4, dtype=torch.float64)
    with hg.penalties() as bag, torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    expected = 10 * (layer.approximator(x) - SIGN(x)).square().sum() / 5
    torch.testing.assert_close(bag.total(), expected, rtol=1e-12, atol=0)


def test_hook_on_the_input_fires_once() -> None:
    x = torch.randn(5, 4, requires_grad=True)
    middle, seen = x * 2, []
    middle.register_hook(lambda g: seen.append(g.clone()))
    bridge()(middle).sum().backward()
    assert len(seen) == 1
    torch.testing.assert_close(seen[0] * 2, x.grad)


def test_output_may_be_changed_in_place() -> None:
    layer, x = bridge(), torch.randn(5, 4, requires_grad=True)
    layer(x).mul_(2).sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_compiled_bridge_matches_eager() -> None:
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(4, 4), bridge(), nn.Linear(4, 2))
    x = torch.randn(16, 4)
    model(x).square().sum().backward()
    eager = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    # Inductor's turn is in test_modes.py.
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).square().sum().backward()
    for a, p in zip(eager, model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-4)
    assert model[1].fidelity().relative_error > 0


# What a bridge tells of itself


def test_fidelity_is_the_relative_error_and_the_lent_gradients_norm() -> None:
    layer, x = bridge(), torch.randn(5, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"Bridge\(sign\): no training batch has passed yet"):
        layer.fidelity()
    y = layer(x)
    assert layer.fidelity().gradient_norm is None
    y.sum().backward()
    told = layer.fidelity()
    error = (layer.approximator(x) - SIGN(x)).norm() / SIGN(x).norm()
    assert told.relative_error == pytest.approx(error.item(), rel=1e-6)
    assert told.gradient_norm == pytest.approx(x.grad.norm().item(), rel=1e-6)


def test_fidelity_of_a_zero_output() -> None:
    layer = hg.Bridge(torch.zeros_like, hg.approximators.mlp(4, 4))
    layer(torch.randn(5, 4))
    assert layer.fidelity().relative_error == math.inf


def test_repr_names_the_function() -> None:
    assert "hard=sign, weight=10.0" in repr(bridge())


# Bad input


@pytest.mark.parametrize(
    ("hard", "message"),
    [
        (
            lambda x: x[:2],
            r"Bridge\(<lambda>\): hard must keep the batch.*input \(5, 4\) and output \(2, 4\).*\(5, \.\.\.\)",
        ),
        (lambda x: x.sum(), r"Bridge\(<lambda>\): hard must keep the batch.*input \(5, 4\) and output \(\)"),
        (
            lambda x: x.long(),
            r"Bridge\(<lambda>\): hard must return a floating dtype, got torch.int64.*\.to\(x\.dtype\)",
        ),
        (lambda x: x.to("meta"), r"Bridge\(<lambda>\): hard must stay on the input's device cpu, got meta"),
        (lambda x: x.tolist(), r"Bridge\(<lambda>\): hard must return a tensor, got list"),
        (
            lambda x: x[:, :3],
            r"Bridge\(<lambda>\): the approximator must return.*approximator \(5, 4\) and hard \(5, 3\)",
        ),
    ],
)
def test_a_function_that_breaks_the_rules_is_named(hard: object, message: str) -> None:
    layer = hg.Bridge(hard, hg.approximators.mlp(4, 4))
    with pytest.raises(ValueError, match=message):
        layer(torch.randn(5, 4, requires_grad=True))


def test_constructor_mistakes_are_named() -> None:
    with pytest.raises((ValueError, TypeError), match="Bridge: weight must be at least 0, got -1"):
        bridge(weight=-1)
    with pytest.raises(
        (ValueError, TypeError), match="Bridge: weight must be at least 0 and finite, got nan; the paper uses 10"
    ):
        bridge(weight=math.nan)
    with pytest.raises(
        (ValueError, TypeError), match=r"Bridge: approximator must be an nn.Module, got function.*suggest"
    ):
        hg.Bridge(SIGN, lambda x: x)
    for weight in (math.inf, "10", True, torch.tensor(3.0), None):
        with pytest.raises((ValueError, TypeError), match=r"Bridge: weight must be .*, got .*; the paper uses 10"):
            bridge(weight=weight)
    with pytest.raises((ValueError, TypeError), match=r"Bridge: hard must be a function .*, got list"):
        hg.Bridge([1, 2], nn.Identity())
    with pytest.raises((ValueError, TypeError), match=r"Bridge: distance must be a function .*, got str"):
        bridge(distance="l1")
    for flag in ("conditioning", "differentiable_in_eval"):
        with pytest.raises((ValueError, TypeError), match=f"Bridge: {flag} must be True or False, got str 'no'"):
            bridge(**{flag: "no"})


class _Pair(nn.Module):
    """An approximator with one output too many, or one of another kind."""

    def __init__(self, change: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> object:
        return self.change(x)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("approximator", "error", "message"),
    [
        (
            nn.LSTM(4, 4, batch_first=True),
            ValueError,
            r"Bridge\(sign\): the approximator must return a.*got tuple.*LSTM",
        ),
        (_Pair(lambda x: x.argsort(-1)), ValueError, r"Bridge\(sign\): the approximator must.*got torch.int64"),
        (_Pair(lambda x: x.to("meta")), ValueError, "the approximator must return the hard.*on meta and cpu"),
        (
            nn.Linear(4, 4).double(),
            RuntimeError,
            r"Bridge\(sign\): the approximator failed on.*\(5, 4\), torch.float32",
        ),
        (nn.Linear(9, 4), RuntimeError, r"Bridge\(sign\): the approximator failed on an input of shape \(5, 4\)"),
    ],
)
def test_an_approximator_that_does_not_fit_is_named(
    approximator: nn.Module, error: type[Exception], message: str, train: bool
) -> None:
    layer = hg.Bridge(SIGN, approximator, differentiable_in_eval=True).train(train)
    with pytest.raises(error, match=message):
        layer(torch.randn(5, 4, requires_grad=True))


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (lambda a, t: 1.0, r"Bridge\(sign\): distance must return a floating point tensor, got float"),
        (lambda a, t: a > t, r"Bridge\(sign\): distance must return a floating point tensor, got torch.bool"),
        (lambda a, t: (a - t).detach().abs(), r"Bridge\(sign\): distance must be differentiable in its first"),
    ],
)
def test_a_distance_that_teaches_nothing_is_named(distance: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bridge(distance=distance)(torch.randn(5, 4))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("x", [torch.ones(2, 4).long(), torch.ones(2, 4) * 1j, torch.ones(2, 4) > 0, [1.0]])
def test_an_input_of_another_kind_is_named(x: Tensor, train: bool) -> None:
    with pytest.raises(ValueError, match=r"Bridge\(sign\): the input must be floating point, got"):
        bridge().train(train)(x)


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (3, 0, 4)])
def test_inputs_of_few_dimensions_or_none(shape: tuple[int, ...]) -> None:
    layer = hg.Bridge(SIGN, hg.approximators.elementwise(3))
    x = torch.ones(shape, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == shape
    assert torch.equal(layer.eval()(x), SIGN(x))


def test_integer_input_is_named() -> None:
    layer = hg.Bridge(lambda x: x.float(), nn.Identity())
    with pytest.raises(ValueError, match=r"the input must be floating point, got torch.int64"):
        layer(torch.ones(2, 4, dtype=torch.int64))


@pytest.mark.parametrize("batch", [0, 1])
def test_batch_of_none_or_one(batch: int) -> None:
    layer, x = bridge(), torch.randn(batch, 4, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == (batch, 4)
    with hg.penalties() as bag:
        layer(x)
    torch.testing.assert_close(bag.total(), 10 * (layer.approximator(x) - SIGN(x)).square().sum())
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_penalty_does_not_overflow_half_precision() -> None:
    layer = hg.Bridge(lambda x: x * 0 + 30, nn.Linear(300, 300)).half()
    with hg.penalties() as bag:
        layer(torch.zeros(2, 300, dtype=torch.float16))
    assert bag.total().item() == pytest.approx(10 * 300 * 30**2, rel=0.01)  # far above fp16's 65,504


def test_a_single_sample_needs_no_batch_dimension() -> None:
    layer, x = bridge(), torch.randn(4)
    with hg.penalties() as bag:
        layer(x)
        layer(x[None])
    first, second = (penalty for _, penalty in bag._items)
    torch.testing.assert_close(first, second)


def test_nan_shows_in_its_own_row_and_in_the_penalty() -> None:
    layer, x = bridge(), torch.randn(5, 4)
    x[2, 1] = math.nan
    with hg.penalties() as bag:
        y = layer(x.requires_grad_())
    assert y.isnan().nonzero().tolist() == [[2, 1]]
    assert bag.total().isnan()
    y.nansum().backward()
    assert x.grad.isnan().any(1).tolist() == [False, False, True, False, False]


def test_inference_mode_in_training_runs_the_hard_function_alone() -> None:
    layer = hg.Bridge(SIGN, nn.Linear(99, 99))  # would fail if it ran
    with torch.inference_mode():
        x = torch.randn(5, 4)
        assert torch.equal(layer(x), SIGN(x))
    with pytest.raises(RuntimeError, match="shape"):
        layer(torch.randn(5, 4))


def test_a_compiled_transform_of_a_bridge_matches_eager() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), bridge(), nn.Linear(4, 2)), torch.randn(5, 3)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    gradient = torch.func.grad(lambda w: torch.func.functional_call(model, w, (x,)).square().sum())
    torch.compiler.reset()
    found = torch.compile(gradient, fullgraph=True, backend="aot_eager")(weights)
    for name, expected in gradient(weights).items():
        assert expected.abs().sum() > 0
        torch.testing.assert_close(found[name], expected)

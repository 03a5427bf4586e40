"""What the controls of REBAR and RELAX learn and from what, and the edges and errors of the unbiased estimators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from mc_rows import (
    BINARY,
    F64,
    FAMILY,
    LOGITS,
    W,
    bernoulli,
    central_difference,
    general,
    network,
    one_hot,
    rebar_control,
    relax_control,
)


class Model(nn.Module):
    """Logits from a layer, an objective with weights, a control."""

    def __init__(self, kind: str, control: nn.Module | None, tied: bool = True, samples: int = 1) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.encoder, self.decoder = nn.Linear(2, 3).double(), nn.Linear(3, 2).double()
        self.family, self.control, self.tied, self.samples = FAMILY[kind], control, tied, samples

    def forward(self, x: Tensor) -> Tensor:
        q, how = self.family(self.encoder(x)), {"tied": self.tied, "samples": self.samples}
        f = lambda b: self.decoder(b).tanh().exp().sum(-1)  # noqa: E731  # as a user writes it
        if self.control is None or isinstance(self.control, hg.montecarlo.RebarControl):
            return hg.rebar(q, f, self.control, **how)
        return hg.relax(q, f, self.control, **how)


X = torch.tensor([[0.3, -1.0], [2.0, 0.5], [-0.7, 0.1], [1.1, 1.2]], **F64)


def gradients(
    model: nn.Module, run: Callable[[Tensor], Tensor] | None = None, scope: bool = False
) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(1)
    if scope:
        with hg.penalties(model) as bag:
            loss = (run or model)(X).mean()
        (loss + bag.total()).backward()
    else:
        (run or model)(X).mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


CONTROLS = {"rebar": rebar_control, "relax": network, "relax, with f": relax_control}
WAYS = list(itertools.product(FAMILY, CONTROLS, (True, False)))


@pytest.mark.parametrize(("kind", "control", "tied"), WAYS)
def test_only_the_control_learns_from_its_penalty(kind: str, control: str, tied: bool) -> None:
    model = Model(kind, CONTROLS[control](), tied, samples=2)
    alone = gradients(model)
    assert {name for name, _ in model.control.named_parameters()} == {n[8:] for n in alone if n.startswith("control.")}
    assert_same(alone, gradients(model, scope=True))
    model.control.requires_grad_(False)
    held = gradients(model)
    assert_same(held, {name: g for name, g in alone.items() if not name.startswith("control.")})


def test_a_held_temperature_asks_for_no_second_derivative() -> None:
    control = rebar_control(hold=True)
    nested = lambda b: hg.rebar(bernoulli(2 * b - 1), lambda c: c.sum(-1).exp())  # noqa: E731  # as a user writes it

    def run(logits: Tensor) -> Tensor:
        torch.manual_seed(1)
        return hg.rebar(bernoulli(logits), nested, control).sum()

    logits = LOGITS.clone().requires_grad_()
    run(logits).backward()
    assert control.log_temperature.grad is None
    assert control.scale.grad != 0
    torch.testing.assert_close(torch.func.grad(run)(LOGITS), logits.grad)


def test_a_control_at_its_start_is_plain_rebar() -> None:
    start = hg.montecarlo.RebarControl().double()
    start.log_temperature.data.fill_(math.log(0.5))  # which single precision rounds
    for kind in FAMILY:
        learned = gradients(Model(kind, start))
        assert_same(gradients(Model(kind, None)), {n: g for n, g in learned.items() if not n.startswith("control.")})


@pytest.mark.parametrize(("kind", "control", "tied"), WAYS)
def test_the_penalty_is_the_mean_square_of_the_gradient(kind: str, control: str, tied: bool) -> None:
    """Its value from the gradient itself, its gradient by central differences in the control's weights."""
    model = Model(kind, CONTROLS[control](), tied)
    f = lambda b: model.decoder(b).tanh().exp().sum(-1)  # noqa: E731  # as a user writes it

    def penalty() -> Tensor:
        torch.manual_seed(1)
        logits = model.encoder(X).detach().requires_grad_()
        q = model.family(logits)
        with hg.penalties() as bag:
            if control == "rebar":
                value = hg.rebar(q, f, model.control, tied=tied)
            else:
                value = hg.relax(q, f, model.control, tied=tied)
        (by_logits,) = torch.autograd.grad(value.sum(), logits)
        torch.testing.assert_close(bag.total().detach(), by_logits.square().sum() / len(X))
        return bag.total()

    weights = [p for p in model.control.parameters() if p.numel()]
    found = torch.autograd.grad(penalty(), weights)
    unwanted = [*model.encoder.parameters(), *model.decoder.parameters()]
    assert all(g is None for g in torch.autograd.grad(penalty(), unwanted, allow_unused=True))
    for weight, gradient in zip(weights, found, strict=True):

        def at(value: Tensor, weight: Tensor = weight) -> Tensor:
            with torch.no_grad():
                before = weight.clone()
                weight.copy_(value)
            result = penalty().detach()
            with torch.no_grad():
                weight.copy_(before)
            return result

        torch.testing.assert_close(gradient, central_difference(at, weight.detach().clone()), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "control", "tied"), WAYS)
def test_samples_are_as_many_rows(kind: str, control: str, tied: bool) -> None:
    """The variance that is learned from is that of one sample, however many are averaged over."""
    module = CONTROLS[control]()
    estimator = hg.rebar if control == "rebar" else hg.relax
    found = []
    for samples, rows in ((3, LOGITS), (1, LOGITS.repeat(3, 1))):
        torch.manual_seed(1)
        logits = rows.clone().requires_grad_()
        with hg.penalties() as bag:
            value = estimator(
                FAMILY[kind](logits), lambda b: (b * W).sum(-1).exp(), control=module, samples=samples, tied=tied
            )
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        learned = torch.autograd.grad(bag.total(), list(module.parameters()))
        found.append((gradient.unflatten(0, (-1, 3)).mean(0), bag.total().detach(), *learned))
    for three, one in zip(*found, strict=True):
        torch.testing.assert_close(three, one)


def test_a_control_stands_still_in_eval_and_where_no_gradient_is_wanted() -> None:
    model = Model("Bernoulli", network()).eval()
    with hg.penalties() as bag:
        model(X)
        model.train()
        with torch.no_grad():
            model(X)
        hg.relax(bernoulli(LOGITS), lambda b: b.sum(-1), model.control)
    assert len(bag) == 0


def test_the_sample_is_the_one_the_score_function_draws() -> None:
    control = network()
    for family, wanted in itertools.product(FAMILY.values(), (True, False)):
        values = []
        for call in (hg.score_function, hg.rebar, lambda q, f: hg.relax(q, f, control)):
            torch.manual_seed(7)
            values.append(call(family(LOGITS.repeat(50, 1).requires_grad_(wanted)), lambda b: (b * W).sum(-1)))
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])


def test_penalties_inside_f_are_counted_once() -> None:
    torch.manual_seed(0)
    layer = hg.Bridge(hg.hard.sign, hg.approximators.mlp(3, 3, hidden=(4,)).double())
    totals = []
    for call in (hg.score_function, hg.rebar, partial(hg.rebar, control=rebar_control())):
        torch.manual_seed(7)
        with hg.penalties(layer) as bag:
            call(
                bernoulli(LOGITS.clone().requires_grad_()), lambda b: layer(b.flatten(0, -2)).sum(-1).view(b.shape[:-1])
            )
        totals.append(dict(bag)[""] if "" in dict(bag) else dict(bag)["bridge_0"])
    assert totals[0] > 0
    assert totals[0] == totals[1] == totals[2]


@pytest.mark.parametrize(("control", "tied"), list(itertools.product(CONTROLS, (True, False))))
def test_learns_the_same_under_torch_func_and_from_a_checkpoint(control: str, tied: bool) -> None:
    model = Model("one-hot", CONTROLS[control](), tied, samples=2)
    plain = gradients(model)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    torch.manual_seed(1)
    assert_same(plain, torch.func.grad(lambda w: torch.func.functional_call(model, w, (X,)).mean())(weights))
    again = partial(checkpoint, model, use_reentrant=False)
    assert_same(plain, gradients(model, again))
    assert_same(plain, gradients(model, again, scope=True))


def test_learns_the_same_when_compiled() -> None:
    model = Model("Bernoulli", relax_control(), tied=False)
    plain = gradients(model)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: model(x), fullgraph=True, backend="aot_eager")
    assert_same(plain, gradients(model, compiled))
    assert_same(plain, gradients(model, compiled, scope=True))


EDGES = {
    "extreme": (bernoulli, torch.tensor([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]])),
    "infinite": (bernoulli, torch.tensor([[math.inf, -math.inf, 0.5]])),
    "certain": (lambda p: Independent(Bernoulli(probs=p), 1), torch.tensor([[0.0, 1.0, 0.5]])),
    "extreme one-hot": (one_hot, torch.tensor([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]])),
    "masked": (one_hot, torch.tensor([[0.0, -math.inf, 1.0], [-math.inf, 2.0, -math.inf]])),
    "impossible": (lambda p: OneHotCategorical(probs=p), torch.tensor([[0.0, 0.4, 0.6], [0.0, 1.0, 0.0]])),
    "half": (bernoulli, torch.tensor([[2.0, -3.0, 0.0]], dtype=torch.float16)),
    "bfloat16 one-hot": (one_hot, torch.tensor([[2.0, -3.0, 0.0]], dtype=torch.bfloat16)),
    "empty batch": (bernoulli, torch.zeros(0, 3)),
    "no batch": (bernoulli, torch.tensor([0.5, -0.5, 1.0])),
    "no batch, one-hot": (one_hot, torch.tensor([0.5, -0.5, 1.0])),
}


@pytest.mark.parametrize("edge", EDGES)
def test_edges(edge: str) -> None:
    family, parameter = EDGES[edge]
    binary = family is not one_hot and edge != "impossible"
    for name, call in (general() | BINARY if binary else general()).items():
        control = getattr(call, "keywords", {}).get("control")
        if control is not None:
            control.float()
        leaf = parameter.clone().requires_grad_()
        value = call(family(leaf), lambda b: (b.sum(-1) - 0.3).square())
        assert (value.shape, value.dtype) == (parameter.shape[:-1], parameter.dtype), name
        value.sum().backward()
        assert value.isfinite().all(), name
        assert leaf.grad.isfinite().all(), name
        assert (leaf.grad[~leaf.isfinite()] == 0).all(), name
        assert control is None or all(p.grad.isfinite().all() for p in control.parameters()), name
        if edge == "certain":
            assert (leaf.grad[:, :2] == 0).all(), name


def test_units_that_are_rows_and_units_that_share_a_row() -> None:
    single = torch.zeros(5, **F64).requires_grad_()
    hg.relax(Bernoulli(logits=single), lambda b: 2 * b, hg.approximators.elementwise().double()).sum().backward()
    assert (single.grad != 0).all()
    several = torch.zeros(4, 2, 3, **F64).requires_grad_()
    control = nn.Sequential(nn.Flatten(-2), nn.Linear(6, 1)).double()
    q = Independent(OneHotCategorical(logits=several), 1)
    hg.relax(q, lambda b: b[..., 0, 0] - b[..., 1, 2], control, samples=2).sum().backward()
    assert (several.grad != 0).all()


def learned(q: Distribution, f: Callable[[Tensor], Tensor]) -> Tensor:
    return hg.rebar(q, f, rebar_control())


ERRORS: list[tuple[str, Callable[[Distribution, Callable[[Tensor], Tensor]], object]]] = [
    ("disarm: samples must be at least 2, got 0", lambda q, f: hg.disarm(q, f, samples=0)),
    ("disarm: samples must be even, since draws come in pairs, got 3; give 4", lambda q, f: hg.disarm(q, f, samples=3)),
    ("arms: samples must be at least 2, got 1", lambda q, f: hg.arms(q, f, samples=1)),
    ("disarm: q must be .* Bernoulli .*got OneHotCategorical", lambda q, f: hg.disarm(one_hot(LOGITS), f)),
    ("arms: q must be .* Bernoulli .*got OneHotCategorical", lambda q, f: hg.arms(one_hot(LOGITS), f)),
    ("rebar: samples must be at least 1, got 0", lambda q, f: hg.rebar(q, f, samples=0)),
    ("rebar: temperature must be above 0", lambda q, f: hg.rebar(q, f, temperature=0.0)),
    ("RebarControl: temperature must be above 0", lambda q, f: hg.montecarlo.RebarControl(-1.0)),
    ("rebar: control must be None or .*RebarControl, got Sequential", lambda q, f: hg.rebar(q, f, network())),
    ("rebar: temperature and scale are the control's own", lambda q, f: hg.rebar(q, f, rebar_control(), scale=2.0)),
    ("rebar: f must be differentiable", lambda q, f: hg.rebar(q, lambda b: f(b.detach()))),
    ("rebar: f must be differentiable", lambda q, f: learned(q, lambda b: f(b.detach()))),
    ("relax: f must be differentiable", lambda q, f: hg.relax(q, lambda b: f(b.detach()), relax_control())),
    ("rebar: f must return one number per sample.*each", lambda q, f: hg.rebar(q, f_of_three_rows, tied=False)),
    ("relax: control must be an nn.Module .*got function", lambda q, f: hg.relax(q, f, f)),
    ("RelaxControl: network must be an nn.Module .*got int", lambda q, f: hg.montecarlo.RelaxControl(3)),
    (r"relax: control must return .*\(1, 3\).*got \(1, 3, 2\)", lambda q, f: hg.relax(q, f, nn.Linear(3, 2).double())),
    ("relax: control must be differentiable", lambda q, f: hg.relax(q, f, Detached())),
    (
        "rebar: a control that learns its temperature .*second",
        lambda q, f: learned(q, lambda b: hg.rebar(bernoulli(b), f)),
    ),
]


def f_of_three_rows(b: Tensor) -> Tensor:
    return (b * torch.arange(9, **F64).view(3, 3)).sum(-1).flatten()[:3]


class Detached(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.detach().sum(-1)


@pytest.mark.parametrize(("message", "call"), ERRORS, ids=[message[:60] for message, _ in ERRORS])
def test_errors(message: str, call: Callable[[Distribution, Callable[[Tensor], Tensor]], object]) -> None:
    with pytest.raises(ValueError, match=message):
        call(bernoulli(LOGITS.clone().requires_grad_()), lambda b: (b * W).sum(-1))


def test_a_second_derivative_is_refused_even_of_a_constant_gradient() -> None:
    for call in (hg.disarm, hg.arms, hg.rebar):
        logits = LOGITS.clone().requires_grad_()
        (first,) = torch.autograd.grad(call(bernoulli(logits), lambda b: b.sum(-1)).sum(), logits, create_graph=True)
        with pytest.raises(RuntimeError, match="has no derivative of its own"):
            (first * logits).sum().backward()

"""DisARM, ARMS, REBAR and RELAX against enumeration written here, the laws they are built from, and what they learn.

Statistical tests: double precision, seed 0 (conftest), N independent gradients from one batch of N copies; every entry
within 4.5 standard errors of the truth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

import hardgrad as hg
from hardgrad.montecarlo.arms import draw_apart, undo_correlation
from hardgrad.montecarlo.control_variate import draw_scores, slope_along_logits
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.relaxed import agreeing

N = 10_000
F64 = {"dtype": torch.float64}
LOGITS = torch.tensor([[-1.0, 0.3, 2.0], [0.1, -3.0, 0.7], [0.0, 1.5, -0.4]], **F64)
W = torch.tensor([1.0, -2.0, 0.5], **F64)
THETA = torch.tensor([0.7, -1.2, 0.4], **F64)
INNER = torch.tensor([[1.5, -0.8, 0.2], [-0.6, 1.1, -0.9], [0.4, 0.9, 1.3]], **F64)

Call = Callable[[Distribution, Callable[[Tensor], Tensor]], Tensor]
Family = Callable[[Tensor], Distribution]


def bernoulli(logits: Tensor) -> Distribution:
    return Independent(Bernoulli(logits=logits, validate_args=False), 1)


def bernoulli_probs(logits: Tensor) -> Distribution:
    return Independent(Bernoulli(probs=logits.sigmoid(), validate_args=False), 1)


def one_hot(logits: Tensor) -> Distribution:
    return OneHotCategorical(logits=logits, validate_args=False)


def one_hot_probs(logits: Tensor) -> Distribution:
    return OneHotCategorical(probs=3 * logits.exp(), validate_args=False)


# Objectives of one event and of f's own parameters theta, both with any leading dimensions.
OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda b, t: (b * W).sum(-1),
    "quadratic": lambda b, t: ((b * W).sum(-1) - 0.3).square(),
    "exponential": lambda b, t: (1.5 * (b * W).sum(-1)).exp(),
    "wave": lambda b, t: (4 * (b * W).sum(-1)).sin(),
    "cross terms": lambda b, t: b[..., 0] * b[..., 1] - 2 * b[..., 1] * b[..., 2] + 3 * b.prod(-1),
    "parameters": lambda b, t: ((b * t).sum(-1) + t[..., 0]).tanh() * (b[..., 2] - 0.2),
}


def second_layer(b: Tensor, t: Tensor) -> Tensor:
    """Logits of the second layer, of three units, given the first."""
    return (b * t).unsqueeze(-1).mul(INNER).sum(-2) - 0.3


def top(b: Tensor, c: Tensor) -> Tensor:
    return (c.sum(-1) - 0.8 + b[..., 0]).square() + 2 * c[..., 0] * c[..., 1] * b[..., 2]


def network() -> nn.Module:
    torch.manual_seed(3)
    return hg.approximators.mlp(3, 1, hidden=(8,)).double()


def rebar_control(hold: bool = False) -> hg.montecarlo.RebarControl:
    """A control; with ``hold`` one whose temperature does not learn, so that f needs no second derivative."""
    control = hg.montecarlo.RebarControl(temperature=0.4, scale=1.3).double()
    control.log_temperature.requires_grad_(not hold)
    return control


def relax_control(hold: bool = False) -> hg.montecarlo.RelaxControl:
    control = hg.montecarlo.RelaxControl(network(), temperature=0.7, scale=0.8).double()
    control.rebar.log_temperature.requires_grad_(not hold)
    return control


def general(hold: bool = False) -> dict[str, Call]:
    """Calls for 0/1 and one-hot samples, each with a new control of its own: unbiased whatever it holds."""
    return {
        "rebar": hg.rebar,
        "rebar, drawn anew": partial(hg.rebar, temperature=0.8, scale=1.4, tied=False),
        "rebar, learnt": partial(hg.rebar, control=rebar_control(hold), samples=2),
        "relax": partial(hg.relax, control=network()),
        "relax, drawn anew": partial(hg.relax, control=network(), samples=2, tied=False),
        "relax, with f": partial(hg.relax, control=relax_control(hold)),
        "relax, with f, drawn anew": partial(hg.relax, control=relax_control(hold), tied=False),
    }


BINARY: dict[str, Call] = {
    "disarm": hg.disarm,
    "disarm, 3 pairs": partial(hg.disarm, samples=3),
    "arms, 2": partial(hg.arms, samples=2),
    "arms, 4": hg.arms,
    "arms, 9": partial(hg.arms, samples=9),
}
FAMILY = {"Bernoulli": bernoulli, "one-hot": one_hot}
ALL = [*((name, "Bernoulli") for name in (*general(), *BINARY)), *((name, "one-hot") for name in general())]


def outcomes(logits: Tensor, kind: str) -> list[tuple[Tensor, Tensor]]:
    """Every joint outcome of one row with its probability, by products."""
    if kind == "one-hot":
        weights = logits.exp()
        return [(row, weights[i] / weights.sum()) for i, row in enumerate(torch.eye(len(logits), **F64))]
    p = 1 / (1 + (-logits).exp())
    found = []
    for bits in itertools.product((0, 1), repeat=len(logits)):
        probability = torch.ones((), **F64)
        for i, bit in enumerate(bits):
            probability = probability * (p[i] if bit else 1 - p[i])
        found.append((torch.tensor(bits, **F64), probability))
    return found


def expectation(logits: Tensor, theta: Tensor, kind: str, objective: str) -> Tensor:
    total = torch.zeros((), **F64)
    for b, probability in outcomes(logits, kind):
        if objective == "two layers":
            for c, chance in outcomes(second_layer(b, theta), "Bernoulli"):
                total = total + probability * chance * top(b, c)
        else:
            total = total + probability * OBJECTIVES[objective](b, theta)
    return total


def central_difference(f: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-5) -> Tensor:
    result = torch.zeros_like(x)
    for i in range(x.numel()):
        nudge = torch.zeros_like(x)
        nudge.view(-1)[i] = h
        result.view(-1)[i] = (f(x + nudge) - f(x - nudge)) / (2 * h)
    return result


@cache
def truths(kind: str, objective: str) -> tuple[Tensor, Tensor, Tensor]:
    """The expectation of each row, its gradient with respect to the logits and with respect to theta."""
    values = torch.stack([expectation(row, THETA, kind, objective) for row in LOGITS])
    by_logits = [central_difference(lambda x: expectation(x, THETA, kind, objective), row) for row in LOGITS]
    by_theta = [central_difference(lambda t, row=row: expectation(row, t, kind, objective), THETA) for row in LOGITS]
    return values, torch.stack(by_logits), torch.stack(by_theta)


def draws(family: Family, objective: str, call: Call, inner: Call, n: int = N) -> tuple[Tensor, ...]:
    """Values and gradients of n copies of the rows; theta is copied too, so that each row has a gradient of its own."""
    logits = LOGITS.repeat(n, 1, 1).requires_grad_()
    theta = THETA.repeat(n, len(LOGITS), 1).requires_grad_()

    def f(b: Tensor) -> Tensor:
        if objective == "two layers":
            return inner(bernoulli(second_layer(b, theta)), lambda c: top(b, c))
        return OBJECTIVES[objective](b, theta)

    value = call(family(logits), f)
    by_logits, by_theta = torch.autograd.grad(value.sum(), [logits, theta], materialize_grads=True)
    return value.detach(), by_logits, by_theta


def assert_unbiased(found: Tensor, truth: Tensor) -> None:
    error = found.std(0) / math.sqrt(len(found))
    deviation = (found.mean(0) - truth).abs() / (error + 1e-9)
    assert deviation.max() < 4.5, f"{deviation.max():.1f} standard errors from {truth}, got {found.mean(0)}"


@pytest.mark.parametrize("objective", [*OBJECTIVES, "two layers"])
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_unbiased(name: str, kind: str, objective: str) -> None:
    outer, inner = ((general(hold) | BINARY)[name] for hold in (objective == "two layers", False))
    found = draws(FAMILY[kind], objective, outer, inner)
    for one, truth in zip(found, truths(kind, objective), strict=True):
        assert_unbiased(one, truth)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_unbiased_where_q_is_given_by_probabilities(name: str, kind: str) -> None:
    call = (general() | BINARY)[name]
    found = draws(bernoulli_probs if kind == "Bernoulli" else one_hot_probs, "exponential", call, call)
    for one, truth in zip(found, truths(kind, "exponential"), strict=True):
        assert_unbiased(one, truth)


def variance(call: Call, family: Family, f: Callable[[Tensor], Tensor], logits: Tensor, n: int = 20_000) -> float:
    copies = logits.repeat(n, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(call(family(copies), f).sum(), copies)
    return gradient.var(0).sum().item()


def test_antithetic_draws_are_calmer_than_as_many_independent_ones() -> None:
    for row, objective in itertools.product(LOGITS, ("linear", "quadratic", "exponential", "cross terms")):
        f = lambda b, name=objective: 3 + OBJECTIVES[name](b, THETA)  # noqa: E731  # as a user writes it
        pair, four = variance(hg.disarm, bernoulli, f, row), variance(hg.arms, bernoulli, f, row)
        assert pair < variance(partial(hg.score_function, samples=2), bernoulli, f, row)
        left_out = partial(hg.score_function, baseline="leave_one_out")
        assert pair < variance(partial(left_out, samples=2), bernoulli, f, row)
        assert four < variance(partial(left_out, samples=4), bernoulli, f, row)


@pytest.mark.parametrize("family", [bernoulli, one_hot])
def test_a_trained_control_takes_the_noise_out(family: Family) -> None:
    """(b - 0.499)^2: the score function's noise drowns a gradient of 0.0005."""
    f = lambda b: (b[..., :1] - 0.499).square().sum(-1)  # noqa: E731  # as a user writes it
    control = network()
    optimiser = torch.optim.Adam(control.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        hg.relax(family(torch.zeros(64, 3, **F64).requires_grad_()), f, control).mean().backward()
        optimiser.step()
    calm = variance(lambda q, f: hg.relax(q, f, control), family, f, torch.zeros(3, **F64))
    assert calm < 0.02 * variance(hg.score_function, family, f, torch.zeros(3, **F64))


def test_a_learnt_temperature_and_scale_take_noise_out() -> None:
    f = lambda b: OBJECTIVES["quadratic"](b, THETA)  # noqa: E731  # as a user writes it
    control = hg.montecarlo.RebarControl(temperature=0.1, scale=0.2).double()
    before = variance(lambda q, f: hg.rebar(q, f, control), bernoulli, f, LOGITS[0])
    optimiser = torch.optim.Adam(control.parameters(), 3e-2)
    for _ in range(150):
        optimiser.zero_grad()
        hg.rebar(bernoulli(LOGITS[0].expand(64, 3).clone().requires_grad_()), f, control).mean().backward()
        optimiser.step()
    assert variance(lambda q, f: hg.rebar(q, f, control), bernoulli, f, LOGITS[0]) < 0.8 * before


# ARMS: the copula


@pytest.mark.parametrize("samples", [2, 3, 4, 9])
def test_arms_draws_have_the_law_they_are_corrected_for(samples: int) -> None:
    p = torch.tensor([0.02, 0.3, 0.5, 0.7, 0.98], **F64)
    n = 40_000
    d = discrete(Bernoulli(probs=p.expand(n, 5)), "arms")
    b = draw_apart(d, samples, None)

    def assert_share(found: Tensor, truth: Tensor) -> None:
        assert ((found.mean(0) - truth).abs() <= 4.5 * (truth * (1 - truth) / n).sqrt()).all()

    for draw in b:
        assert_share(draw, p)
    rarer = torch.minimum(p, 1 - p)
    share = (2 * rarer ** (1 / (samples - 1)) - 1).clamp(min=0) ** (samples - 1)
    both = torch.where(p <= 0.5, share, 1 - 2 * rarer + share)
    for i, j in itertools.combinations(range(samples), 2):
        assert_share(b[i] * b[j], both)
    correlation = (both - p * p) / (p * (1 - p))
    torch.testing.assert_close(undo_correlation(d, samples)[0], 1 / (1 - correlation))


def test_two_samples_of_arms_are_disarm() -> None:
    seen = []
    logits = LOGITS.clone().requires_grad_()
    hg.arms(bernoulli(logits), lambda b: seen.append(b) or OBJECTIVES["exponential"](b, THETA), 2).sum().backward()
    (b, twin), p = seen[0], LOGITS.sigmoid()
    difference = OBJECTIVES["exponential"](b, THETA) - OBJECTIVES["exponential"](twin, THETA)
    closed = difference.unsqueeze(-1) / 2 * (b - twin) * torch.maximum(p, 1 - p)
    torch.testing.assert_close(logits.grad, closed)
    assert ((b + twin == 1) | (b == (p > 0.5))).all()  # never both the rarer outcome


def test_the_correction_keeps_its_digits() -> None:
    p = torch.tensor([0.0, 1e-30, 1e-6, 0.1, 0.5, 0.9, 1.0])
    for samples in (2, 5, 50, 5000):
        weight = undo_correlation(discrete(Bernoulli(probs=p), "arms"), samples)
        exact = undo_correlation(discrete(Bernoulli(probs=p.double()), "arms"), samples)
        assert ((weight >= 0.5) & (weight <= 1)).all()
        torch.testing.assert_close(weight.double(), exact, rtol=1e-6, atol=1e-6)


# Scores drawn anew to agree with a sample


@pytest.mark.parametrize(("kind", "row"), list(itertools.product(FAMILY, range(len(LOGITS)))))
def test_agreeing_scores_have_the_law_of_scores_and_agree(kind: str, row: int) -> None:
    n = 100_000
    d = discrete(FAMILY[kind](LOGITS[row].expand(n, 3)), "rebar")
    scores = draw_scores(d, 1, False, None)
    z, again = scores.z
    assert not torch.equal(z, again)
    logits = LOGITS[row] if d.binary else LOGITS[row].log_softmax(-1)
    for scored in (z, again):
        distance = scored - logits
        cumulative = distance.sigmoid() if d.binary else (-(-distance).exp()).exp()
        place = torch.arange(1, n + 1, **F64).unsqueeze(-1) / n
        # Kolmogorov and Smirnov: beyond 2.5 with a probability of 2 exp(-2 * 2.5^2), that of 4.5 standard errors
        assert (cumulative.sort(0).values - place).abs().max() * math.sqrt(n) < 2.5
        hard = (scored > 0).double() if d.binary else nn.functional.one_hot(scored.argmax(-1), 3)
        assert torch.equal(scores.b[0], hard.double())


@pytest.mark.parametrize("kind", FAMILY)
def test_the_slope_of_agreeing_scores(kind: str) -> None:
    """Against central differences with the noise and the sample held fixed."""
    u = torch.rand(7, 3, **F64)
    for row, b in ((row, b) for row in LOGITS for b, _ in outcomes(LOGITS[0], kind)):

        def again(logits: Tensor, b: Tensor = b) -> Tensor:
            return agreeing(discrete(FAMILY[kind](logits), "rebar"), b, u)

        numeric = torch.stack([again(row + h) - again(row - h) for h in 1e-5 * torch.eye(3, **F64)], -1) / 2e-5
        along = slope_along_logits(discrete(FAMILY[kind](row), "rebar"), b, again(row))
        # One-hot: along log-probabilities, which the softmax spreads over the logits.
        spread = torch.eye(3, **F64) - (0 if kind == "Bernoulli" else row.softmax(-1))
        # Softplus is the identity beyond 20, which rounds a slope by up to 2e-9.
        torch.testing.assert_close(numeric, along.unsqueeze(-1) * spread, rtol=1e-6, atol=1e-6)


# What learns, and from what


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


def test_a_control_at_its_start_is_plain_rebar() -> None:
    start = hg.montecarlo.RebarControl().double()
    start.log_temperature.data.fill_(math.log(0.5))  # which single precision rounds
    for kind in FAMILY:
        learnt = gradients(Model(kind, start))
        assert_same(gradients(Model(kind, None)), {n: g for n, g in learnt.items() if not n.startswith("control.")})


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


@pytest.mark.parametrize(("control", "tied"), [("rebar", True), ("relax, with f", False)])
def test_learns_the_same_when_compiled_and_under_torch_func(control: str, tied: bool) -> None:
    model = Model("one-hot", CONTROLS[control](), tied, samples=2)
    plain = gradients(model)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: model(x), fullgraph=True, backend="aot_eager")
    assert_same(plain, gradients(model, compiled))
    assert_same(plain, gradients(model, compiled, scope=True))
    weights = {name: p.detach() for name, p in model.named_parameters()}
    torch.manual_seed(1)
    assert_same(plain, torch.func.grad(lambda w: torch.func.functional_call(model, w, (X,)).mean())(weights))


# The edges


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


# Errors


def learnt(q: Distribution, f: Callable[[Tensor], Tensor]) -> Tensor:
    return hg.rebar(q, f, rebar_control())


ERRORS: list[tuple[str, Callable[[Distribution, Callable[[Tensor], Tensor]], object]]] = [
    ("disarm: samples must be at least 1 pair, got 0", lambda q, f: hg.disarm(q, f, samples=0)),
    ("arms: samples must be at least 2, got 1", lambda q, f: hg.arms(q, f, 1)),
    ("disarm: q must be .* Bernoulli .*got OneHotCategorical", lambda q, f: hg.disarm(one_hot(LOGITS), f)),
    ("arms: q must be .* Bernoulli .*got OneHotCategorical", lambda q, f: hg.arms(one_hot(LOGITS), f)),
    ("rebar: samples must be at least 1, got 0", lambda q, f: hg.rebar(q, f, samples=0)),
    ("rebar: temperature must be above 0", lambda q, f: hg.rebar(q, f, temperature=0.0)),
    ("RebarControl: temperature must be above 0", lambda q, f: hg.montecarlo.RebarControl(-1.0)),
    ("rebar: control must be None or .*RebarControl, got Sequential", lambda q, f: hg.rebar(q, f, network())),
    ("rebar: temperature and scale are the control's own", lambda q, f: hg.rebar(q, f, rebar_control(), scale=2.0)),
    ("rebar: f must be differentiable", lambda q, f: hg.rebar(q, lambda b: f(b.detach()))),
    ("rebar: f must be differentiable", lambda q, f: learnt(q, lambda b: f(b.detach()))),
    ("relax: f must be differentiable", lambda q, f: hg.relax(q, lambda b: f(b.detach()), relax_control())),
    ("rebar: f must return one number per sample.*each", lambda q, f: hg.rebar(q, f_of_three_rows, tied=False)),
    ("relax: control must be an nn.Module .*got function", lambda q, f: hg.relax(q, f, f)),
    ("RelaxControl: network must be an nn.Module .*got int", lambda q, f: hg.montecarlo.RelaxControl(3)),
    (r"relax: control must return .*\(1, 3\).*got \(1, 3, 2\)", lambda q, f: hg.relax(q, f, nn.Linear(3, 2).double())),
    ("relax: control must be differentiable", lambda q, f: hg.relax(q, f, Detached())),
    (
        "rebar: a control that learns its temperature .*second",
        lambda q, f: learnt(q, lambda b: hg.rebar(bernoulli(b), f)),
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

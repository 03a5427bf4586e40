"""What the doctor refuses, counts, offers and writes down."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Gamma, Independent

import hardgrad as hg

LOGITS = torch.tensor([[0.3, -0.8, 0.5], [1.0, 0.1, -0.4]])
X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4]])


def q() -> Independent:
    return Independent(Bernoulli(logits=LOGITS), 1)


def f(b: Tensor) -> Tensor:
    return (b.sum(-1) - 1.3).square() + b.prod(-1)


@pytest.mark.parametrize(
    ("estimator", "evaluations"),
    [
        (hg.score_function, 1),
        (partial(hg.score_function, samples=8), 8),
        (hg.exact, 8),
        (hg.disarm, 2),
        (hg.arms, 4),
        (hg.rebar, 2),
    ],
)
def test_evaluations_are_counted(estimator: Callable[..., Tensor], evaluations: int) -> None:
    assert hg.diagnose({"it": estimator}, f, q(), draws=20)["it"].evaluations == evaluations


def test_what_is_kept_for_backward_is_counted_in_bytes() -> None:
    """The exponential keeps its result, and each further one keeps another; weights are not counted."""
    x = torch.randn(16, 100)
    target = torch.randn(16, 100)

    def kept(layer: Callable[[Tensor], Tensor]) -> int:
        options = {"objective": lambda y: (y * target).sum(-1), "draws": 20, "budget": 40}
        found = hg.diagnose({"it": layer}, lambda t: t * 1, x, **options)["it"]
        assert found.error is None
        return found.bytes_kept

    one, two = kept(lambda t: t.clamp(-1, 1).exp()), kept(lambda t: t.clamp(-1, 1).exp().neg().exp())
    assert two - one == 16 * 100 * 4

    class Affine(nn.Linear):
        """Not a plain linear layer to a bridge, which then calls it with detached weights."""

    for network in (nn.Linear(100, 100), Affine(100, 100)):
        assert kept(hg.Bridge(lambda t: t * 1, nn.Sequential(network))) < 100 * 100 * 4
    assert kept(nn.Linear(100, 100)) < 100 * 100 * 4


def test_refusals_are_rows_in_the_candidates_own_words() -> None:
    def black_box(x: Tensor) -> Tensor:
        return torch.as_tensor(np.sign(x.numpy()))

    def outcome(y: Tensor) -> Tensor:
        return torch.as_tensor(y.numpy().sum(-1))

    def wrong(q: object, objective: object) -> Tensor:
        return torch.zeros(7)

    def nothing(x: Tensor) -> Tensor:
        return x * torch.nan

    given = {
        "reinmax": hg.reinmax,
        "wrong": wrong,
        "three": hg.relax,
        "nothing": nothing,
        "none": lambda: 0,
        "shape": lambda x: x.sum(),
        "score_function": hg.score_function,
    }
    found = hg.diagnose(given, black_box, X, objective=outcome, draws=40, budget=4000)
    assert "black box" in found["reinmax"].error
    assert "one number per row, (2,), got (7,)" in found["wrong"].error
    assert "two, (q, f) -> estimate, got 3" in found["three"].error
    assert "got 0" in found["none"].error
    assert found["nothing"].error is not None
    assert "must keep the batch" in found["shape"].error
    assert found["score_function"].error is None
    assert [row.name for row in found.rows] == list(given)
    assert (found["shape"].kind, found["wrong"].kind) == ("layer", "estimator")
    assert found.advice.startswith("use score_function")
    assert "refused: ValueError: reinmax" in str(found)
    assert hg.Diagnosis.from_json(found.to_json()) == found


def test_gradients_that_are_not_finite_are_a_refusal() -> None:
    def sometimes(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * torch.inf)

    found = hg.diagnose({"it": sometimes}, hg.hard.sign, X, objective=lambda y: y.nan_to_num().sum(-1), draws=40)
    assert "100.0% of its gradients hold NaN or infinity" in found["it"].error


def test_a_layer_needs_a_tensor() -> None:
    found = hg.diagnose({"it": hg.straight_through(hg.hard.sign)}, f, q(), draws=20)
    assert "needs a tensor as inputs" in found["it"].error
    assert found.advice.startswith("none of these")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimators": {}}, "estimators must be a callable, or a mapping"),
        ({"estimators": {"a": 3}}, "hardgrad.doctor.candidates"),
        ({"estimators": [hg.exact]}, "or a mapping of at least one name"),
        ({"draws": 19}, "draws must be at least 20"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"warm_up": -1}, "warm_up must be at least 0"),
        ({"truth": "long"}, "truth must be one of 'auto', 'enumeration'"),
        ({"truth": "enumeration", "noise": "gaussian"}, "'enumeration' needs a discrete distribution"),
        ({"noise": "uniform"}, "noise must be one of 'auto', 'gaussian'"),
        ({"noise": "gumbel"}, "needs the one-hot vector of the largest entry"),
        ({"function": hg.hard.sort, "noise": "logistic"}, "needs a threshold at 0"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"sigma": float("nan")}, "sigma must be above 0"),
        ({"inputs": X[0, 0]}, "must be a floating batch"),
        ({"inputs": X.long()}, "must be a floating batch"),
        ({"inputs": X[:0]}, "at least one row"),
        ({"inputs": X * torch.inf}, "inputs must be finite"),
        ({"inputs": [1.0]}, "inputs must be a tensor or a torch distribution, got list"),
        ({"inputs": Gamma(X.abs(), X.abs())}, "Normal .* got Gamma"),
        ({"inputs": q(), "sigma": 1.0}, "sigma are for a hard function"),
        ({"inputs": q(), "function": lambda b: b}, "must return one number per row"),
        ({"function": lambda x: x.sum()}, "must keep the batch"),
        ({"function": lambda x: x.numpy()}, "end it with torch.as_tensor"),
        ({"function": lambda x: x - x.mean(0)}, "each row of the batch by itself"),
        ({"objective": lambda y: y}, "objective must return one number per row|function must return one number"),
        ({"objective": lambda y: 1.0}, "must return a tensor, got float"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    given = {"estimators": {"a": hg.score_function}, "function": hg.hard.sign, "inputs": X, "draws": 20} | change
    with pytest.raises(ValueError, match=message):
        hg.diagnose(given.pop("estimators"), given.pop("function"), given.pop("inputs"), **given)


def test_json_holds_everything_and_nothing_but_json() -> None:
    found = hg.diagnose(hg.doctor.candidates(hg.hard.sign, X), hg.hard.sign, X, draws=40)

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    fields = json.loads(found.to_json(), parse_constant=refuse)
    assert set(fields) == {"version", *asdict(found)}
    assert hg.Diagnosis.from_json(found.to_json()) == found
    assert len(fields["rows"][0]["mean"]) == X.numel()
    with pytest.raises(ValueError, match="version must be 1, got 0"):
        hg.Diagnosis.from_json(found.to_json().replace('"version": 1', '"version": 0'))
    with pytest.raises(KeyError, match="no candidate 'x'; there are autograd"):
        found["x"]


def test_the_table_lists_every_candidate_in_line() -> None:
    text = str(hg.diagnose(hg.doctor.candidates(hg.hard.sign, X), hg.hard.sign, X, draws=40))
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("candidate"))
    rows = lines[head : lines.index("", head)]
    assert len(rows) == 1 + len(hg.doctor.candidates(hg.hard.sign, X))
    assert len({len(row) for row in rows}) == 1
    assert "advice: use" in text


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (hg.hard.sort, X, {"autograd", "straight_through", "bridge", "score_function"}),
        (partial(hg.hard.top_k, k=2), X, {"autograd", "bridge", "score_function", "soft, laplace"}),
        (lambda x: x.argsort(-1).argsort(-1), X, {"straight_through, permutahedron", "imle", "perturbed"}),
        (lambda x: hg.hard.one_hot_argmax(-x), X, {"negative_identity", "interpolated", "imle", "perturbed"}),
        (hg.hard.sign, X, {"straight_through, clipped", "exact", "disarm", "arms", "gumbel", "rebar", "relax"}),
        (hg.hard.one_hot_argmax, X, {"straight_through, softmax", "exact", "reinmax", "gumbel_rao", "rebar, learned"}),
        (lambda x: x.argmax(-1, keepdim=True), X, {"bridge", "score_function"}),
        (hg.hard.round, X[:, 0], {"straight_through", "score_function"}),
        (hg.hard.one_hot_argmax, X.unsqueeze(1), {"exact", "relax"}),
    ],
)
def test_the_candidates_that_are_offered_all_run(
    function: Callable[[Tensor], Tensor], x: Tensor, expected: set
) -> None:
    offered = hg.doctor.candidates(function, x)
    assert expected <= set(offered)
    found = hg.diagnose(offered, function, x, draws=20, budget=4000, warm_up=2)
    assert [(row.name, row.error) for row in found.rows if row.error] == []


def _named(candidate: object) -> tuple[object, ...]:
    """A relaxed operator and what it is told, but how soft."""
    return candidate.func, {k: v for k, v in candidate.keywords.items() if k != "temperature"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.sort(-1).values, (hg.soft.sort, {"dim": -1})),
        (lambda x: x.sort(-1, descending=True).values, (hg.soft.top_k, {"dim": -1, "k": 4})),
        (lambda x: x.sort(1).values, (hg.soft.sort, {"dim": -2})),
        (lambda x: x.double().argsort(-1).argsort(-1).to(x), (hg.soft.rank, {"dim": -1})),
        (lambda x: x.topk(3, 1).values, (hg.soft.top_k, {"dim": -2, "k": 3})),
        (lambda x: (x >= x.topk(2, -1).values[..., -1:]).float(), (hg.soft.top_k_mask, {"dim": -1, "k": 2})),
        (lambda x: torch.eye(4)[x.argmax(-1)], (hg.soft.argmax, {"dim": -1})),
        (lambda x: torch.eye(4)[x.argsort(-1)], (hg.soft.permutation, {"dim": -1})),
        (lambda x: x.quantile(0.3, -1), (hg.soft.quantile, {"dim": -1, "q": 0.3})),
        (lambda x: x.median(-1).values, (hg.soft.quantile, {"dim": -1, "q": 0.333333})),
        (lambda x: x.amin(1), (hg.soft.quantile, {"dim": -2, "q": 0.0})),
        *((f, None) for f in (torch.relu, torch.round, lambda x: x.cumsum(-1), lambda x: x.mean(-1), lambda x: x * 0)),
    ],
)
def test_a_function_of_an_order_is_known_by_its_outputs(function: object, expected: object) -> None:
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    offered = hg.doctor.candidates(function, x)
    found = {name: candidate for name, candidate in offered.items() if name.startswith("soft")}
    assert [_named(each) for each in found.values()] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("function", "sense"),
    [
        (lambda x: hg.hard.one_hot_argmax(-x), "min"),
        (lambda x: hg.hard.top_k_mask(-x, 2), "min"),
        (lambda x: -hg.hard.rank(x), "min"),
        (hg.hard.rank, "max"),
        *(
            (f, None)
            for f in (hg.hard.round, hg.hard.sort, hg.hard.sign, torch.zeros_like, lambda x: hg.hard.top_k(x, 1))
        ),
    ],
)
def test_a_solver_is_known_by_its_solutions(function: object, sense: str | None) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    offered = hg.doctor.candidates(function, x)
    signs = {offered[name].sign for name in ("interpolated", "perturbed", "imle") if name in offered}
    assert signs == ({1.0 if sense == "min" else -1.0} if sense else set())
    assert ("negative_identity" in offered) == (sense == "min")


CODES = torch.randn(4, 3, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (lambda x: hg.hard.nearest_code(x, CODES), True),
        (lambda x: CODES.to(x)[torch.cdist(x, CODES.to(x)).argmin(-1)], True),
        (lambda x: CODES.to(x)[torch.cdist(x, CODES.to(x)).argmax(-1)], False),
        (lambda x: CODES.to(x)[x.argmax(-1)], False),
        *((f, False) for f in (hg.hard.sort, hg.hard.sign, torch.zeros_like, torch.relu, lambda x: x[..., :1].round())),
    ],
)
def test_a_look_up_of_codes_is_known_by_its_outputs(function: Callable[[Tensor], Tensor], known: bool) -> None:
    x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    offered = hg.doctor.candidates(function, x)
    assert ("rotation" in offered) == ("directional" in offered) == ("straight_through, codes" in offered) == known
    if known:
        for name in ("rotation", "directional"):
            layer = hg.Codebook(4, 3, gradient=name, start=CODES, learn=None, commitment=0.0)
            given = [x.clone().requires_grad_() for _ in range(2)]
            (offered[name](given[0]) * x).sum().backward()
            (layer(given[1])[0] * x).sum().backward()
            assert given[0].grad is not None
            torch.testing.assert_close(given[0].grad, given[1].grad)


def test_a_codebook_is_a_candidate_and_its_terms_are_no_part_of_its_gradient() -> None:
    def look_up(x: Tensor) -> Tensor:
        return hg.hard.nearest_code(x, CODES)

    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    found = [
        hg.diagnose({"it": hg.Codebook(4, 3, start=CODES, learn=None, commitment=commitment)}, look_up, x, draws=20,
                    budget=400, warm_up=2, generator=torch.Generator().manual_seed(0))["it"]
        for commitment in (0.0, 9.0)
    ]  # fmt: skip
    assert [(row.error, row.learns) for row in found] == [(None, False)] * 2
    assert found[0].mean == found[1].mean


def test_the_truth_of_subsets_is_their_enumeration_or_a_long_run() -> None:
    """Held against each other, and the estimators against both; n = 200 draws, seed 0, four standard errors."""
    q = hg.KSubset(torch.randn(2, 5, generator=torch.Generator().manual_seed(1)), 2)

    def f(b: Tensor) -> Tensor:
        return (b * torch.linspace(-1, 2, b.shape[-1])).sum(-1).square()

    given = {"exact": hg.exact, "score": hg.score_function}
    assert {"exact", "score_function", "straight_through_estimator"} <= set(hg.doctor.candidates(f, q))
    counted = hg.diagnose(given, f, q, draws=200, generator=torch.Generator().manual_seed(0))
    assert (counted.truth.kind, counted.truth.evaluations) == ("enumeration", 10)
    assert counted["exact"].cosine == pytest.approx(1)
    run = hg.diagnose(given, f, q, draws=20, budget=4000, truth="long run", generator=torch.Generator().manual_seed(0))
    assert max(counted["score"].bias_z, run["exact"].bias_z) < 4
    assert run["exact"].cosine > 0.99
    many = hg.KSubset(q.logits.repeat(1, 4), 5)  # 15,504 subsets
    assert hg.diagnose(hg.score_function, f, many, draws=20, budget=400).truth.kind == "long run"
    with pytest.raises(ValueError, match="truth='finite difference' needs samples made of noise, got subsets"):
        hg.diagnose(hg.exact, f, q, truth="finite difference")


@pytest.mark.parametrize("kind", ["bernoulli", "one_hot", "categorical", "normal", "scalar"])
def test_the_candidates_of_a_distribution_all_run(kind: str) -> None:
    one_hot, categorical = torch.distributions.OneHotCategorical, torch.distributions.Categorical
    given = {
        "bernoulli": (q(), f),
        "one_hot": (Independent(one_hot(logits=torch.zeros(2, 3, 4)), 1), lambda b: b[..., 0].sum(-1).square()),
        "categorical": (categorical(logits=LOGITS), lambda b: (b.float() - 1).square()),
        "normal": (Independent(torch.distributions.Normal(X, 1.0), 1), lambda b: b.square().sum(-1)),
        "scalar": (Bernoulli(logits=LOGITS), lambda b: (b - 0.4).square()),
    }[kind]
    offered = hg.doctor.candidates(given[1], given[0])
    assert ("disarm" in offered) == (kind in ("bernoulli", "scalar"))
    assert ("relax" in offered) == (kind in ("bernoulli", "scalar", "one_hot"))
    found = hg.diagnose(offered, given[1], given[0], draws=20, budget=4000, warm_up=2)
    assert [(row.name, row.error) for row in found.rows if row.error] == []

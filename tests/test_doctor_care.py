"""The doctor's manners: what it must leave as it was, what it repeats, refuses, counts, and writes down."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Gamma, Independent

import hardgrad as hg
from hardgrad.doctor.copies import private_copy

LOGITS = torch.tensor([[0.3, -0.8, 0.5], [1.0, 0.1, -0.4]])
X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4]])
GLOBAL = hg.approximators.mlp(3, 1, hidden=(4,))


def q() -> Independent:
    return Independent(Bernoulli(logits=LOGITS), 1)


def f(b: Tensor) -> Tensor:
    return (b.sum(-1) - 1.3).square() + b.prod(-1)


def timeless(found: hg.Diagnosis) -> hg.Diagnosis:
    """Without what the clock says; the advice weighs cost."""
    rows = tuple(replace(row, seconds=None) for row in found.rows)
    return replace(found, rows=rows, function_seconds=0.0, advice="")


def seed(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def test_a_diagnosis_repeats_itself_and_moves_no_random_state() -> None:
    given = {"a": hg.score_function, "b": hg.straight_through(hg.hard.sign)}
    torch.manual_seed(3)
    state, python = torch.get_rng_state(), random.getstate()
    first = timeless(hg.diagnose(given, hg.hard.sign, X, draws=40))
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert timeless(hg.diagnose(given, hg.hard.sign, X, draws=40)) == first
    other = timeless(hg.diagnose(given, hg.hard.sign, X, draws=40, generator=seed(1)))
    assert other["a"] != first["a"]
    assert timeless(hg.diagnose(given, hg.hard.sign, X, draws=40, generator=seed(1))) == other
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert timeless(hg.diagnose(given, hg.hard.sign, X, draws=40))["a"] != first["a"]


def test_a_candidate_is_judged_the_same_in_any_company() -> None:
    alone = timeless(hg.diagnose({"a": hg.score_function}, f, q(), draws=40))
    among = timeless(hg.diagnose({"b": hg.disarm, "a": hg.score_function}, f, q(), draws=40))
    assert alone["a"] == among["a"]


def test_the_generator_moves_by_one_number() -> None:
    generator, other = seed(5), seed(5)
    hg.diagnose({"a": hg.score_function}, f, q(), draws=20, generator=generator)
    torch.randint(2**62, (), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())


class Learner(nn.Module):
    """An estimator that counts its calls in a buffer, normalises, drops out and learns."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.control = hg.approximators.mlp(3, 1, hidden=(4,))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, q: Independent, objective: Callable[[Tensor], Tensor]) -> Tensor:
        self.calls += 1
        self.norm(q.base_dist.logits.detach())
        return hg.relax(q, objective, self.control)


def holders() -> dict[str, tuple[Callable[..., Tensor], nn.Module]]:
    """Candidates that keep a module in each of the places where users keep them, and the module."""
    learner, kept, default = Learner(), hg.approximators.mlp(3, 1, hidden=(4,)), hg.approximators.mlp(3, 1, hidden=(4,))
    average = hg.montecarlo.MovingAverage()
    annealed = hg.montecarlo.Annealed(1.0, 0.1, 100)

    def closed_over(q: Independent, objective: Callable[[Tensor], Tensor]) -> Tensor:
        return hg.relax(q, objective, kept)

    def inner(q: Independent, objective: Callable[[Tensor], Tensor]) -> Tensor:
        return closed_over(q, objective)

    return {
        "module": (learner, learner),
        "method": (learner.forward, learner),
        "partial": (partial(hg.score_function, baseline=average), average),
        "argument": (partial(hg.gumbel, temperature=annealed), annealed),
        "closure": (closed_over, kept),
        "closure of a closure": (inner, kept),
        "global": (lambda q, objective: hg.relax(q, objective, GLOBAL), GLOBAL),
        "default": (lambda q, objective, control=default: hg.relax(q, objective, control), default),
    }


@pytest.mark.parametrize("place", list(holders()))
@pytest.mark.parametrize("warm_up", [0, 3])
def test_modules_stay_as_they_were(place: str, warm_up: int) -> None:
    candidate, module = holders()[place]
    module.eval()
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    before = copy.deepcopy(module.state_dict())
    versions = [t._version for t in [*module.parameters(), *module.buffers()]]
    found = hg.diagnose({"it": candidate}, f, q(), draws=20, warm_up=warm_up)
    assert found["it"].error is None
    assert found["it"].unbiased or place == "argument"
    assert found["it"].learns == (place not in ("partial", "argument"))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [t._version for t in [*module.parameters(), *module.buffers()]] == versions
    assert not module.training
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in module.parameters())


def test_a_candidates_own_generator_is_not_used_up() -> None:
    own = seed(9)
    state = own.get_state()
    found = hg.diagnose({"it": partial(hg.score_function, generator=own)}, f, q(), draws=40)
    assert torch.equal(own.get_state(), state)
    assert found["it"].error is None


def test_a_function_with_weights_gets_no_gradient_and_is_not_changed() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    before = copy.deepcopy(layer.state_dict())

    def objective(b: Tensor) -> Tensor:
        return layer(b.reshape(-1, 3)).view(b.shape[:-1])

    hg.diagnose({"it": hg.score_function, "arms": hg.arms}, objective, q(), draws=20)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert all(p.grad is None for p in layer.parameters())
    assert layer.training


def test_a_hard_module_keeps_its_mode_inside_candidates() -> None:
    """A candidate is put in training mode, the user's function is not: dropout would make another function of it."""

    class Hard(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sign() if not self.training else x * torch.nan

    hard = Hard().eval()
    found = hg.diagnose(
        {"bridge": hg.Bridge(hard, hg.approximators.elementwise()), "it": hg.straight_through(hard)}, hard, X,
        draws=20, warm_up=2,
    )  # fmt: skip
    assert [row.error for row in found.rows] == [None, None]
    assert found.noise == "logistic"
    assert not hard.training
    assert [row.evaluations for row in found.rows] == [1, 1]


def test_warm_up_teaches_a_copy() -> None:
    torch.manual_seed(0)
    bridge = hg.Bridge(hg.hard.sign, hg.approximators.elementwise())
    before = copy.deepcopy(bridge.state_dict())
    raw, taught = (hg.diagnose(bridge, hg.hard.sign, X, draws=100, warm_up=n) for n in (0, 300))
    assert raw["Bridge"].learns
    assert "learns" in raw.warnings[-1]
    assert not any("learns" in warning for warning in taught.warnings)
    assert taught["Bridge"].cosine > 0.9
    assert raw["Bridge"].bias > taught["Bridge"].bias + 0.2
    assert taught.warm_up == 300
    assert all(torch.equal(v, before[k]) for k, v in bridge.state_dict().items())
    assert all(p.grad is None for p in bridge.parameters())


def test_a_moving_average_stands_still_within_a_diagnosis() -> None:
    """An average that went on learning would make later draws calmer than the first; each chunk starts from a copy."""
    calls = []

    class Watched(hg.montecarlo.MovingAverage):
        def forward(self, context: Tensor) -> Tensor:
            calls.append(self.seen.item())
            return super().forward(context)

    hg.diagnose({"it": partial(hg.score_function, baseline=Watched())}, f, q(), draws=100)
    # The clock repeats calls of one copy; before that every call is the first.
    assert calls[:22] == [0.0] * 22


def test_the_penalty_of_a_bridge_is_no_part_of_its_gradient() -> None:
    """With conditioning the penalty reaches x; what is examined is the task's gradient."""
    torch.manual_seed(0)
    network = hg.approximators.elementwise()
    rows = [
        hg.diagnose(hg.Bridge(hg.hard.sign, network, conditioning=c), hg.hard.sign, X, draws=40)["Bridge"]
        for c in (False, True)
    ]
    torch.testing.assert_close(torch.tensor(rows[0].mean), torch.tensor(rows[1].mean))


class ByBatch(nn.Module):
    """A layer whose gradient depends on how many rows it is given, as that of a normalisation over them does."""

    def forward(self, x: Tensor) -> Tensor:
        return hg.graft(x.detach().sign(), x * len(x))


def test_a_layer_that_mixes_rows_is_run_on_the_batch_alone() -> None:
    found = hg.diagnose({"it": ByBatch()}, hg.hard.sign, X, objective=lambda y: y.sum(-1), draws=40)["it"]
    assert found.draws == 40
    assert found.mean == (2.0,) * 6


def test_an_estimator_written_for_its_batch_alone() -> None:
    def picky(q: Independent, objective: Callable[[Tensor], Tensor]) -> Tensor:
        if q.batch_shape != (2,):
            raise RuntimeError("two rows or nothing")
        return hg.score_function(q, objective)

    found = hg.diagnose({"it": picky}, f, q(), draws=60)["it"]
    assert found.error is None
    assert found.draws == 60
    assert found.unbiased


def test_numbers_of_draws_are_rounded_up_to_whole_groups() -> None:
    found = hg.diagnose({"it": hg.score_function}, f, q(), draws=21)
    assert found.draws == found["it"].draws == 40


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
    small = hg.Bridge(lambda t: t * 1, nn.Sequential(nn.Linear(100, 100)))
    assert kept(small) < 100 * 100 * 4


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
        ({"noise": "uniform"}, "noise must be 'auto', 'gaussian'"),
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
        (partial(hg.hard.top_k, k=2), X, {"autograd", "bridge", "score_function"}),
        (hg.hard.sign, X, {"straight_through, clipped", "exact", "disarm", "arms", "gumbel", "rebar", "relax"}),
        (hg.hard.one_hot_argmax, X, {"straight_through, softmax", "exact", "reinmax", "gumbel_rao", "rebar, learnt"}),
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


def test_copies_share_nothing_but_what_they_must() -> None:
    module = nn.Linear(2, 2)

    def recursive(n: int) -> object:
        return recursive if n else module

    twin = private_copy(recursive)
    assert twin(0) is not module
    assert torch.equal(twin(0).weight, module.weight)
    plain = [].append
    assert private_copy(plain) is plain
    assert private_copy(f) is f
    assert private_copy(module, {id(module): "kept"}) == "kept"

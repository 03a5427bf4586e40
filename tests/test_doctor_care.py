"""The doctor's manners: what it must leave as it was, and what it repeats."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

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
    """An estimator that counts its calls in a buffer, normalizes, drops out and learns."""

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
    assert not found["it"].biased or place == "argument"
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
    # The clock repeats calls of one copy; before that every call is the first: trials of one copy of the batch alone
    # and three times among others, and all draws at once.
    assert calls[:5] == [0.0] * 5


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
    """A layer whose gradient depends on how many rows it is given, as that of a normalization over them does."""

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
    assert not found.biased


def test_numbers_of_draws_are_rounded_up_to_whole_groups() -> None:
    found = hg.diagnose({"it": hg.score_function}, f, q(), draws=21)
    assert found.draws == found["it"].draws == 40


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


def test_a_function_that_cannot_be_copied_is_named() -> None:
    class Caching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sign()

    hard = Caching()
    hard.last = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(ValueError, match=r"function holds a module that cannot be copied \(RuntimeError: Only Tensors"):
        hg.diagnose(hg.score_function, hard, X, draws=20)

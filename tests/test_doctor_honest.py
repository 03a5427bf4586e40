"""What the doctor says only where it could have seen it, and what it keeps apart: power, precision, state, modes."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical

import hardgrad as hg
from hardgrad.doctor.advice import advise, warnings_of
from hardgrad.doctor.diagnosis import Row, Truth

LOGITS = torch.tensor([[0.3, -0.8, 0.5], [1.0, 0.1, -0.4]])
X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4]])
Objective = Callable[[Tensor], Tensor]


def q(dtype: torch.dtype = torch.float32) -> Independent:
    return Independent(Bernoulli(logits=LOGITS.to(dtype)), 1)


def f(b: Tensor) -> Tensor:
    return (b.sum(-1) - 1.3).square() + b.prod(-1) + 3


def seed(n: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(n)


# ------------------------------------------------------------------------------------------ power


def planted(q: Independent, objective: Objective) -> Tensor:
    """A fifth of the gradient is missing."""
    value = hg.score_function(q, objective)
    return 0.8 * value + 0.2 * value.detach()


def test_a_bias_of_a_fifth_is_found_by_default() -> None:
    """Six seeds; each finds nine of ten of a bias of a tenth, and all of one of a fifth."""
    for n in range(6):
        row = hg.diagnose({"it": planted}, lambda b: f(b) - 3, q(), generator=seed(n))["it"]
        assert row.biased
        assert row.bias == pytest.approx(0.2, abs=4 * row.bias / row.bias_z)  # four standard errors
        assert row.draws >= 1000


def test_few_draws_say_what_they_could_not_see() -> None:
    found = hg.diagnose({"it": planted, "exact": hg.exact}, f, q(), draws=200, generator=seed())
    row = found["it"]
    assert (row.biased, row.unbiased) == (False, False)
    assert row.smallest_bias > 0.2
    (warning,) = [w for w in found.warnings if "cannot say" in w]
    assert f"it: {row.smallest_bias:.0%}" in warning
    assert "exact" not in warning
    needed = int(warning.split("draws=")[1].split()[0])
    assert 200 * (row.smallest_bias / 0.1) ** 2 == pytest.approx(needed, rel=0.1)
    assert found["exact"].unbiased
    assert found["exact"].smallest_bias < 1e-3
    assert f"{row.smallest_bias:.2g}" in next(line for line in str(found).splitlines() if line.startswith("it "))


def test_more_draws_see_a_smaller_bias() -> None:
    smallest = [hg.diagnose(hg.score_function, f, q(), draws=n)["score_function"].smallest_bias for n in (500, 8000)]
    assert smallest[0] / smallest[1] == pytest.approx(4, rel=0.2)


def test_draws_that_were_asked_for_are_the_draws() -> None:
    found = hg.diagnose({"it": hg.score_function}, f, q(), draws=100)
    assert found["it"].draws == found.draws == 100
    open_ended = hg.diagnose({"it": hg.score_function, "exact": hg.exact}, f, q())
    assert (open_ended.draws, open_ended["exact"].draws) == (1000, 1000)
    assert 1000 < open_ended["it"].draws <= 32_000
    assert f"1000 to {open_ended['it'].draws} gradients" in str(open_ended)


EXACT = Row("exact", "estimator", bias=0.0, bias_z=0.0, smallest_bias=1e-4, progress=0.9, zeros=0.0, draws=40)
BLIND = Row("blind", "estimator", bias=0.0, bias_z=1.0, smallest_bias=0.5, progress=0.5, zeros=0.0, draws=40)
TRUTH = Truth("enumeration", norm=1.0, standard_error=0.0, evaluations=8, resolved=True)


def test_rows_of_before_keep_their_meaning() -> None:
    assert EXACT.unbiased
    assert not BLIND.unbiased
    old = Row("old", "layer", bias=0.1, bias_z=3.9, zeros=0.0)
    assert (old.unbiased, old.biased) == (True, False)
    assert Row("old", "layer", bias=0.1, bias_z=4.0, zeros=0.0).biased
    assert not Row("flat", "layer", bias=1.0, bias_z=0.0, zeros=1.0, smallest_bias=0.01).unbiased
    assert not Row("lost", "layer", bias_z=0.0, zeros=0.0).unbiased


def test_words() -> None:
    assert "None of the candidates is shown to be without bias." in advise((BLIND,), TRUTH, 1e-4)
    assert "a bias below 50% could not be seen" in advise((BLIND,), TRUTH, 1e-4)
    assert "no bias found down to 0.01%" in advise((EXACT,), TRUTH, 1e-4)
    assert "give draws=1000 to see one of 10%" in warnings_of((BLIND,), TRUTH, 0)[0]
    rough = Truth("long run", norm=1.0, standard_error=0.05, evaluations=8, resolved=True)
    assert "give a larger budget to see" in warnings_of((BLIND,), rough, 0)[0]


def test_records_of_before_are_read() -> None:
    folder = Path(__file__).parents[1] / "results" / "doctor"
    record = json.loads((folder / "sort.json").read_text(encoding="utf-8"))["diagnosis"]
    for row in record["rows"]:  # which nobody had asked for
        row.pop("smallest_bias", None)
    found = hg.Diagnosis.from_json(json.dumps(record))
    assert found["score_function"].unbiased
    assert hg.Diagnosis.from_json(found.to_json()) == found


# ------------------------------------------------------------------------------------------ precision


def quadratic(weight: Tensor, shift: float, b: Tensor) -> Tensor:
    return ((b @ weight.to(b)) * b).sum(-1) + shift


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_exact_is_exact_in_any_precision(dtype: torch.dtype, shift: float) -> None:
    """What is rounded is no bias; a bias of a twentieth is one, in any precision."""

    def off(q: Independent, objective: Objective) -> Tensor:
        value = hg.exact(q, objective)
        return 0.95 * value + 0.05 * value.detach()

    for n in range(4):
        logits = torch.randn(3, 4, generator=seed(n)).to(dtype)
        weight = torch.randn(4, 4, generator=seed(n + 9))
        function = partial(quadratic, weight, shift)
        for given in (Independent(Bernoulli(logits=logits), 1), OneHotCategorical(logits=logits, validate_args=False)):
            found = hg.diagnose({"exact": hg.exact, "off": off}, function, given, draws=20)
            assert found["exact"].unbiased
            assert found["off"].biased


def test_a_constant_has_no_gradient_and_nothing_is_biased() -> None:
    found = hg.diagnose({"exact": hg.exact, "score": hg.score_function}, lambda b: b.sum(-1) * 0 + 5, q(), draws=100)
    assert not found.truth.resolved
    assert [(row.biased, row.unbiased) for row in found.rows] == [(False, False)] * 2
    assert "not told apart from zero" in found.warnings[0]


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda x: x.log(), X),
        (lambda b: b.sum(-1).log(), q()),
        (lambda x: torch.where(x.sum(-1, keepdim=True) > 0, x, torch.inf), X),
    ],
)
def test_nan_is_said_at_once_and_how_often(function: Objective, inputs: object) -> None:
    with pytest.raises(ValueError, match=r"got (NaN|infinity) at \d of 2 inputs, and at \d+ of 16 with noise added"):
        hg.diagnose(hg.score_function, function, inputs, draws=20)


def test_nan_that_comes_late_is_said_too() -> None:
    rare = Independent(Bernoulli(logits=torch.full((2, 9), -3.0)), 1)

    def nearly(b: Tensor) -> Tensor:
        return torch.where(b.sum(-1) == 9, torch.nan, b.sum(-1))

    with pytest.raises(ValueError, match="must return finite numbers, got NaN or infinity for 2 of 1024 samples"):
        hg.diagnose(hg.score_function, nearly, rare, draws=20)


# ------------------------------------------------------------------------------------------ what is kept apart


class Plain:
    """A callable that is no module and remembers in every way."""

    def __init__(self) -> None:
        self.mean, self.seen, self.history, self.window = 0.0, torch.zeros(()), [], deque(maxlen=4)
        self.inner = {"calls": 0}

    def __call__(self, q: Independent, objective: Objective) -> Tensor:
        b = q.sample()
        value = objective(b).detach()
        score = (value - self.mean) * q.log_prob(b)
        self.mean = 1e6
        self.seen.add_(1)
        self.history.append(1)
        self.window.append(1)
        self.inner["calls"] += 1
        return value + score - score.detach()


def test_state_outside_of_modules_is_a_copys_own() -> None:
    plain, table, tensor, mean = Plain(), {"calls": 0}, torch.zeros(()), 0.0

    def closure(q: Independent, objective: Objective) -> Tensor:
        nonlocal mean
        b = q.sample()
        value = objective(b).detach()
        score = (value - mean) * q.log_prob(b)
        mean = 1e6
        table["calls"] += 1
        tensor.add_(1)
        return value + score - score.detach()

    given = {"object": plain, "method": plain.__call__, "closure": closure, "score": hg.score_function}
    found = hg.diagnose(given, f, q(), draws=200, generator=seed())
    assert [row.error for row in found.rows] == [None] * 4
    assert (plain.mean, plain.seen, plain.history, len(plain.window), plain.inner) == (0, 0, [], 0, {"calls": 0})
    assert (mean, table, tensor) == (0, {"calls": 0}, 0)
    # A draw that met the state of another would have a baseline of a million.
    assert all(row.variance < 4 * found["score"].variance for row in found.rows)


def zeroed(q: Independent, objective: Objective) -> Tensor:
    with torch.no_grad():
        for name in ("logits", "loc", "scale"):
            if name in vars(q.base_dist):
                vars(q.base_dist)[name].zero_().add_(1)
    return hg.score_function(q, objective)


@pytest.mark.parametrize("given", [q(), q(torch.float64), Independent(Normal(X, X.abs()), 1)])
def test_what_writes_into_its_distribution_writes_into_its_own(given: Independent) -> None:
    base = given.base_dist
    before = {name: value.clone() for name, value in vars(base).items() if isinstance(value, Tensor)}
    alone = hg.diagnose({"it": hg.score_function}, f, given, draws=40, budget=400, generator=seed())["it"]
    found = hg.diagnose({"z": zeroed, "it": hg.score_function}, f, given, draws=40, budget=400, generator=seed())
    assert found["it"].mean == alone.mean
    assert all(torch.equal(vars(base)[name], value) for name, value in before.items())
    assert not any(value.requires_grad for value in before.values())


def test_a_function_that_writes_into_its_sample_is_judged_as_one_that_does_not() -> None:
    def writing(b: Tensor) -> Tensor:
        return b.mul_(0.5).sum(-1).square()

    given = {"score": hg.score_function, "exact": hg.exact, "disarm": hg.disarm}
    a, b = (
        hg.diagnose(given, g, q(), draws=200, generator=seed())
        for g in (writing, lambda b: (0.5 * b).sum(-1).square())
    )  # fmt: skip
    assert [row.mean for row in a.rows] == [row.mean for row in b.rows]
    assert a.truth == b.truth


def test_a_candidate_that_raises_late_is_a_row() -> None:
    class Tired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, q: Independent, objective: Objective) -> Tensor:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("tired")
            return hg.score_function(q, objective)

    found = hg.diagnose({"tired": Tired(), "score": hg.score_function}, f, q(), draws=40)
    assert found["tired"].error == "RuntimeError: tired"
    assert found["score"].error is None


# ------------------------------------------------------------------------------------------ modes


def same_in(mode: object) -> None:
    given = {"score": hg.score_function, "exact": hg.exact, "layer": hg.straight_through(hg.hard.sign)}
    plain = hg.diagnose(given, hg.hard.sign, X, draws=40, generator=seed())
    with mode:
        state = torch.get_rng_state()
        found = hg.diagnose(given, hg.hard.sign, X.clone(), draws=40, generator=seed())
        hg.diagnose(given, hg.hard.sign, X.clone(), draws=40)
        assert torch.equal(torch.get_rng_state(), state)
    assert [row.mean for row in found.rows] == [row.mean for row in plain.rows]


def test_modes_change_nothing() -> None:
    same_in(torch.no_grad())
    same_in(torch.inference_mode())
    with torch.inference_mode():
        made_inside = Independent(Bernoulli(logits=LOGITS.clone()), 1)
        assert hg.diagnose(hg.exact, f, made_inside, draws=20)["exact"].unbiased
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = torch.randn(3, 3, generator=seed())
        found = hg.diagnose(hg.exact, lambda b: ((b @ weight) * b).sum(-1), q(), draws=20)
    assert found["exact"].unbiased


def test_compiled_functions_and_layers() -> None:
    compiled = torch.compile(f, backend="eager")
    assert hg.diagnose(hg.exact, compiled, q(), draws=20)["exact"].unbiased
    torch.manual_seed(0)
    bridge = hg.Bridge(hg.hard.sign, nn.Linear(3, 3))
    rows = [
        hg.diagnose({"it": layer}, hg.hard.sign, X, draws=40, generator=seed())["it"]
        for layer in (bridge, torch.compile(bridge, backend="eager"))
    ]
    torch.testing.assert_close(torch.tensor(rows[0].mean), torch.tensor(rows[1].mean))


def test_subclasses_that_change_nothing_and_those_that_do() -> None:
    class Tagged(Normal):
        tag = "mine"

    class Other(Normal):
        def sample(self, *shape: torch.Size) -> Tensor:
            return super().sample(*shape) * 0

    def square(b: Tensor) -> Tensor:
        return b.square().sum(-1)

    means = [
        hg.diagnose(hg.score_function, square, Independent(kind(X, 1.0), 1), draws=20, budget=400, generator=seed())
        for kind in (Normal, Tagged)
    ]
    assert means[0].rows[0].mean == means[1].rows[0].mean
    with pytest.raises(ValueError, match="got Other"):
        hg.diagnose(hg.score_function, square, Independent(Other(X, 1.0), 1), draws=20)


# ------------------------------------------------------------------------------------------ mistakes and travel


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": 100.0}, "draws must be a whole number, at least 20, got float 100.0"),
        ({"draws": math.nan}, "draws must be a whole number, at least 20, got float nan"),
        ({"draws": True}, "draws must be a whole number"),
        ({"draws": -1}, "draws must be at least 20, got -1"),
        ({"draws": "many"}, "draws must be a whole number, at least 20, got str 'many'"),
        ({"budget": 1.5}, "budget must be a whole number, at least 1, got float 1.5"),
        ({"warm_up": 2.0}, "warm_up must be a whole number"),
        ({"sigma": "wide"}, "sigma must be a number, got str 'wide'; None takes half"),
        ({"sigma": True}, "sigma must be a number, got bool True"),
        ({"sigma": math.inf}, "sigma must be above 0 and finite, got inf"),
        ({"noise": None}, "noise must be one of 'auto', 'gaussian'"),
        ({"truth": None}, "truth must be one of 'auto'"),
        ({"generator": 3}, r"generator must be a torch\.Generator or None, got int"),
        ({"function": 3}, "function must be callable, got int"),
        ({"objective": 3}, "objective must be callable, got int"),
        ({"estimators": {0: hg.exact}}, "names of estimators must be strings, got 0 .*'0'"),
        ({"inputs": X.to("meta")}, "must hold numbers, got a tensor on the meta device"),
        ({"inputs": X.numpy()}, "got ndarray; torch.as_tensor"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    given = {"estimators": {"a": hg.score_function}, "function": hg.hard.sign, "inputs": X, "draws": 20} | change
    with pytest.raises((ValueError, TypeError), match=message):
        hg.diagnose(given.pop("estimators"), given.pop("function"), given.pop("inputs"), **given)


def test_it_is_not_called_inside_a_transform() -> None:
    with pytest.raises(ValueError, match="must be called in eager code"):
        torch.vmap(lambda x: hg.diagnose(hg.exact, f, Independent(Bernoulli(logits=x), 1)))(LOGITS.unsqueeze(0))


@pytest.mark.parametrize(
    ("function", "inputs", "noise", "message"),
    [
        (3, X, "auto", "function must be callable"),
        (hg.hard.sign, [1.0], "auto", "inputs must be a tensor"),
        (hg.hard.sign, X[:0], "auto", "at least one row"),
        (hg.hard.sign, X, "wide", "noise must be one of 'auto'"),
        (hg.hard.sign, X.to("meta"), "auto", "meta device"),
    ],
)
def test_mistakes_of_candidates_are_named(function: object, inputs: object, noise: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"candidates: .*{message}"):
        hg.doctor.candidates(function, inputs, noise=noise)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 1.5}, "every must be a whole number, at least 1, got float 1.5; it counts training calls"),
        ({"budget": 0}, "budget must be at least 1, got 0"),
        ({"sigma": -1.0}, "sigma must be above 0"),
        ({"noise": "wide"}, "noise must be one of 'auto'"),
        ({"generator": 3}, "generator must be"),
    ],
)
def test_mistakes_of_a_watch_are_named(change: dict[str, object], message: str) -> None:
    bridge = hg.Bridge(hg.hard.sign, nn.Linear(3, 3))
    with pytest.raises((ValueError, TypeError), match=f"Watch: {message}"):
        hg.doctor.Watch(bridge, **change)
    assert not bridge._forward_hooks


def travelled(thing: object, way: str) -> object:
    if way == "deepcopy":
        return copy.deepcopy(thing)
    if way == "pickle":
        return pickle.loads(pickle.dumps(thing))
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "save"])
def test_a_diagnosis_a_watch_and_a_watched_model_travel(way: str) -> None:
    found = hg.diagnose({"a": hg.exact, "b": hg.reinmax}, f, q(), draws=20)
    assert travelled(found, way) == found
    bridge = hg.Bridge(hg.hard.sign, nn.Linear(3, 3))
    with hg.doctor.Watch(bridge, every=1, budget=400) as watch:
        bridge(X.clone().requires_grad_()).sum().backward()
        twin, model = travelled(watch, way), travelled(bridge, way)
        model(X.clone().requires_grad_()).sum().backward()
        assert [s.call for s in twin.records] == [1]
        assert twin.records == watch.records
        assert str(twin) == str(watch)
        twin.remove()
        bridge(X.clone().requires_grad_()).sum().backward()
    assert [s.call for s in watch.records] == [1, 2]
    assert len(twin.records) == 1


def test_a_watch_of_a_function_that_mixes_by_chance_and_norm() -> None:
    """Dropout keeps the rows from being told apart outright; the truth is then of the batch as one."""
    norm = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.2))
    bridge = hg.Bridge(lambda x: norm(x).sign(), nn.Linear(3, 3))
    with hg.doctor.Watch(bridge, every=1, budget=400) as watch:
        bridge(torch.randn(8, 3, generator=seed()).requires_grad_()).sum().backward()
    assert watch.records[0].error is None


def test_a_categorical_that_is_mixed_has_its_truth() -> None:
    """Outcome numbers of all rows together, by a loop over both rows' outcomes."""
    logits = torch.tensor([[0.2, -0.3, 0.4], [0.5, 0.1, -0.6]])

    def function(b: Tensor) -> Tensor:
        return (b.float() - b.float().mean(-1, keepdim=True)).square() + b.float()

    x = logits.double().requires_grad_()
    p = x.softmax(-1)
    total = sum(p[0, i] * p[1, j] * function(torch.tensor([i, j])).sum().double() for i in range(3) for j in range(3))
    (expected,) = torch.autograd.grad(total, x)
    for way in ("auto", "long run"):
        found = hg.diagnose(
            {"it": hg.score_function}, function, Categorical(logits=logits), draws=20, truth=way, budget=20_000
        )
        distance = float((torch.tensor(found.truth.gradient).view(2, 3) - expected).norm())
        assert distance < 5 * found.truth.standard_error + 1e-6


def test_partials_of_objects_keep_their_state() -> None:
    plain = Plain()
    hg.diagnose({"it": partial(plain)}, f, q(), draws=20)
    assert plain.history == []

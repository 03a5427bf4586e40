"""The doctor on functions as people have them: black boxes that wait, keep a state, draw, raise, or are no function."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import hardgrad as hg
from hardgrad.doctor.pace import CallTime, Pace

X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4]])
LOGITS = torch.tensor([[0.3, -0.8, 0.5], [1.0, 0.1, -0.4]])
Hard = Callable[[Tensor], Any]


def q() -> Independent:
    return Independent(Bernoulli(logits=LOGITS), 1)


def f(b: Tensor) -> Tensor:
    return (b.sum(-1) - 1.3).square() + b.prod(-1)


def seed(n: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def quick(function: Hard, x: Tensor = X, **given: Any) -> hg.Diagnosis:
    return hg.diagnose(
        {"it": hg.score_function, "other": hg.straight_through(function)}, function, x,
        **{"draws": 20, "budget": 400, "generator": seed(), **given},
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ time


class Clock:
    """Seconds that pass only where a function waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def waits(self, function: Hard, call: float = 0.0, row: float = 0.0) -> Hard:
        def waiting(x: Tensor) -> Any:
            self.now += call + row * (x.numel() / LOGITS.numel())
            return function(x)

        return waiting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_function_that_waits_is_dear(clock: Clock) -> None:
    """A server takes 50 ms a call, so eight samples cost what one does; a loop over samples takes 50 ms for each."""
    eight = partial(hg.score_function, samples=8, baseline="leave_one_out")
    for call, row, ratio in ((0.05, 0.0, 1), (0.0, 0.05, 8)):
        found = hg.diagnose({"one": hg.score_function, "eight": eight}, clock.waits(f, call, row), q(), draws=20)
        assert found.clock == "wall"
        assert found.function_seconds == pytest.approx(0.05)
        assert found["one"].seconds == pytest.approx(0.05)
        assert found["eight"].seconds == pytest.approx(0.05 * ratio)
    assert "in the time of 8 evaluations of the function" in found.advice


def test_a_threshold_that_waits_is_dear_though_the_truth_need_not_call_it(clock: Clock) -> None:
    found = quick(clock.waits(hg.hard.sign, 0.05))
    assert found.truth.kind == "enumeration"
    assert found.function_seconds == pytest.approx(0.05)
    assert found["other"].seconds == pytest.approx(0.05)


def test_what_remembers_its_last_answer_is_not_free(clock: Clock) -> None:
    kept: dict[str, Any] = {}

    def once(x: Tensor) -> Tensor:
        if "x" not in kept or kept["x"].shape != x.shape or not torch.equal(kept["x"], x):
            clock.now += 0.05
            kept["x"] = x.clone()
        return x.round()

    found = quick(once)
    assert found.function_seconds == pytest.approx(0.05)
    assert found["other"].seconds == pytest.approx(0.05)


@pytest.mark.parametrize(("row", "cut"), [(0.0, False), (0.02, True)])
def test_a_limit_in_seconds_is_kept_and_said(clock: Clock, row: float, cut: bool) -> None:
    given = {"it": hg.score_function, "copy": partial(hg.score_function, samples=2, baseline="leave_one_out")}
    found = hg.diagnose(
        given, clock.waits(lambda x: x.round(), 0.01, row), X, objective=f, seconds=60, generator=seed()
    )
    # A turn may end one round late, and its first round is never left out.
    assert clock.now < 75
    assert (clock.now > 40) == cut
    assert ("the limit of 60 s cut short the truth: " in found.warnings[0]) == cut
    assert (found["it"].draws < 1000) == cut
    assert all(row.error is None and row.draws >= 20 for row in found.rows)
    # Honest all the same: each is unbiased, so its significance is a standard normal variate; bound 4.5.
    assert max(row.bias_z for row in found.rows) < 4.5


def test_a_limit_leaves_candidates_out_by_name(clock: Clock) -> None:
    """A candidate takes 25 calls at least, of 0.2 s each; the truth of eight outcomes takes one."""
    given = {"it": hg.score_function, "other": hg.score_function}
    found = hg.diagnose(given, clock.waits(f, 0.2), q(), seconds=15)
    assert found["it"].error is None
    assert re.fullmatch(
        r"not examined: of the limit of 15 s its turn found \d\.\d s left, and the fewest gradients take 5.0 s",
        found["other"].error,
    )
    assert clock.now < 18


def test_a_limit_too_short_for_anything_is_refused(clock: Clock) -> None:
    """Twenty calls for the truth and 25 for a candidate."""
    with pytest.raises(ValueError, match="and one candidate, about 45 where function takes 1 for the batch"):
        quick(clock.waits(lambda x: x.round(), 1.0), seconds=5)


def test_progress_goes_on_and_knows_what_is_left(clock: Clock) -> None:
    seen: list[hg.doctor.Progress] = []
    ends: list[float] = []

    def note(now: hg.doctor.Progress) -> None:
        seen.append(now)
        ends.append(clock.now)

    given = {"a": hg.score_function, "b": hg.score_function}
    hg.diagnose(given, clock.waits(f, 0.01), q(), draws=400, progress=note)
    assert list(dict.fromkeys(now.name for now in seen)) == ["truth", "a", "b", "cost"]
    assert all(a.done <= b.done for a, b in itertools.pairwise(seen))
    assert (seen[0].done, seen[-1].done, seen[-1].total, seen[-1].seconds_left) == (0, 4, 4, 0)
    for now, at in zip(seen[:-1], ends[:-1], strict=True):  # within a factor of four, from the first word on
        left = ends[-1] - at
        assert now.seconds_left is not None
        assert left / 4 - 0.1 < now.seconds_left < 4 * left + 0.1, now
    assert str(seen[0]).startswith("truth: 0.0 of 4 turns done, about ")


def test_how_long_things_take_in_words() -> None:
    def left(seconds: float | None) -> str:
        return hg.doctor.Progress("truth", 0, 1, seconds).left

    expected = {0.2: "about 1 second", 40: "about 40 seconds", 720: "about 12 minutes", 12_600: "about 3.5 hours"}
    assert {seconds: left(seconds) for seconds in expected} == expected
    assert left(None) == ""


def test_the_time_of_a_call_is_told_from_that_of_its_rows() -> None:
    assert CallTime.of(0.07, 0.21, 8) == CallTime(pytest.approx(0.05), pytest.approx(0.02))
    assert CallTime.of(0.05, 0.05, 8) == CallTime(0.05, 0)
    assert CallTime(0.05, 0.02).seconds(100, 4) == pytest.approx(2.2)


def test_turns_share_what_is_left_of_the_limit() -> None:
    now = [0.0]
    pace = Pace(["a", "b"], limit=31.0, clock=lambda: now[0])
    pace.begin()  # the truth, 1 of 3.2
    assert pace.affordable(1.0) == pytest.approx(31 / 3.2)
    now[0] = 1.0
    pace.begin()  # the first candidate, 1 of 2.2 of what is left
    assert pace.affordable(1.0) == pytest.approx(30 / 2.2)
    now[0] = 32.0
    assert pace.left == 0
    assert pace.affordable(1.0) == 0


# ------------------------------------------------------------------------------------------ the same at every call


class Counting:
    """A threshold that moves with every call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return (x > 0.3 * (self.calls % 7) - 1).to(x.dtype)


class Late(Counting):
    """It moves after two hundred calls, as a simulator that warms up does."""

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return (x > (0.7 if self.calls > 200 else 0.1)).to(x.dtype)


def private(x: Tensor) -> Tensor:
    return x.round() + torch.from_numpy(OWN.normal(size=tuple(x.shape))).to(x)


OWN = np.random.default_rng(0)


def torchs(x: Tensor) -> Tensor:
    return (x + torch.randn_like(x)).round()


def numpys(x: Tensor) -> Tensor:
    return (x + torch.from_numpy(np.random.randn(*x.shape)).to(x)).round()


def pythons(x: Tensor) -> Tensor:
    return (x + random.gauss(0, 1)).round()


def in_place(x: Tensor) -> Tensor:
    return x.clamp_(-1, 1).round_()


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (Counting(), "state"), (Late(), "state"), (private, "state"),
        (torchs, "random"), (numpys, "random"), (pythons, "random"),
        (torch.round, "same"), (in_place, "same"), (hg.hard.sign, "same"), (torch.sign, "same"),
        (nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()).eval(), "same"),
    ],
)  # fmt: skip
def test_a_function_that_does_not_repeat_itself_is_said(function: Hard, kind: str) -> None:
    found = hg.diagnose({"it": hg.score_function}, function, X, draws=20, budget=8000, generator=seed())
    assert found.repeats == kind
    words = " ".join(found.warnings)
    assert bool(re.search(r"different outputs for the same input \(\d of 8 rows", words)) == (kind == "state")
    assert ("the same at every call, which it is not" in found.advice) == (kind == "state")
    assert ("of a function that is not the same at every call" in " ".join(str(found).split())) == (kind == "state")
    assert ("the function draws random numbers" in words) == (kind == "random")
    assert "mixes" not in words or kind == "random"
    assert hg.Diagnosis.from_json(found.to_json()) == found


class Remembering(nn.Module):
    """It mixes what it was given last into what it returns, as a network does that keeps its hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = (x + self.last).round()
        self.last = x.detach().abs().max()
        return y


def test_a_module_with_a_state_is_said_and_the_users_own_is_left_alone() -> None:
    module = Remembering()
    found = quick(module)
    assert found.repeats == "state"
    assert module.last == 0


def test_an_objective_that_keeps_a_state_is_said() -> None:
    calls = [0]

    def counting(b: Tensor) -> Tensor:
        calls[0] += 1
        return f(b) + calls[0]

    assert hg.diagnose({"it": hg.score_function}, counting, q(), draws=20).repeats == "state"


@pytest.mark.parametrize("function", [torchs, numpys, pythons])
def test_a_random_function_is_diagnosed_alike_and_moves_no_random_state(function: Hard) -> None:
    def state() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = state()
    gradients = [quick(function).truth.gradient for _ in range(2)]
    assert gradients[0] == gradients[1]
    assert state() == before


# ------------------------------------------------------------------------------------------ no number


def test_nan_is_said_with_where_and_an_example() -> None:
    def partly(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], x[:, 1].log(), x[:, 2]], 1)

    with pytest.raises(ValueError, match="must return finite numbers, got NaN at 1 of 2 inputs") as caught:
        quick(partly)
    said = str(caught.value)
    assert re.search(r"at \d+ of 16 with noise added, in outputs 1, such as x = \[0.3, -0.5, 1.1\]", said)
    assert all(cure in said for cure in ("clamp inputs", "smaller sigma", "large finite number"))


def test_nan_at_rare_draws_is_said_with_its_share() -> None:
    def rarely(x: Tensor) -> Tensor:
        return torch.where(x > 2.1, torch.nan, x.round())  # three standard deviations from the nearest

    with pytest.raises(ValueError, match=r"NaN or infinity for \d+ of \d+ samples \((\S+) of all so far\)"):
        hg.diagnose({"it": hg.score_function}, rarely, X, draws=20, generator=seed())


def test_a_candidate_with_nan_fails_alone() -> None:
    bad = {"bad": lambda x: x * torch.nan, "good": hg.straight_through(hg.hard.sign)}
    found = hg.diagnose(bad, hg.hard.sign, X, draws=20)
    assert "hold NaN or infinity" in found["bad"].error
    assert found["good"].error is None


@pytest.mark.parametrize("size", [1e10, 1e18, 1e30, 1e80, 1e160])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("inputs", [q(), X], ids=["objective", "hard"])
def test_a_record_holds_numbers_only(size: float, dtype: torch.dtype, inputs: Any) -> None:
    """However large the values: a number, None, a row that says why, or one sentence; never NaN or infinity."""
    given = {"one": hg.score_function, "exact": hg.exact} if inputs is not X else {"one": hg.score_function}

    def large(b: Tensor) -> Tensor:
        return f(b.to(dtype)) * size if inputs is not X else b.to(dtype).round() * size

    try:
        found = hg.diagnose(given, large, inputs, draws=20, budget=400)
    except ValueError as error:
        said = str(error)
        if "finite numbers" in said or "double precision" in said:
            return
        raise
    numbers = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in a record"))
    assert math.isfinite(numbers["truth"]["norm"])


# ------------------------------------------------------------------------------------------ what breaks


def test_what_it_raises_is_said_with_the_row() -> None:
    def strict(x: Tensor) -> Tensor:
        if bool((x < -0.8).any()):
            raise OSError("valve stuck")
        return x.round()

    with pytest.raises(hg.doctor.FunctionError, match=r"at row 1, where x = \[-0.9, 0.2, 0.4\]: OSError: valve stuck"):
        quick(strict)
    with pytest.raises(ValueError, match=r"objective raises, for x of shape .*: ZeroDivisionError"):
        quick(torch.round, objective=lambda y: y.sum(-1) / (1 // 0))


def breaking(after: int, error: type[BaseException]) -> Hard:
    calls = [0]

    def function(x: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > after:
            raise error("gone")
        return x.round()

    return function


def calls_until(turn: str) -> int:
    """How often the function is called up to the middle of a turn."""
    calls, found = [0], []

    def counting(x: Tensor) -> Tensor:
        calls[0] += 1
        return x.round()

    quick(counting, progress=lambda now: found.append(calls[0]) if now.name == turn and now.done % 1 > 0.4 else None)
    return found[0]


def test_a_function_that_breaks_in_the_middle_loses_nothing_that_was_measured() -> None:
    found = quick(breaking(calls_until("other"), ConnectionError))
    assert found["it"].error is None
    assert found["it"].draws == 20
    assert "ConnectionError: gone" in found["other"].error
    assert found.stopped.startswith("the function answers no more: function raises from then on")
    assert found.warnings[0].startswith("this diagnosis is not whole, 1 candidates were measured")
    assert "not whole" in repr(found)
    assert hg.Diagnosis.from_json(found.to_json()) == found


def test_a_function_that_refuses_one_candidate_does_not_end_the_others() -> None:
    def black_box(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy().round())

    found = hg.diagnose({"autograd": black_box, "it": hg.score_function}, black_box, X, draws=20, budget=400)
    assert "requires grad" in found["autograd"].error
    assert found["it"].error is None
    assert found.stopped is None


def test_ctrl_c_keeps_what_was_measured() -> None:
    with pytest.raises(hg.doctor.Stopped, match="stopped after 1 of 2 candidates were measured") as caught:
        quick(breaking(calls_until("other"), KeyboardInterrupt))
    found = caught.value.diagnosis
    assert found.stopped == hg.doctor.Stopped.reason
    assert found["it"].error is None
    assert found["it"].seconds is None
    assert found["other"].error == "not examined: it was stopped by hand"
    assert "in the time of" not in found.advice
    assert pickle.loads(pickle.dumps(caught.value)).diagnosis == found
    with pytest.raises(KeyboardInterrupt) as early:
        quick(breaking(calls_until("it"), KeyboardInterrupt))
    assert not isinstance(early.value, hg.doctor.Stopped)


# ------------------------------------------------------------------------------------------ forms


class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.round()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: float(x.sum()), "must return a tensor, got float; end it with torch.as_tensor"),
        (lambda x: x.numpy().round(), "must return a tensor, got ndarray; end it with torch.as_tensor"),
        (lambda x: x.tolist(), "must return a tensor, got list; end it with torch.as_tensor"),
        (lambda x: (x.round(), 1), "must return a tensor, got tuple; return the one that is to be judged"),
        (lambda x: None, "must return a tensor, got NoneType"),
        (lambda x: x.round().mean(), r"must keep the batch \(first\) dimension, got input \(2, 3\) and output \(\)"),
        (lambda x: x[1:].round(), r"must keep the batch \(first\) dimension, got input \(2, 3\) and output \(1, 3\)"),
        (lambda x: torch.complex(x, x), "must return real numbers, got torch.complex64"),
        (lambda x: x.to_sparse(), "must return a dense tensor"),
        (lambda x: torch.empty(x.shape, device="meta"), "must stay on cpu, got an output on meta"),
        (lambda x: nn.functional.conv2d(x, x), r"function raises, for x of shape \(2, 3\).*: RuntimeError: "),
        (lambda x, y: x, r"function raises, for x of shape \(2, 3\).*: TypeError: .*missing 1 required"),
        (Layer, r"function must be a module, got the class Layer; make one: Layer\(\)"),
        (lambda x: exit(), r"function raises, for x of shape \(2, 3\).*: SystemExit"),
    ],
)
def test_what_is_no_hard_function_is_said_in_a_sentence(function: Hard, said: str) -> None:
    with pytest.raises(ValueError, match=f"^candidates: .*{said}"):
        hg.doctor.candidates(function, X)
    with pytest.raises(ValueError, match=f"^diagnose: .*{said}") as caught:
        hg.diagnose({"it": hg.score_function}, function, X, draws=20)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        Layer(), lambda x: x.double().round(), lambda x: x.round().int(), lambda x: x > 0.1, in_place,
        torch.no_grad()(torch.round), lambda x: x.detach().round().requires_grad_(), lambda x: x.round()[:, 0],
        lambda x: torch.from_numpy(x.detach().numpy().round()), torch.compiler.disable(torch.round),
    ],
)  # fmt: skip
def test_what_is_one_is_taken(function: Hard) -> None:
    candidates = hg.doctor.candidates(function, X)
    found = hg.diagnose({"it": candidates["score_function"]}, function, X, draws=20, budget=400)
    assert found["it"].error is None
    assert found.repeats == "same"


def test_a_function_that_raises_far_from_the_inputs_is_examined() -> None:
    def in_its_domain(x: Tensor) -> Tensor:
        if bool((x.abs() > 3).any()):
            raise ValueError("beyond the table")
        return x.round()

    candidates = hg.doctor.candidates(in_its_domain, X)
    found = hg.diagnose(candidates, in_its_domain, X, sigma=0.1, draws=20, budget=400)
    assert found["score_function"].error is None


# ------------------------------------------------------------------------------------------ arguments and forms of text


@pytest.mark.parametrize("seconds", [0, -1, True, "10", math.inf, math.nan])
def test_a_limit_is_a_length_of_time(seconds: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"diagnose: seconds must be (above 0|a number).*, got .*; None"):
        quick(torch.round, seconds=seconds)


def test_progress_is_something_to_call() -> None:
    with pytest.raises(
        TypeError, match="diagnose: progress must be a function of a Progress, got int 3; print will do"
    ):
        quick(torch.round, progress=3)


def test_a_notebook_shows_one_line_or_a_small_table() -> None:
    found = hg.diagnose(
        {"<b>": hg.score_function, "no": lambda x: None}, torch.round, X, draws=20, budget=400, generator=seed()
    )
    assert repr(found).startswith("<Diagnosis of round at (2, 3): 2 candidates; ")
    assert "\n" not in repr(found)
    assert len(repr(found)) < 500
    html = found._repr_html_()
    assert html.count("<tr>") == 3  # more of it in test_shown.py
    assert "&lt;b&gt;" in html
    assert "<b>&lt;" not in html
    assert 'colspan="13">refused: ' in html
    assert "<b>advice:</b> " in html


def test_found_ranges_are_one_line_in_a_notebook() -> None:
    key = torch.linspace(0, 4, 400)
    ranges = hg.search_ranges(key[:, None], key, torch.where(key < 1, key, 5 - key), max_ranges=3, generator=seed())
    shown = r"<FoundRanges: 2 ranges by dynamic_programming, chosen by held_out; points 0, (1|0.99\d*), 4>"
    assert re.fullmatch(shown, repr(ranges))
    assert f'<th scope="row">{ranges.scores[0].label}</th><td>100</td>' in ranges._repr_html_()

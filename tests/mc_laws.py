"""What every Monte Carlo estimator must obey, besides having the right mean.

A law is a function of an estimator that fails by assertion; ``LAWS`` is what the pass-matrix is written from. Here are
those about samples and numbers; ``mc_laws_learning`` has those about who learns from what, ``mc_laws_torch`` those
about what torch does with functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import hardgrad as hg
from enumeration import deviation, standard_error
from mc_bank import VARIABLES, Variable
from mc_cases import Estimator, modules
from mc_laws_learning import copies, evaluation, layers_in_f, parameters_of_f, scope, standing_still
from mc_laws_torch import (
    ONE_OF_EACH_WAY,
    batched_gradients,
    checkpointing,
    compilation,
    compiled_transforms,
    double_backward,
    function_transforms,
)
from mc_laws_users import in_place, subclasses
from mc_trials import BATCH, SIGMA, Found, Trial, assert_near, assert_same, name_of, trials
from place import DEVICE, seeded


def seeds(estimator: Estimator) -> None:
    """One generator seed, one result, and torch's own seed is left alone; without a generator torch's seed decides."""
    for trial in trials(estimator):
        assert_same(trial.again().run(seed=3), trial.again().run(seed=3))
        if not estimator.noisy:
            continue
        assert not torch.equal(trial.run(seed=3)["q"], trial.again().run(seed=4)["q"])

        def drawn(seed: int, trial: Trial = trial) -> Found:
            generator, trial = seeded(seed), trial.again()
            return trial.run(lambda parameter: trial.value(parameter, generator=generator), seed=None)

        torch.manual_seed(0)
        before = torch.get_rng_state()
        assert_same(drawn(5), drawn(5))
        assert torch.equal(torch.get_rng_state(), before)
        assert not torch.equal(drawn(5)["q"], drawn(6)["q"])


def shapes(estimator: Estimator) -> None:
    """Batches of no, one and two dimensions: one number a row, the same numbers however the rows are laid out."""
    for variable in (v for v in VARIABLES if v.kind in estimator.kinds):
        flat, square = (Trial(estimator, variable, batch).run() for batch in ((6,), (2, 3)))
        assert square["value"].shape == (2, 3)
        assert_same({n: g.flatten(0, 1) if n in ("value", "q") else g for n, g in square.items()}, flat)
        single, alone = (Trial(estimator, variable, batch).run() for batch in ((1,), ()))
        assert alone["value"].shape == ()
        assert_same({n: g.unsqueeze(0) if n in ("value", "q") else g for n, g in alone.items()}, single)


def empty(estimator: Estimator) -> None:
    for trial in trials(estimator, batch=(0,)):
        found = trial.run()
        assert found["value"].shape == (0,)
        assert found["q"].shape == trial.parameter.shape
        assert all(not g.any() for g in found.values())
        with hg.penalties() as bag:
            trial.run()
        assert bag.total() == 0


def extremes(estimator: Estimator) -> None:
    """Certain outcomes: the value is f there, gradients are finite, and those of logits are zero; masked ones too."""
    inf = torch.inf
    certain = {
        "Bernoulli": [("logits", [100.0, -100.0, 100.0]), ("logits", [inf, -inf, inf]), ("probs", [1.0, 0.0, 1.0])],
        "many": [("logits", [100.0, -100.0, -100.0]), ("logits", [0.0, -inf, -inf]), ("probs", [1.0, 0.0, 0.0])],
    }
    for kind in estimator.kinds:
        for given, row in certain["Bernoulli" if kind == "Bernoulli" else "many"]:
            if kind == "KSubset" and given == "probs":
                continue
            for dtype in (torch.float64, torch.float32):
                variable = Variable("certain", kind, given, (tuple(row),) * (1 if kind == "Bernoulli" else 2))
                trial = Trial(estimator, variable, dtype=dtype)
                trial.parameter = variable.rows(*BATCH, dtype=dtype)
                found = trial.run()
                sample = variable.one.relu().clamp(max=1).to(dtype) if kind == "Bernoulli" else _first(variable, dtype)
                expected = trial.f.of(sample).detach().expand(BATCH)
                torch.testing.assert_close(found["value"], expected, msg=f"{variable}")
                assert all(g.isfinite().all() for g in found.values()), (variable, found)
                assert given == "probs" or found["q"].abs().max() < 1e-6, (variable, found["q"])
        if kind != "Bernoulli":
            _masked(estimator, kind)


def _first(variable: Variable, dtype: torch.dtype) -> Tensor:
    first = torch.zeros(variable.one.shape[:-1], dtype=torch.int64, device=DEVICE)
    return first if variable.kind == "Categorical" else nn.functional.one_hot(first, 3).to(dtype)


def _masked(estimator: Estimator, kind: str) -> None:
    """A masked outcome among possible ones: never drawn, no gradient, and the others are as if it were not there."""
    trial = Trial(estimator, Variable("masked", kind, "logits", ((0.3, -torch.inf, -0.4, 0.1), (0.0, 0.2, -0.1, 0.4))))
    trial.parameter = trial.variable.rows(2000)
    found = trial.run()
    assert all(g.isfinite().all() for g in found.values()), found
    assert not found["q"][:, 0, 1].any()
    assert (found["q"][:, 0, [0, 2, 3]].abs().sum(0) > 0).all()
    shown = trial.f.calls[0]
    if estimator.noisy and not estimator.relaxed:
        assert not (shown[..., 0] == 1 if kind == "Categorical" else shown[..., 0, 1] == 1).any()


def dtypes(estimator: Estimator) -> None:
    """fp32 draws from the law fp64 does; half precision draws fp32 noise, so its gradient is that of fp32, rounded.

    So it is under autocast.
    """
    for trial in trials(estimator):
        wide, single = (Trial(estimator, trial.variable, (4000,), dtype) for dtype in (torch.float64, torch.float32))
        wide, single = wide.run(seed=1), single.run(seed=2)
        assert single["q"].dtype == single["value"].dtype == torch.float32
        for name in ("value", "q"):
            expected, error = wide[name].mean(0), standard_error(wide[name])
            assert deviation(single[name].double(), expected, error + 1e-6).max() < SIGMA
        plain = Trial(estimator, trial.variable, dtype=torch.float32).run()
        for dtype, precision in ((torch.bfloat16, 0.05), (torch.float16, 0.01)):
            found = Trial(estimator, trial.variable, dtype=dtype).run()
            assert found["q"].dtype == found["value"].dtype == dtype
            assert_near({n: found[n] for n in ("value", "q", "f")}, plain, precision)
            assert all(g.isfinite().all() for g in found.values())
        mixed = Trial(estimator, trial.variable, dtype=torch.float32)
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            found = mixed.run()
        assert {g.dtype for g in found.values()} == {torch.float32}
        assert_near({n: found[n] for n in ("value", "q", "f")}, plain, 0.05)


def rare(estimator: Estimator) -> None:
    """In half precision an outcome of probability 2^-10 is as rare as that: noise of 8 bits could not tell."""
    rows, rarely = 60_000, 2.0**-10
    for kind in estimator.kinds:
        row: Any = rarely if kind == "Bernoulli" else (rarely, 1 - 2 * rarely, rarely)
        variable = Variable("rare", kind, "probs", row)
        if kind == "KSubset":  # at logits that half precision has
            row = (-6.9375, 0.0, -6.9375)
            rarely, variable = float(torch.tensor(row).softmax(-1)[0]), Variable("rare", kind, "logits", row)
        for dtype in (torch.bfloat16, torch.float16):
            trial = Trial(estimator, variable, (2,), dtype=dtype)
            q = variable.distribution(
                torch.tensor(row, dtype=torch.float64, device=DEVICE).expand(rows, *variable.one.shape).to(dtype)
            )
            with torch.no_grad():
                trial.call(q, trial.f)
            shown = trial.f.calls[0]
            hits = shown == 0 if kind == "Categorical" else shown[..., 0] > 0.5 if kind != "Bernoulli" else shown > 0.5
            n, p = hits.numel(), rarely if kind == "KSubset" else float(torch.tensor(rarely, dtype=dtype))
            if estimator.noisy:
                assert abs(hits.double().mean() - p) < SIGMA * (p / n) ** 0.5


def rare_in_single(estimator: Estimator) -> None:
    """Outcomes of probability 2e-9 are as rare as that, both ways round: counted where torch.rand gives its first cell.

    A draw is in there with probability 2^-24, and nearly no rare outcome is elsewhere. 4.5 standard errors of 200,000
    units are 5 %. ARMS, whose rare outcomes take several rare numbers, has a test of its own, and so has a KSubset,
    whose rare outcomes are at the other end of the uniforms.
    """
    units, p = 200_000, torch.tensor(2e-9)
    logit = float(p.logit())
    for kind in (k for k in estimator.kinds if k != "KSubset"):
        rows = [("logits", logit, 1), ("logits", -logit, 0), ("probs", float(p), 1)]
        if kind != "Bernoulli":
            rows = [("logits", (logit, 0.0), 1), ("probs", (float(p), 1 - float(p)), 1)]
        for given, row, rarer in rows:
            q = Variable("rare", kind, given, (row,) * units)
            shown = _drawn_from_first_cells(estimator, q)
            rare = (
                shown == 0
                if kind == "Categorical"
                else (shown if kind == "Bernoulli" else shown[..., 0]).round() == rarer
            )
            found, expected = rare.double().mean(), float(p) * 2**24
            assert abs(found - expected) < SIGMA * (expected / units) ** 0.5, (kind, given, row, found / expected)


def _drawn_from_first_cells(estimator: Estimator, variable: Variable) -> Tensor:
    shown: list[Tensor] = []

    def f(b: Tensor) -> Tensor:
        shown.append(b.detach().clone())
        return b.double().sum(tuple(range(-variable.event_dims, 0)))

    rand = torch.rand

    def first_cells(shape: tuple[int, ...], **options: Any) -> Tensor:
        u = rand(shape, **options)
        if shape[:2] != (1, 1):  # not the places inside the cells, which rows share
            (u if variable.kind == "Bernoulli" else u[..., 0]).zero_()
        return u

    parameter = variable.rows(2, dtype=torch.float32)
    call = estimator.make(variable.distribution(parameter, check=False))
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", first_cells)
        with torch.no_grad():  # what it draws, without what it sees besides
            call(variable.distribution(parameter, check=False), f)
    return shown[0]


def devices(estimator: Estimator) -> None:
    """Everything stays on q's device, shown on one without numbers; and no number is read back, which would wait."""
    for trial in trials(estimator, device="meta"):
        found = trial.run()
        assert all(g.device.type == "meta" for g in found.values())
        assert found["value"].shape == BATCH
        assert found["q"].shape == trial.parameter.shape
    for trial in trials(estimator):
        if trial.variable.kind == "KSubset" and estimator.name.startswith("gumbel"):
            continue  # the soft mask reads a number, on the CPU alone, where that waits for nothing
        with _NothingReadBack():
            trial.run()


class _NothingReadBack(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


def errors(estimator: Estimator) -> None:
    """What users get wrong: the message names the estimator, the rule, what it got, and a cure."""
    for trial in trials(estimator):
        q, name = trial.variable.distribution(trial.parameter), name_of(trial)
        with pytest.raises(
            ValueError, match=rf"{name}: f must return one number per sample, shape .*got .*; (sum|let)"
        ):
            trial.call(q, lambda b: b * 1.0)
        with pytest.raises(ValueError, match=rf"{name}: f must return a tensor, got float; use torch.as_tensor"):
            trial.call(q, lambda b: 1.0)
        with pytest.raises(ValueError, match=rf"{name}: f must return real numbers, got torch.complex128; take"):
            trial.call(q, lambda b, trial=trial: torch.complex(trial.f.of(b), trial.f.of(b)))
        _refuses_arguments(trial, q)
        if not estimator.values_only:
            _refuses_black_boxes(trial, q)
    if name != "score_function":
        with pytest.raises(ValueError, match=rf"{name}: q must be .*, got Poisson; use hardgrad.score_function"):
            trial.call(torch.distributions.Poisson(torch.ones(2)), trial.f)
    for kind, cure in (
        ("Categorical", "OneHotCategorical"),
        ("OneHotCategorical", "score_function"),
        ("KSubset", "score_function"),
    ):
        if kind not in estimator.kinds and not (kind == "KSubset" and estimator.relaxed):  # refused as relaxed
            other = Variable("other", kind, "logits", (0.1, 0.2))
            with pytest.raises(ValueError, match=rf"{name}: q must be .*, got {kind}; .*{cure}"):
                trial.call(other.distribution(other.rows(2)), trial.f)


def _refuses_arguments(trial: Trial, q: torch.distributions.Distribution) -> None:
    name = name_of(trial)
    with pytest.raises(TypeError, match=rf"{name}: f must be a function .*, got int 3"):
        trial.call(q, 3)
    with pytest.raises(TypeError, match=rf"{name}: q must be a Distribution, got a tensor .*; make one"):
        trial.call(trial.parameter, trial.f)
    if not trial.estimator.noisy:
        return
    with pytest.raises(TypeError, match=rf"{name}: generator must be a torch.Generator or None, got int 0"):
        trial.call(q, trial.f, generator=0)
    for count in (1.5, float("nan"), True, "2", torch.tensor(2.5)):
        with pytest.raises(
            TypeError, match=rf"{name}: samples must be a whole number, at least [12].*, got .*; give an int"
        ):
            trial.call(q, trial.f, samples=count)
    for count in (0, -1):
        with pytest.raises(ValueError, match=rf"{name}: samples must be at least [12].*, got {count}"):
            trial.call(q, trial.f, samples=count)


def _refuses_black_boxes(trial: Trial, q: torch.distributions.Distribution) -> None:
    def numpy(b: Tensor) -> Tensor:
        return torch.as_tensor(b.cpu().numpy().sum(tuple(range(-trial.variable.event_dims, 0))), device=b.device)

    for f in (numpy, lambda b: trial.f.of(b.detach()), lambda b: trial.f.of((b > 0.5).double())):
        with pytest.raises(ValueError, match=rf"{name_of(trial)}: f must be differentiable .*; use score_function"):
            trial.call(q, f)
    with torch.no_grad():
        assert trial.call(q, numpy).shape == BATCH


def owns(estimator: Estimator) -> bool:
    """Whether it has modules: what it learns, or counts."""
    return bool(modules(estimator.make(VARIABLES[0].distribution(VARIABLES[0].rows(1)))))


LAWS: dict[str, Callable[[Estimator], None]] = {
    "seeds": seeds,
    "batch shapes": shapes,
    "in place": in_place,
    "subclasses of q": subclasses,
    "empty batch": empty,
    "certain, masked": extremes,
    "dtypes": dtypes,
    "rare in half": rare,
    "rare in single": rare_in_single,
    "device": devices,
    "no_grad": evaluation,
    "f's weights": parameters_of_f,
    "layers in f": layers_in_f,
    "compile fullgraph": compilation,
    "torch.func": function_transforms,
    "compiled torch.func": compiled_transforms,
    "batched gradients": batched_gradients,
    "checkpoint": checkpointing,
    "second derivative": double_backward,
    "wrong use": errors,
    "eval": standing_still,
    "deepcopy, state_dict": copies,
    "penalties scope": scope,
}
# These ask about modules.
OF_MODULES = ("eval", "deepcopy, state_dict", "penalties scope")
# ARMS and CARMS take several numbers for a rare outcome; the others draw as score function and REBAR do.
NOT_RARE_IN_SINGLE = ("arms", "carms", "each unit", "double_cv", "gapped")
# Another option of one that is here: what takes seconds is not done twice.
VARIANTS = ("each unit, one", "gumbel, soft, two temperatures")
SLOW = ("compile fullgraph", "rare in half", "rare in single")


def applies(law: str, estimator: Estimator) -> bool:
    if law == "compiled torch.func":
        return estimator.name in ONE_OF_EACH_WAY
    drawn = estimator.noisy and estimator.draws != 0  # a set is no draws of q
    drawn = drawn and not (law == "rare in single" and estimator.name in NOT_RARE_IN_SINGLE)
    if estimator.name in VARIANTS and law in SLOW:
        return False
    return (law not in OF_MODULES or owns(estimator)) and (not law.startswith("rare") or drawn)

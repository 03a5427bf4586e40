"""Monte Carlo laws about what torch does with functions: compile, transform, run again, differentiate twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from enumeration import deviation, standard_error
from mc_bank import weights
from mc_cases import Call, Estimator
from mc_trials import BATCH, SIGMA, Trial, assert_same, name_of, trials, weighed
from place import DEVICE

# Compiling takes seconds: what these add is not in the others.
ONE_HOT_TOO = ("score function, plain", "rebar", "gumbel, soft", "gumbel_rao", "reinmax")
ONE_OF_EACH_WAY = ("score function, plain", "disarm", "straight-through", "gumbel, soft", "rebar")
COMPILED_GRAD = ("score function, moving average", "rebar, learned", "relax, with f", "bridge")


def checkpointing(estimator: Estimator) -> None:
    """Run again in backward, as an activation checkpoint does: the same gradients. A moving average says it cannot."""
    if estimator.name.endswith("moving average"):
        for trial in trials(estimator):
            with pytest.raises(RuntimeError, match="MovingAverage: it cannot stand inside an activation checkpoint"):
                trial.run(lambda p, trial=trial: checkpoint(trial.value, p, use_reentrant=False))
        return
    for trial in trials(estimator):
        plain = trial.run()
        for reentrant in (False, True):
            again = trial.again()
            found = again.run(lambda p, again=again, r=reentrant: checkpoint(again.value, p, use_reentrant=r))
            assert_same(found, plain)


def compilation(estimator: Estimator) -> None:
    """torch.compile(fullgraph=True): value, every gradient and state of eager with the same seed.

    For 0/1 samples, and for one-hot ones where those have code of their own.
    """
    for trial in trials(estimator)[: 2 if estimator.name in ONE_HOT_TOO else 1]:
        plain = trial.run()
        again = trial.again()
        torch.compiler.reset()
        assert_same(again.run(torch.compile(again.value, fullgraph=True, backend="aot_eager")), plain)
        for name, state in again.owned.state_dict().items():
            torch.testing.assert_close(state, trial.owned.state_dict()[name])


class _Step(nn.Module):
    """A trial as a module, so that functional_call can swap the weights of f and of what the estimator owns."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self.trial = trial
        self.f, self.owned = trial.f, trial.owned

    def forward(self, parameter: Tensor) -> Tensor:
        return weighed(self.trial.value(parameter))


def function_transforms(estimator: Estimator) -> None:
    """torch.func: grad equals backward, compiled too for some; vmap(grad) over rows has its mean."""
    for number, trial in enumerate(trials(estimator)):
        _grad_equals_backward(trial, compiled=False)
        if estimator.name in COMPILED_GRAD and number == 0:
            _grad_equals_backward(trial.again(), compiled=True)
        rows = Trial(estimator, trial.variable, (3000,))
        rows.parameter = trial.variable.rows(3000)
        torch.manual_seed(1)
        single = vmap(grad(rows.value), randomness="different")(rows.parameter.detach())
        eager = _unweighed(rows, seed=2)
        assert deviation(single, eager.mean(0), standard_error(eager)).max() < SIGMA
        _learns_from_rows(trial.again())


def _grad_equals_backward(trial: Trial, compiled: bool) -> None:
    plain, step, q = trial.run(), _Step(trial.again()), trial.parameter.detach()
    named = {name: p.detach() for name, p in step.named_parameters() if p.requires_grad}
    both = grad(lambda w, q: functional_call(step, w, (q,)), argnums=(0, 1))
    if compiled:
        torch.compiler.reset()
        both = torch.compile(both, fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    by_weights, by_q = both(named, q)
    found = {"q": by_q} | {name.removeprefix("owned."): g for name, g in by_weights.items()}
    assert_same({"f": found.pop("f.theta")} | found, {name: g for name, g in plain.items() if name != "value"})
    if compiled or len(named) == 1:
        return
    # Two models at once, by one noise: each gets what one gets.
    stacked = {name: torch.stack([w, w]) for name, w in named.items()}
    both = grad(lambda w: functional_call(step, w, (q,)))
    torch.manual_seed(1)
    alone = both(named)
    torch.manual_seed(1)
    for name, g in vmap(both, randomness="same")(stacked).items():
        torch.testing.assert_close(g, torch.stack([alone[name]] * 2), msg=lambda m, n=name: f"{n}: {m}")


def compiled_transforms(estimator: Estimator) -> None:
    """Compiled, vmap of grad and vmap with a backward are what they are in eager code; second derivatives too.

    A second derivative that is no derivative of the mean raises, or is NaN where an ordinary backward asks for it.
    """
    trial = trials(estimator)[0]
    at, value = trial.parameter.detach(), trial.value
    rows = vmap(grad(value), randomness="different")
    assert_same({"q": _seeded(_compiled(rows), at)}, {"q": _seeded(rows, at)})
    together, leaf = vmap(value, randomness="different"), at.clone().requires_grad_()
    found = [torch.autograd.grad(_seeded(how, leaf).sum(), leaf)[0] for how in (_compiled(together), together)]
    assert_same({"q": found[0]}, {"q": found[1]})
    once = grad(lambda q: weighed(value(q)))
    twice = grad(lambda q: once(q).square().sum())
    if estimator.any_order:
        assert_same({"q": _seeded(_compiled(twice), at)}, {"q": _seeded(twice, at)})
        return
    with pytest.raises(RuntimeError, match=rf"{name_of(trial)}: .*score_function"):
        _seeded(_compiled(twice), at)
    (second,) = torch.autograd.grad(_seeded(_compiled(once), leaf).square().sum(), leaf)
    assert second.isnan().all()


def _compiled(function: Call) -> Call:
    torch.compiler.reset()
    return torch.compile(function, backend="eager")


def _seeded(function: Call, at: Tensor) -> Tensor:
    torch.manual_seed(0)
    return function(at)


def batched_gradients(estimator: Estimator) -> None:
    """Several cotangents at once, and a vectorized Jacobian, are the gradients one by one."""
    for trial in trials(estimator):
        torch.manual_seed(0)
        y, rows = trial.value(trial.parameter), torch.eye(BATCH[0], dtype=torch.float64, device=DEVICE)
        one_by_one = [torch.autograd.grad(y, trial.parameter, row, retain_graph=True)[0] for row in rows]
        (batched,) = torch.autograd.grad(y, trial.parameter, rows, is_grads_batched=True)
        torch.testing.assert_close(batched, torch.stack(one_by_one))
        torch.manual_seed(0)
        jacobian = torch.autograd.functional.jacobian(trial.again().value, trial.parameter.detach(), vectorize=True)
        torch.testing.assert_close(jacobian, batched)


def _learns_from_rows(trial: Trial) -> None:
    """Under vmap inside grad a tensor denies that it needs a gradient; what an estimator owns gets one all the same."""
    step = _Step(trial)
    named = {name: p.detach() for name, p in step.named_parameters() if p.requires_grad}

    def total(named: dict[str, Tensor], parameter: Tensor) -> Tensor:
        one = vmap(lambda row: functional_call(step, named, (row,)), randomness="different")
        return one(parameter).sum()

    by_weights, by_q = grad(total, argnums=(0, 1))(named, trial.parameter.detach())
    assert all(g.any() and g.isfinite().all() for g in [by_q, *by_weights.values()])


def _unweighed(trial: Trial, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.autograd.grad(trial.value(trial.parameter).sum(), trial.parameter)[0]


def double_backward(estimator: Estimator) -> None:
    """Second derivatives agree with the change of the mean gradient, or asking for one names a way out."""
    for trial in trials(estimator, batch=(20_000,)):
        torch.manual_seed(0)
        trial.parameter = trial.variable.rows(20_000 if estimator.noisy else 2)
        loss = trial.value(trial.parameter).sum()
        (first,) = torch.autograd.grad(loss, trial.parameter, create_graph=True)
        direction = weights(first[0].numel(), 0.2).view(first[0].shape)
        if not estimator.any_order:
            with pytest.raises(RuntimeError, match=rf"{name_of(trial)}.*score_function"):
                torch.autograd.grad((first * direction).sum(), trial.parameter)
            continue
        (second,) = torch.autograd.grad((first * direction).sum(), trial.parameter)
        expected, error = _difference(trial, direction)
        assert deviation(second, expected, error).max() < SIGMA


def _difference(trial: Trial, direction: Tensor, step: float = 1e-4) -> tuple[Tensor, Tensor]:
    """A Hessian-vector product from exact gradients; of soft samples, from gradients at the same noise."""
    found = []
    for sign in (1, -1):
        leaf = (trial.parameter + sign * step * direction).detach().requires_grad_()
        torch.manual_seed(7)
        call = trial.value if trial.estimator.relaxed else lambda p: hg.exact(trial.variable.distribution(p), trial.f)
        found.append(torch.autograd.grad(call(leaf).sum(), leaf)[0])
    change = (found[0] - found[1]) / (2 * step)
    return change.mean(0), standard_error(change) if len(change) > 1 else change.new_zeros(())

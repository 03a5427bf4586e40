"""What a control is at scores, how steep it is there, and what may learn from that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import hides_requires_grad
from hardgrad.montecarlo.discrete import Discrete
from hardgrad.montecarlo.objective import Objective, evaluate_differentiable, value_and_gradient
from hardgrad.montecarlo.relaxed import softened
from hardgrad.penalty.scopes import penalties_disabled

# Cotangents of values and of slopes -> gradient with respect to the temperature.
Pull = Callable[[Tensor, Tensor], Tensor]
Tunable = tuple[Tensor, Tensor, Pull]


def network_at(network: nn.Module, d: Discrete, z: Tensor, learn: bool) -> tuple[Tensor, Tensor]:
    """Return a network's values at scores and its slopes there, which carry its weights' gradient if it learns.

    An outcome that cannot happen has scores of -inf, which a network would turn into NaN: it is shown zero instead. Its
    slope there belongs to nothing.
    """
    weights = next((p for p in network.parameters() if p.is_floating_point()), d.given)

    # Not inside ``at``: there it would be differentiated, twice where the network learns.
    seen = torch.nan_to_num(z.detach(), nan=torch.nan, posinf=0.0, neginf=0.0)

    def at(s: Tensor) -> Tensor:
        return _one_per_sample(network(s.to(weights.dtype, copy=True)), d, s).to(s.dtype)

    if hides_requires_grad():
        value, pull = cast(Any, torch.func.vjp(at, seen))
        slope = pull(torch.ones_like(value))[0]
    else:
        with torch.enable_grad():
            leaf = seen.requires_grad_()
            value = at(leaf)
            if not value.requires_grad:
                raise ValueError(
                    f"{d.estimator}: control must be differentiable in the scores, got a value that torch cannot "
                    "follow back to them; do not detach them"
                )
            (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=learn, materialize_grads=True)
    return (value, slope) if learn else (value.detach(), slope.detach())


def relaxed_at(
    f: Objective, d: Discrete, z: Tensor, temperature: float | Tensor, tune: bool
) -> tuple[Tensor, Tensor, Pull | None]:
    """Return what f is at relaxed samples, its slopes in the scores, and how both depend on the temperature.

    Nothing carries a gradient, to f's own parameters least of all. The last is None unless asked for by ``tune``: from
    cotangents of values and slopes to the gradient with respect to the temperature.
    """

    def relaxed(s: Tensor, t: float | Tensor) -> Tensor:
        return f(d.shown(softened(d, s, t), copy=True))

    if not tune:
        fixed = temperature.detach() if isinstance(temperature, Tensor) else temperature
        value, slope = value_and_gradient(lambda s: relaxed(s, fixed), z, d)
        return value.to(z.dtype, copy=True), slope, None  # f may write into what it returned

    def at(s: Tensor, t: Tensor) -> Tensor:
        return evaluate_differentiable(lambda s: relaxed(s, t), s, d).to(z.dtype, copy=True)

    z = z.clamp(-1e30, 1e30)  # an outcome that cannot happen: minus infinity over the temperature has no derivative
    with penalties_disabled(), _twice_differentiable(d):
        find = _tunable_in_graph if hides_requires_grad() else _tunable
        return find(at, z, cast(Tensor, temperature).detach(), d)


def _tunable(at: Callable[[Tensor, Tensor], Tensor], z: Tensor, t: Tensor, d: Discrete) -> Tunable:
    leaf, knob = z.detach().requires_grad_(), t.clone().requires_grad_()
    with torch.enable_grad():
        value = at(leaf, knob)
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)

    def pull(by_value: Tensor, by_slope: Tensor) -> Tensor:
        with _twice_differentiable(d):
            return torch.autograd.grad([value, slope], knob, [by_value, by_slope], materialize_grads=True)[0]

    return value.detach(), slope.detach(), pull


def _tunable_in_graph(at: Callable[[Tensor, Tensor], Tensor], z: Tensor, t: Tensor, d: Discrete) -> Tunable:
    def both(t: Tensor) -> tuple[Tensor, Tensor]:
        value, pull = cast(Any, torch.func.vjp(lambda s: at(s, t), z))
        return value, pull(torch.ones_like(value))[0]

    (value, slope), pull = cast(Any, torch.func.vjp(both, t))

    def pull_temperature(by_value: Tensor, by_slope: Tensor) -> Tensor:
        with _twice_differentiable(d):
            return cast(Tensor, pull((by_value, by_slope))[0].detach())

    return value.detach(), slope.detach(), pull_temperature


@contextmanager
def _twice_differentiable(d: Discrete) -> Iterator[None]:
    """Say what to do where f has no second derivative, which a temperature learns by."""
    try:
        yield
    except RuntimeError as error:
        if "derivative" in str(error) or "differentiate" in str(error):
            raise ValueError(
                f"{d.estimator}: a control that learns its temperature needs an f with a second derivative, got one "
                f"without ({error}); hold the control's log_temperature by requires_grad_(False)"
            ) from error
        raise


def _one_per_sample(value: object, d: Discrete, s: Tensor) -> Tensor:
    """Return what a control network gave, shape ``(samples, *batch)``.

    Raises:
        ValueError: if it is of another shape.
    """
    wanted = s.shape[: s.ndim - (d.logits.ndim - len(d.batch_shape))]
    if isinstance(value, Tensor) and value.shape == (*wanted, 1):
        value = value.squeeze(-1)
    if not isinstance(value, Tensor) or value.shape != wanted:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"{d.estimator}: control must return one number per sample, shape {tuple(wanted)} (or with a last "
            f"dimension of 1) for scores of shape {tuple(s.shape)}, got {got}; "
            f"hardgrad.approximators.mlp({s.shape[-1]}, 1) does"
        )
    return value

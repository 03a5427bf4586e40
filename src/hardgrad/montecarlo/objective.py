"""Calling the objective: the shape it must return, its gradient at a relaxed sample, and who may be a black box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from hardgrad._torch_state import hides_requires_grad
from hardgrad.penalty import unheard

Objective = Callable[[Tensor], Tensor]


def check_count(count: object, argument: str, estimator: str, least: int = 1, unit: str = "") -> None:
    """Raise ValueError if a number of draws is no integer, or below the least."""
    if not hasattr(count, "__index__") or isinstance(count, (bool, Tensor)):
        raise ValueError(f"{estimator}: {argument} must be an integer, got {count!r}; {least} is the least")
    if cast(int, count) < least:
        raise ValueError(f"{estimator}: {argument} must be at least {least}{unit}, got {count}")


def evaluate(f: Objective, b: Tensor, event_dims: int, estimator: str) -> Tensor:
    """Return f at several samples.

    Args:
        f: the objective. One sample is handed over without a leading dimension, more with it.
        b: samples as f sees them, shape ``(samples, *batch, *event)``.
        event_dims: how many trailing dimensions are one event.
        estimator: whose errors these are.

    Returns:
        Shape ``(samples, *batch)``, floating point.

    Raises:
        ValueError: if f returns something else.
    """
    alone = b.shape[0] == 1
    given = b.squeeze(0) if alone else b
    value = f(given)
    wanted = given.shape[: given.ndim - event_dims]
    if not isinstance(value, Tensor):
        raise ValueError(f"{estimator}: f must return a tensor, got {type(value).__name__}; use torch.as_tensor")
    if value.shape != wanted:
        raise ValueError(_wrong_shape(given, value, wanted, event_dims, estimator, alone))
    if value.device != b.device:
        raise ValueError(f"{estimator}: f must stay on {b.device}, got a value on {value.device}; move it back")
    if not value.is_floating_point():  # a count of errors, say
        value = value.to(torch.promote_types(torch.float32, b.dtype if b.is_floating_point() else torch.float32))
    return value.unsqueeze(0) if alone else value


def evaluate_differentiable(f: Objective, b: Tensor, event_dims: int, estimator: str) -> Tensor:
    """Return f at samples that require a gradient, after making sure that f passes one on.

    Raises:
        ValueError: if f is a black box: its value does not depend on the sample in a way that torch can follow.
    """
    try:
        value = evaluate(f, b, event_dims, estimator)
    except RuntimeError as error:
        if "requires grad" in str(error):  # Tensor.numpy() and its kin, whose own advice is to detach
            raise ValueError(_black_box(estimator)) from error
        raise
    if not (hides_requires_grad() or _reaches(value, b)):
        raise ValueError(_black_box(estimator))
    return value


def value_and_gradient(f: Objective, b: Tensor, event_dims: int, estimator: str) -> tuple[Tensor, Tensor]:
    """Return f and its gradient at relaxed samples; neither carries a gradient, to f's own parameters least of all.

    Args:
        f: the objective.
        b: shape ``(samples, *batch, *event)``.
        event_dims: how many trailing dimensions are one event.
        estimator: whose errors these are.

    Returns:
        Shapes ``(samples, *batch)`` and that of ``b``.

    Raises:
        ValueError: if f is a black box.
    """
    if hides_requires_grad():
        # Neither torch.compile nor torch.func follows autograd.grad; the reverse holds for some user code.
        with unheard():
            value, pull = cast(Any, torch.func.vjp(lambda r: evaluate(f, r, event_dims, estimator), b.detach()))
        return value.detach(), pull(torch.ones_like(value))[0].detach()
    with torch.enable_grad(), unheard():
        leaf = b.detach().requires_grad_()
        value = evaluate_differentiable(f, leaf, event_dims, estimator)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def each(f: Objective, event_dims: int = 1) -> Objective:
    """Return an objective that hands f one sample of the batch at a time.

    Estimators that take several samples call ``f`` once, with a leading dimension. An f that cannot broadcast, since it
    joins its sample to a batch of inputs say, is wrapped in this.

    Args:
        f: ``(*batch, *event) -> (*batch,)``, one batch dimension.
        event_dims: how many trailing dimensions are one event; 0 for q without ``Independent``.

    Returns:
        ``(*lead, batch, *event) -> (*lead, batch)``.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> x, q = torch.randn(4, 2), Independent(Bernoulli(logits=torch.zeros(4, 3)), 1)
        >>> joined = hg.montecarlo.each(lambda b: torch.cat([x, b], -1).square().sum(-1))
        >>> hg.score_function(q, joined, samples=8).shape
        torch.Size([4])
    """

    def one_by_one(b: Tensor) -> Tensor:
        lead = b.shape[: b.ndim - event_dims - 1]
        if not lead:
            return f(b)
        values = [f(sample) for sample in b.flatten(0, len(lead) - 1)]
        together: Tensor = torch.stack(values).unflatten(0, lead)
        return together

    return one_by_one


def _reaches(value: Tensor, b: Tensor) -> bool:
    """Whether the graph of ``value`` leads to ``b``: f may have weights that need a gradient and still detach b."""
    if b.numel() == 0:
        return True
    target = b.grad_fn
    seen, left = set(), [value.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node is target or getattr(node, "variable", None) is b:
            return True
        seen.add(node)
        left += [parent for parent, _ in node.next_functions]
    return value is b


def _black_box(estimator: str) -> str:
    return (
        f"{estimator}: f must be differentiable in its sample, got a value that torch cannot follow back to it "
        "(a black box); use score_function, disarm or arms, relax with a control alone, or exact: they need values only"
    )


def _wrong_shape(given: Tensor, value: Tensor, wanted: torch.Size, event_dims: int, estimator: str, alone: bool) -> str:
    event = tuple(given.shape[given.ndim - event_dims :])
    cure = (
        f"sum over the event {event}, and wrap q in torch.distributions.Independent if f looks at several units"
        if alone
        else "let f broadcast over leading dimensions, or wrap it in hardgrad.montecarlo.each"
    )
    return (
        f"{estimator}: f must return one number per sample, shape {tuple(wanted)} for samples of shape "
        f"{tuple(given.shape)}, got {tuple(value.shape)}; {cure}"
    )

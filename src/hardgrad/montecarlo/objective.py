"""Calling the objective: the shape it must return, its gradient at a relaxed sample, and who may be a black box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from hardgrad import _check
from hardgrad._torch_state import hides_requires_grad
from hardgrad.penalty.scopes import penalties_disabled

Objective = Callable[[Tensor], Tensor]


class Source(Protocol):
    """What samples come from: the shape of an event, and the estimator whose errors these are. ``Discrete`` is one."""

    @property
    def event_shape(self) -> torch.Size: ...
    @property
    def estimator(self) -> str: ...


@dataclass(frozen=True)
class OtherSource:
    """A ``Source`` of any distribution, those without a form here among them."""

    event_shape: torch.Size
    estimator: str


def evaluate(f: Objective, b: Tensor, q: Source) -> Tensor:
    """Return f at several samples.

    Args:
        f: the objective. One sample is handed over without a leading dimension, more with it.
        b: samples as f sees them, shape ``(samples, *batch, *event)``, and as it may write to them: whoever calls this
            reads them no more.
        q: what an event is, and whose errors these are.

    Returns:
        Shape ``(samples, *batch)``, floating point; memory that f may write to when it is called again, or later.

    Raises:
        TypeError: if f cannot be called.
        ValueError: if f returns something else.
    """
    estimator, event_dims = q.estimator, len(q.event_shape)
    _check.function(estimator, "f", f, "of samples")
    alone, wide, device = b.shape[0] == 1, torch.promote_types(torch.float32, b.dtype), b.device
    given = b.squeeze(0) if alone else b
    shape = given.shape  # now: f may do to its sample what it likes
    value = f(given)
    if not isinstance(value, Tensor):
        raise ValueError(f"{estimator}: f must return a tensor, got {type(value).__name__}; use torch.as_tensor")
    if value.shape != shape[: len(shape) - event_dims]:
        raise ValueError(_wrong_shape(shape, value, q, alone))
    if value.device != device:
        raise ValueError(f"{estimator}: f must stay on {device}, got a value on {value.device}; move it back")
    if value.is_complex():
        raise ValueError(f"{estimator}: f must return real numbers, got {value.dtype}; take .real, or .abs()")
    if not value.is_floating_point():  # a count of errors, say
        value = value.to(wide)
    return value.unsqueeze(0) if alone else value


def evaluate_differentiable(f: Objective, b: Tensor, q: Source) -> Tensor:
    """Return f at samples that require a gradient, after making sure that f passes one on.

    Raises:
        ValueError: if f is a black box: its value does not depend on the sample in a way that torch can follow.
    """
    hidden, empty = hides_requires_grad(), b.numel() == 0
    source = None if hidden else b.grad_fn  # now: a sample that f writes to has another
    try:
        value = evaluate(f, b, q)
    except RuntimeError as error:
        if "requires grad" in str(error):  # Tensor.numpy() and its kin, whose own advice is to detach
            raise ValueError(_black_box(q)) from error
        raise
    if not (hidden or empty or _reaches(value, source, b)):
        raise ValueError(_black_box(q))
    return value


def value_and_gradient(f: Objective, b: Tensor, q: Source) -> tuple[Tensor, Tensor]:
    """Return f and its gradient at relaxed samples; neither carries a gradient, to f's own parameters least of all.

    Args:
        f: the objective.
        b: shape ``(samples, *batch, *event)``.
        q: what an event is, and whose errors these are.

    Returns:
        Shapes ``(samples, *batch)`` and that of ``b``.

    Raises:
        ValueError: if f is a black box.
    """
    if hides_requires_grad():
        # Neither torch.compile nor torch.func follows autograd.grad; the reverse holds for some user code.
        with penalties_disabled():
            value, pull = cast(Any, torch.func.vjp(lambda r: evaluate(f, r, q), b.detach()))
        return value.detach(), pull(torch.ones_like(value))[0].detach()
    with torch.enable_grad(), penalties_disabled():
        leaf = b.detach().requires_grad_()
        value = evaluate_differentiable(f, leaf, q)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def each_sample(f: Objective, event_dims: int = 1) -> Objective:
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
        >>> joined = hg.montecarlo.each_sample(lambda b: torch.cat([x, b], -1).square().sum(-1))
        >>> hg.score_function(q, joined, samples=8).shape
        torch.Size([4])
    """

    _check.function("each_sample", "f", f, "of one sample")
    _check.whole("each_sample", "event_dims", event_dims, least=0)
    return partial(_one_by_one, f, event_dims)  # not a closure, which could not be saved with a model


def _one_by_one(f: Objective, event_dims: int, b: Tensor) -> Tensor:
    lead = b.shape[: b.ndim - event_dims - 1]
    if not lead:
        return f(b)
    # Copies both ways: f may write into its sample, and may return one buffer each time.
    values = [_one_value(f(sample.clone())) for sample in b.flatten(0, len(lead) - 1)]
    together: Tensor = torch.stack(values).unflatten(0, lead)
    return together


def _one_value(value: object) -> Tensor:
    _check.returned("each_sample", "f", value)
    return cast(Tensor, value).clone()


def _reaches(value: Tensor, source: Node | None, b: Tensor) -> bool:
    """Whether the graph of ``value`` leads to ``source``, which made b, or to b itself if it is a leaf.

    f may have weights that need a gradient and still detach b.
    """
    seen, left = set(), [value.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node is source or getattr(node, "variable", None) is b:
            return True
        seen.add(node)
        left += [parent for parent, _ in node.next_functions]
    return False


def _black_box(q: Source) -> str:
    return (
        f"{q.estimator}: f must be differentiable in its sample, got a value that torch cannot follow back to it "
        "(a black box); use score_function, disarm, arms or carms, each_unit, relax with a control alone, or exact: "
        "they need values only"
    )


def _wrong_shape(shape: torch.Size, value: Tensor, q: Source, alone: bool) -> str:
    event_dims = len(q.event_shape)
    wanted, event = tuple(shape[: len(shape) - event_dims]), tuple(shape[len(shape) - event_dims :])
    cure = (
        f"sum over the event {event}, and wrap q in torch.distributions.Independent if f looks at several units"
        if alone
        else "let f broadcast over leading dimensions, or wrap it in hardgrad.montecarlo.each_sample"
    )
    return (
        f"{q.estimator}: f must return one number per sample, shape {wanted} for samples of shape "
        f"{tuple(shape)}, got {tuple(value.shape)}; {cure}"
    )

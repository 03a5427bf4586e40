"""A bridge over the sampler: a network that imitates sampling lends its Jacobian."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad._torch_state import compiling
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.surrogate_gradient import through
from hardgrad.penalty.add import add_penalty
from hardgrad.two_track import ApproximatorError, two_tracks


def bridge_estimator(
    q: Distribution,
    f: Objective,
    approximator: nn.Module,
    *,
    weight: float = 10.0,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the gradient of a network that imitates q.

    .. math::
        \hat g = f'(b)^\top J_{a_\phi}(p)\, \frac{\partial p}{\partial\theta}, \qquad b \sim q_\theta, \qquad
        \text{penalty} = \frac{\gamma}{B} \sum_{i=1}^{B} \lVert a_\phi(p_i) - b_i \rVert^2

    Drawing b is the hard function of the probabilities p, and an approximator lends it a gradient, as in
    ``hardgrad.Bridge``: the task's gradient passes through the approximator and never into its weights, and it learns
    from its penalty alone, which never reaches q. The penalty rides on the user's own ``loss.backward()``, or goes to
    ``hardgrad.penalties()``; in ``eval()`` the approximator lends and stands still. The best imitation in squared
    error is the mean, :math:`a(p) = p`, so an approximator with nothing left to learn makes this
    ``straight_through_estimator``, bias included; ``hardgrad.reinmax`` costs as much and has less. One evaluation of f
    and its gradient.

    Args:
        q: Bernoulli or OneHotCategorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable; without the leading dimension when
            ``samples`` is 1.
        approximator: a network from probabilities ``(*batch, *event)`` to that shape, such as
            ``hardgrad.approximators.elementwise()``; it sees them in the dtype of its weights.
        weight: gamma, at least 0.
        samples: how many draws of b f is evaluated at for a row, at least 1; the approximator runs once for all.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        TypeError: if ``approximator`` is no module.
        ValueError: if ``approximator`` returns another shape, ``weight`` is negative, ``samples`` is
            too few, q is another distribution, or f is a black box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> imitate = hg.approximators.elementwise()
        >>> q = Independent(Bernoulli(logits=logits), 1)
        >>> loss = hg.montecarlo.bridge_estimator(q, lambda b: (b.sum(-1) - 2).square(), imitate)
        >>> loss.mean().backward(); logits.grad.shape, imitate[1].weight.grad.shape
        (torch.Size([4, 3]), torch.Size([16, 1]))

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), table III (DAB-Bernoulli) with equation 2.
    """
    _check.module("bridge_estimator", "approximator", approximator, "hardgrad.approximators.elementwise() builds one")
    _check.number("bridge_estimator", "weight", weight, least=0, cure="the paper uses 10")
    samples = _check.whole("bridge_estimator", "samples", samples, least=1)
    d = discrete(q, "bridge_estimator", ("Bernoulli", "OneHotCategorical"))
    b = d.draw(samples, generator)
    path = _imitated(d, b, approximator, weight) if torch.is_grad_enabled() else b
    return through(f, b, path, d)


def _run(approximator: nn.Module, p: Tensor) -> tuple[Tensor, Tensor]:
    try:
        return two_tracks(approximator, p, p.detach().clone())
    except ApproximatorError as error:
        raise ValueError(f"bridge_estimator: {error}") from None
    except RuntimeError as error:
        if compiling() or type(error) is not RuntimeError:  # out of memory, a checkpoint's early stop
            raise
        raise RuntimeError(
            f"bridge_estimator: approximator failed on probabilities of shape {tuple(p.shape)}: {error}; it must take "
            "what q gives, as hardgrad.approximators.elementwise() does"
        ) from error


def _imitated(d: Discrete, b: Tensor, approximator: nn.Module, weight: float) -> Tensor:
    """The approximator at the probabilities, carrying the penalty that teaches it."""
    weights = next((w for w in approximator.parameters() if w.is_floating_point()), d.probs)
    p = d.probs.to(weights.dtype, copy=True)  # an approximator may write into what it is given
    task, learn = _run(approximator, p)
    if learn.shape != p.shape:
        raise ValueError(
            f"bridge_estimator: approximator must return the shape of the probabilities {tuple(p.shape)}, got "
            f"{tuple(learn.shape)}; hardgrad.approximators.elementwise() keeps any shape"
        )
    if not approximator.training:
        return task
    # In single precision at least: squares summed over units overflow fp16.
    wide = torch.promote_types(learn.dtype, torch.float32)
    squared_error = (learn.to(wide) - b).square().sum() / b.shape[0]
    return add_penalty(approximator, task, squared_error * (weight / max(d.batch_shape.numel(), 1)))

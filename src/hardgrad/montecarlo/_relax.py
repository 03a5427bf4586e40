"""RELAX: the score function, less a network that learns to make it calm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hardgrad.montecarlo._rebar import RebarControl, check_control
from hardgrad.montecarlo.control_variate import Control, controlled, learns
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.objective import Objective


class RelaxControl(nn.Module):
    r"""A network beside f at a relaxed sample: the control of the paper.

    .. math:: c(z) = a_\phi(z) + \text{scale} \cdot f(\sigma(z / \text{temperature}))

    For a differentiable f. Scale and temperature, kept in ``rebar``, learn as the network does.

    Args:
        network: a, as ``hardgrad.relax`` takes it for ``control``.
        temperature: to begin with, above 0.
        scale: to begin with.

    Raises:
        ValueError: if ``temperature`` is not above 0 or ``network`` is no module.

    Example:
        >>> import torch, hardgrad as hg
        >>> control = hg.montecarlo.RelaxControl(hg.approximators.mlp(3, 1), temperature=0.5)
        >>> control.rebar.scale.item()
        1.0
    """

    def __init__(self, network: nn.Module, temperature: float = 0.5, scale: float = 1.0) -> None:
        super().__init__()
        _check_network(network, "RelaxControl: network")
        check_control("RelaxControl", temperature, scale)
        self.network = network
        self.rebar = RebarControl(temperature, scale)


def relax(
    q: Distribution,
    f: Objective,
    control: nn.Module,
    *,
    samples: int = 1,
    tied: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the RELAX gradient.

    .. math::
        \hat g = (f(b) - c_\phi(\tilde z))\, \nabla_l \log q(b) + \nabla_l c_\phi(z) - \nabla_l c_\phi(\tilde z), \qquad
        \text{penalty} = \frac1B \sum_{i=1}^{B} \lVert \hat g_i \rVert^2

    For q's logits l: z are the scores that b is read off, z~ scores that agree with b, and
    :math:`\nabla_l c(\tilde z)` takes in how z~ depends on l. Unbiased whatever the control is; it learns to make the
    gradient's variance small. Its penalty reaches its own parameters alone, and rides on the user's own
    ``loss.backward()`` or goes to ``hardgrad.penalties()``, as a bridge's does. In ``eval()`` it stands still.

    Args:
        q: Bernoulli or OneHotCategorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``; without the leading dimension when ``samples`` is 1.
            Values are all that is asked of it, unless ``control`` is a ``RelaxControl``.
        control: a network from scores ``(samples, *batch, *event)`` to ``(samples, *batch)``, or with a last dimension
            of 1, row by row (batch normalization would mix rows): ``hardgrad.approximators.mlp(units, 1)``, or
            ``elementwise()`` for units that are rows themselves. It sees scores in the dtype of its weights. A
            ``hardgrad.montecarlo.RelaxControl`` adds f at a relaxed sample to such a network.
        samples: how many draws of b f is evaluated at for a row, at least 1; under a ``RelaxControl`` relaxed
            samples come on top.
        tied: use z as z~. ``False`` draws it anew: the control sees twice the scores, in one call, for about the same
            variance.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        ValueError: if ``control`` is no module or returns another shape, ``samples`` is too few, q is another
            distribution, or under a ``RelaxControl`` f is a black box or has no second derivative.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits, control = torch.zeros(4, 3, requires_grad=True), hg.approximators.mlp(3, 1)
        >>> q = Independent(Bernoulli(logits=logits), 1)
        >>> loss = hg.relax(q, lambda b: (b.sum(-1) > 1).float(), control)
        >>> loss.mean().backward(); logits.grad.shape, control[0].weight.grad.shape
        (torch.Size([4, 3]), torch.Size([128, 3]))

    Source: Grathwohl et al. 2018 (arXiv 1711.00123), algorithm 2; a network alone is its LAX on the scores.
    """
    _check_network(control, "relax: control")
    d = discrete(q, "relax", ("Bernoulli", "OneHotCategorical"))
    if isinstance(control, RelaxControl):
        rebar = control.rebar
        c = Control(control.network, rebar.temperature, rebar.scale, control, learns(rebar.log_temperature))
    else:
        c = Control(control, None, 1.0, control)
    return controlled(d, f, c, samples, tied, generator)


def _check_network(network: object, argument: str) -> None:
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"{argument} must be an nn.Module from scores to one number per sample, got {type(network).__name__}; "
            "hardgrad.approximators.mlp(units, 1) builds one"
        )

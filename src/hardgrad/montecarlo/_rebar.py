"""REBAR: the score function, less f itself at a relaxed sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.control_variate import Control, controlled, learns
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.temperature import Temperature, check_temperature, temperature_of


class RebarControl(nn.Module):
    r"""A temperature and a scale that learn from the variance of the gradient.

    .. math:: c(z) = \text{scale} \cdot f(\sigma(z / \text{temperature}))

    Give it as ``control`` to ``hardgrad.rebar`` and its parameters to the optimizer. It trains itself as a bridge does:
    through the user's ``loss.backward()``, or through ``hardgrad.penalties()``. It stands still in ``eval()``. The
    temperature is kept as ``log_temperature``; ``requires_grad_(False)`` on that holds it, which saves f's second
    derivative.

    Args:
        temperature: to begin with, above 0.
        scale: to begin with; 0 is the score function.

    Raises:
        ValueError: if ``temperature`` is not above 0.

    Example:
        >>> import torch, hardgrad as hg
        >>> control = hg.montecarlo.RebarControl(temperature=0.5)
        >>> sorted(name for name, _ in control.named_parameters())
        ['log_temperature', 'scale']
    """

    def __init__(self, temperature: float = 0.5, scale: float = 1.0) -> None:
        super().__init__()
        check_control("RebarControl", temperature, scale)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    @property
    def temperature(self) -> Tensor:
        """The temperature now, a tensor of shape ()."""
        return self.log_temperature.exp()


def check_control(owner: str, temperature: float, scale: float) -> None:
    """Raise unless a control can start from this temperature and scale."""
    check_temperature(owner, "temperature", temperature, "0.5 is usual")
    _check.number(owner, "scale", scale)


def rebar(
    q: Distribution,
    f: Objective,
    control: RebarControl | None = None,
    *,
    temperature: Temperature = 0.5,
    scale: float = 1.0,
    samples: int = 1,
    tied: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the REBAR gradient.

    .. math::
        \hat g = (f(b) - c(\tilde z))\, \nabla_l \log q(b) + \nabla_l c(z) - \nabla_l c(\tilde z), \qquad
        c(z) = s\, f(\sigma(z / \tau))

    For q's logits l: z are the scores that b is read off, z~ scores that agree with b, and :math:`\nabla_l c(\tilde z)`
    takes in how z~ depends on l. Unbiased at any temperature and scale, for a differentiable f; they set the variance.
    One evaluation of f at b, which f's own parameters learn from, and one at relaxed samples with its gradient.

    Args:
        q: Bernoulli or OneHotCategorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable, row by row; without the leading dimension
            when ``samples`` is 1. It is shown relaxed samples too, between 0 and 1.
        control: None for a fixed temperature and scale; or a ``hardgrad.montecarlo.RebarControl`` that learns both.
        temperature: tau, above 0, or a ``hardgrad.montecarlo.Annealed``.
        scale: s.
        samples: how many draws of b f is evaluated at for a row, at least 1; relaxed samples come on top.
        tied: use z as z~, as the published program does. ``False`` draws it anew: f sees twice the relaxed samples, in
            one call with a leading dimension of ``2 * samples``, for about the same variance.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        ValueError: if an argument is out of range, ``control`` is given beside ``temperature`` or ``scale``, q is
            another distribution, f is a black box, or f has no second derivative while a temperature learns.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits, control = torch.zeros(4, 3, requires_grad=True), hg.montecarlo.RebarControl()
        >>> q = Independent(Bernoulli(logits=logits), 1)
        >>> loss = hg.rebar(q, lambda b: (b.sum(-1) - 2).square(), control)
        >>> loss.mean().backward(); logits.grad.shape, control.scale.grad.shape
        (torch.Size([4, 3]), torch.Size([]))

    Source: Tucker et al. 2017 (arXiv 1703.07370), z~ tied to z as in its appendix G; temperature and scale learned
    by the variance of the gradient, as there.
    """
    d = discrete(q, "rebar", ("Bernoulli", "OneHotCategorical"))
    if control is None:
        _check.number("rebar", "scale", scale, cure="hardgrad.montecarlo.RebarControl learns one")
        c = Control(None, temperature_of(temperature, d), scale, None)
    else:
        _check_control(control, temperature, scale)
        c = Control(None, control.temperature, control.scale, control, learns(control.log_temperature))
    return controlled(d, f, c, samples, tied, generator)


def _check_control(control: object, temperature: Temperature, scale: float) -> None:
    if not isinstance(control, RebarControl):
        raise ValueError(
            f"rebar: control must be None or a hardgrad.montecarlo.RebarControl, got {type(control).__name__}; "
            "relax takes a network"
        )
    if temperature != 0.5 or scale != 1.0:
        raise ValueError(
            f"rebar: temperature and scale are the control's own, got temperature={temperature} and scale={scale} "
            "beside control; give them to RebarControl(temperature, scale)"
        )

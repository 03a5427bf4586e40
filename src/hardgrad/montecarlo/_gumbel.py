"""Gumbel-Softmax, or Concrete: a relaxed sample, or a hard one with the relaxed one's gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.objective import Objective, evaluate, evaluate_differentiable
from hardgrad.montecarlo.relaxed import agreeing, average, perturbed, softened
from hardgrad.montecarlo.subsets import Subsets
from hardgrad.montecarlo.surrogate_gradient import first_order, through, wants_gradient
from hardgrad.montecarlo.temperature import Temperature, temperature_of


def gumbel(
    q: Distribution,
    f: Objective,
    *,
    temperature: Temperature = 1.0,
    hard: bool = True,
    backward_temperature: Temperature | None = None,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the Gumbel-Softmax gradient.

    .. math::
        y_\tau = \operatorname{softmax}\Big(\frac{\log\pi + g}{\tau}\Big), \qquad
        b = \operatorname{onehot}\arg\max y_\tau, \qquad
        \hat g_\text{soft} = \frac{\partial f(y_\tau)}{\partial\theta}, \qquad
        \hat g_\text{hard} = f'(b)^\top \frac{\partial y_\tau}{\partial\theta}

    with Gumbel noise :math:`g = -\log(-\log u)`. For Bernoulli the same in one number, with logistic noise:
    :math:`y_\tau = \operatorname{sigmoid}((\log\frac{p}{1-p} + \log\frac{1-u}{u}) / \tau)`, and b is 1 where it
    is above one half.

    A KSubset's sample is of its own law, which noise does not give (the k largest of logits plus Gumbel noise follow
    another). It is what Bernoulli units are, of logits shifted so that k ones are expected, when they happen to have k:
    :math:`y_\tau` is the soft mask of the k largest (``hardgrad.soft.top_k_mask``) of the scores that such units have,
    given b. It needs ``hard=True``.

    ``hard=False``: f sees the relaxed sample. Unbiased for the gradient of the *relaxed* expectation, whose derivatives
    of every order are natural, and the relaxed expectation nears that of f as the temperature falls, while the variance
    grows. ``hard=True``, straight-through: f sees hard samples alone, and the gradient is biased at any temperature. On
    strongly nonlinear f either can point uphill (``docs/evidence/which-estimator.md``). One evaluation of f and its
    gradient.

    Args:
        q: Bernoulli, OneHotCategorical or KSubset, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable; without the leading dimension when
            ``samples`` is 1.
        temperature: tau, above 0; or a ``hardgrad.montecarlo.Annealed``.
        hard: whether f sees hard samples or relaxed ones.
        backward_temperature: with ``hard=False``, tau of the relaxed sample that the gradient flows through, where it
            is to be another than that of the sample that f sees; biased, then, for the relaxed expectation too. A hard
            sample has no temperature: there ``temperature`` is that of the gradient already.
        samples: how many draws of b f is evaluated at for a row, at least 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at the samples.

    Raises:
        ValueError: if a temperature is not above 0, ``backward_temperature`` is given beside ``hard=True``, ``samples``
            is too few, q is another distribution, or a KSubset beside ``hard=False``, or f is a black box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import OneHotCategorical
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> cost = lambda b: (b * torch.tensor([1.0, 2, 3])).sum(-1)
        >>> loss = hg.gumbel(OneHotCategorical(logits=logits), cost, temperature=0.5)
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])
        >>> set(loss.tolist()) <= {1.0, 2.0, 3.0}
        True

    Source: Jang, Gu and Poole 2017 (arXiv 1611.01144), equation 2 and section 2.2 (straight-through); Maddison, Mnih
    and Teh 2017 (arXiv 1611.00712), where the relaxed sample is called Concrete and its 0/1 form binary Concrete. Two
    temperatures: Shah et al. 2024 (arXiv 2410.13331).
    """
    samples = _check.whole("gumbel", "samples", samples, least=1)
    _check.flag("gumbel", "hard", hard)
    d = discrete(q, "gumbel", ("Bernoulli", "OneHotCategorical", "KSubset"))
    tau = temperature_of(temperature, d)
    back = None if backward_temperature is None else _backward_tau(backward_temperature, hard, d)
    if isinstance(d, Subsets):
        return _of_subsets(d, f, tau, hard, samples, generator)
    scores = perturbed(d, d.noise(samples, generator))
    soft = softened(d, scores, tau)
    if hard:
        return through(f, d.hardened(scores), soft, d)
    if back is not None:
        soft = graft(soft.detach(), first_order(softened(d, scores, back), d))
    call = evaluate_differentiable if wants_gradient(d) else evaluate
    return call(f, d.shown(soft, copy=True), d).mean(0)


def _of_subsets(
    d: Subsets, f: Objective, tau: float | Tensor, hard: bool, samples: int, generator: torch.Generator | None
) -> Tensor:
    if not hard:
        raise ValueError(
            "gumbel: hard must be True for a KSubset, got False; no path leads from its logits to its relaxed samples. "
            "hardgrad.soft.top_k_mask of logits plus Gumbel noise has one, and is another law"
        )
    b = d.draw(samples, generator)
    if not wants_gradient(d):
        return through(f, b, b, d)
    return through(f, b, average(d, agreeing(d, b, d.noise(samples, generator)).unsqueeze(0), tau), d)


def _backward_tau(temperature: Temperature, hard: bool, d: Discrete) -> float | Tensor:
    if hard:
        raise ValueError(
            "gumbel: backward_temperature must be None beside hard=True, since a hard sample has no temperature of its "
            f"own, got {temperature}; give it as temperature, which is that of the gradient"
        )
    return temperature_of(temperature, d, name="backward_temperature")

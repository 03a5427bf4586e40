"""The scores a sample is the argmax of: drawn freely, or to agree with a sample already drawn.

A one-hot sample is the argmax of log-probabilities plus Gumbel noise; a 0/1 sample is the sign of a log-odds plus
logistic noise. Softened at a temperature, the same scores are the relaxed sample. The scores of a subset are those of
0/1 units of which just k happen to be above 0: its k largest, and never drawn freely.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad.montecarlo.discrete import Discrete, softmax_of
from hardgrad.montecarlo.noise import gumbel_of
from hardgrad.montecarlo.subsets import Subsets


def perturbed(d: Discrete, u: Tensor) -> Tensor:
    """Return ``Discrete.scores`` of uniforms in (0, 1) with a gradient into the logits, shape of ``u``."""
    return torch.addcmul(d.logits, d.side, u.logit()) if d.binary else d.logits + gumbel_of(u)


def softened(d: Discrete, scores: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the relaxed sample, in (0, 1) or on the simplex: sigmoid or softmax of the scores over the temperature."""
    if isinstance(d, Subsets):
        return d.softened(scores, temperature)
    return (scores / temperature).sigmoid() if d.binary else softmax_of(scores / temperature)


def average(d: Discrete, scores: Tensor, temperature: float | Tensor) -> Tensor:
    """Return relaxed samples of scores, averaged over their leading dimension, with a gradient as if the logits were
    added to what the scores have besides: a path for ``through``."""
    if d.binary:  # the Jacobian is one number per unit: no graph over the inner draws
        soft, other = softened(d, scores, temperature), softened(d, -scores, temperature)
        return (soft * other).mean(0) / temperature * d.logits
    # Zero, with the gradient of the logits. Those of -inf, whose outcome cannot happen, have none and stay so.
    zero = torch.where(d.logits.isfinite(), d.logits - d.logits.detach(), 0)
    return softened(d, scores + zero, temperature).mean(0)


def agreeing(d: Discrete, b: Tensor, u: Tensor) -> Tensor:
    r"""Return scores from their distribution given that the sample is ``b``; no gradient flows into the logits.

    For one-hot samples, where :math:`i` is the outcome and :math:`G` are free Gumbel variates,

    .. math:: s_i = G_i, \qquad s_j = -\log\big(e^{-G_j - \theta_j} + e^{-s_i}\big)
        = s_i - \log\big(1 + e^{s_i - G_j - \theta_j}\big)

    The largest of log-probabilities plus noise is itself a Gumbel variate, whichever outcome it belongs to; the others
    are cut off at it. For 0/1 samples, where :math:`\lambda` is a free logistic variate,

    .. math:: s = \pm \log\big(1 + e^{\lambda - \log P(\text{the other outcome})}\big)

    Both are written in logarithms, so that no probability underflows.

    Args:
        d: the distribution.
        b: samples, shape ``(*lead, *d.logits.shape)``.
        u: uniforms in (0, 1), of that shape or one that ``b`` expands to.

    Source: Maddison, Tarlow and Minka 2014 (arXiv 1411.0030) for the cut; Tucker et al. 2017 (arXiv 1703.07370),
    appendix, for 0/1; Paulus et al. 2020 (arXiv 2010.04838), who write the first in exponential variates.
    """
    logits = d.tilted if isinstance(d, Subsets) else d.logits.detach()
    if d.binary or isinstance(d, Subsets):
        sign = 2 * b - 1
        free = u.log() - torch.log1p(-u) - F.logsigmoid(-sign * logits)
        return sign * F.softplus(free)
    g = gumbel_of(u)
    top = (b * g).sum(-1, keepdim=True)
    return torch.where(b > 0, top, top - F.softplus(top - g - logits))  # torch.logaddexp takes three times as long

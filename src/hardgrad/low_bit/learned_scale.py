"""LSQ: the distance of two levels is learned, from what rounding leaves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad.hard.precision import single
from hardgrad.low_bit.quantizer import Quantizer


class LearnedScale(Quantizer):
    r"""A quantizer of few bits whose step s learns: a layer for activations, a parametrization for weights.

    .. math:: y = s\,\text{round}(\text{clip}(x / s, -Q_n, Q_p)), \qquad
        \frac{\partial y}{\partial x} = [-Q_n < x / s < Q_p], \qquad
        \frac{\partial y}{\partial s} = g \cdot \begin{cases} -x/s + \text{round}(x/s) & \text{inside} \\
        -Q_n & \text{below} \\ Q_p & \text{above} \end{cases}

    Q_n is :math:`2^{b-1}` and Q_p :math:`2^{b-1} - 1` of b bits, 0 and :math:`2^b - 1` without a sign; the gradient of
    s is scaled by :math:`g = 1 / \sqrt{n Q_p}`, with n the numbers of one row that share s, or of a weight. As in
    straight-through, what rounding leaves is a constant to a second derivative. The gradient is that of training in
    ``eval()``, too. A negative scale counts by its magnitude, with a warning.

    Args:
        bits: 1 to 16, with a sign 2 to 16.
        signed: whether values below 0 have levels; False for what a ReLU returns.
        per_channel: a dimension of x; each index along it has a scale of its own.
        channels: how many there are along it; a parametrized weight says so itself.
        start: of the scale, 1e-30 to 1e30. By default :math:`2\,\text{mean}|x| / \sqrt{Q_p}` of the weight that is
            parametrized, or of the first batch in ``train()``, averaged over the processes of ``torch.distributed``.
        batched: whether x's first dimension is a batch, which n does not count; a row of one dimension has none. False
            where the layer is called on a weight.

    Returns:
        A tensor of x's shape and dtype: ``integers(x) * step`` in single precision at least, rounded once.

    Raises:
        ValueError, TypeError: for an argument out of range, or x not floating or with other channels.
        RuntimeError: if the scale is asked for before it has a value, or is 0.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.nn.utils.parametrize import register_parametrization
        >>> layer = torch.nn.Linear(8, 4)
        >>> _ = register_parametrization(layer, "weight", hg.LearnedScale(2, per_channel=0))
        >>> model = torch.nn.Sequential(hg.LearnedScale(2, signed=False), layer)
        >>> model(torch.rand(3, 8)).sum().backward()
        >>> layer.parametrizations.weight[0].scale.grad.shape
        torch.Size([4])

    Source: Esser et al. 2019 (arXiv 1902.08153), equations 1 to 5 and section 2.2.
    """

    def _step(self) -> Tensor:
        return single(self.scale).abs()

    def _slopes(self, x: Tensor, place: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        inside = (place > self.lowest) & (place < self.highest)
        return inside, torch.where(inside, number - place, number)

    def _first(self, mean: Tensor) -> Tensor:
        return mean * (2 / math.sqrt(self.highest))

    def _gain(self, x: Tensor) -> float:
        n = x.numel() // (max(x.shape[0], 1) if self.batched and x.ndim > 1 else 1)
        return float((max(n // max(self.scale.numel(), 1), 1) * self.highest) ** -0.5)

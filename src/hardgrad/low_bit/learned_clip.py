"""PACT: where activations are clipped is learned, from those that are."""

from __future__ import annotations

import math

from torch import Tensor

from hardgrad.hard.precision import single
from hardgrad.low_bit.quantizer import Quantizer


class LearnedClip(Quantizer):
    r"""A quantizer of few bits from 0 to a learned value a, ``scale``, which takes the place of a ReLU.

    .. math:: y = s\,\text{round}(\text{clip}(x, 0, a) / s), \quad s = \frac{a}{2^b - 1}, \qquad
        \frac{\partial y}{\partial x} = [0 \le x < a], \qquad \frac{\partial y}{\partial a} = [x \ge a]

    While no x reaches a, nothing but weight decay moves it: the paper gives it an L2 penalty. With a sign, for weights,
    levels lie from -a to a, one fewer, and below -a the derivative of a is -1.

    Args:
        bits: 1 to 16, with a sign 2 to 16.
        signed: whether values below 0 have levels.
        per_channel, channels, batched: as of ``LearnedScale``.
        start: of a, 1e-30 to 1e30. By default :math:`2\,\text{mean}|x| \sqrt{2^b - 1}`, as ``LearnedScale`` begins.

    Returns:
        A tensor of x's shape and dtype: ``integers(x) * step`` in single precision at least, rounded once.

    Raises:
        ValueError, TypeError, RuntimeError: as of ``LearnedScale``.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.LearnedClip(2, start=3.0)
        >>> layer(torch.tensor([-1.0, 0.6, 2.0, 9.0])).tolist()
        [0.0, 1.0, 2.0, 3.0]

    Source: Choi et al. 2018 (arXiv 1805.06085), equations 1 to 3.
    """

    symmetric = True

    def __init__(
        self,
        bits: int,
        signed: bool = False,
        *,
        per_channel: int | None = None,
        channels: int | None = None,
        start: float | None = None,
        batched: bool = True,
    ) -> None:
        super().__init__(bits, signed, per_channel=per_channel, channels=channels, start=start, batched=batched)

    def _step(self) -> Tensor:
        step: Tensor = single(self.scale).abs() / self.highest
        return step

    def _slopes(self, x: Tensor, place: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        end = self._along(single(self.scale).abs().detach(), x)
        above, below = x >= end, x <= -end
        if self.lowest:
            return ~above & ~below, above.to(x.dtype) - below.to(x.dtype)
        return ~above & (x >= 0), above.to(x.dtype)

    def _first(self, mean: Tensor) -> Tensor:
        return mean * (2 * math.sqrt(self.highest))

    def _gain(self, x: Tensor) -> float:
        return 1.0

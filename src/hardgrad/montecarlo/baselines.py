"""What the score function compares f with: a number that does not depend on the draw itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import in_backward, in_transform
from hardgrad.montecarlo.unrounded import keep_dtype


class MovingAverage(nn.Module):
    r"""The exponential average of what f was in earlier calls, kept in the ``state_dict``.

    .. math:: m_t = d\, m_{t-1} + (1 - d)\, \bar f_t, \qquad c_{t+1} = \frac{m_t}{1 - d^t}

    This call's values enter it after they were compared, so it takes no bias in. It stands still in ``eval()``, under
    ``no_grad`` and ``torch.func``, on an empty batch, and where f's mean is infinite or NaN. A cast of the model leaves
    it in single precision. It cannot stand inside an activation checkpoint.

    Args:
        decay: d, from 0 (the last call alone) to below 1.

    Raises:
        TypeError: if ``decay`` is no number.
        ValueError: if ``decay`` is out of range.
        RuntimeError: in the second run of an activation checkpoint.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli
        >>> average = hg.montecarlo.MovingAverage(decay=0.5)
        >>> q = Bernoulli(probs=torch.ones(3))
        >>> for cost in (4.0, 1.0):
        ...     _ = hg.score_function(q, lambda b: b * cost, baseline=average)
        >>> average(q.probs).item()      # (4 / 4 + 1 / 2) / (1 - 1 / 4)
        2.0

    Source: Williams 1992 for a reinforcement baseline; the correction at the start is Kingma and Ba's (2015).
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        _check.number("MovingAverage", "decay", decay, least=0, below=1, cure="0.99 is usual")
        self.decay = decay
        # Single precision: what compiled code does to a double of shape () is lost (torch 2.13).
        self.register_buffer("mean", torch.zeros((), dtype=torch.float32))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float32))

    def forward(self, context: Tensor) -> Tensor:
        """Return the average, shape (), zero before the first call, in single precision at least.

        ``context`` gives dtype and device alone.
        """
        if in_backward():
            raise RuntimeError(
                "MovingAverage: it cannot stand inside an activation checkpoint, whose second run, in backward, would "
                "compare each draw with an average that has seen it; checkpoint f alone, or use 'leave_one_out'"
            )
        average = self.mean / self.seen.clamp(min=torch.finfo(self.seen.dtype).tiny)
        return average.to(context.device, torch.promote_types(average.dtype, context.dtype))

    @torch.no_grad()
    def observe(self, values: Tensor) -> None:
        """Take what f was into the average."""
        if not self.training or values.numel() == 0 or in_transform():
            return
        # Not in place: the backward of compiled code reads the buffer again (torch 2.13), and would find the average
        # that has seen these values.
        now = values.to(self.mean).mean()
        finite = now.isfinite()  # one that is not would stay for ever
        self.mean = torch.where(finite, self.decay * self.mean + (1 - self.decay) * now, self.mean)
        # The average of ones: what is missing from a full weight.
        self.seen = torch.where(finite, self.decay * self.seen + (1 - self.decay), self.seen)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MovingAverage:
        return cast(MovingAverage, super()._apply(keep_dtype(fn), recurse))

    def extra_repr(self) -> str:
        return f"decay={self.decay}"


def compare(baseline: nn.Module, context: Tensor, batch_shape: torch.Size) -> Tensor:
    """Return a baseline's number for each row, shape ``batch_shape``, with its gradient if it learns.

    In single precision at least: squares of differences overflow fp16.

    Raises:
        ValueError: if the baseline returns something else.
    """
    seen = context.detach()
    # A network may write into what it is given.
    reference = cast(Tensor, baseline(seen if isinstance(baseline, MovingAverage) else seen.clone()))
    _check.returned("score_function", "baseline", reference)
    if not reference.is_floating_point():
        raise ValueError(f"score_function: baseline must return floating point, got {reference.dtype}; cast it")
    if reference.shape == (*batch_shape, 1):
        reference = reference.squeeze(-1)
    if reference.shape not in (batch_shape, torch.Size()):
        raise ValueError(
            f"score_function: baseline must return one number per row, shape {tuple(batch_shape)} (or with a last "
            f"dimension of 1), got {tuple(reference.shape)} for context {tuple(context.shape)}; give it another network"
        )
    return reference.to(torch.promote_types(reference.dtype, torch.float32)).expand(batch_shape)

"""What quantizers with a learned scale share: whole numbers times a step, the start of the scale, its gradient's path.

The step is of the magnitude of the scale, so that an optimizer that passes 0 comes out on the other side. A scale of 0
is one that has no value yet.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._torch_state import exporting, in_graph, in_transform, readable
from hardgrad.hard.precision import double, single


class Quantizer(nn.Module):
    """A layer with the value ``integers(x) * step``, whose scale learns; ``LearnedScale`` explains the arguments."""

    symmetric = False  # whether there are as many levels below 0 as above, where there are any below

    def __init__(
        self,
        bits: int,
        signed: bool = True,
        *,
        per_channel: int | None = None,
        channels: int | None = None,
        start: float | None = None,
        batched: bool = True,
    ) -> None:
        super().__init__()
        word = self.word = type(self).__name__
        least = 2 if _check.flag(word, "signed", signed) else 1
        cure = "one bit with a sign is hardgrad.straight_through(hardgrad.hard.sign)" if signed else ""
        self.bits = _check.whole(word, "bits", bits, least, 16, cure)
        self.highest = 2 ** (self.bits - signed) - 1
        self.lowest = -(self.highest + (not self.symmetric)) if signed else 0
        self.per_channel = None if per_channel is None else _check.whole(word, "per_channel", per_channel)
        if channels is not None and per_channel is None:
            raise ValueError(f"{word}: channels must come with per_channel, got {channels}; say which dimension")
        self.start = None if start is None else _check.number(word, "start", start, least=1e-30, most=1e30)
        self.batched = _check.flag(word, "batched", batched)
        # One number alone is a vector, too: FSDP shards no parameter without dimensions.
        self.scale = nn.Parameter(torch.empty(1 if channels is None else _check.whole(word, "channels", channels, 1)))
        self._told = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin again: at ``start``, or with the next batch in training."""
        nn.init.constant_(self.scale, self.start or 0.0)
        self._started = self.start is not None

    @property
    def step(self) -> Tensor:
        """The distance of two levels, in single precision at least, of the shape of ``scale``."""
        step = self._step().detach()
        return step.masked_fill(step == 0, torch.nan if self._started else 1.0)

    def integers(self, x: Tensor) -> Tensor:
        """Return the whole numbers that x becomes: int8, uint8 where none is below 0, int32 of more than 8 bits."""
        number = self._places(self._ready(x))[1]
        if readable(number) and bool(number.isnan().any()):
            raise ValueError(f"{self.word}: x must be numbers to have integers, got nan; mask it out")
        return number.to(torch.int32 if self.bits > 8 else torch.int8 if self.lowest else torch.uint8)

    def forward(self, x: Tensor) -> Tensor:
        wide = self._ready(x)
        place, number, step = self._places(wide)
        value = (number * step).to(x.dtype)
        if exporting() or not torch.is_grad_enabled():
            return value
        inside, slope = self._slopes(wide.detach(), place, number)
        # Its numbers are never read: x and the scale, each times the derivative that it is lent.
        scale = self._along(self.scale.abs() * self._gain(x), x)
        return graft(value, torch.where(inside, wide, 0) + scale * slope.to(wide.dtype))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return a weight as it is: ``torch.nn.utils.parametrize`` shows it here, so this is no batch."""
        self.batched = False
        self.to(weight.device)
        if self.per_channel is not None and self.scale.numel() == 1:
            self.scale = nn.Parameter(self.scale.expand(weight.shape[self._channel(weight)]).clone())
        if not (self._started or weight.is_meta):
            self._begin(self._checked(weight))
        return weight

    def extra_repr(self) -> str:
        return f"bits={self.bits}, integers from {self.lowest} to {self.highest}, per_channel={self.per_channel}"

    # Of each: the distance of two levels, 0 before the start; where the gradient reaches x, and the derivative by the
    # scale, at place = x / step; the scale to begin with, of the mean of |x|; what the scale's gradient is scaled by.

    def _step(self) -> Tensor:
        raise NotImplementedError

    def _slopes(self, x: Tensor, place: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _first(self, mean: Tensor) -> Tensor:
        raise NotImplementedError

    def _gain(self, x: Tensor) -> float:
        raise NotImplementedError

    def _places(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x in steps, the nearest whole number that there is, halves to the even one, and the step."""
        step = self._along(self.step, x)
        place = x.detach() / step
        return place, place.clamp(self.lowest, self.highest).round(), step

    def _ready(self, x: Tensor) -> Tensor:
        """Return x in single precision at least, and see to it that the scale has a value."""
        wide = self._checked(x)
        if not (self._started or x.is_meta):
            if not in_graph() and bool(self.scale.detach().all()):  # set by hand
                self._started = True
            elif self.training and not in_transform():
                self._begin(x)
            else:
                raise RuntimeError(
                    f"{self.word}: scale must have a value before eval() and a transform of torch.func, got none; call "
                    "the layer on a batch in train(), load a state, or give start="
                )
        elif readable(self.scale):
            self._check_scale()
        return wide

    def _check_scale(self) -> None:
        scale = self.scale.detach()
        if not bool(scale.all()):
            raise RuntimeError(f"{self.word}: scale must not be 0, got 0 after a step; lower its learning rate")
        if not self._told and bool((scale < 0).any()):
            self._told = True
            words = (
                "scale has passed 0 in a step of the optimizer, and counts by its magnitude; lower its learning rate"
            )
            warnings.warn(f"{self.word}: {words}", UserWarning, stacklevel=4)

    def _checked(self, x: Tensor) -> Tensor:
        _check.floating(self.word, "x", x)
        if self.per_channel is not None and self.scale.numel() != (count := x.shape[self._channel(x)]):
            got = self.scale.numel()
            raise ValueError(f"{self.word}: channels must be x's {count}, got {got}; give channels={count}")
        return single(x)

    def _channel(self, x: Tensor) -> int:
        dim = self.per_channel or 0
        if not -x.ndim <= dim < x.ndim:
            raise ValueError(f"{self.word}: per_channel must be a dimension of x, got {dim} for shape {tuple(x.shape)}")
        return dim % x.ndim

    def _along(self, numbers: Tensor, x: Tensor) -> Tensor:
        """Return one number a channel so that it broadcasts with x."""
        channel = None if self.per_channel is None else self._channel(x)
        return numbers.view([-1 if dim == channel else 1 for dim in range(x.ndim)])

    @torch.no_grad()
    def _begin(self, x: Tensor) -> None:
        """Give the scale its first value. Zeros, NaN and no rows leave that to another batch.

        A graph cannot see them, and has no other batch: there the scale is 1 then.
        """
        start = self._first(self._mean(x)).to(self.scale.dtype)
        start = torch.where(start.isfinite() & (start > 0), start, 1.0 if in_graph() else 0.0)
        self.scale.copy_(torch.where(self.scale != 0, self.scale, start))
        self._started = in_graph() or bool(self.scale.all())

    def _mean(self, x: Tensor) -> Tensor:
        """Return the mean of |x| that each scale has to do with, over all processes that share a batch."""
        rows = double(x).abs().flatten()[None]
        if self.per_channel is not None:
            rows = double(x).abs().unsqueeze(-1).movedim(self._channel(x), 0).flatten(1)
        total = torch.stack([rows.sum(1), torch.full_like(rows.sum(1), rows.shape[1])])
        if self.batched and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        return total[0] / total[1]

    def _load_from_state_dict(self, *given: object, **more: object) -> None:
        super()._load_from_state_dict(*given, **more)
        self._started = not self.scale.is_meta and bool(self.scale.detach().all())

"""What every model of a recorded device is: causal, mono, with a state that is handed in and out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Device(nn.Module):
    """A model of one device, of any kind in ``kinds.KINDS``.

    A subclass has an ``__init__(self, *, rate, knob=None, **spec)`` whose ``spec`` are plain values, and its weights in
    parameters and buffers alone, so that ``kinds.build(kind, rate=rate, knob=knob, **spec)`` and a state dict make the
    same model again.

    Args:
        rate: samples a second that it was made for.
        knob: values of the knob that it has parameters for, ascending; None for a device without one.
        spec: what else it was built with, as JSON can say it.
    """

    kind = ""  # its name in ``kinds.KINDS``
    begun = False  # whether ``start`` was called, and no training has taken it up

    def __init__(self, *, rate: int, knob: list[float] | None = None, **spec: Any) -> None:
        super().__init__()
        self.rate = rate
        self.knob = knob
        self.spec = spec

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        """Return what the device makes of a chunk, and the state at its end.

        Args:
            x: (B, T) samples.
            state: what the call for the chunk before returned; None at the beginning. Tensors, or tuples of them, or
                None, with the batch in dimension 0.
            knob: (B,) values of the knob, where there is one.

        Returns:
            y (B, T), and the state; two chunks are one whole.
        """
        raise NotImplementedError

    def index(self, x: Tensor, knob: Tensor | None = None) -> Tensor | None:
        """Return the range that each sample of whole recordings took, int64 (B, T); None if it has no ranges."""
        return None

    def labels(self) -> list[str]:
        """Return a label for each range; none if it has no ranges."""
        return []

    def describe(self) -> str:
        """Return what it is in a few words, numbers with their units, for a table of rivals."""
        return self.kind

    def active(self) -> int:
        """Return how many parameters one sample goes through."""
        return sum(parameter.numel() for parameter in self.parameters())

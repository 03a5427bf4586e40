"""A level in dB as the key of a switch."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.devices.ballistics import BallisticsState, Follower
from hardgrad.devices.settings import Value


class EnvelopeKey(Follower):
    r"""The level of a signal in dB, as a key: how loud it is now chooses the branch of a ``Switch``.

    .. math:: k = 20 \log_{10} \max(e, 10^{\text{floor} / 20}), \qquad e = \text{Ballistics}(|x|)

    ``Switch(ranges in dB, branches, key=EnvelopeKey(...))``, or ``RecurrentSwitch``: called with x (B, T, F) it follows
    one column and returns a key for each step (B, T), from silence on. For a stream hand the state on and give the
    switch its key: ``key, state = envelope.level(x[..., 0], state)``, then ``switch(x, key)``.

    The points of ``LearnedRanges`` get their gradient on this key as on any. A choice passes none back, so the times do
    not learn as a key, and a key that should is refused; ``level`` itself is differentiable in x and the times.

    Args:
        attack_ms: time constant of a rise in ms, at least 0; see ``Ballistics``.
        release_ms: time constant of a fall in ms.
        sample_rate: in Hz.
        floor_db: the lowest level, which silence has, in dB of amplitude 1.
        column: of x's last dimension, which is followed.
        learn: whether the times get a gradient from ``level``: True, False, or names.

    Raises:
        ValueError, TypeError: for an argument out of its range, an x of another shape, or times that should learn.
        RuntimeError: as ``Ballistics``.

    Example:
        >>> import torch, hardgrad as hg
        >>> key = hg.EnvelopeKey(attack_ms=0, release_ms=50, sample_rate=8000)
        >>> key(torch.tensor([[[0.0], [-1.0], [10.0]]])).tolist()
        [[-100.0, 0.0, 20.0]]
        >>> quiet_or_loud = hg.Switch(hg.Ranges([-100, -20, 20]), torch.nn.Linear(1, 1), key=key)
        >>> quiet_or_loud(torch.randn(2, 5, 1)).shape
        torch.Size([2, 5, 1])

    Source: the level detector of Giannoulis, Massberg and Reiss 2012 (as ``Ballistics``) before the IF of LACTOSE,
    Clarke 2025.
    """

    def __init__(
        self,
        attack_ms: Value = 1.0,
        release_ms: Value = 100.0,
        *,
        sample_rate: float,
        floor_db: float = -100.0,
        column: int = 0,
        learn: bool | Collection[str] = False,
    ) -> None:
        super().__init__(sample_rate, learn, attack_ms=attack_ms, release_ms=release_ms)
        self.floor_db = _check.number(self.word, "floor_db", floor_db, least=-2000, most=2000, cure="it is in dB")
        self.column = _check.whole(self.word, "column", column)

    def forward(self, x: Tensor) -> Tensor:
        columns = _check.tensor(self.word, "x", x).shape[-1] if x.ndim > 1 else 0
        if not -columns <= self.column < columns:
            raise ValueError(
                f"{self.word}: x must be (..., samples, features) with column {self.column}, got {tuple(x.shape)}; "
                "unsqueeze a signal, or call level(x), whose last dimension is time"
            )
        learns = [name for name in self.settings if self._learns(name)]
        if learns and self.training and torch.is_grad_enabled():
            raise ValueError(
                f"{self.word}: {learns[0]} must not learn as a key, since a choice passes no gradient back; freeze it "
                "with requires_grad_(False), or use level(x) where it is differentiated"
            )
        return self.level(x[..., self.column])[0]

    def level(self, x: Tensor, state: BallisticsState | None = None) -> tuple[Tensor, BallisticsState]:
        """Return the level in dB of a signal ``(*lead, samples)``, like it in shape and dtype, and the next state."""
        y, state = self._followed(self._rows(x).abs(), x.shape[:-1], state, None, None)
        level = 20 * y.clamp_min(10 ** (self.floor_db / 20)).log10()
        return level.to(x.dtype).view(x.shape), state

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, floor_db={self.floor_db:g}, column={self.column}"

"""Attack and release: a level that rises with one time constant and falls with another."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.devices.scan import ballistics_scan, coefficient, last
from hardgrad.devices.settings import DeviceLayer, Setting, Value, handed_on


@handed_on
class BallisticsState(NamedTuple):
    """Where a chunk ended.

    Attributes:
        level: ``(*lead,)``, float64, the last y before it was rounded.
    """

    level: Tensor

    def detach(self) -> BallisticsState:
        """Return the state without its graph, for truncated backpropagation."""
        return BallisticsState(self.level.detach())


class Follower(DeviceLayer):
    """What follows a signal with an attack and a release."""

    attack_ms = Setting(least=0.0, log=True)
    release_ms = Setting(least=0.0, log=True)

    def _followed(
        self, rows: Tensor, lead: torch.Size, state: BallisticsState | None, attack: Value | None, release: Value | None
    ) -> tuple[Tensor, BallisticsState]:
        """Return y (n, samples) in double precision, of rows of that shape, and the state."""
        up, down = self._set("attack_ms", attack, lead), self._set("release_ms", release, lead)
        state = self._started(state, BallisticsState, lead)
        start = torch.zeros_like(up) if state is None else state.level.reshape(-1)
        rises, falls = coefficient(up, self.sample_rate), coefficient(down, self.sample_rate)
        y = ballistics_scan(rows, rises, falls, start, self.word)
        return y, BallisticsState(last(y, start).view(lead))


class Ballistics(Follower):
    r"""Attack and release of a level: one pole whose time constant is chosen by an IF, with its exact gradient.

    .. math:: y_t = y_{t-1} + c_t (x_t - y_{t-1}), \qquad
        c_t = 1 - e^{-1000 / (\tau_t f)}, \qquad
        \tau_t = \text{attack where } x_t > y_{t-1}, \text{ else release}

    f is the sample rate; :math:`y_{-1}` is 0, or what the state says. A time constant is the time to 63 % of a step; 0
    ms is at once. The gradient reaches x, both times and the state, and is exact: a tie counts as release, whose slope
    is 0 there. It takes one pass back. The layer keeps no state: two chunks, the state handed on, are the whole bit for
    bit. A NaN stays in its row from there on, an infinity becomes one; other rows do not feel it.

    Computed in double precision by a loop in C, which the machine's compiler makes at the first call, eight rows side
    by side; without a compiler in Python, bit for bit the same and slower, with a warning; on an NVIDIA GPU one thread
    a row. In graphs (``torch.compile``, ``torch.export``) it is one node; who loads such a program names
    ``hardgrad.Ballistics`` before. ONNX has no such operator: ``hardgrad export --to c`` writes models with it as C.

    Args:
        attack_ms: time constant of a rise in ms, at least 0: a number, or a tensor that broadcasts against x's leading
            dimensions: (channels,), (batch, 1).
        release_ms: time constant of a fall in ms.
        sample_rate: in Hz.
        learn: True, False, or the names of the times that learn. The parameters are logarithms of ms, so no step makes
            a time negative; 0 ms cannot learn.

    Shape:
        x: (\*lead, samples), usually (batch, channels, samples). The call is ``layer(x, state=None, *, attack_ms=None,
        release_ms=None)``: times given in a call count in it instead, and get their gradient. Returns y of x's shape
        and dtype, and the state: ``detach()`` cuts its graph, None is the beginning.

    Raises:
        ValueError, TypeError: for an argument out of its range, or of a shape or state that does not fit x.
        RuntimeError: if the gradient is differentiated again, in forward mode, or in an export to ONNX.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.Ballistics(attack_ms=0, release_ms=1000 / 0.6931, sample_rate=1, learn=["release_ms"])
        >>> y, state = layer(torch.tensor([[8.0, 0.0, 0.0, 0.0]]))
        >>> y.round(decimals=3).tolist()
        [[8.0, 4.0, 2.0, 1.0]]
        >>> y, state = layer(torch.tensor([[0.0]]), state)
        >>> y.round(decimals=3).tolist()
        [[0.5]]

    Source: Giannoulis, Massberg and Reiss 2012 (Journal of the Audio Engineering Society 60(6), equation 16, branching
    smooth detector); its exact gradient, Yu et al. 2024 (arXiv 2404.07970).
    """

    def __init__(
        self, attack_ms: Value, release_ms: Value, *, sample_rate: float, learn: bool | Collection[str] = True
    ) -> None:
        super().__init__(sample_rate, learn, attack_ms=attack_ms, release_ms=release_ms)

    def forward(
        self,
        x: Tensor,
        state: BallisticsState | None = None,
        *,
        attack_ms: Value | None = None,
        release_ms: Value | None = None,
    ) -> tuple[Tensor, BallisticsState]:
        y, state = self._followed(self._rows(x), x.shape[:-1], state, attack_ms, release_ms)
        # A copy: y itself is kept for the backward, and the user may write into what is returned.
        return y.to(x.dtype, copy=True).view(x.shape), state

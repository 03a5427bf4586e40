"""A gate: what is quiet for a while is turned down, by a hard state machine whose thresholds learn."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import has_numbers, hides_requires_grad
from hardgrad.devices.gate_flips import How, amplitude, machine, opened, with_flips
from hardgrad.devices.scan import ballistics_scan, coefficient
from hardgrad.devices.settings import DeviceLayer, Setting, Value, handed_on


@handed_on
class GateState(NamedTuple):
    """Where a chunk ended, float64 all.

    Attributes:
        level: ``(*lead,)``, what the detector holds, as an amplitude.
        is_open: ``(*lead,)``, 1 or 0.
        below: ``(*lead,)``, for how many samples the level has been below ``close_db`` without a break.
        gain: ``(*lead,)``, the last one; the only part with a gradient.
    """

    level: Tensor
    is_open: Tensor
    below: Tensor
    gain: Tensor

    def detach(self) -> GateState:
        """Return the state without its graph, for truncated backpropagation."""
        return GateState(*(each.detach() for each in self))


class Gate(DeviceLayer):
    r"""Turn a sound down while it is quiet: two thresholds, a hold, an attack and a release, and a hard decision.

    The detector's level follows :math:`|s_t|` of the side chain s, x itself by default, at once up and with
    ``detector_ms`` down. A closed gate opens at the first sample whose level is at least ``open_db``. An open gate
    closes at the first one at which the level has been below ``close_db`` for more than ``hold_ms`` without a break.
    The gain goes to 1 with the attack while it is open, and to ``range_db`` with the release while it is closed:

    .. math:: y_t = x_t g_t, \qquad g_t = g_{t-1} + c_t (\text{target}_t - g_{t-1})

    with c as in ``hg.Ballistics``. It begins closed, at level 0.

    **The gradient.** That of x, attack, release, range and the state's gain is exact for the decisions that were made;
    a side chain steers decisions alone, so it gets none. What steers them (``open_db``, ``close_db``, ``hold_ms``,
    ``detector_ms``) moves the loss in steps: each gets the derivative of the loss averaged over the setting, drawn
    evenly within ``band_db`` to both sides. Of an even draw that derivative is a plain difference: in the backward the
    gate is run again with the setting at both ends of the band, and the gradient times the difference of the two gains
    is summed, over twice the band. So a threshold learns from all that its moving would have changed, whole openings
    that would not have been included. It is the mean over the whole band, half and a quarter of it: the wide one finds
    a threshold that is far off, the narrow ones place it. Times are moved by the same ratio, 6 dB being a factor of
    two. To first order in the change of the output, so it is zero where output and target agree.

    Args:
        open_db: in dB of full scale 1, of what the detector holds.
        close_db: at most ``open_db``; counts as that if a step carries it past.
        hold_ms: at least 0; it begins anew at each sample that is not below.
        attack_ms: time constant of opening, to 63 %; 0 is at once.
        release_ms: time constant of closing.
        range_db: gain of a closed gate, at most 0; ``-inf`` is silence, which does not learn.
        sample_rate: in Hz.
        detector_ms: time constant with which the level falls; 0 is the magnitude of each sample.
        band_db: how far off a threshold may be and still be told, above 0; set ``gate.band_db`` as training goes on.
        learn: True, False or the names of the settings that learn. Times learn by their logarithm, so 0 ms cannot.

    Each setting is a number or a tensor that broadcasts against x's leading dimensions, and can be given anew in a
    call, where a tensor gets its gradient. Parameters in dB want steps of 0.1 or so, ten times those of the logarithms.

    Shape:
        x: ``(*, samples)``, usually (batch, channels, samples); side: broadcasts to it, with as many samples.
        Returns y, of x's shape and dtype, computed in float64 and rounded once, and the state, which the next chunk is
        called with: two chunks are the whole, bit for bit. A NaN or an infinity in x is one in y at that sample; it
        moves no level, so the gate goes on as before. Of thresholds, only what they did to
        the last gain crosses from one chunk to the next.

    Raises:
        ValueError, TypeError: for a setting out of range, an x that is not floating, a side chain or state of other
            shape, a ``close_db`` above ``open_db``.
        RuntimeError: if its gradient is differentiated again, in forward mode, or in an export to ONNX.

    Example:
        >>> import torch, hardgrad as hg
        >>> gate = hg.Gate(-20.0, -30.0, hold_ms=2.0, attack_ms=0.0, release_ms=0.0, range_db=-math.inf,
        ...                detector_ms=0.0, sample_rate=1000, learn=["open_db", "close_db"])
        >>> y, state = gate(torch.tensor([[0.05, 0.5, 0.05, 0.01, 0.01, 0.01, 0.05]]))
        >>> [round(sample, 2) for sample in y[0].tolist()]
        [0.0, 0.5, 0.05, 0.01, 0.01, 0.0, 0.0]
        >>> y.sum().backward()
        >>> bool(gate.raw_open_db.grad < 0)  # to open later lets less through
        True

    Source: the state machine is that of any studio gate; the derivative of an average over a moving edge is Leibniz'
    rule, as in ``hg.LearnedRanges``.
    """

    open_db = Setting()
    close_db = Setting()
    hold_ms = Setting(least=0.0, log=True)
    attack_ms = Setting(least=0.0, log=True)
    release_ms = Setting(least=0.0, log=True)
    range_db = Setting(most=0.0, end=-math.inf)
    detector_ms = Setting(least=0.0, log=True)

    def __init__(
        self,
        open_db: Value,
        close_db: Value,
        *,
        hold_ms: Value = 20.0,
        attack_ms: Value = 1.0,
        release_ms: Value = 100.0,
        range_db: Value = -80.0,
        sample_rate: float,
        detector_ms: Value = 10.0,
        band_db: float = 12.0,
        learn: bool | Collection[str] = True,
    ) -> None:
        settings = {"open_db": open_db, "close_db": close_db, "hold_ms": hold_ms, "attack_ms": attack_ms}
        settings |= {"release_ms": release_ms, "range_db": range_db, "detector_ms": detector_ms}
        super().__init__(sample_rate, learn, **settings)
        self.band_db = band_db
        gap = self.open_db.detach() - self.close_db.detach()
        if has_numbers(gap) and bool((gap < 0).any()):
            raise ValueError(
                f"Gate: close_db must be at most open_db, got {_check.kind_of(close_db)} and "
                f"{_check.kind_of(open_db)}; a gate that closes above where it opens would do both at once"
            )

    @property
    def band_db(self) -> float:
        """How far to both sides the settings that steer decisions are moved, in dB."""
        return self._band_db

    @band_db.setter
    def band_db(self, band_db: float) -> None:
        self._band_db = float(_check.number("Gate", "band_db", band_db, above=0, cure="12 finds what is 6 dB off"))

    def forward(
        self,
        x: Tensor,
        state: GateState | None = None,
        *,
        side: Tensor | None = None,
        open_db: Value | None = None,
        close_db: Value | None = None,
        hold_ms: Value | None = None,
        attack_ms: Value | None = None,
        release_ms: Value | None = None,
        range_db: Value | None = None,
        detector_ms: Value | None = None,
    ) -> tuple[Tensor, GateState]:
        rows, lead, rate = self._rows(x), x.shape[:-1], self.sample_rate
        steering = {"open_db": open_db, "close_db": close_db, "hold_ms": hold_ms, "detector_ms": detector_ms}
        each = [self._set(name, given, lead) for name, given in steering.items()]
        how = How(self.band_db, rate, tuple(hides_requires_grad() or value.requires_grad for value in each))
        values = torch.stack(each, -1)
        attack = coefficient(self._set("attack_ms", attack_ms, lead), rate)
        release = coefficient(self._set("release_ms", release_ms, lead), rate)
        closed = amplitude(self._set("range_db", range_db, lead))
        start = self._begin(state, lead, closed)
        v = self._heard(side, x, rows).detach().abs()
        is_open, end = opened(v, machine(values.detach(), rate), start.detach())
        target = is_open + (1 - is_open) * closed[:, None]
        gain = ballistics_scan(target, attack, release, start[:, 3], "Gate")
        gain = with_flips(gain, values, v, torch.stack([attack, release, closed], -1), start, how)
        last = gain[:, -1:] if gain.shape[1] else start[:, 3:]
        y = (rows * gain).to(x.dtype).view(x.shape)
        return y, GateState(*(each.view(lead) for each in torch.cat([end, last], 1).unbind(-1)))

    def _begin(self, state: Any, lead: torch.Size, closed: Tensor) -> Tensor:
        """Return level, open, below and gain before the first sample: (n, 4)."""
        state = self._started(state, GateState, lead)
        nothing = torch.zeros_like(closed)
        if state is None:
            return torch.stack([nothing, nothing, nothing, closed], -1)
        return torch.stack([each.reshape(-1) for each in state], -1)

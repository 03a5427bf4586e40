"""A compressor: what is louder than a threshold comes down by a ratio, with an attack and a release."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.devices.scan import ballistics_scan, coefficient, last
from hardgrad.devices.settings import DeviceLayer, Setting, Value, handed_on

FLOOR = 1e-6  # -120 dB, what silence counts as: a level must be finite
DETECTORS = ("peak", "rms")


@handed_on
class CompressorState(NamedTuple):
    """Where a chunk ended.

    Attributes:
        reduction_db: ``(*lead,)``, float64, how far the level was held down.
        power: ``(*lead,)``, float64, the mean square of the detector "rms"; 0 with "peak".
    """

    reduction_db: Tensor
    power: Tensor

    def detach(self) -> CompressorState:
        """Return the state without its graph, for truncated backpropagation."""
        return CompressorState(self.reduction_db.detach(), self.power.detach())


class Compressor(DeviceLayer):
    r"""Turn a sound down where its level is above a threshold.

    With level :math:`l_t = 20 \log_{10} |s_t|` of the side chain s, which is x itself by default, and
    :math:`o_t = l_t - \text{threshold}`, what is to be taken off is, in dB,

    .. math:: r_t = \left(1 - \frac{1}{\text{ratio}}\right) \begin{cases} 0 & o_t \le -w / 2 \\
        (o_t + w / 2)^2 / 2w & |o_t| < w / 2 \\ o_t & o_t \ge w / 2 \end{cases}, \qquad w = \text{knee},

    which grows with the attack and shrinks with the release (``hg.Ballistics`` of r, in dB, from 0), and
    :math:`y_t = x_t\, 10^{(\text{makeup} - \bar r_t) / 20}`. The detector "rms" takes :math:`10 \log_{10}` of the mean
    square in its place, a one-pole of ``rms_ms``. Silence counts as -120 dB. The gradient is exact, to x, the side
    chain, the state and every setting; there is no second one. A NaN stays until the recording ends.

    Args:
        threshold_db: in dB of full scale 1.
        ratio: 1 or more; inf is a limiter, which does not learn.
        knee_db: width of the bend, 0 or more; 0 is a corner.
        makeup_db: gain afterwards.
        attack_ms: time constant, to 63 %, while more is taken off; 0 is at once.
        release_ms: while less is.
        sample_rate: in Hz.
        detector: "peak" or "rms".
        rms_ms: time constant of the mean square; by default 10, with "rms" alone.
        link: whether the loudest of the channels, the last leading dimension, counts for all of them: so that a stereo
            image stays where it is.
        learn: True, False or the names of the settings that learn. Times, ratio - 1 and knee learn by their logarithm.

    Each setting is a number or a tensor that broadcasts against x's leading dimensions, and can be given anew in a
    call, where a tensor gets its gradient.

    Shape:
        x: ``(*, samples)``, usually (batch, channels, samples); side: broadcasts to it, with as many samples.
        Returns y, of x's shape and dtype, computed in float64 and rounded once, and the state, which the next chunk is
        called with: two chunks are the whole, bit for bit.

    Raises:
        ValueError, TypeError: for a setting out of range, an x that is not floating, a side chain or state of other
            shape.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.Compressor(-20.0, 4.0, attack_ms=0.0, knee_db=0.0, sample_rate=48000, learn=False)
        >>> y, state = layer(torch.ones(1, 2, 4))  # 20 dB too loud: 15 are taken off
        >>> y[0, 0, 0].log10().mul(20).round(decimals=3).item()
        -15.0
        >>> y, state = layer(torch.zeros(1, 2, 4), state)
        >>> state.reduction_db.shape
        torch.Size([1, 2])

    Source: Giannoulis, Massberg, Reiss 2012, Digital dynamic range compressor design, JAES 60(6), equation 4 and the
    smoothing of the gain in the logarithm.
    """

    threshold_db = Setting()
    ratio = Setting(least=1.0, end=math.inf, log=True)
    knee_db = Setting(least=0.0, log=True)
    makeup_db = Setting()
    attack_ms = Setting(least=0.0, log=True)
    release_ms = Setting(least=0.0, log=True)
    rms_ms = Setting(least=0.0, log=True)

    def __init__(
        self,
        threshold_db: Value,
        ratio: Value,
        *,
        knee_db: Value = 6.0,
        makeup_db: Value = 0.0,
        attack_ms: Value = 5.0,
        release_ms: Value = 100.0,
        sample_rate: float,
        detector: Literal["peak", "rms"] = "peak",
        rms_ms: Value | None = None,
        link: bool = False,
        learn: bool | Collection[str] = True,
    ) -> None:
        _check.one_of("Compressor", "detector", detector, DETECTORS)
        self._check_rms(detector, rms_ms)
        if detector == "peak":
            learn = [name for name in self.settings if name != "rms_ms"] if learn is True else learn
            self._check_rms(detector, "to learn" if isinstance(learn, Collection) and "rms_ms" in learn else None)
        super().__init__(
            sample_rate,
            learn,
            threshold_db=threshold_db,
            ratio=ratio,
            knee_db=knee_db,
            makeup_db=makeup_db,
            attack_ms=attack_ms,
            release_ms=release_ms,
            rms_ms=10.0 if rms_ms is None else rms_ms,
        )
        self.detector = detector
        self.link = _check.flag(self.word, "link", link)

    def forward(
        self,
        x: Tensor,
        state: CompressorState | None = None,
        *,
        side: Tensor | None = None,
        threshold_db: Value | None = None,
        ratio: Value | None = None,
        knee_db: Value | None = None,
        makeup_db: Value | None = None,
        attack_ms: Value | None = None,
        release_ms: Value | None = None,
        rms_ms: Value | None = None,
    ) -> tuple[Tensor, CompressorState]:
        self._check_rms(self.detector, rms_ms)
        rows, lead = self._rows(x), x.shape[:-1]
        heard = self._heard(side, x, rows)
        state = self._started(state, CompressorState, lead)
        start, power = rows.new_zeros(2, len(rows)) if state is None else (each.reshape(-1) for each in state)
        level, power = self._level(heard, power, rms_ms, lead)
        over, knee = self._set("threshold_db", threshold_db, lead), self._set("knee_db", knee_db, lead)
        wanted = reduction(level, over[:, None], self._set("ratio", ratio, lead)[:, None], knee[:, None])
        attack, release = self._set("attack_ms", attack_ms, lead), self._set("release_ms", release_ms, lead)
        rate = self.sample_rate
        taken = ballistics_scan(wanted, coefficient(attack, rate), coefficient(release, rate), start, self.word)
        gain = (self._set("makeup_db", makeup_db, lead)[:, None] - taken) * (math.log(10) / 20)
        y = (rows * gain.exp()).to(x.dtype).view(x.shape)
        return y, CompressorState(last(taken, start).view(lead), power.view(lead))

    def _level(self, heard: Tensor, power: Tensor, rms_ms: Value | None, lead: torch.Size) -> tuple[Tensor, Tensor]:
        """Return the level in dB of rows (n, samples), and the power at the end."""
        if self.detector == "rms":
            pole = coefficient(self._set("rms_ms", rms_ms, lead), self.sample_rate)
            square = ballistics_scan(heard.square(), pole, pole, power, self.word)
            level, power = square.clamp_min(FLOOR**2).log10() * 10, last(square, power)
        else:
            level = heard.abs().clamp_min(FLOOR).log10() * 20
        if self.link:
            if not (lead and lead[-1]):
                shape = (*lead, heard.shape[1])
                raise ValueError(f"{self.word}: x must be (*, channels, samples) to link, got {shape}; unsqueeze one")
            apart = level.unflatten(0, lead) if len(lead) > 1 else level
            level = apart.amax(-2, keepdim=True).expand(apart.shape).reshape(level.shape)
        return level, power

    def _check_rms(self, detector: str, rms_ms: object) -> None:
        if detector == "peak" and rms_ms is not None:
            raise ValueError("Compressor: rms_ms must come with detector='rms', got it with 'peak'; leave one out")


def reduction(level_db: Tensor, threshold_db: Tensor, ratio: Tensor, knee_db: Tensor) -> Tensor:
    """Return what the static curve takes off a level, in dB; the arguments broadcast."""
    over, half = level_db - threshold_db, knee_db / 2
    # Of two cases, not of a clamped square and a clamped line: both of those have a slope where one ends.
    bend = (over + half).clamp_min(0).square() / (2 * torch.where(knee_db > 0, knee_db, 1.0))
    return (1 - 1 / ratio) * torch.where(over < half, bend, over)

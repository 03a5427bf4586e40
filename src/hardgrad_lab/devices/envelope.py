"""Kind "envelope": how loud it is chooses a gain, or a short filter, that bends with the level within its range."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.devices.by_knob import Take, apart, place, sets
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.stretches import Stretches, stretches

FLOOR_DB, TOP_DB = -100.0, 0.0
SPAN_DB = 60.0  # below the loudest, that ranges share
TIMES_MS = [(attack, release) for attack in (0.3, 1.0, 3.0, 10.0) for release in (3.0, 10.0, 30.0, 100.0, 300.0)]
FINER = (1.6, 1.25)  # factors by which the best times are moved after the grid, each way
STRETCHES, STRETCH_S = 12, 1.0  # of each knob value are heard in the search; a quarter of each chooses
RIDGE = 1e-5  # share of its input's energy that each tap pays for what it differs from one gain


class LevelFir(nn.Module):
    r"""Taps that are a line of the level: rows (n, 1 + taps) of level u and last samples to (n, 1).

    .. math:: y = \sum_k (a_k + b_k u) x_{t-k}, \qquad u \text{ held within } [-1, 1]
    """

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, taps))
        nn.init.ones_(self.weight[0, :1])

    def forward(self, rows: Tensor) -> Tensor:
        u, window = rows[:, :1].clamp(-1, 1), rows[:, 1:]
        return ((self.weight[0] + u * self.weight[1]) * window).sum(1, keepdim=True)


class Detected(nn.Module):
    """A switch on the level, and what finds it: an ``hg.EnvelopeKey``, an ``hg.Switch`` of ``LevelFir``."""

    def __init__(self, rate: int, points: Sequence[float], taps: int) -> None:
        super().__init__()
        self.key = hg.EnvelopeKey(sample_rate=rate, floor_db=FLOOR_DB)
        self.switch = hg.Switch(hg.Ranges(points), LevelFir(taps), normalize=[0], init="identical")
        self.taps = taps

    @property
    def ranges(self) -> hg.Ranges:
        """The ranges of the level, in dB."""
        return cast(hg.Ranges, self.switch.ranges)

    def forward(self, x: Tensor, window: Tensor, detector: Any = None) -> tuple[Tensor, Tensor, Any]:
        """Return y (B, T), and the last samples (B, taps - 1) and the detector's state at the end."""
        db, detector = self.key.level(x, detector)
        whole = torch.cat([window, x], dim=1)
        rows = torch.cat([db[..., None], whole.unfold(1, self.taps, 1).flip(2)], dim=2)
        return self.switch(rows, db)[..., 0], whole[:, x.shape[1] :], detector


class Envelope(Device):
    """An ``hg.Switch`` on the level of the sound, for each value of the knob with a detector and points of its own.

    Args:
        rate: samples a second.
        knob: values of the knob, or None.
        ranges: of the level.
        taps: samples that a branch sees.
        points: of the ranges in dB, a list for each knob value; None until ``start`` has found them.
    """

    def __init__(
        self,
        *,
        rate: int,
        knob: list[float] | None = None,
        ranges: int = 8,
        taps: int = 8,
        points: list[list[float]] | None = None,
    ) -> None:
        equal = torch.linspace(FLOOR_DB, TOP_DB, ranges + 1).tolist()
        points = [equal for _ in range(sets(knob))] if points is None else points
        super().__init__(rate=rate, knob=knob, ranges=ranges, taps=taps, points=points)
        self.sets = nn.ModuleList(Detected(rate, own, taps) for own in points)

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        if not x.numel():
            return x, state
        at = place("envelope", self.knob, knob, x)
        rows = [(at == i).nonzero()[:, 0] for i in range(len(self.sets))]
        window, detector = (x.new_zeros(len(x), self.spec["taps"] - 1), None) if state is None else state
        made = []
        for one, own in zip(self._each(), rows, strict=True):
            before = None if detector is None else type(detector)(*(part[own] for part in detector))
            made += [one(x[own], window[own], before)] if len(own) else []
        back = torch.cat(rows).argsort()
        y, window, after = zip(*made, strict=True)
        levels = (torch.cat(parts)[back] for parts in zip(*after, strict=True))
        return torch.cat(y)[back], (torch.cat(window)[back], type(after[0])(*levels))

    def _each(self) -> list[Detected]:
        return cast("list[Detected]", list(self.sets))

    @torch.no_grad()
    def start(self, recordings: Sequence[Take]) -> None:
        """Take the times of the detector that serve held-out stretches best, and solve for the branches there."""
        takes = apart("envelope", self.knob, recordings)
        for i, own in enumerate(takes):
            heard = stretches(own, round(STRETCH_S * self.rate), STRETCHES)
            self.sets[i] = _begun(heard, self.rate, self.spec["ranges"], self.spec["taps"])
        self.spec["points"] = [list(one.ranges.points) for one in self._each()]

    def index(self, x: Tensor, knob: Tensor | None = None) -> Tensor | None:
        at = place("envelope", self.knob, knob, x)
        each = [one.ranges.index(one.key.level(x)[0]) for one in self._each()]
        return torch.stack(each).gather(0, at[None, :, None].expand(1, *x.shape))[0]

    def labels(self) -> list[str]:
        if self.knob is not None:  # whose points differ
            return [f"level {i + 1} of {self.spec['ranges']}" for i in range(self.spec["ranges"])]
        return [f"{low:.0f} to {high:.0f} dB" for low, high in pairwise(self.spec["points"][0])]

    def describe(self) -> str:
        times = "; ".join(
            f"{one.key.attack_ms.item():.3g} ms up, {one.key.release_ms.item():.3g} ms down" for one in self._each()
        )
        return f"{self.spec['ranges']} ranges of the level ({times}), each {self.spec['taps']} taps that bend with it"

    def active(self) -> int:
        return 2 * int(self.spec["taps"]) + 2


def _begun(heard: Stretches, rate: int, ranges: int, taps: int) -> Detected:
    """Return the switch whose detector serves best, solved on three quarters of each recording and heard on all."""
    learn = heard._replace(counts=heard.counts * (heard.passed < 0.75))

    def error(times: tuple[float, float], taps: int) -> float:
        made = _solved(learn, times, rate, ranges, taps)
        return float(heard.error(_run(made, heard.dry)))

    best = min(((error(times, 1), times) for times in TIMES_MS), key=lambda pair: pair[0])
    for factor in FINER:
        attack, release = best[1]
        near = [(attack * a, release * r) for a, r in ((factor, 1), (1 / factor, 1), (1, factor), (1, 1 / factor))]
        best = min([best, *((error(times, 1), times) for times in near)], key=lambda pair: pair[0])
    used = taps if error(best[1], taps) < best[0] else 1  # samples that bring nothing are left to the training
    return _solved(heard, best[1], rate, ranges, used, taps).float()


def _run(made: Detected, dry: Tensor) -> Tensor:
    y: Tensor = made(dry, dry.new_zeros(len(dry), made.taps - 1))[0]
    return y


def _solved(heard: Stretches, times: tuple[float, float], rate: int, ranges: int, used: int, taps: int = 0) -> Detected:
    """Return a switch of least squares: its detector's times, its points, its weights."""
    key = hg.EnvelopeKey(*times, sample_rate=rate, floor_db=FLOOR_DB)
    level, counts = key.level(heard.dry)[0], heard.counts.bool()
    made = Detected(rate, _points(level[counts], ranges), taps or used)
    made.key = key
    made.switch.double()
    window = nn.functional.pad(heard.dry, (used - 1, 0)).unfold(1, used, 1).flip(2)
    gain = (heard.dry * heard.wet * heard.counts).sum() / (heard.dry.square() * heard.counts).sum().clamp_min(1e-12)
    index = made.ranges.index(level)
    for i, (low, high) in enumerate(pairwise(made.ranges.points)):
        mine = (index == i) & counts
        u = ((2 * level[mine] - low - high) / (high - low)).clamp(-1, 1)[:, None]
        design = torch.cat([window[mine], u * window[mine]], 1)
        inner, right = design.T @ design, design.T @ (heard.wet - gain * heard.dry)[mine]
        paid = RIDGE * inner.diagonal().mean() + 1e-12
        weight = cast(LevelFir, made.switch.branch(i)).weight.zero_()
        weight[:, :used] = torch.linalg.solve(inner + paid * torch.eye(len(inner)), right).view(2, used)
        weight[0, 0] += gain
    return made


def _points(level: Tensor, ranges: int) -> list[float]:
    """Return points at equal distances over what the sound has of levels; below lies the silence.

    By quantiles most ranges would lie where the recording happens to stay, and each would learn that passage by heart:
    on a swept sine of one level they came to twice the error in what followed.
    """
    order = level.sort().values
    high = float(order[-1])
    low = max(float(order[len(order) // 50]), high - SPAN_DB)
    step = max((high - low) / ranges, 0.1)  # a sound of one level has a width, too
    inner = [low + step * i for i in range(1, ranges)]
    return [FLOOR_DB, *inner, max(TOP_DB, inner[-1] + step)]

"""What a search found, and how sure it is."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from hardgrad._shown.page import page, words
from hardgrad._shown.pictures import axis, bar
from hardgrad._shown.table import Table
from hardgrad._shown.width import wrapped
from hardgrad.segments.criterion import Tried
from hardgrad.switch.conditions.ranges import Ranges


@dataclass(frozen=True)
class RangeScore:
    """How well a linear model of one range explains its rows.

    Args:
        label: the range in words.
        rows: how many rows it has.
        loss: mean squared error, as a share of the targets' variance over all rows.
        one_range: the same rows' loss under one model for all rows.
        r2: share of the targets' variance within the range that is explained; NaN where they are constant.
    """

    label: str
    rows: int
    loss: float
    one_range: float
    r2: float


@dataclass(frozen=True, repr=False)
class FoundRanges:
    """What ``search_ranges`` found.

    Losses are mean squared errors as shares of the targets' variance: 0 is perfect, 1 is what the mean scores.

    Args:
        points: all points, the least and the greatest key first and last; ``len(points) - 1`` ranges.
        scores: one ``RangeScore`` a range, of the rows that the model was fitted to.
        gains: for each inner point, how much the loss grows when the point is removed. Compare it with the loss: on a
            smooth target every point gains a little, and no single one gains much.
        criterion: "held_out" or "bic".
        criterion_path: one ``Tried`` for each number of ranges that was tried.
        smooth: held-out loss of one model whose coefficients are polynomials of the key, with no more coefficients than
            the ranges have. Not greater than the ranges' own (``bends``): the target bends rather than breaks, and a
            plain network may do as well. None with one range, and with "bic".
        intervals: 95 % bootstrap interval of each inner point, None without a bootstrap.
        support: share of resamples that found each inner point again, None without a bootstrap.
        p_value: of "one range is enough"; None without a bootstrap.
        policy: the policy's name.
        outside: for ``ranges()``.
    """

    points: tuple[float, ...]
    scores: tuple[RangeScore, ...]
    gains: tuple[float, ...]
    criterion: str
    criterion_path: tuple[Tried, ...]
    smooth: float | None
    intervals: tuple[tuple[float, float], ...] | None
    support: tuple[float, ...] | None
    p_value: float | None
    policy: str
    outside: Literal["nearest", "error"]

    def __len__(self) -> int:
        return len(self.scores)

    def ranges(self) -> Ranges:
        """Return the condition for a ``hardgrad.Switch``."""
        return Ranges(self.points, outside=self.outside)

    @property
    def score(self) -> float:
        """The criterion's score of the number of ranges that was chosen."""
        return next(tried.score for tried in self.criterion_path if tried.ranges == len(self))

    @property
    def bends(self) -> bool:
        """Whether one smooth model does as well as the ranges, so that the points mark no real breaks."""
        return self.smooth is not None and self.smooth <= self.score

    def to_json(self) -> str:
        """Return everything as JSON; what is not finite becomes null."""
        return json.dumps(_finite(asdict(self)), indent=2)

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        return f"<FoundRanges: {self._head()[0]}; points {', '.join(f'{point:.5g}' for point in self.points)}>"

    def _repr_html_(self) -> str:
        """Return what ``print`` shows, for a notebook, and where the points are."""
        names = ("ranges", "points", "how many ranges")
        tables = zip(self._tables(), names if len(self) > 1 else names[::2], strict=True)
        inner = self.points[1:-1]
        said = f"points at {', '.join(f'{point:.5g}' for point in inner[:20])}" if inner else "one range"
        place = axis(self.points[0], self.points[-1], inner, self.intervals, said)
        return page(*map(words, self._head()), f"<p>{place}</p>", *(table.html(name) for table, name in tables))

    def __str__(self) -> str:
        tables = (line for table in self._tables() for line in ("", *table.lines()))
        return "\n".join([*map(wrapped, self._head()), *tables])

    def _tables(self) -> list[Table]:
        points = [self._point_table()] if len(self) > 1 else []
        return [self._range_table(), *points, self._path_table()]

    def _head(self) -> list[str]:
        noun = "range" if len(self) == 1 else "ranges"
        lines = [f"{len(self)} {noun} by {self.policy}, chosen by {self.criterion}"]
        if self.p_value is not None:
            lines.append(f"one range is enough: p = {self.p_value:.3g}")
        if self.smooth is not None:
            verdict = "bends rather than breaks" if self.bends else "breaks"
            lines.append(f"held-out loss {self.score:.3g}; one smooth model {self.smooth:.3g}: the target {verdict}")
        return lines

    def _range_table(self) -> Table:
        rows = [
            (
                s.label,
                f"{s.rows:,}",
                f"{s.loss:.3g}",
                f"{s.one_range:.3g}",
                "constant" if math.isnan(s.r2) else f"{s.r2:.3f}",
            )
            for s in self.scores
        ]
        return Table(("range", "rows", "loss", "as one range", "R2"), rows, {4: [bar(s.r2) for s in self.scores]})

    def _point_table(self) -> Table:
        rows = []
        for i, (point, gain) in enumerate(zip(self.points[1:-1], self.gains, strict=True)):
            low, high = self.intervals[i] if self.intervals else (math.nan, math.nan)
            interval = f"{low:.5g} to {high:.5g}" if self.intervals else "-"
            rows.append((f"{point:.5g}", f"{gain:.3g}", interval, f"{self.support[i]:.0%}" if self.support else "-"))
        return Table(("point", "gain", "95 % interval", "found again"), rows)

    def _path_table(self) -> Table:
        rows = [
            (
                f"{t.ranges}{' *' if t.ranges == len(self) else ''}",
                f"{t.score:.4g}",
                "-" if t.error is None else f"{t.error:.2g}",
            )
            for t in self.criterion_path
        ]
        return Table(("ranges", self.criterion, "± to the best"), rows)

    def plot(self, ax: Any, key: Tensor | None = None, target: Tensor | None = None) -> None:
        """Draw the points and their intervals, over the rows colored by range if they are given.

        Args:
            ax: matplotlib axes.
            key: (B,), drawn along x.
            target: (B,), drawn along y.
        """
        if key is not None and target is not None:
            index = self.ranges().index(key)
            for i in range(len(self)):
                mine = (index == i).nonzero()[:, 0]
                mine = mine[:: max(1, len(mine) // 2000)].cpu()
                ax.plot(
                    key.detach().cpu()[mine],
                    target.detach().cpu()[mine],
                    ".",
                    markersize=2,
                    label=self.scores[i].label,
                )
        for i, point in enumerate(self.points[1:-1]):
            ax.axvline(point, color="black", linewidth=0.8)
            if self.intervals:
                ax.axvspan(*self.intervals[i], color="black", alpha=0.15, linewidth=0)
        ax.set_xlabel("key")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

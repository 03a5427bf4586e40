"""What an examination of a box says: findings, the scale of each input, and the line of code to use."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass

from torch import Tensor

WIDTH = 99


@dataclass(frozen=True)
class Finding:
    """One thing to know of a box before a gradient is asked of it.

    Args:
        kind: "random", "state", "rows", "writes", "unapplied", "late", "delay", "chunks", "stairs", "nan" or "raises".
        sentence: what was seen, and what to do.
        input: which of the inputs, from 0; None for all.
        entry: which number of a row of it; None for all.
        value: the size: samples of a delay, width of the stairs, share of the output.
    """

    kind: str
    sentence: str
    input: int | None = None
    entry: int | None = None
    value: float | None = None


@dataclass(frozen=True, repr=False, eq=False)
class BoxReport:
    """What ``examine`` found.

    Args:
        box: its name.
        shapes: of the inputs, and last of the output.
        findings: what to know before use, worst first; empty if there is nothing.
        scale: a good ``scale`` for ``hardgrad.perturb``, in the shape of a row of the input; a tuple for several.
        delay: samples that the output comes after the input; None where no lag is clearly the best.
        seconds: of one row.
        calls: made for the examination.
        low: the least number that came out.
        high: the largest.
        cosines: measured at the scale, by the gradient's name: with the smoothed truth.
        advice: which gradient to take, and why.
        code: the line to use.
        left_out: questions that there was no time or no place for, with why.
    """

    box: str
    shapes: tuple[tuple[int, ...], ...]
    findings: tuple[Finding, ...]
    scale: Tensor | tuple[Tensor, ...]
    delay: int | None
    seconds: float
    calls: int
    low: float
    high: float
    cosines: dict[str, float]
    advice: str
    code: str
    left_out: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return everything as text."""
        scale = [s.tolist() for s in self.scale] if isinstance(self.scale, tuple) else self.scale.tolist()
        plain = {name: value for name, value in vars(self).items() if name not in ("scale", "findings")}
        return json.dumps({**plain, "scale": scale, "findings": [asdict(finding) for finding in self.findings]})

    def __str__(self) -> str:
        """Return a plain table, and the line to use."""
        *given, out = (str(shape) for shape in self.shapes)
        head = f"{self.box}: {', '.join(given)} -> {out}, {duration(self.seconds)} a row, "
        head += f"output {self.low:.3g} to {self.high:.3g}; asked {self.calls} times"
        found = [(f.kind, _place(f), f.sentence) for f in self.findings] or [("nothing", "", "it does what it should")]
        widths = [max(len(row[i]) for row in found) for i in range(2)]
        lines = [_line(f"{kind:{widths[0]}}  {place:{widths[1]}}  ", words) for kind, place, words in found]
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        ends = [_line(f"scale {k}  " if len(scales) > 1 else "scale  ", _numbers(s)) for k, s in enumerate(scales)]
        ends += [_line("measured  ", ", ".join(f"{n}: cosine {c:.2f}" for n, c in self.cosines.items()))]
        ends += [_line("left out  ", "; ".join(self.left_out))] if self.left_out else []
        return "\n".join([_line("", head), "", *lines, "", *ends, _line("advice  ", self.advice), "", self.code])

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in self.findings)) or "nothing"
        return f"<BoxReport of {self.box}: {kinds} found; {self.code}>"


def _place(finding: Finding) -> str:
    place = "" if finding.input is None else f"input {finding.input}"
    return place if finding.entry is None else f"{place}[{finding.entry}]"


def _line(head: str, words: str) -> str:
    return textwrap.fill(head + words, WIDTH, subsequent_indent=" " * len(head), break_on_hyphens=False)


def _numbers(scale: Tensor) -> str:
    flat = scale.flatten()
    if len(flat.unique()) == 1:
        return f"{float(flat[0]):.3g}" + (f" for each of {len(flat)}" if len(flat) > 1 else "")
    return ", ".join(f"{number:.3g}" for number in flat[:16].tolist()) + (", ..." if len(flat) > 16 else "")


def duration(seconds: float) -> str:
    """Return some seconds in a fitting unit."""
    unit, factor = ("us", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)
    return f"{seconds * factor:.3g} {unit}"

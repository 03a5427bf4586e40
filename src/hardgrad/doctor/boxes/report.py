"""What an examination of a box says: findings, the scale of each input, and the line of code to use."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from torch import Tensor

from hardgrad._shown.page import code, page, words
from hardgrad._shown.table import Table
from hardgrad._shown.width import wrapped

WIDTH = 99


@dataclass(frozen=True)
class Finding:
    """One thing to know of a box before a gradient is asked of it.

    Args:
        kind: "random", "state", "rows", "writes", "unapplied", "late", "delay", "chunks", "stairs", "nan", "raises",
            "threads".
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


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class BoxReport:
    """What ``examine`` found.

    Args:
        box: its name.
        shapes: of the inputs, and last of the output.
        findings: what to know before use; empty if there is nothing.
        scale: a good ``scale`` for ``hardgrad.perturb``, of the shape of a row of the input; a tuple for several.
        delay: samples that the output comes after the input; None where no lag is clearly the best.
        seconds: of one row.
        calls: made for the examination.
        output: the least and the largest number that came out.
        cosines: of each input, by gradient: with the gradient smoothed within the scale.
        advice: which gradient to take, and why.
        code: the line to use.
        left_out: questions that there was no time for, or that the box did not stand.
    """

    box: str
    shapes: tuple[tuple[int, ...], ...]
    findings: tuple[Finding, ...]
    scale: Tensor | tuple[Tensor, ...]
    delay: int | None
    seconds: float
    calls: int
    output: tuple[float, float]
    cosines: tuple[dict[str, float], ...]
    advice: str
    code: str
    left_out: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return everything as text."""
        scale = [s.tolist() for s in self.scale] if isinstance(self.scale, tuple) else self.scale.tolist()
        return json.dumps({**vars(self), "scale": scale, "findings": [asdict(finding) for finding in self.findings]})

    def __str__(self) -> str:
        """Return a plain table, and the line to use."""
        rows = [("", self._head()), ("", ""), *self._rows(), ("advice", self.advice)]
        wide = max(len(name) for name, _ in rows) + 2
        lines = [_line(f"{name:{wide}}" if name else "", text) for name, text in rows]
        return "\n".join([*lines, "", _line("", self.code, " " * 4)])

    def _repr_html_(self) -> str:
        """Return the table for a notebook, and the line to use."""
        rows = [(name or "-", text) for name, text in self._rows()]
        table = Table(("", "what was seen"), rows, left=(0, 1)).html(f"what {self.box} is like")
        return page(words(self._head()), table, words(self.advice, "advice:"), code(self.code))

    def _head(self) -> str:
        *given, out = map(str, self.shapes)
        unit, factor = ("us", 1e6) if self.seconds < 1e-3 else ("ms", 1e3) if self.seconds < 1 else ("s", 1.0)
        head = f"{self.box}: {', '.join(given)} -> {out}, {self.seconds * factor:.3g} {unit} a row, output "
        head += f"{self.output[0]:.3g} to {self.output[1]:.3g}; asked {self.calls} times"
        head += "" if self.delay is None else f"; delay {self.delay} samples"
        return head

    def _rows(self) -> list[tuple[str, str]]:
        rows = _grouped(self.findings)
        rows += [] if self.findings else [("nothing found", "")]
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        for k, (scale, cosines) in enumerate(zip(scales, self.cosines, strict=True)):
            measured = ", ".join(f"{name} {cosine:.2f}" for name, cosine in cosines.items())
            flat = numbers(scale)
            text = f"{flat[0]} for each of {len(flat)}" if len({*flat}) < 2 < len(flat) else ", ".join(flat[:16])
            text += ", ..." * (len(flat) > 16 and len({*flat}) > 1) + f"; cosine of {measured}" * bool(measured)
            rows.append((f"scale{f' {k}' if len(scales) > 1 else ''}", text))
        rows += [("left out", "; ".join(self.left_out))] if self.left_out else []
        return rows

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in self.findings)) or "nothing"
        return f"<BoxReport of {self.box}: {kinds} found; {self.code}>"


def _grouped(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    """A row for each kind and input: of many numbers alike, the one with the largest value speaks."""
    rows = []
    for kind, which in dict.fromkeys((finding.kind, finding.input) for finding in findings):
        alike = [finding for finding in findings if (finding.kind, finding.input) == (kind, which)]
        entries = ", ".join(str(finding.entry) for finding in alike if finding.entry is not None)
        place = "" if which is None else f"input {which}{f'[{entries}]' if entries else ''}: "
        many = f" (the widest of {len(alike)})" if kind == "stairs" and len(alike) > 1 else ""
        rows.append((kind, place + max(alike, key=lambda finding: finding.value or 0).sentence + many))
    return rows


def _line(head: str, text: str, indent: str | None = None) -> str:
    return wrapped(head + text, "", " " * len(head) if indent is None else indent, WIDTH)


def numbers(scale: Tensor) -> list[str]:
    """Return the numbers of a scale as words."""
    return [f"{number:.3g}" for number in scale.flatten().tolist()]

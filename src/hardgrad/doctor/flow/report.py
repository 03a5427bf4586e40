"""The answer: breaks to iterate over, what is harmless and why, and who gets no gradient."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from hardgrad._shown.page import folded, page, points, words
from hardgrad._shown.table import Table
from hardgrad._shown.width import wrapped

Kind = Literal["flat", "cut", "dead", "suspicious"]
_WIDTH = 99
_GETS = {"none": "no gradient", "zero": "exactly zero", "not finite": "no finite number", "unused": "not used"}


@dataclass(frozen=True)
class Break:
    """A place where a gradient ends.

    Args:
        kind: "flat" (a derivative of zero), "cut" (none), "dead" (off for the whole batch) or "suspicious".
        file: of the line.
        line: its number.
        module: name of the innermost module that ran, its class if it has none; empty outside of all.
        call: what was called.
        cure: what mends it.
        why: what happens here.
        lost: parameters, or inputs, that lose their gradient here.
        shape: of the tensor here.
        comes: share of its rows that a gradient comes to from the loss; 0 where autograd brings none.
        arrives: share of its rows that a gradient goes on from, to what is before.
    """

    kind: Kind
    file: str
    line: int
    module: str
    call: str
    cure: str
    why: str
    lost: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    comes: float = 0.0
    arrives: float = 0.0

    @property
    def flows(self) -> str:
        """What flows in and what arrives, in words."""
        come = f"a gradient comes back to {self.comes:.0%} of the rows and goes on from {self.arrives:.0%}"
        return f"shape {self.shape}: {come if self.comes else 'no gradient comes back to here'}"


@dataclass(frozen=True)
class Harmless:
    """A place that stops a gradient, and why nothing is lost by it."""

    file: str
    line: int
    module: str
    call: str
    why: str


class Breaks:
    """What ``breaks`` found: a sequence of ``Break``, true if there is one; ``str`` is a plain table."""

    def __init__(self) -> None:
        self._about = ""
        self._found: tuple[Break, ...] | None = None
        self._harmless: tuple[Harmless, ...] = ()
        self._parameters: dict[str, str] = {}

    def _known(self) -> tuple[Break, ...]:
        if self._found is None:
            raise RuntimeError("breaks: the step is not over; read what was found after the with block")
        return self._found

    def __iter__(self) -> Iterator[Break]:
        """Go through the breaks, in the order of the step."""
        return iter(self._known())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._known())

    def __getitem__(self, index: int) -> Break:
        """Return one of them."""
        return self._known()[index]

    @property
    def about(self) -> str:
        """What was differentiated."""
        return self._about if self._known() is not None else ""

    @property
    def harmless(self) -> tuple[Harmless, ...]:
        """Places that stop a gradient, and why nothing is lost by it."""
        return self._harmless if self._known() is not None else ()

    @property
    def parameters(self) -> dict[str, str]:
        """Who gets no good gradient, by name: "none", "zero", "not finite", or "unused" if the step never used it."""
        return self._parameters if self._known() is not None else {}

    def to_json(self) -> str:
        """Return everything as text."""
        found = [{**asdict(one), "flows": one.flows} for one in self]
        rest = {"about": self.about, "parameters": self.parameters, "harmless": [asdict(h) for h in self.harmless]}
        return json.dumps({"version": 1, "breaks": found, **rest}, allow_nan=False)

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        return f"<Breaks: {'the step is not over' if self._found is None else len(self)}>"

    def __str__(self) -> str:
        """Return a plain table, under 100 columns."""
        lines = [_wrapped(self._head(), "")]
        lines += [_wrapped(f"differentiated: {self.about}", "")]
        for one in self:
            inside = f"  in module {one.module}" if one.module else ""
            lines += ["", f"{one.kind:<11} {short(one.file)}:{one.line}  {one.call}{inside}"]
            texts = (one.why, one.flows, f"lost: {listed(one.lost)}" if one.lost else "", f"cure: {one.cure}")
            lines += [_wrapped(text, " " * 12) for text in texts if text]
        gets = self._gets()
        lines += [""] * bool(gets) + [_wrapped(line, "") for line in gets]
        return "\n".join(lines)

    def _head(self) -> str:
        return f"{_count(len(self), 'break')} of the gradient, {_count(len(self.harmless), 'harmless place')}"

    def _gets(self) -> list[str]:
        kinds = dict.fromkeys(self.parameters.values())
        names = {kind: tuple(name for name, got in self.parameters.items() if got == kind) for kind in kinds}
        return [f"{_GETS[kind]}: {listed(names[kind])}" for kind in kinds]

    def _repr_html_(self) -> str:
        """Return the breaks for a notebook, with their cures; what is harmless is folded."""
        if self._found is None:
            return page(words("the step is not over"))
        found = [(one.kind, _at(one), one.call, one.module or "-", listed(one.lost) or "-") for one in self]
        parts = [words(f"differentiated: {self.about}", f"{self._head()}.")]
        if found:
            parts.append(
                Table(("kind", "place", "call", "module", "lost"), found, left=range(5)).html("where a gradient ends")
            )
            parts.append(points([f"{_at(one)}  {one.call}: {one.why}. {one.flows}. Cure: {one.cure}" for one in self]))
        parts += [points(self._gets())]
        if self.harmless:
            parts.append(
                folded("harmless places", points([f"{_at(one)}  {one.call}: {one.why}" for one in self.harmless]))
            )
        return page(*parts)


def listed(names: tuple[str, ...], most: int = 4) -> str:
    """Return a few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def short(file: str) -> str:
    """Return a file's name from the folder one works in, if it lies there."""
    inside = os.path.normcase(file).startswith(os.path.normcase(os.getcwd()) + os.sep)
    return os.path.relpath(file) if inside else file


def _at(one: Break | Harmless) -> str:
    return f"{short(one.file)}:{one.line}"


def _wrapped(text: str, indent: str) -> str:
    return wrapped(text, indent, indent + "  ", _WIDTH)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"

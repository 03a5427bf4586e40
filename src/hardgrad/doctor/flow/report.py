"""The answer: breaks to iterate over, what is harmless and why, and who gets no gradient."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["flat", "cut", "dead", "suspicious"]
_WIDTH = 99


@dataclass(frozen=True)
class Break:
    """A place where a gradient ends.

    Args:
        kind: "flat" (a derivative of zero), "cut" (no derivative), "dead" (a layer that is off for the whole batch) or
            "suspicious".
        file: of the line.
        line: its number.
        module: name of the module that ran; empty outside of all.
        call: what was called.
        cure: the call of hardgrad that mends it.
        why: what happens here.
        lost: parameters, or inputs, that lose their gradient here.
        shape: of the tensor here.
        comes: share of its rows that a gradient comes to from the loss; 0 where autograd brings none.
        arrives: share of its rows that a gradient leaves to what is before.
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
        return f"{self.shape}: a gradient comes to {self.comes:.0%} of the rows, and leaves {self.arrives:.0%}"


@dataclass(frozen=True)
class Harmless:
    """A place that stops a gradient, and why nothing is lost by it."""

    file: str
    line: int
    module: str
    call: str
    why: str


class Breaks:
    """What ``breaks`` found: a sequence of ``Break``; true if there is one."""

    def __init__(self) -> None:
        self._harmless: tuple[Harmless, ...] = ()
        self._parameters: dict[str, str] = {}
        self._about = ""
        self._found: tuple[Break, ...] | None = None

    @property
    def harmless(self) -> tuple[Harmless, ...]:
        """Places that were looked at and explained away."""
        self._known()
        return self._harmless

    @property
    def parameters(self) -> dict[str, str]:
        """Names of those with no good gradient, and what they get.

        That is "none", "zero", "not finite", or "unused" for those that the step never used.
        """
        self._known()
        return self._parameters

    @property
    def about(self) -> str:
        """What was differentiated."""
        self._known()
        return self._about

    def _set(self, other: Breaks) -> None:
        self._found, self._about = other._found, other._about
        self._harmless, self._parameters = other._harmless, other._parameters

    def __iter__(self) -> Iterator[Break]:
        """Return the breaks, in the order of the step."""
        return iter(self._known())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._known())

    def __getitem__(self, index: int) -> Break:
        """Return one of them."""
        return self._known()[index]

    def _known(self) -> tuple[Break, ...]:
        if self._found is None:
            raise RuntimeError("breaks: the step is not over; read what was found after the with block")
        return self._found

    def to_json(self) -> str:
        """Return everything as text."""
        found = [{**asdict(one), "flows": one.flows} for one in self]
        rest = {"about": self.about, "parameters": self.parameters, "harmless": [asdict(h) for h in self.harmless]}
        return json.dumps({"version": 1, "breaks": found, **rest}, allow_nan=False)

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        return "<Breaks, not over>" if self._found is None else f"<Breaks: {len(self)} found>"

    def __str__(self) -> str:
        """Return a plain table, under 100 columns."""
        lines = [f"{_count(len(self), 'break')} of the gradient, {_count(len(self.harmless), 'harmless place')}"]
        lines += [_wrapped(self.about, "")] if self.about else []
        for one in self:
            where = f"{_short(one.file)}:{one.line}"
            lines += ["", f"{one.kind:<10}  {where}  {one.call}{f'  in {one.module}' if one.module else ''}"]
            lost = f"lost: {listed(one.lost)}" if one.lost else ""
            lines += [_wrapped(text, "            ") for text in (one.why, one.flows, lost, f"cure: {one.cure}") if text]
        if self.parameters:
            lines += ["", *self._of_parameters()]
        return "\n".join(lines)

    def _of_parameters(self) -> list[str]:
        kinds = dict.fromkeys(self.parameters.values())
        words = {"none": "no gradient", "zero": "exactly zero", "not finite": "not a number", "unused": "not used"}
        names = {kind: [name for name, got in self.parameters.items() if got == kind] for kind in kinds}
        return [_wrapped(f"{words[kind]}: {listed(tuple(names[kind]))}", "") for kind in kinds]


def listed(names: tuple[str, ...], most: int = 4) -> str:
    """Return a few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def _short(file: str) -> str:
    try:
        relative = os.path.relpath(file)
    except ValueError:  # on another drive
        return file
    return file if relative.startswith("..") else relative


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"

"""The knob of a device: its name, where it stood in each recording, and where it is to stand in a prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hardgrad_lab.fit.tables import INPUT, FileFault


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A knob, in whatever unit its values are.

    Args:
        name: a word.
        values: where it stood, one for each pair of sounds.
    """

    name: str
    values: tuple[float, ...]

    def points(self) -> list[float]:
        """Return the points of its ranges, one for each different value: halfway between them, and both ends."""
        stood = sorted(set(self.values))
        return [stood[0], *((a + b) / 2 for a, b in pairwise(stood)), stood[-1]]

    def facts(self) -> dict[str, Any]:
        """Return what ``model.json`` says of it; the name by itself, too, where a device says its own ``knob``."""
        return {"knob": {"name": self.name, "values": list(self.values)}, "knob_name": self.name}

    def check(self, pairs: int) -> None:
        """Raise a ValueError unless there are values for so many pairs, and different ones."""
        if len(self.values) != pairs:
            raise ValueError(
                f"--knob {self.name} must have a value for each of {pairs} targets, in their order, got "
                f"{len(self.values)}: {self._said()}"
            )
        if len(set(self.values)) < 2:
            raise ValueError(
                f"--knob {self.name} must have different values to learn from, got {self._said()} alone; leave --knob "
                "away, or add recordings of other values"
            )

    def note(self, value: float) -> list[str]:
        """Return a line for a value that was not fitted to."""
        nearest = min(self.values, key=lambda known: abs(known - value))
        if nearest == value:
            return []
        return [f"{self.name}={value:g} was not fitted to: the parameters of the nearest, {nearest:g}, are taken"]

    def _said(self) -> str:
        return ", ".join(f"{value:g}" for value in dict.fromkeys(self.values))


def read_knob(asked: Sequence[str]) -> Knob | None:
    """Return the knob of ``--knob NAME=V,V,V``, or None where none is given.

    Raises:
        ValueError: for more than one, a knob without a value, or a value that is no finite number.
    """
    if not asked:
        return None
    if len(asked) > 1:
        raise ValueError(
            f"--knob must be given once, with commas between values: a model has one knob, got {' and '.join(asked)}"
        )
    name, _, listed = (part.strip() for part in asked[0].partition("="))
    if not name or not listed or "," in name:
        raise ValueError(f"--knob must be a name and its values, as in gain=0,0.5,1, got {asked[0]!r}; add a value")
    if name == INPUT:
        raise ValueError(f"--knob must have another name than the sound itself, {INPUT}; call it gain, say")
    values = []
    for word in listed.split(","):
        try:
            values.append(float(word))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise ValueError(f"--knob {name} must have finite numbers with commas between, got {word!r} in {listed!r}")
    return Knob(name=name, values=tuple(values))


def knob_of(described: Mapping[str, Any]) -> Knob | None:
    """Return the knob of a model by its description; None for one without.

    Raises:
        FileFault: for a description that garbles it.
    """
    said = described.get("knob")
    if said is None:
        return None
    if isinstance(said, list):  # a device says for which values it has parameters
        said = {"name": described.get("knob_name", "knob"), "values": said}
    try:
        return Knob(name=str(said["name"]), values=tuple(float(value) for value in said["values"]))
    except (KeyError, TypeError, ValueError):
        raise FileFault(
            f"model.json must have a knob with name and values, got {str(said)[:80]}; fit the model again"
        ) from None


def knob_value(described: Mapping[str, Any], asked: Sequence[str]) -> float | None:
    """Return where ``predict --knob`` says that a model's knob stands; None for a model without one.

    Raises:
        ValueError: if it says nothing, names another knob or several values, or one beyond those fitted to.
    """
    knob = knob_of(described)
    if knob is None:
        if asked:
            raise ValueError(
                f"--knob is for models fitted with one, and this one has none, got {asked[0]}; leave it away"
            )
        return None
    low, high = min(knob.values), max(knob.values)
    cure = f"give --knob {knob.name}=V with V from {low:g} to {high:g}"
    given = read_knob(asked)
    if given is None:
        raise ValueError(f"the model has the knob {knob.name}, and --knob must say where it stands, got none; {cure}")
    if given.name != knob.name or len(given.values) != 1 or not low <= given.values[0] <= high:
        raise ValueError(f"--knob must be one value of {knob.name} within what was fitted to, got {asked[0]}; {cure}")
    return given.values[0]


def stands_at(described: Mapping[str, Any], asked: Sequence[str], files: int) -> Knob | None:
    """Return the knob as it stands in so many files to predict."""
    knob, value = knob_of(described), knob_value(described, asked)
    return None if knob is None or value is None else Knob(name=knob.name, values=(value,) * files)

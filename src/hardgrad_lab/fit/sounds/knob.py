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
        """Return what ``model.json`` says of it."""
        return {"knob": {"name": self.name, "values": list(self.values)}}

    def check(self, pairs: int) -> None:
        """Raise a ValueError unless there are values for so many pairs, and different ones."""
        got = f"got {', '.join(f'{value:g}' for value in self.values)}"
        if len(self.values) != pairs:
            raise ValueError(f"--knob {self.name} must have a value for each of {pairs} targets, in their order, {got}")
        if len(set(self.values)) < 2:
            raise ValueError(f"--knob {self.name} must have different values to learn from, {got}; leave --knob away")


def read_knob(asked: Sequence[str]) -> Knob | None:
    """Return the knob of ``--knob NAME=V,V,V``, or None where none is given."""
    if not asked:
        return None
    name, _, listed = (part.strip() for part in asked[0].partition("="))
    if len(asked) > 1 or not name or not listed or "," in name or name == INPUT:
        raise ValueError(
            f"--knob must be one name, other than {INPUT}, and its values, as in gain=0,0.5,1, got "
            f"{' and '.join(asked)}; give a model one knob, and the knob a value"
        )
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
    """Return the knob of a model by its description; None for one without."""
    notes = described.get("notes")  # where a device's folder has what the files said
    said = (notes.get("knob") if isinstance(notes, dict) else None) or described.get("knob")
    if said is None:
        return None
    if isinstance(said, list):  # of a device that was not made by ``fit``: the values that it has parameters for
        said = {"name": "knob", "values": said}
    try:
        found = Knob(name=str(said["name"]), values=tuple(float(value) for value in said["values"]))
        min(found.values)
    except (KeyError, TypeError, ValueError):
        got = str(said)[:80]
        raise FileFault(f"model.json must have a knob with name and values, got {got}; fit the model again") from None
    return found


def stands(described: Mapping[str, Any], asked: Sequence[str], notes: list[str]) -> Knob | None:
    """Return the knob with the one value that ``predict --knob`` gives it; None for a model without a knob.

    Args:
        described: the model.
        asked: what the user gave.
        notes: a line is added for a value that was not fitted to.
    """
    knob, given = knob_of(described), read_knob(asked)
    if knob is None:
        if given is not None:
            raise ValueError(f"--knob is for models fitted with one, got {asked[0]} for one without; leave it away")
        return None
    low, high = min(knob.values), max(knob.values)
    cure = f"give --knob {knob.name}=V with V from {low:g} to {high:g}"
    if given is None:
        raise ValueError(f"the model has the knob {knob.name}, and --knob must say where it stands, got none; {cure}")
    if given.name != knob.name or len(given.values) != 1 or not low <= given.values[0] <= high:
        raise ValueError(f"--knob must be one value of {knob.name} within what was fitted to, got {asked[0]}; {cure}")
    nearest = min(knob.values, key=lambda known: abs(known - given.values[0]))
    if nearest != given.values[0]:
        notes.append(f"{asked[0]} was not fitted to: the parameters of the nearest value, {nearest:g}, are taken")
    return given

"""What a diagnosis says: plain numbers, a plain table, JSON and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hardgrad._shown.page import folded, page, points, words
from hardgrad._shown.width import wrapped
from hardgrad.doctor.row import Row as Row
from hardgrad.doctor.text import LEGEND, table

_VERSION = 1


@dataclass(frozen=True)
class Truth:
    """What the candidates are held against.

    Args:
        kind: "enumeration", "finite difference" or "long run".
        norm: of the gradient.
        standard_error: of the gradient, as a norm; 0 for enumeration.
        evaluations: of the function, for each row.
        resolved: whether it is told apart from zero; if not, nothing can be said relative to it.
        gradient: flat, of the first coordinates.
    """

    kind: str
    norm: float
    standard_error: float
    evaluations: int
    resolved: bool
    gradient: tuple[float, ...] = ()


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What ``diagnose`` found.

    Args:
        rows: one for each candidate, in the order given.
        truth: what they are held against.
        warnings: what to know before using one of them.
        advice: what to use and why.
        about: the smoothed objective, in words.
        function: its name.
        noise: "gaussian", "logistic" or "gumbel".
        sigma: what the noise was multiplied by; None for a given distribution.
        shape: of the inputs.
        device: where it ran.
        draws: gradients taken of each candidate; ``Row.draws`` may be more, where the number was left open.
        warm_up: steps that candidates which learn were trained for.
        function_seconds: one evaluation of the function on the batch, without gradient.
        repeats: what it returns for the same input: "same", "random", or "state" where seeds do not make it repeat;
            None in records of before.
        stopped: why not all candidates were measured; None if they were.
        clock: of all seconds: "wall", or "processor" in records of before.
    """

    rows: tuple[Row, ...]
    truth: Truth
    warnings: tuple[str, ...]
    advice: str
    about: str
    function: str
    noise: str
    sigma: float | None
    shape: tuple[int, ...]
    device: str
    draws: int
    warm_up: int
    function_seconds: float
    repeats: Literal["same", "random", "state"] | None = None
    stopped: str | None = None
    clock: Literal["wall", "processor"] = "processor"

    def __getitem__(self, name: str) -> Row:
        """Return the row of a candidate."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no candidate {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def _drawn(self) -> str:
        most = max((row.draws for row in self.rows), default=0)
        return f"{self.draws} to {most}" if most > self.draws else str(self.draws)

    def to_json(self) -> str:
        """Return everything, as text that ``from_json`` reads."""
        return json.dumps({"version": _VERSION, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Diagnosis:
        """Return the diagnosis that ``to_json`` wrote.

        Raises:
            ValueError: if the text is of another version.
        """
        fields: dict[str, Any] = json.loads(text)
        version = fields.pop("version", None)
        if version != _VERSION:
            raise ValueError(f"Diagnosis.from_json: version must be {_VERSION}, got {version}; diagnose again")
        fields["rows"] = tuple(Row(**{**row, "mean": tuple(row["mean"])}) for row in fields["rows"])
        truth = fields["truth"]
        fields["truth"] = Truth(**{**truth, "gradient": tuple(truth["gradient"])})
        return cls(**{**fields, "warnings": tuple(fields["warnings"]), "shape": tuple(fields["shape"])})

    def __str__(self) -> str:
        """Return the table, the warnings and the advice as plain text."""
        below = [LEGEND, *(f"warning: {warning}" for warning in self.warnings), f"advice: {self.advice}"]
        return "\n".join([*map(wrapped, self._head()), "", *table(self.rows).lines(), "", *map(wrapped, below)])

    def _head(self) -> tuple[str, str]:
        truth = f"truth: {self.truth.kind}, norm {self.truth.norm:.3g} +- {self.truth.standard_error:.2g}"
        known = "" if self.repeats != "state" else ", of a function that is not the same at every call"
        return (
            f"{self.function} at {self.shape}: {self.about}",
            f"{truth}{known}, {self.truth.evaluations} evaluations a row; {self._drawn()} gradients of each candidate",
        )

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        whole = "" if self.stopped is None else ", not whole"
        return f"<Diagnosis of {self.function} at {self.shape}: {len(self.rows)} candidates{whole}; {self.advice}>"

    def _repr_html_(self) -> str:
        """Return the table for a notebook, with the warnings and the advice."""
        about, truth = self._head()
        warnings = words("", "warnings:") + points(list(self.warnings)) if self.warnings else ""
        stopped = words(self.stopped, "not whole:") if self.stopped else ""
        legend = folded("what the columns say", words(LEGEND))
        below = (words(truth), stopped, warnings, words(self.advice, "advice:"), legend)
        return page(table(self.rows).html(about), *below)

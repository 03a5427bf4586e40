"""What a diagnosis says: plain numbers, a plain table, JSON and back."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

_VERSION = 1
SIGNIFICANT = 4.0  # standard errors from which a bias counts as found; chance alone makes it once in 1000 at the most
SEEN = 0.1  # of the truth's norm: "without bias" is said only where so small a bias would have been found


@dataclass(frozen=True)
class Row:
    r"""One candidate. A number is None where its question has no answer: the angle to a zero gradient, say.

    A gradient is that of the whole batch, as one vector. :math:`g` is the expected gradient of the candidate, :math:`t`
    the truth; what the noise of either adds to a norm is taken off.

    Args:
        name: as it was given.
        kind: "layer" or "estimator".
        bias: :math:`\lVert g - t \rVert / \lVert t \rVert`.
        bias_norm: :math:`\lVert g - t \rVert`.
        bias_z: how significant the bias is: that of a normal variate so many standard errors from 0.
        smallest_bias: the smallest bias, relative as ``bias`` is, that would have been found nine times in ten,
            whatever its direction; None where nothing is said relative to the truth, and in records of before.
        norm_ratio: :math:`\lVert g \rVert / \lVert t \rVert`.
        variance: of one gradient, summed over coordinates.
        signal_to_noise: :math:`\lVert t \rVert^2` over the variance; None for a variance of 0.
        cosine: between g and t; None where g is lost in its noise.
        cosine_error: standard error of the cosine.
        cosine_of_one: mean cosine between one gradient and t.
        progress: what a step along one gradient gains at its best length, over what a step along t gains, on an
            objective equally curved in all directions: :math:`\langle g, t \rangle^2` over
            :math:`\lVert t \rVert^2` and the mean square of one gradient. 0 uphill, 1 for the truth itself.
        sign_agreement: share of coordinates with the sign of the truth, among those where it is not zero.
        dead: share of :math:`\lVert t \rVert^2` that is at coordinates which no gradient ever moved.
        uphill_rows: share of the batch's rows whose own expected gradient points away from the truth, significantly.
        zeros: share of exact zeros among the coordinates of single gradients.
        seconds: for one gradient of the batch; processor time on a CPU.
        bytes_kept: for the backward pass, by autograd.
        peak_bytes: most memory at once, on CUDA.
        evaluations: of the function, for each row.
        draws: how many gradients these numbers are from.
        learns: whether it has weights that learn from a penalty.
        mean: the expected gradient, flat, of the first coordinates; ``Truth.gradient`` is the same of the truth.
        error: why there are no numbers, in the candidate's own words; None if there are.
    """

    name: str
    kind: str
    bias: float | None = None
    bias_norm: float | None = None
    bias_z: float | None = None
    norm_ratio: float | None = None
    variance: float | None = None
    signal_to_noise: float | None = None
    cosine: float | None = None
    cosine_error: float | None = None
    cosine_of_one: float | None = None
    progress: float | None = None
    sign_agreement: float | None = None
    dead: float | None = None
    uphill_rows: float | None = None
    zeros: float | None = None
    seconds: float | None = None
    bytes_kept: int | None = None
    peak_bytes: int | None = None
    evaluations: float | None = None
    draws: int = 0
    learns: bool = False
    mean: tuple[float, ...] = ()
    error: str | None = None
    smallest_bias: float | None = None

    @property
    def uphill(self) -> bool:
        """Whether the expected gradient points away from the truth, by two standard errors."""
        return self.cosine is not None and self.cosine + 2 * (self.cosine_error or 0.0) < 0

    @property
    def flat(self) -> bool:
        """Whether every gradient was zero."""
        return self.zeros == 1

    @property
    def biased(self) -> bool:
        """Whether a bias was found: one of four standard errors. Where there is none, chance makes one in 1000 rows."""
        return self.bias_z is not None and self.bias_z >= SIGNIFICANT

    @property
    def unbiased(self) -> bool:
        """Whether no bias was found, and one of a tenth of the truth would have been nine times in ten.

        Neither ``biased`` nor ``unbiased`` means that these draws cannot say: ``smallest_bias`` is what they could see.
        """
        if self.bias_z is None or self.biased or self.flat:
            return False
        if self.smallest_bias is None:  # nobody had asked, in records of before; or there is nothing to be relative to
            return self.bias is not None
        return self.smallest_bias <= SEEN


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


@dataclass(frozen=True)
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
        truth = f"truth: {self.truth.kind}, norm {self.truth.norm:.3g} +- {self.truth.standard_error:.2g}"
        head = [
            f"{self.function} at {self.shape}: {self.about}",
            f"{truth}, {self.truth.evaluations} evaluations a row; {self._drawn()} gradients of each candidate",
        ]
        words = [_LEGEND, *(f"warning: {warning}" for warning in self.warnings), f"advice: {self.advice}"]
        return "\n".join([*map(_wrapped, head), "", *_table(self.rows), "", *map(_wrapped, words)])


_LEGEND = (
    "bias: relative to the truth, and how significant; smallest: the bias that would have been found nine times in "
    "ten, at four standard errors. cosine: of the expected gradient, and of one. progress: what a "
    "step along one gradient gains, of what the true one would. signs, zeros: shares of coordinates. s/n: squared norm "
    "of the truth over the variance. us, kB: time and memory of one gradient of the batch. f: evaluations a row."
)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


COLUMNS = (
    "candidate",
    "bias",
    "in s.e.",
    "smallest",
    "variance",
    "cosine",
    "of one",
    "progress",
    "signs",
    "zeros",
    "s/n",
    "us",
    "kB",
    "f",
)


def _table(rows: tuple[Row, ...]) -> list[str]:
    cells = [list(COLUMNS), *(_cells(row) for row in rows)]
    # An error runs on over the columns after the name.
    full = [line for line in cells if len(line) == len(COLUMNS)]
    widths = [max(len(line[i]) for line in full) for i in range(len(COLUMNS))]
    widths[0] = max(len(line[0]) for line in cells)
    return ["  ".join(_padded(line, widths)).rstrip() for line in cells]


def _padded(line: list[str], widths: list[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=False))]


def _cells(row: Row) -> list[str]:
    if row.error is not None:
        return [row.name, f"refused: {row.error.splitlines()[0]}"]
    noiseless = row.signal_to_noise is None and row.variance is not None
    cosine = _number(row.cosine, ".3f")
    if row.cosine is not None and (row.cosine_error or 0) > 1e-9:
        cosine += f" +- {row.cosine_error:.1g}"
    return [
        row.name,
        _number(row.bias, ".3f"),
        _number(row.bias_z, ".1f"),
        _number(row.smallest_bias, ".2g"),
        _number(row.variance, ".3g"),
        "no gradient" if row.flat else cosine,
        _number(row.cosine_of_one, ".3f"),
        _number(row.progress, ".2g"),
        _number(row.sign_agreement, ".0%"),
        _number(row.zeros, ".0%"),
        "noiseless" if noiseless and not row.flat else _number(row.signal_to_noise, ".2g"),
        _number(None if row.seconds is None else row.seconds * 1e6, ".0f"),
        _number(None if row.bytes_kept is None else row.bytes_kept / 1024, ".0f"),
        _number(row.evaluations, ".3g"),
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

"""What there is to tell of a fit, as plain data: the page, the terminal and ``model.json`` say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.fit.estimator import SwitchClassifier
from hardgrad_lab.fit.page.sound import Sound, sound_of
from hardgrad_lab.fit.page.verdict import reasons, verdict
from hardgrad_lab.fit.page.words import Words, as_db, as_esr, esr_of, explained, range_labels, words
from hardgrad_lab.fit.rivals.scores import ClassScore, LeftOut, Score, Scored
from hardgrad_lab.runs.record import describe_environment

if TYPE_CHECKING:
    from hardgrad_lab.fit.job import Fitted, Model
    from hardgrad_lab.fit.tables import Table

Array = NDArray[np.float64]
DOTS = 1500  # in a scatter plot: more only make the page heavy
STRETCH = 400  # rows of the stretch of time that is drawn
FEW = 30  # training rows of a range that are too few to learn from


@dataclass(frozen=True, kw_only=True)
class Dots:
    """Some rows to draw.

    Args:
        x: (m,) the key; or time, in seconds or rows.
        truth: (m,) the target; empty for a curve that was only computed.
        predicted: (m,).
        index: (m,) the range each took.
    """

    x: Array
    truth: Array
    predicted: Array
    index: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Story:
    """A fit, told.

    Args:
        target: its name.
        key: the column that decides.
        inputs: what the branches see.
        files: by name.
        rows: fitted to, those of them that chose the weights, and those measured on.
        unseen: whether the rows measured on were set aside.
        window: rows seen at a time.
        branch: of each range, in words.
        labels: of the ranges.
        points: between them.
        origin: where the points come from, in a line.
        visits: training rows of each range.
        tested: test rows of each range.
        scores: the switch first.
        left_out: rivals that it was not compared with.
        curve: of the training, epoch by epoch.
        best_epoch: whose weights were kept; 0 if the last.
        dots: test rows by key.
        line: the transfer curve, where the key is all that a branch sees.
        stretch: test rows in order of time, or None.
        clock: what the stretch's x is.
        warnings: what the user should know.
        seed: of the fit.
        seconds: that it took.
        environment: versions and machine.
        source: fingerprint of the rows.
        sound: what there is to hear; None for a table.
        classes: that were told apart; none for a target of numbers. Dots have their numbers.
    """

    target: str
    key: str
    inputs: Sequence[str]
    files: Sequence[str]
    rows: tuple[int, int, int]
    unseen: bool
    window: int
    branch: str
    labels: Sequence[str]
    points: Sequence[float]
    origin: str
    visits: Sequence[int]
    tested: Sequence[int]
    scores: Sequence[Scored]
    left_out: Sequence[LeftOut]
    curve: Sequence[dict[str, Any]]
    best_epoch: int
    dots: Dots
    line: Dots | None
    stretch: Dots | None
    clock: str
    warnings: Sequence[str]
    seed: int
    seconds: float
    environment: dict[str, Any]
    source: str
    sound: Sound | None = None
    classes: Sequence[str] = ()

    @property
    def words(self) -> Words:
        """Return what rows, the key and the target are called."""
        return words(self.target, self.key, sound=self.sound is not None, classes=bool(self.classes))

    @property
    def switch(self) -> Scored:
        """Return the switch's own score."""
        return self.scores[0]

    @property
    def rival(self) -> Scored | None:
        """Return the best of the others; none is called that while one is missing."""
        if any(each.possible for each in self.left_out):
            return None
        return min(self.scores[1:], key=lambda score: score.error, default=None)

    def headline(self) -> str:
        """Return the result in a sentence or two, whoever won."""
        ours = self.switch
        if isinstance(ours, ClassScore):
            return f"{self._class_headline(ours)} {verdict(self.scores, self.left_out)}".strip()
        said = f"The switch's error on {'unseen' if self.unseen else 'its own'} {self.words.rows} is {self._error()}"
        said += "." if ours.r2 is None or self.sound else f"; {explained(ours.r2, self.target)}."
        return f"{said} {verdict(self.scores, self.left_out)}".strip()

    def _class_headline(self, ours: ClassScore) -> str:
        whose = "unseen" if self.unseen else "its own"
        said = f"The switch names the right {self.target} in {ours.accuracy:.2%} of {whose} rows"
        said += f" (log loss {ours.log_loss:.4g})"
        shares = next((score for score in self.scores if score.name == "shares"), None)
        if not isinstance(shares, ClassScore):
            return f"{said}."
        return f"{said}; to say the commonest class every time is right in {shares.accuracy:.2%}."

    def _error(self) -> str:
        ours = self.switch
        assert isinstance(ours, Score)
        if self.sound is None:
            return f"{ours.rmse:.4g} (RMSE)"
        esr = esr_of(ours.rmse, self.sound.power)
        return f"{as_esr(esr)} of the energy of {self.target} (ESR; {as_db(esr)})"

    def notes(self) -> dict[str, Any]:
        """Return what ``model.json`` adds of this."""
        measure = "log_loss" if self.classes else "rmse"
        return {
            "target": self.target,
            "files": list(self.files),
            "ranges": [
                {"label": label, "training_rows": trained, "test_rows": tested, measure: error}
                for label, trained, tested, error in zip(
                    self.labels, self.visits, self.tested, self.switch.ranges, strict=True
                )
            ],
            "scores": [asdict(score) for score in self.scores],
            "not_compared": [asdict(each) for each in self.left_out],
            "warnings": list(self.warnings),
            "seed": self.seed,
            "seconds": self.seconds,
            "environment": self.environment,
            "rows_sha256": self.source,
        }


def tell(fitted: Fitted, read: Table, target: str, noted: Sequence[str]) -> Story:
    """Return the story of a fit.

    Args:
        fitted: what the job made.
        read: the table it was fitted to.
        target: the target's name.
        noted: warnings that came up.
    """
    model, test = fitted.model, fitted.test
    ranges = model.ranges_
    labels = range_labels(ranges, read.key_categories)
    classes = [str(name) for name in model.classes_] if isinstance(model, SwitchClassifier) else []
    return Story(
        target=target,
        key=read.key,
        inputs=[str(read.inputs.columns[i]) for i in model.inputs_],
        files=[path.name for path in read.paths],
        rows=(*model.split_, len(test)),
        unseen=fitted.unseen,
        window=model.window,
        branch=_branch(model),
        labels=labels,
        points=model.points_,
        origin=f"one for each category of {read.key}" if read.key_categories else _origin(model),
        visits=model.visits_,
        tested=np.bincount(fitted.index[test], minlength=len(labels)).tolist(),
        scores=fitted.scores,
        left_out=fitted.left_out,
        curve=model.curve_,
        best_epoch=model.best_epoch_,
        dots=_class_dots(fitted, read, classes) if classes else _dots(fitted, read),
        line=None if classes else _line(fitted, read),
        stretch=None if classes else _stretch(fitted, read),
        clock="seconds" if read.rate else "row",
        warnings=[*read.notes, *noted, *_warnings(fitted, labels)],
        seed=fitted.seed,
        seconds=fitted.seconds,
        environment=describe_environment(fitted.machine),
        source=fitted.source,
        sound=sound_of(fitted, read),
        classes=classes,
    )


def _branch(model: Model) -> str:
    made = model.architecture_
    widths = " ".join(map(str, made.hidden))
    return made.branch if made.branch == "linear" or ":" in made.branch else f"{made.branch} {widths}"


def _origin(model: Model) -> str:
    given = "given" if model.points is not None else f"found by a search for at most {model.search} ranges"
    return f"{given}, then learnt" if model.learn_points else given


def _warnings(fitted: Fitted, labels: Sequence[str]) -> list[str]:
    said = [
        f"range {i}, {labels[i]}, has {count} training rows, which is little to learn from"
        for i, count in enumerate(fitted.model.visits_)
        if 0 < count < FEW
    ]
    if fitted.model.found_ is not None and len(labels) == 1 < fitted.model.search:
        said.append("the search found one range: this key divides the rows into no parts that differ enough")
    if fitted.model.found_ is not None and len(labels) == fitted.model.search > 1:
        said.append(
            f"the search found as many ranges as it may, {len(labels)}; there may be more: try "
            f"--search {2 * fitted.model.search}"
        )
    said += reasons(fitted.left_out)
    if not fitted.unseen:
        said.append("no rows were set aside: all figures are of rows that the models were trained on")
    return said


def _pick(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


def _dots(fitted: Fitted, read: Table) -> Dots:
    rows = _pick(fitted.test, DOTS)
    key = read.inputs[read.key].to_numpy()
    assert read.target is not None
    return Dots(x=key[rows], truth=read.target[rows], predicted=fitted.predicted[rows], index=fitted.index[rows])


def _class_dots(fitted: Fitted, read: Table, classes: Sequence[str]) -> Dots:
    """Return test rows with the numbers of their classes; -1 for one that no row that was fitted to has."""
    rows = _pick(fitted.test, DOTS)
    numbers = {name: float(number) for number, name in enumerate(classes)}
    assert read.target is not None
    truth, predicted = ([numbers.get(str(v), -1.0) for v in part[rows]] for part in (read.target, fitted.predicted))
    key = read.inputs[read.key].to_numpy()[rows]
    return Dots(x=key, truth=np.array(truth), predicted=np.array(predicted), index=fitted.index[rows])


def _line(fitted: Fitted, read: Table) -> Dots | None:
    model = fitted.model
    if read.inputs.shape[1] != 1 or model.window != 1 or model.key_only:
        return None
    key = read.inputs[read.key].to_numpy()
    # The last place before each point besides, so that a jump is drawn upright.
    points = np.array(model.points_[1:-1])
    x = np.unique(np.concatenate([np.linspace(key.min(), key.max(), 1000), points, np.nextafter(points, -np.inf)]))
    grid = read.inputs.iloc[:0].reindex(range(len(x)))
    grid[read.key] = x
    return Dots(x=x, truth=np.array([]), predicted=model.predict(grid), index=model.route(grid))


def _stretch(fitted: Fitted, read: Table) -> Dots | None:
    """Return test rows that follow each other, from where the target moves most; None for rows without an order."""
    if not fitted.ordered:
        return None
    assert read.target is not None
    test = fitted.test
    pieces = np.split(test, np.flatnonzero(np.diff(test) != 1) + 1)
    moved = [float(np.square(np.diff(read.target[piece])).sum()) for piece in pieces]
    rows = pieces[int(np.argmax(moved))]
    length = min(STRETCH, len(rows))
    power = np.convolve(np.square(np.diff(read.target[rows], prepend=read.target[rows[0]])), np.ones(length), "valid")
    begin = int(power.argmax())
    rows = rows[begin : begin + length]
    x = read.row[rows] / read.rate if read.rate else read.row[rows].astype(np.float64)
    return Dots(x=x, truth=read.target[rows], predicted=fitted.predicted[rows], index=fitted.index[rows])

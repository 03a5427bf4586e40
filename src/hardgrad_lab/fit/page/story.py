"""What there is to tell of a fit, as plain data: the page, the terminal and ``model.json`` say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad_lab.fit.estimator import SwitchClassifier
from hardgrad_lab.fit.options import STATES
from hardgrad_lab.fit.page.dots import Dots, class_dots_of, dots_of, line_of, stretch_of
from hardgrad_lab.fit.page.sound import Sound, sound_of
from hardgrad_lab.fit.page.verdict import reasons, verdict
from hardgrad_lab.fit.page.words import Words, explained, range_labels, words
from hardgrad_lab.fit.rivals.scores import ClassScore, LeftOut, Score, Scored, SoundScore, as_db, as_esr, of_sound
from hardgrad_lab.runs.record import describe_environment

if TYPE_CHECKING:
    from hardgrad_lab.fit.fitted import Fitted, Model
    from hardgrad_lab.fit.tables import Table

Array = NDArray[np.float64]
FEW = 30  # training rows of a range that are too few to learn from


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
        device: what the model is, where it is one with a memory; then it was chosen on held-out time.
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
    device: str = ""

    @property
    def words(self) -> Words:
        """Return what rows, the key and the target are called."""
        return words(self.target, self.key, sound=self.sound is not None, classes=bool(self.classes))

    @property
    def title(self) -> str:
        """Return what was fitted, by what."""
        first, *others = dict.fromkeys(self.files)  # with a knob one file may be that of all places
        whole = f"{first} and {len(others)} more" if others else first
        return f"{self.target} by {self.key}" if self.sound is None else f"{self.target} from {whole}"

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
        said = (
            f"The {ours.name}'s error on {'unseen' if self.unseen else 'its own'} {self.words.rows} is {self._error()}"
        )
        said += "." if ours.r2 is None or isinstance(ours, SoundScore) else f"; {explained(ours.r2, self.target)}."
        fast = "" if self.sound is None else f" It makes {self.sound.speed:,.0f} s of sound a second, on one thread."
        return f"{said} {verdict(self.scores, self.left_out)}".strip() + fast

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
        if isinstance(ours, SoundScore):
            return f"{as_esr(ours.esr)} of the energy of {self.target} (ESR; {as_db(ours.esr)})"
        return f"{ours.said} (RMSE)"

    def notes(self) -> dict[str, Any]:
        """Return what ``model.json`` adds of this."""
        measure = "log_loss" if self.classes else "esr" if self.sound else "rmse"
        heard = (
            {}
            if self.sound is None
            else {"times_real_time": self.sound.speed, "sound": [each.notes() for each in self.sound.voices]}
        )
        return {
            **heard,
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
    if fitted.device is not None:
        labels = fitted.device.labels() or ["all"]
    classes = [str(name) for name in model.classes_] if isinstance(model, SwitchClassifier) else []
    sound, scores = sound_of(fitted, read, len(labels)), fitted.scores
    if sound is not None:
        scores = [of_sound(each, sound.power, sound.powers) for each in scores if isinstance(each, Score)]
    return Story(
        target=target,
        key=read.key if fitted.device is None else "level",
        inputs=[str(read.inputs.columns[i]) for i in model.inputs_],
        files=[path.name for path in read.paths],
        rows=(*model.split_, len(test)),
        unseen=fitted.unseen,
        window=model.window,
        branch=_branch(model),
        labels=labels,
        points=model.points_,
        origin=f"one for each category of {read.key}" if read.key_categories else _origin(model),
        visits=fitted.visits,
        tested=np.bincount(fitted.index[test], minlength=len(labels)).tolist(),
        scores=scores,
        left_out=fitted.left_out,
        curve=model.curve_ if fitted.tried is None else fitted.tried.curve,
        best_epoch=model.best_epoch_ if fitted.tried is None else fitted.tried.best_epoch,
        dots=class_dots_of(fitted, read, classes) if classes else dots_of(fitted, read),
        line=None if classes or fitted.device else line_of(fitted, read),
        stretch=None if classes else stretch_of(fitted, read),
        clock="seconds" if read.rate else "row",
        warnings=[*read.notes, *noted, *_seen(sound, _no_better(fitted, scores)), *_warnings(fitted, labels)],
        seed=fitted.seed,
        seconds=fitted.seconds,
        environment=describe_environment(fitted.machine),
        source=fitted.source,
        sound=sound,
        classes=classes,
        device="" if fitted.device is None else fitted.device.describe(),
    )


def _seen(sound: Sound | None, tried: Sequence[str]) -> list[str]:
    """Return what the levels look like, a line for each place of the knob where they look like something."""
    voices = () if sound is None else sound.voices
    said = {voice.name: voice.levels.shape.said(tried) for voice in voices if voice.levels is not None}
    return [f"{name}: {line}" if name else line for name, line in said.items() if line]


def _no_better(fitted: Fitted, scores: Sequence[Scored]) -> list[str]:
    """Return the kinds of models with a state that there is no reason to try."""
    worse = [each.name for each in scores if each.error >= scores[0].error]
    return worse if fitted.device is None else list(STATES)


def _branch(model: Model) -> str:
    made = model.architecture_
    widths = " ".join(map(str, made.hidden))
    return made.branch if made.branch == "linear" or ":" in made.branch else f"{made.branch} {widths}"


def _origin(model: Model) -> str:
    given = "given" if model.points is not None else f"found by a search for at most {model.search} ranges"
    return f"{given}, then learned" if model.learn_points else given


def _warnings(fitted: Fitted, labels: Sequence[str]) -> list[str]:
    said = [
        f"range {i}, {labels[i]}, has {count} training rows, which is little to learn from"
        for i, count in enumerate(fitted.visits)
        if 0 < count < FEW
    ]
    searched = fitted.model.found_ is not None and fitted.device is None
    if searched and len(labels) == 1 < fitted.model.search:
        said.append("the search found one range: this key divides the rows into no parts that differ enough")
    if searched and len(labels) == fitted.model.search > 1:
        said.append(
            f"the search found as many ranges as it may, {len(labels)}; there may be more: try "
            f"--search {2 * fitted.model.search}"
        )
    said += reasons(fitted.left_out)
    if not fitted.unseen:
        said.append("no rows were set aside: all figures are of rows that the models were trained on")
    return said

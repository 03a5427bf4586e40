"""One fit of a table: set rows aside, train, compare, measure. It can be stopped, and resumed bit for bit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardgrad_lab import baselines
from hardgrad_lab.devices.training import DeviceTraining
from hardgrad_lab.fit.estimator import SwitchClassifier
from hardgrad_lab.fit.fitted import Fitted, Model
from hardgrad_lab.fit.kinds import Memory, Trials
from hardgrad_lab.fit.measures import Classes, Numbers
from hardgrad_lab.fit.rivals.compare import (
    TRAINED,
    Outcome,
    build_rival,
    refused,
    rivals_of,
    solve_rival,
    train_rival,
)
from hardgrad_lab.fit.rivals.design import Design
from hardgrad_lab.fit.rivals.scores import LeftOut, Scored, blocks_of, margin
from hardgrad_lab.fit.rivals.solved import Setting
from hardgrad_lab.fit.rows import Rows, first_rows, held_out
from hardgrad_lab.fit.tables import Table
from hardgrad_lab.fit.training.start import start_rival
from hardgrad_lab.fit.training.training import Training
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.execute import choose_device
from hardgrad_lab.runs.loop import DivergedError
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.signals import Interrupted, stop_signals

SWITCH = "switch"
VALIDATION = 0.1  # of the rows, where the switch needs none to choose by
HUGE = 1e100  # deviations of the target: squares of errors beyond are not finite for long


@dataclass
class Job:
    """A fit under way.

    Args:
        model: the estimator to fit, not fitted yet.
        table: with a target.
        seed: of everything.
        test_share: share of the rows set aside to measure on.
        compared: whether rivals are trained, too.
        saved: where the checkpoint is.
        memory: which models with a memory are tried, where the table is of sounds.
        tell: called after every step with the name of what is trained, and its training.
        checkpoint_seconds: between checkpoints.
        checkpoint_steps: between checkpoints, besides; 0 goes by the clock alone.
        warn: called where a checkpoint cannot be written; the fit goes on.
    """

    model: Model
    table: Table
    seed: int
    test_share: float
    compared: bool
    saved: Path
    tell: Callable[[str, Any], None]
    memory: Memory = field(default_factory=Memory)
    checkpoint_seconds: float = 30.0
    checkpoint_steps: int = 0
    warn: Callable[[str], None] = warnings.warn
    _states: dict[str, Any] = field(default_factory=dict)
    _passes: dict[str, int] = field(default_factory=dict)
    _seconds: float = 0.0
    _predicted: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    _index: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def run(self, *, resume: bool) -> Fitted:
        """Bring the fit to its end.

        Args:
            resume: go on from the checkpoint, which must be there.

        Raises:
            Interrupted: if a signal stopped it; the checkpoint is written.
            CheckpointError: if the checkpoint is damaged or of another fit.
        """
        if resume:
            state = checkpoint.load(self.saved, self._identity())
            checkpoint.check_alike(self.saved, {"states": {}, "passes": {}, "seconds": 0.0, "started": ""}, state)
            self._states, self._passes = state["states"], state["passes"]
            self._seconds, self._started = state["seconds"], state["started"]
        self._began = time.monotonic()
        self._saver = checkpoint.Saver(self.saved, self._identity(), self.warn)
        rest, aside = self._set_aside()
        test = aside if len(aside) else rest
        with stop_signals() as self._signals:
            training = self._switch(rest)
            self.model.finish(training)
            trials = Trials(
                memory=self.memory,
                read=self.table,
                parts=(*self._chose(training, rest), test),
                window=self.model.window,
                seed=self.seed,
                passes=self._passes,
                bring=self._train,
            )
            scores, left_out = self._measure(training, test, trials)
        return Fitted(
            model=self.model,
            scores=scores,
            test=test,
            predicted=self._predicted,
            index=self._index,
            left_out=left_out,
            tried=trials.chosen,
            trained=trials.parts[0],
            said=trials.said,
            seconds=self._passed(),
            unseen=bool(len(aside)),
            ordered=self.ordered,
            seed=self.seed,
            machine={
                "device": str(choose_device(self.model.device)),
                "threads": torch.get_num_threads(),
                "started": self._started,
            },
            source=self.table.fingerprint(),
        )

    def _set_aside(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows to fit to and the rows to measure on; the latter have whole windows."""
        n, window = len(self.table), self.model.window
        first = first_rows(self.table.groups, n)
        whole = np.flatnonzero(np.arange(n) - first >= window - 1)
        _, test = held_out(whole, first, self.test_share, blocks=self.ordered, seed=self.seed)
        rest = np.ones(n, dtype=bool)  # not setdiff1d, which sorts copies of all rows
        rest[test] = False
        return np.flatnonzero(rest), test

    @property
    def ordered(self) -> bool:
        """Return whether the rows are in order of time, so that ends of recordings are set aside, not random rows."""
        return self.model.window > 1 or len(self.table.paths) > 1 or self.table.rate is not None

    def _switch(self, rest: NDArray[np.int64]) -> Training:
        torch.manual_seed(self.seed)
        # A window must not reach across the rows that were set aside, either.
        gaps = (np.diff(rest, prepend=-1) != 1) | (np.diff(self.table.groups[rest], prepend=-1) != 0)
        groups = np.cumsum(gaps) if self.ordered else None
        assert self.table.target is not None
        training = self.model.begin(self.table.inputs.iloc[rest], self.table.target[rest], groups, self.seed)
        self._train(SWITCH, training)
        return training

    def _train(self, name: str, training: Training | DeviceTraining) -> None:
        """Train a network to its end, from where an earlier sitting left it."""
        if name in self._states:
            with checkpoint.fitting(self.saved):
                training.load_state_dict(self._states[name])
        try:
            training.run(
                partial(self.tell, name, training),
                lambda: self._save({**self._states, name: training.state_dict()}),
                save_every_s=self.checkpoint_seconds,
                save_every=self.checkpoint_steps,
            )
        except Interrupted as stopped:
            raise Interrupted(stopped.number, self._saver.fault) from None
        self._states[name] = training.state_dict()
        self._stop_if_asked()

    def _chose(self, switch: Training, rest: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows that were learned from and those that choose, of all rows, for models of other kinds."""
        task = switch.task
        if len(task.held_out):
            return rest[task.train.cpu().numpy()], rest[task.held_out.cpu().numpy()]
        # Lines are solved on all rows; what is trained beside them needs some to choose its weights by.
        return held_out(rest, first_rows(self.table.groups, len(self.table)), VALIDATION, blocks=True, seed=self.seed)

    def _measure(self, switch: Training, test: NDArray[np.int64], trials: Trials) -> tuple[list[Scored], list[LeftOut]]:
        """Measure all on the test rows, the chosen model first; say which rivals are left out."""
        # All rows, also those fitted to: the windows of the test rows reach back into them.
        groups = self.table.groups if self.ordered else None
        rows = self.model.as_rows(self.table.inputs, groups)
        measure = self._measure_of(test)
        self._predicted, outputs = measure.predict(self.table.inputs, groups)
        self._index = self.model.route(self.table.inputs)
        outcomes = {
            SWITCH: Outcome(
                outputs=outputs[test],
                described=baselines.describe(SWITCH),
                counts=baselines.counts(self.model.network_),
                updates=switch.steps,
                seconds=switch.seconds,
            )
        }
        if isinstance(measure, Numbers) and self.table.rate:
            trials.run(self._predicted, switch, compared=self.compared)
            outcomes = self._heard(trials, measure, test, outcomes)
        rivals, left_out = self._rivals(switch, measure, (rows, torch.from_numpy(test)))
        outcomes |= {name: made for name, made in rivals.items() if name not in outcomes}
        return self._scores(outcomes, measure, test), [*left_out, *trials.left_out]

    def _heard(
        self, trials: Trials, measure: Numbers, test: NDArray[np.int64], switch: dict[str, Outcome]
    ) -> dict[str, Outcome]:
        """Return what the switch and devices made of the test rows; one that was chosen comes first."""
        made = {each.kind: trials.outcome(each) for each in trials.tried}
        if (chosen := trials.chosen) is not None:
            self._predicted, self._index = made[chosen.kind].outputs, trials.index(chosen.device)
            measure.ranges = max(1, len(chosen.device.labels()))
        devices = {
            name: replace(each, outputs=measure.scaling.to(each.outputs[test, None])) for name, each in made.items()
        }
        first = {} if chosen is None else {chosen.kind: devices[chosen.kind]}
        return first | switch | devices

    def _scores(
        self, outcomes: dict[str, Outcome], measure: Numbers | Classes, test: NDArray[np.int64]
    ) -> list[Scored]:
        index, blocks = self._index[test], blocks_of(test, ordered=self.ordered, window=self.model.window)
        first, *others = outcomes
        ours = measure.errors(outcomes[first].outputs)
        scores: list[Scored] = [measure.score(first, outcomes[first], index, None)]
        for name in others:
            apart = margin(ours, measure.errors(outcomes[name].outputs), blocks, len(others))
            scores.append(measure.score(name, outcomes[name], index, apart))
        return scores

    def _measure_of(self, test: NDArray[np.int64]) -> Numbers | Classes:
        assert self.table.target is not None
        truth = self.table.target[test]
        return Classes(self.model, truth) if isinstance(self.model, SwitchClassifier) else Numbers(self.model, truth)

    def _rivals(
        self, switch: Training, measure: Numbers | Classes, predict: tuple[Rows, Tensor]
    ) -> tuple[dict[str, Outcome], list[LeftOut]]:
        """Return what each rival made of the test rows; and those that are left out."""
        outcomes: dict[str, Outcome] = {}
        if not self.compared:
            return outcomes, []
        names, left_out = rivals_of(self.model.architecture_, None, classes=bool(measure.classes))
        setting = Setting(
            task=switch.task,
            design=Design.of(switch.task.rows, switch.task.train, keyed=self.model.key_ not in self.model.inputs_),
            zero=measure.zero,
            ordered=self.ordered,
            seed=self.seed,
            weight=switch.task.weight,
            classes=measure.classes,
        )
        for name in names:
            made = self._rival(name, switch, predict) if name in TRAINED else solve_rival(name, setting, predict)
            if isinstance(made, LeftOut):
                left_out.append(made)
            else:
                outcomes[name] = replace(made, outputs=measure.outputs(made.outputs)) if name in TRAINED else made
            self._stop_if_asked()
        return outcomes, left_out

    def _rival(self, name: str, switch: Training, predict: tuple[Rows, Tensor]) -> Outcome | LeftOut:
        """Train a rival, or say why not."""
        made = self.model.architecture_
        torch.manual_seed(self.seed + 1 + TRAINED.index(name))
        rival = build_rival(name, made, self.model.points_, None)
        branch = baselines.counts(self.model.network_).active
        if reason := refused(baselines.counts(rival), made, switch, branch):
            return LeftOut(name=name, reason=reason)
        if made.branch == "mlp" and switch.task.target.is_floating_point():
            start_rival(rival, switch.task)  # as the switch's branches do
        try:
            training, outcome = train_rival(name, rival, switch, partial(self._train, name), predict)
        except DivergedError as error:
            return LeftOut(name=name, reason=f"it diverged ({error})")
        if training.diverged:
            return LeftOut(name=name, reason=training.diverged)
        if not np.abs(outcome.outputs).max(initial=0.0) < HUGE:  # NaN, too
            return LeftOut(name=name, reason="it diverged: what it makes of the test rows is no sensible number")
        return outcome

    def _stop_if_asked(self) -> None:
        """Stop between two models: one that is solved has no steps to stop at."""
        if self._signals:
            self._save(self._states)
            raise Interrupted(self._signals[0], self._saver.fault)

    def _save(self, states: dict[str, Any]) -> None:
        self._saver.save(
            {"states": states, "passes": self._passes, "seconds": self._passed(), "started": self._started}
        )

    def _passed(self) -> float:
        return self._seconds + time.monotonic() - self._began

    def _identity(self) -> Run:
        """Return what decides the outcome; a checkpoint of other rows or options cannot be continued."""
        options = {name: _plain(value) for name, value in self.model.get_params().items()}
        asked = self.memory.to_json() if self.table.rate else {}
        config = {**options, **asked, "test_share": self.test_share, "rows": self.table.fingerprint()}
        return Run(experiment="fit", label=self.saved.stem, config=config, seed=self.seed)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list | np.ndarray) else value

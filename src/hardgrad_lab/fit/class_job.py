"""One fit of classes: as a job of numbers, measured by log loss and accuracy."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from hardgrad_lab import baselines
from hardgrad_lab.fit.estimator import SwitchClassifier
from hardgrad_lab.fit.job import SWITCH, Job
from hardgrad_lab.fit.rivals.class_rivals import CLASS_SOLVED, solve_classes
from hardgrad_lab.fit.rivals.class_scores import ClassScore, accuracy, loss_margin, losses, means
from hardgrad_lab.fit.rivals.compare import TRAINED, Outcome, has_width
from hardgrad_lab.fit.rivals.design import Design
from hardgrad_lab.fit.rivals.scores import LeftOut, blocks_of
from hardgrad_lab.fit.rivals.solved import Setting
from hardgrad_lab.fit.rows import Rows
from hardgrad_lab.fit.training.training import Training


class ClassJob(Job):
    """A fit of classes under way; ``model`` is a classifier, and outcomes hold probabilities."""

    def _measure(self, switch: Training, test: NDArray[np.int64]) -> tuple[list[ClassScore], list[LeftOut]]:  # type: ignore[override]
        groups = self.table.groups if self.ordered else None
        rows = self.model.as_rows(self.table.inputs, groups)
        assert isinstance(self.model, SwitchClassifier)
        probabilities = self.model.predict_proba(self.table.inputs, groups)
        self._predicted = self.model.classes_[probabilities.argmax(axis=1)]
        own = Outcome(
            outputs=probabilities[test],
            described=baselines.describe(SWITCH),
            counts=baselines.counts(self.model.network_),
            updates=switch.steps,
            seconds=switch.seconds,
        )
        outcomes, left_out = self._class_rivals(switch, (rows, torch.from_numpy(test)))
        truth = self._truth(test)
        ours = losses(own.outputs, truth)
        score = partial(self._class_score, test=test, truth=truth)
        scores = [score(SWITCH, own)]
        for name, outcome in outcomes.items():
            blocks = blocks_of(test, ordered=self.ordered, window=self.model.window)
            apart = loss_margin(ours, losses(outcome.outputs, truth), blocks, len(outcomes))
            scores.append(replace(score(name, outcome), margin=apart))
        return scores, left_out

    def _class_rivals(self, switch: Training, predict: tuple[Rows, Tensor]) -> tuple[dict[str, Outcome], list[LeftOut]]:
        """Return the probabilities that each rival gave for the test rows; and those that are left out."""
        outcomes: dict[str, Outcome] = {}
        left_out: list[LeftOut] = []
        if not self.compared:
            return outcomes, left_out
        if has_width(self.model.architecture_, None):
            for name in TRAINED:
                made = self._rival(name, switch, predict)
                if isinstance(made, Outcome):
                    outcomes[name] = replace(made, outputs=softmax(made.outputs, axis=1))
                else:
                    left_out.append(made)
        else:
            reason = "a branch of this kind has no width to change"
            left_out = [LeftOut(name=name, reason=reason, possible=False) for name in TRAINED]
        setting = self._class_setting(switch)
        for name in CLASS_SOLVED:
            outcomes[name] = self._solve(name, setting, predict)
            self._stop_if_asked()
        return outcomes, left_out

    def _class_setting(self, switch: Training) -> Setting:
        keyed = self.model.key_ not in self.model.inputs_
        return Setting(
            task=switch.task,
            design=Design.of(switch.task.rows, switch.task.train, keyed=keyed),
            zero=np.zeros(1),
            ordered=self.ordered,
            seed=self.seed,
        )

    def _solve(self, name: str, setting: Setting, predict: tuple[Rows, Tensor]) -> Outcome:
        began = time.monotonic()
        solved = solve_classes(name, setting, self.model.architecture_.out_features)
        outputs = np.concatenate([solved.predict(x) for x in setting.design.chunks(*predict)])
        counts = baselines.Counts(total=solved.parameters, active=solved.parameters)
        seconds = time.monotonic() - began
        return Outcome(outputs=outputs, described=solved.described, counts=counts, updates=0, seconds=seconds)

    def _truth(self, test: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each test row's class; -1 where no row that was fitted to has it."""
        assert self.table.target is not None
        assert isinstance(self.model, SwitchClassifier)
        numbers = {str(name): number for number, name in enumerate(self.model.classes_)}
        return np.array([numbers.get(str(name), -1) for name in self.table.target[test]], dtype=np.int64)

    def _class_score(
        self, name: str, outcome: Outcome, *, test: NDArray[np.int64], truth: NDArray[np.int64]
    ) -> ClassScore:
        ranges = self.model.ranges_
        index = ranges.index(torch.from_numpy(self.table.inputs[self.table.key].to_numpy()[test])).numpy()
        each = losses(outcome.outputs, truth)
        return ClassScore(
            name=name,
            described=outcome.described,
            log_loss=float(each.mean()),
            accuracy=accuracy(outcome.outputs, truth),
            ranges=means(each, index, len(ranges)),
            parameters=outcome.counts.total,
            active=outcome.counts.active,
            updates=outcome.updates,
            seconds=outcome.seconds,
        )

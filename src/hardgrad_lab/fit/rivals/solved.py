"""The rivals that are solved, not trained step by step: lines, trees, tables, and the mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hardgrad_lab.baselines.boosting import Boosting
from hardgrad_lab.baselines.knots import KnotTable
from hardgrad_lab.baselines.leaves import RidgeTree
from hardgrad_lab.baselines.ridge import FOLDS, RidgeLine, folds
from hardgrad_lab.fit.rivals.budget import CHOOSING, rows_for
from hardgrad_lab.fit.rivals.design import Design, some
from hardgrad_lab.fit.rows import Array, Rows
from hardgrad_lab.fit.training.task import Task

CHOSEN = f"by {FOLDS}-fold cross-validation on the training rows"


@dataclass(frozen=True, kw_only=True)
class SolvedRival:
    """A rival that was solved.

    Args:
        predict: rows and chosen ones of them to (len(chosen), T), scaled as the task's targets.
        described: what it is and how it was tuned, in a line.
        parameters: in all; 0 where counting says nothing. active: in one row.
    """

    predict: Callable[[Rows, Tensor], Array]
    described: str
    parameters: int
    active: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a rival may learn from.

    Args:
        task: the switch's.
        design: of the rows.
        zero: (T,) what a target of 0 is in the task's scale.
        ordered: whether rows follow each other in time.
        seed: of folds and of samples.
        weight: of each row of the task, (n,); None where all count the same.
        classes: how many; 0 for numbers.
    """

    task: Task
    design: Design
    zero: Array
    ordered: bool
    seed: int
    weight: Tensor | None = None
    classes: int = 0

    def rows(self, name: str) -> Tensor:
        """Return the training rows that a rival of this name is solved on."""
        train = self.task.train
        return some(train, rows_for(name, len(train), self.design.columns), self.seed)

    def targets(self, rows: Tensor) -> Array:
        """Return the targets of rows, (n, T)."""
        target: Array = self.task.target[rows].double().cpu().numpy()
        return target if target.ndim == 2 else target[:, None]

    def folds(self, rows: Tensor) -> NDArray[np.int64]:
        """Return the fold of each of these rows."""
        return folds(len(rows), ordered=self.ordered, seed=self.seed)

    def weights(self, rows: Tensor) -> Array | None:
        """Return what each of these rows counts for, (n,)."""
        if self.weight is None:
            return None
        weight: Array = self.weight[rows].double().cpu().numpy()
        return weight

    def of(self, rows: Tensor) -> str:
        """Return what to add to a description if not all rows were looked at."""
        all_rows = len(self.task.train)
        return (
            "" if len(rows) == all_rows else f"; solved on {len(rows):,} of the {all_rows:,} training rows, at random"
        )


def _constant(setting: Setting) -> SolvedRival:
    train = setting.task.train
    mean: Array = np.average(setting.targets(train), axis=0, weights=setting.weights(train))
    return SolvedRival(
        predict=lambda rows, chosen: np.repeat(mean[None], len(chosen), axis=0),
        described="the mean of the training targets",
        parameters=len(mean),
        active=len(mean),
    )


def _best_gain(setting: Setting) -> SolvedRival:
    train = setting.task.train
    key, weight = _key(setting.task.rows, train), setting.weights(train)
    weighed = key if weight is None else key * weight
    gain = weighed @ (setting.targets(train) - setting.zero) / max(float(weighed @ key), 1e-300)
    return SolvedRival(
        predict=lambda rows, chosen: _key(rows, chosen)[:, None] * gain + setting.zero,
        described="the key times the best number (least squares on the training rows)",
        parameters=len(gain),
        active=len(gain),
    )


def _ridge(setting: Setting) -> SolvedRival:
    chosen = setting.rows("ridge")
    fold, targets, weight = setting.folds(chosen), setting.targets(chosen), setting.weights(chosen)

    def parts() -> Iterator[tuple[Array, Array, NDArray[np.int64], Array | None]]:
        begin = 0
        for x in setting.design.chunks(setting.task.rows, chosen):
            part = slice(begin, begin + len(x))
            yield x, targets[part], fold[part], None if weight is None else weight[part]
            begin += len(x)

    line = RidgeLine(parts())
    return SolvedRival(
        predict=lambda rows, chosen: in_chunks(setting.design, line.predict, rows, chosen),
        described=f"a ridge line: one affine map of all inputs, its strength {CHOSEN}{setting.of(chosen)}",
        parameters=line.parameters,
        active=line.parameters,
    )


def _ridge_tree(setting: Setting) -> SolvedRival:
    chosen = setting.rows("ridge-tree")
    x = setting.design.take(setting.task.rows, chosen)
    folds, weight = setting.folds(chosen), setting.weights(chosen)
    tree = RidgeTree(x, setting.targets(chosen), folds, seed=setting.seed, weight=weight)
    return SolvedRival(
        predict=lambda rows, chosen: in_chunks(setting.design, tree.predict, rows, chosen),
        described=(
            f"a tree of all inputs with a ridge line in each of its {tree.leaves} leaves, their number and strength "
            f"{CHOSEN}{setting.of(chosen)}"
        ),
        parameters=tree.parameters,
        active=tree.parameters // tree.leaves,
    )


def _boosting(setting: Setting) -> SolvedRival:
    chosen = setting.rows("boosting")
    rows, design = setting.task.rows, setting.design
    aside = some(setting.task.held_out, CHOOSING, setting.seed)
    x, x_out = design.take(rows, chosen), design.take(rows, aside)
    weights = setting.weights(chosen), setting.weights(aside)
    held_out = x_out, setting.targets(aside)
    boosted = Boosting(x, setting.targets(chosen), held_out, seed=setting.seed, weights=weights)
    how = "their number by the held-out rows" if len(aside) else "no rows being held out to choose their number"
    trees = " and ".join(map(str, boosted.trees))
    return SolvedRival(
        predict=lambda rows, chosen: in_chunks(design, boosted.predict, rows, chosen),
        described=f"gradient boosting, scikit-learn's: {trees} trees of all inputs, {how}{setting.of(chosen)}",
        parameters=0,
        active=0,
    )


def _table(setting: Setting) -> SolvedRival:
    chosen = setting.rows("table")
    folds, weight = setting.folds(chosen), setting.weights(chosen)
    table = KnotTable(_key(setting.task.rows, chosen), setting.targets(chosen), folds, weight)
    return SolvedRival(
        predict=lambda rows, chosen: table.predict(_key(rows, chosen)),
        described=(
            f"a piecewise-linear table of the key, solved by least squares; its {len(table.knots)} knots chosen "
            f"{CHOSEN}{setting.of(chosen)}"
        ),
        parameters=table.parameters,
        active=min(table.parameters, 2 * table.values.shape[1]),
    )


def _key(rows: Rows, chosen: Tensor) -> Array:
    key: Array = rows.key[chosen].double().cpu().numpy()
    return key


def in_chunks(design: Design, predict: Callable[[Array], Array], rows: Rows, chosen: Tensor) -> Array:
    """Return what is predicted of chosen rows, some at a time."""
    return np.concatenate([predict(x) for x in design.chunks(rows, chosen)])


SOLVERS: dict[str, Callable[[Setting], SolvedRival]] = {
    "ridge-tree": _ridge_tree,
    "boosting": _boosting,
    "table": _table,
    "ridge": _ridge,
    "best-gain": _best_gain,
    "constant": _constant,
}

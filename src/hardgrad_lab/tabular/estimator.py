"""SwitchRegressor and SwitchClassifier: the switch with scikit-learn's face."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.runs.execute import choose_device
from hardgrad_lab.tabular.branches import SEQUENCES, Factory
from hardgrad_lab.tabular.checks import check_groups, check_parameters, rows_and_targets, rows_like_those_fitted
from hardgrad_lab.tabular.network import Architecture, build_switch
from hardgrad_lab.tabular.points import empty_ranges, finite, search_points
from hardgrad_lab.tabular.rows import Array, Rows, Scaling, first_rows, held_out, lagged_rows
from hardgrad_lab.tabular.training import LossOfRows, Recipe, Task, Training, cross_entropy, forward, squared

STEPS = 4000  # optimiser steps that epochs="auto" aims at
FEWEST_EPOCHS, MOST_EPOCHS = 10, 300
SMALLEST_BATCH, LARGEST_BATCH = 32, 1024
INSPECTED = 4096  # training rows on which dead branches are looked for
BLOCK = 4  # windows that a search holds out together


class _SwitchEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: parameters, fitting, routing."""

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        points: Sequence[float] | None = None,
        *,
        search: int = 8,
        learn_points: bool = False,
        key: int | str = 0,
        key_only: bool = False,
        branch: str | Factory = "mlp",
        hidden: Sequence[int] = (32, 32),
        window: int = 1,
        normalise: str | bool = "auto",
        loss: str = "mean",
        optimizer: str = "adam",
        lr: float = 5e-3,
        epochs: int | str = "auto",
        batch_size: int | str = "auto",
        validation: float = 0.1,
        patience: int = 20,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.points = points
        self.search = search
        self.learn_points = learn_points
        self.key = key
        self.key_only = key_only
        self.branch = branch
        self.hidden = hidden
        self.window = window
        self.normalise = normalise
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation = validation
        self.patience = patience
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to rows X (n, F) and targets y (n,); groups (n,) names each row's recording, for windows."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        device = choose_device(self.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            training = self.begin(X, y, groups, seed)
            training.run()
        return self.finish(training)

    def begin(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None, seed: int) -> Training:
        """Return the training at step 0, for those who want to watch, stop or resume it; weights by torch's seed."""
        check_parameters(self)
        columns, target = rows_and_targets(self, X, y, numeric=self._numeric)
        target = self._targets(target)
        first = first_rows(check_groups(groups, len(columns)), len(columns))
        whole = np.flatnonzero(np.arange(len(first)) - first >= self.window - 1)
        if not len(whole):
            raise ValueError(
                f"window must be at most the rows of the longest recording, {_longest(first)}, got {self.window}; "
                "choose a shorter window"
            )
        blocks = self.window > 1 or groups is not None
        train, chosen = held_out(whole, first, self.validation, blocks=blocks, seed=seed)
        self.key_ = self._column(self.key)
        self._settle(columns, target, first, train, seed)
        return self._training(columns, target, first, (train, chosen), seed)

    def finish(self, training: Training) -> Self:
        """Take over what a training made; rows are predicted in double precision, one by one as all at once."""
        assert isinstance(training.model, hg.Switch)
        self.network_ = training.model.cpu().double().eval()
        self.points_ = tuple(self.ranges_.points)
        self.curve_, self.n_iter_, self.best_epoch_ = training.curve, training.epoch, training.best_epoch
        self.steps_ = training.steps
        self.split_ = len(training.task.train), len(training.task.held_out)
        index = self.ranges_.index(training.task.rows.key.cpu()[training.task.train.cpu()])
        self.visits_ = torch.bincount(index, minlength=len(self.ranges_)).tolist()
        self._warn_of_ill_ranges(training.task)
        return self

    def _warn_of_ill_ranges(self, task: Task) -> None:
        """Warn of branches that are dead or say one thing; looked for on rows spread over those trained on."""
        few = torch.linspace(0, len(task.train) - 1, min(INSPECTED, len(task.train))).long()
        x, key = (part.cpu() for part in task.rows.take(task.train[few.to(task.train.device)]))
        for each in hg.switch.inspect(self.network_, x.double(), key).ranges:
            for problem in each.problems() if each.rows else ():
                warnings.warn(problem, UserWarning, stacklevel=3)

    @property
    def ranges_(self) -> hg.Ranges:
        """Return the condition of the fitted switch."""
        ranges = self.network_.ranges
        assert isinstance(ranges, hg.Ranges)
        return ranges

    def route(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the range that each row takes, (n,)."""
        check_is_fitted(self)
        columns = rows_like_those_fitted(self, X)
        index: NDArray[np.int64] = self.ranges_.index(torch.from_numpy(columns[:, self.key_].copy())).numpy()
        return index

    def as_rows(self, X: ArrayLike, groups: ArrayLike | None = None) -> Rows:
        """Return rows as the fitted network sees them, in double precision."""
        check_is_fitted(self)
        columns = rows_like_those_fitted(self, X)
        first = first_rows(check_groups(groups, len(columns)), len(columns))
        return self._rows(columns, first, torch.float64, torch.device("cpu"))

    def _outputs(self, X: ArrayLike, groups: ArrayLike | None) -> Array:
        rows = self.as_rows(X, groups)
        outputs: Array = forward(self.network_, rows, torch.arange(len(rows))).numpy()
        return outputs

    def _settle(
        self, columns: Array, target: Array, first: NDArray[np.int64], train: NDArray[np.int64], seed: int
    ) -> None:
        """Decide points, inputs and architecture from the rows to train on."""
        others = [column for column in range(columns.shape[1]) if column != self.key_ or not self.key_only]
        if not others:
            raise ValueError(
                "key_only must be False where the key is the only column, got True; the branch has no input"
            )
        self.inputs_ = np.array(others)
        self.scaling_ = Scaling.of(columns[train][:, self.inputs_])
        key = columns[train, self.key_]
        points: Sequence[float] | None = self.points
        self.found_ = None
        if points is None:
            lagged = columns[:, self.inputs_][lagged_rows(train, first, self.window)].reshape(len(train), -1)
            block = 1 if self.window == 1 else BLOCK * self.window
            wanted = self._to_search(target[train])
            points, self.found_ = search_points(key, lagged, wanted, self.search, block=block, seed=seed)
        points = hg.Ranges(points).points
        for sentence in empty_ranges(points, key):
            warnings.warn(f"{sentence}. This range keeps its first, random weights", UserWarning, stacklevel=4)
        width = self._width()
        named = self.branch if isinstance(self.branch, str) else ""
        self.architecture_ = Architecture(
            points=tuple(points),
            learn_points=bool(self.learn_points),
            branch=named,
            hidden=tuple(int(width) for width in self.hidden),
            columns=len(others),
            window=self.window,
            out_features=width,
            raw=self._raw(points),
        )

    def _raw(self, points: Sequence[float]) -> int | None:
        """Return where the flat window has the key that the switch is to normalise."""
        place = np.flatnonzero(self.inputs_ == self.key_)
        wanted = self.branch not in SEQUENCES if self.normalise == "auto" else bool(self.normalise)
        if not wanted or not len(place) or not finite(points):
            return None
        return (self.window - 1) * len(self.inputs_) + int(place[0])

    def _training(
        self,
        columns: Array,
        target: Array,
        first: NDArray[np.int64],
        split: tuple[NDArray[np.int64], NDArray[np.int64]],
        seed: int,
    ) -> Training:
        device = choose_device(self.device)
        switch = build_switch(self.architecture_, self.branch if callable(self.branch) else None).to(device)
        assert isinstance(switch.ranges, hg.Ranges)
        dtype = self.architecture_.dtype
        train, chosen = (torch.from_numpy(rows).to(device) for rows in split)
        task = Task(
            rows=self._rows(columns, first, dtype, device),
            target=self._scaled(target, split[0]).to(device, dtype if self._numeric else torch.int64),
            train=train,
            held_out=chosen,
            ranges=switch.ranges,
            loss_of_rows=self._loss_of_rows,
        )
        return Training(switch, task, self._recipe(len(train), seed))

    def _rows(self, columns: Array, first: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> Rows:
        scaled = self.scaling_.to(columns[:, self.inputs_])
        return Rows(
            columns=torch.from_numpy(scaled).to(device, dtype),
            key=torch.from_numpy(columns[:, self.key_].copy()).to(device),
            first=torch.from_numpy(first).to(device),
            window=self.architecture_.window,
            raw=self.architecture_.raw,
        )

    def _recipe(self, rows: int, seed: int) -> Recipe:
        batch = self.batch_size
        if isinstance(batch, str):
            near = 2 ** round(math.log2(max(1, rows / 100)))
            batch = min(max(near, SMALLEST_BATCH), LARGEST_BATCH)
        epochs = self.epochs
        if isinstance(epochs, str):
            epochs = min(max(round(STEPS / -(-rows // batch)), FEWEST_EPOCHS), MOST_EPOCHS)
        return Recipe(
            epochs=int(epochs),
            batch_size=int(batch),
            optimizer=self.optimizer,
            lr=self.lr,
            loss=self.loss,
            patience=self.patience,
            seed=seed,
        )

    def _column(self, key: int | str) -> int:
        names = getattr(self, "feature_names_in_", None)
        if isinstance(key, str):
            if names is None or key not in names:
                there = "columns without names" if names is None else ", ".join(map(str, names))
                raise ValueError(f"key must be a column of X, got {key!r}; X has {there}")
            return int(np.flatnonzero(names == key)[0])
        if not -self.n_features_in_ <= key < self.n_features_in_:
            raise ValueError(f"key must be a column of X, which has {self.n_features_in_}, got {key}; count from 0")
        return int(key % self.n_features_in_)

    # What a regressor and a classifier do differently.

    _numeric: bool
    _loss_of_rows: LossOfRows

    def _targets(self, y: NDArray[Any]) -> Array:
        raise NotImplementedError

    def _to_search(self, target: Array) -> Array:
        return target

    def _width(self) -> int:
        raise NotImplementedError

    def _scaled(self, target: Array, train: NDArray[np.int64]) -> Tensor:
        raise NotImplementedError


def _longest(first: NDArray[np.int64]) -> int:
    return int(np.bincount(first).max())


class SwitchRegressor(RegressorMixin, _SwitchEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Regression with one network for each range of a key column: a hard IF over a table.

    Columns are standardised inside, targets too; the outputs are linear. Weights are the best on held-out rows.

    Args:
        points: N + 1 numbers that divide the key into N ranges, in the key's units. None: they are searched.
        search: how many ranges a search may find; used where ``points`` is None.
        learn_points: let the inner points move while training, from the given or found ones.
        key: the column that decides: its number, or its name in a DataFrame.
        key_only: the key decides, but is no input of the branches.
        branch: "mlp", "linear", "gru", "lstm", "conv", a "module:factory", or a function of (in_features, out_features)
            that returns a module from (B, in_features) to (B, out_features).
        hidden: widths of the hidden layers of a branch that goes by name.
        window: rows that a branch sees at a time, the newest last: memory for rows in order of time. A window never
            crosses from one recording to the next; rows too early for a whole one are not trained on, and are
            predicted as if the recording had stood still before its first row.
        normalise: map the key to [-1, 1] in each range, where it is an input: "auto" does, but for sequence branches.
        loss: "mean" over rows, or "per_branch_mean", which gives each range one vote however few rows it has.
        optimizer: "adam", "adamw", "sgd" or "rmsprop".
        lr: the peak of the learning rate, which rises at first and then falls to zero as a cosine.
        epochs: at most so many passes over the rows; "auto" goes for 4000 steps in 10 to 300 epochs.
        batch_size: rows in a step; "auto" takes about a hundredth of the rows, 32 to 1024.
        validation: share of the rows held out to choose the best weights; stretches of each recording where there
            are windows or groups, rows at random where not. 0 holds out none and keeps the last weights.
        patience: epochs without a better held-out loss after which training ends.
        random_state: a seed for weights, held-out rows and the order of rows.
        device: "cpu", "cuda", or "auto" for cuda where there is one.

    Attributes:
        network_: ``hardgrad.Switch`` in double precision; ``network_.branch(i)`` is range i.
        points_: of the ranges. visits_: training rows in each.
        found_: what the search found, ``hardgrad.FoundRanges``; None where the points were given.
        curve_: for each epoch the loss, the held-out loss, and the held-out loss of each range.
        n_iter_, steps_, best_epoch_: epochs and steps taken, and the epoch whose weights were kept.
        split_: how many rows were trained on, and how many chose the weights.

    Example:
        >>> import numpy as np
        >>> from hardgrad_lab import SwitchRegressor
        >>> x = np.linspace(-1, 1, 400)[:, None]
        >>> y = np.where(x[:, 0] < 0, -x[:, 0], 3 * x[:, 0])
        >>> model = SwitchRegressor([-1, 0, 1], branch="linear", lr=0.05, epochs=60, random_state=0).fit(x, y)
        >>> model.predict([[-0.5], [0.5]]).round(2).tolist(), model.route([[-0.5], [0.5]]).tolist()
        ([0.5, 1.5], [0, 1])
    """

    _numeric = True
    _loss_of_rows = staticmethod(squared)

    def predict(self, X: ArrayLike, groups: ArrayLike | None = None) -> Array:
        """Return the predictions (n,) for rows X (n, F); groups (n,) names each row's recording, for windows."""
        outputs = self._outputs(X, groups)
        predicted: Array = self.target_scaling_.back(outputs)[:, 0]
        return predicted

    def _targets(self, y: NDArray[Any]) -> Array:
        return np.asarray(y, dtype=np.float64)

    def _width(self) -> int:
        return 1

    def _scaled(self, target: Array, train: NDArray[np.int64]) -> Tensor:
        self.target_scaling_ = Scaling.of(target[train][:, None])
        return torch.from_numpy(self.target_scaling_.to(target[:, None])[:, 0])


class SwitchClassifier(ClassifierMixin, _SwitchEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classification with one network for each range of a key column; trained by cross-entropy.

    Arguments and attributes are those of ``SwitchRegressor``.

    Attributes:
        classes_: the labels, sorted.

    Example:
        >>> import numpy as np
        >>> from hardgrad_lab import SwitchClassifier
        >>> x = np.linspace(-1, 1, 400)[:, None]
        >>> y = np.where(np.abs(x[:, 0]) < 0.5, "inside", "outside")
        >>> model = SwitchClassifier([-1, 0, 1], branch="linear", lr=0.05, epochs=60, random_state=0).fit(x, y)
        >>> model.predict([[-0.9], [0.1], [0.9]]).tolist()
        ['outside', 'inside', 'outside']
    """

    _numeric = False
    _loss_of_rows = staticmethod(cross_entropy)

    def predict(self, X: ArrayLike, groups: ArrayLike | None = None) -> NDArray[Any]:
        """Return the likeliest class of each row, (n,)."""
        outputs = self._outputs(X, groups)
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike, groups: ArrayLike | None = None) -> Array:
        """Return the probability of each class, (n, C), in the order of ``classes_``."""
        shares: Array = torch.from_numpy(self._outputs(X, groups)).softmax(1).numpy()
        return shares

    def _targets(self, y: NDArray[Any]) -> Array:
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        return np.asarray(numbers, dtype=np.float64)

    def _to_search(self, target: Array) -> Array:
        one_hot: Array = np.eye(len(self.classes_))[target.astype(np.int64)]
        return one_hot

    def _width(self) -> int:
        return len(self.classes_)

    def _scaled(self, target: Array, train: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(target)

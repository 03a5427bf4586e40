"""What SwitchRegressor and SwitchClassifier share: parameters, fitting, routing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.fit.models import decide
from hardgrad_lab.fit.models.checks import (
    check_groups,
    check_parameters,
    check_weights,
    rows_and_targets,
    rows_like_those_fitted,
)
from hardgrad_lab.fit.models.small import warn_of_ranges
from hardgrad_lab.fit.rows import Array, Rows, Scaling, first_rows
from hardgrad_lab.fit.training.branches import Factory
from hardgrad_lab.fit.training.forward import forward
from hardgrad_lab.fit.training.learn_points import sentence_of
from hardgrad_lab.fit.training.network import build_switch
from hardgrad_lab.fit.training.progress import watched
from hardgrad_lab.fit.training.solving import Solving
from hardgrad_lab.fit.training.start import start_from_lines
from hardgrad_lab.fit.training.task import LossOfRows, Task
from hardgrad_lab.fit.training.training import Training
from hardgrad_lab.runs.execute import choose_device


class SwitchEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: parameters, fitting, routing."""

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    diverged_: str = ""  # of a model that was read from a folder, too

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
        normalize: str | bool = "auto",
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
        self.normalize = normalize
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation = validation
        self.patience = patience
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        progress: bool = False,
    ) -> Self:
        """Fit to rows X (n, F) and their targets y.

        Args:
            X: (n, F).
            y: (n,); for a regressor also (n, T), several targets at once.
            groups: (n,) names each row's recording, for windows.
            sample_weight: (n,), 0 or more, what each row counts for: 0 as if it were not there, 2 as if it were there
                twice. A row of weight 0 is still seen by the windows that reach back to it.
            progress: show how far it is: a bar on a terminal, some lines in a notebook, a file or a pipe.
        """
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        device = choose_device(self.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            training = self.begin(X, y, groups, seed, sample_weight)
            with watched(type(self).__name__, progress) as tell:
                training.run(lambda: tell(training))
        return self.finish(training)

    def begin(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None,
        seed: int,
        sample_weight: ArrayLike | None = None,
    ) -> Training:
        """Return the training at step 0, for those who want to watch, stop or resume it; weights by torch's seed."""
        check_parameters(self)
        columns, target = rows_and_targets(self, X, y, numeric=self._numeric)
        weight = check_weights(sample_weight, len(columns))
        target = self._targets(target)
        first = first_rows(check_groups(groups, len(columns)), len(columns))
        train, chosen = decide.split_rows(self, first, weight, groups is not None, seed)
        self.key_ = decide.key_column(self)
        self.inputs_ = decide.input_columns(self)
        own = None if weight is None else weight[train]
        self.scaling_ = Scaling.of(columns[train][:, self.inputs_], own)
        wanted = self._to_search(target[train])
        points, self.found_ = decide.decide_points(self, columns, wanted, first, train, weight, seed)
        self.architecture_ = decide.architecture_of(self, points, self._width())
        scaled = self._scaled(target, train, own)
        return self._training(columns, scaled, first, (train, chosen), weight, seed)

    def finish(self, training: Training) -> Self:
        """Take over what a training made; rows are predicted in double precision, one by one as all at once."""
        assert isinstance(training.model, hg.Switch)
        self.network_ = training.model.cpu().double().eval()
        self.points_ = tuple(self.ranges_.points)
        self.curve_, self.n_iter_, self.best_epoch_ = training.curve, max(1, training.epoch), training.best_epoch
        self.steps_ = training.steps
        self.split_ = len(training.task.train), len(training.task.held_out)
        index = self.ranges_.index(training.task.rows.key.cpu()[training.task.train.cpu()])
        self.visits_ = torch.bincount(index, minlength=len(self.ranges_)).tolist()
        self.diverged_ = training.diverged
        if self.diverged_:
            warnings.warn(self.diverged_, UserWarning, stacklevel=2)
        if self.learn_points and (said := sentence_of(self.architecture_.points, self.points_)):
            warnings.warn(said, UserWarning, stacklevel=2)
        warn_of_ranges(self, training.task)
        return self

    @property
    def ranges_(self) -> hg.switch.PointRouter:
        """Return the condition of the fitted switch."""
        ranges = self.network_.ranges
        assert isinstance(ranges, hg.switch.PointRouter)
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

    def _training(
        self,
        columns: Array,
        target: Tensor,
        first: NDArray[np.int64],
        split: decide.Split,
        weight: Array | None,
        seed: int,
    ) -> Training:
        device = choose_device(self.device)
        switch = build_switch(self.architecture_, self.branch if callable(self.branch) else None).to(device)
        assert isinstance(switch.ranges, hg.switch.PointRouter)
        dtype = self.architecture_.dtype
        train, chosen = (torch.from_numpy(rows).to(device) for rows in split)
        share = None if weight is None else torch.from_numpy(weight / weight[split[0]].mean()).to(device, dtype)
        task = Task(
            rows=self._rows(columns, first, dtype, device),
            target=target.to(device, dtype if self._numeric else torch.int64),
            train=train,
            held_out=chosen,
            ranges=switch.ranges,
            loss_of_rows=self._loss_of_rows,
            weight=share,
        )
        if self._numeric and self.branch == "mlp":
            start_from_lines(switch, task)
        kind = Solving if decide.solvable(self) else Training
        return kind(switch, task, decide.recipe_of(self, len(train), seed))

    def _rows(self, columns: Array, first: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> Rows:
        scaled = self.scaling_.to(columns[:, self.inputs_])
        return Rows(
            columns=torch.from_numpy(scaled).to(device, dtype),
            key=torch.from_numpy(columns[:, self.key_].copy()).to(device),
            first=torch.from_numpy(first).to(device),
            window=self.architecture_.window,
            raw=self.architecture_.raw,
        )

    # What a regressor and a classifier do differently.

    _numeric: bool
    _loss_of_rows: LossOfRows

    def _targets(self, y: NDArray[Any]) -> Array:
        raise NotImplementedError

    def _to_search(self, target: Array) -> Array:
        return target

    def _width(self) -> int:
        raise NotImplementedError

    def _scaled(self, target: Array, train: NDArray[np.int64], weight: Array | None) -> Tensor:
        raise NotImplementedError

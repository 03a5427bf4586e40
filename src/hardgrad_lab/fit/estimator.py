"""SwitchRegressor and SwitchClassifier: the switch with scikit-learn's face."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from hardgrad_lab.fit.models.shared import SwitchEstimator
from hardgrad_lab.fit.rows import Array, Scaling
from hardgrad_lab.fit.training.task import cross_entropy, squared


class SwitchRegressor(RegressorMixin, SwitchEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Regression with one network for each range of a key column: a hard IF over a table.

    Columns are standardized inside, targets too; the outputs are linear. Weights are the best on held-out rows. Lines
    are solved by least squares in each range: what only says how to train has no say in them.

    Args:
        points: N + 1 numbers that divide the key into N ranges, in the key's units. None: they are searched.
        search: how many ranges a search may find; used where ``points`` is None.
        learn_points: let the inner points move while training, from the given or found ones. A point moves only where
            that pays on held-out rows; a warning names those that stayed.
        key: the column that decides: its number, or its name in a DataFrame.
        key_only: the key decides, but is no input of the branches.
        branch: "mlp", "linear", "gru", "lstm", "conv", a "module:factory", or a function of (in_features, out_features)
            that returns a module from (B, in_features) to (B, out_features).
        hidden: widths of the hidden layers of a branch that goes by name.
        window: rows that a branch sees at a time, the newest last: memory for rows in order of time. A window never
            crosses from one recording to the next; rows too early for a whole one are not trained on, and are
            predicted as if the recording had stood still before its first row.
        normalize: map the key to [-1, 1] in each range, where it is an input: "auto" does, but for sequence branches.
        loss: "mean" over rows, or "per_branch_mean", which gives each range one vote however few rows it has.
        optimizer: "adam", "adamw", "sgd" or "rmsprop".
        lr: the peak of the learning rate, which rises at first and then falls to zero as a cosine.
        epochs: at most so many passes over the rows; "auto" goes for 4000 steps in 10 to 300 epochs.
        batch_size: rows in a step; "auto" takes about a hundredth of the rows, 32 to 1024.
        validation: share of the rows held out to choose the best weights; stretches of each recording where there
            are windows or groups, rows at random where not. 0 holds out none and keeps the last weights. Lines
            between fixed points are solved on all rows.
        patience: epochs without a better held-out loss after which training ends.
        random_state: a seed for weights, held-out rows and the order of rows.
        device: "cpu", "cuda", or "auto" for cuda where there is one.

    Attributes:
        network_: ``hardgrad.Switch`` in double precision; ``network_.branch(i)`` is range i.
        points_: of the ranges.
        visits_: training rows in each range.
        found_: what the search found, ``hardgrad.FoundRanges``; None where the points were given.
        curve_: for each epoch the loss, the held-out loss, and the held-out loss of each range.
        n_iter_, steps_, best_epoch_: epochs and steps taken, and the epoch whose weights were kept.
        split_: how many rows were trained on, and how many chose the weights.
        diverged_: "", or that the training diverged and which weights were kept, which is warned of, too.

    Example:
        >>> import numpy as np
        >>> from hardgrad_lab import SwitchRegressor
        >>> x = np.linspace(-1, 1, 400)[:, None]
        >>> y = np.where(x[:, 0] < 0, -x[:, 0], 3 * x[:, 0])
        >>> model = SwitchRegressor([-1, 0, 1], branch="linear", random_state=0).fit(x, y)
        >>> model.predict([[-0.5], [0.5]]).round(2).tolist(), model.route([[-0.5], [0.5]]).tolist()
        ([0.5, 1.5], [0, 1])
    """

    _numeric = True
    _loss_of_rows = staticmethod(squared)

    def predict(self, X: ArrayLike, groups: ArrayLike | None = None) -> Array:
        """Return the predictions for rows X (n, F): (n,), or (n, T) of several targets.

        groups (n,) names each row's recording, for windows.
        """
        outputs = self._outputs(X, groups)
        predicted: Array = self.target_scaling_.back(outputs)
        return predicted[:, 0] if predicted.shape[1] == 1 else predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(self, y: NDArray[Any]) -> Array:
        target = np.asarray(y, dtype=np.float64)
        self._outputs_wanted = 1 if target.ndim == 1 else target.shape[1]
        return target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target

    def _width(self) -> int:
        return self._outputs_wanted

    def _scaled(self, target: Array, train: NDArray[np.int64], weight: Array | None) -> Tensor:
        columns = target.reshape(len(target), -1)
        self.target_scaling_ = Scaling.of(columns[train], weight)
        return torch.from_numpy(self.target_scaling_.to(columns).reshape(target.shape))


class SwitchClassifier(ClassifierMixin, SwitchEstimator):  # type: ignore[misc]  # scikit-learn has no types
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

    def _scaled(self, target: Array, train: NDArray[np.int64], weight: Array | None) -> Tensor:
        return torch.from_numpy(target)

"""What a fit decides from its rows before it trains: which are held out, inputs, points, architecture and recipe."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hardgrad as hg
from hardgrad_lab.fit.rows import Array, held_out, lagged_rows
from hardgrad_lab.fit.training.branches import SEQUENCES
from hardgrad_lab.fit.training.network import Architecture
from hardgrad_lab.fit.training.points import empty_ranges, finite, search_points
from hardgrad_lab.fit.training.task import Recipe

STEPS = 4000  # optimizer steps that epochs="auto" aims at
FEWEST_EPOCHS, MOST_EPOCHS = 10, 300
SMALLEST_BATCH, LARGEST_BATCH = 32, 1024
BLOCK = 4  # windows that a search holds out together
BENDS = 3  # degree along the key by which a search stands in for branches that bend

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def solvable(estimator: Any) -> bool:
    """Return whether the branches have a closed form: lines under squared loss."""
    return bool(estimator.branch == "linear" and estimator._numeric)


def split_rows(estimator: Any, first: NDArray[np.int64], weight: Array | None, groups: bool, seed: int) -> Split:
    """Return the rows to train on and those to hold out; all have whole windows and weigh something."""
    whole = np.flatnonzero(np.arange(len(first)) - first >= estimator.window - 1)
    if not len(whole):
        raise ValueError(
            f"window must be at most the rows of the longest recording, {int(np.bincount(first).max())}, got "
            f"{estimator.window}; choose a shorter window"
        )
    if weight is not None:
        whole = whole[weight[whole] > 0]
        if not len(whole):
            raise ValueError("sample_weight must be above 0 for a row with a whole window before it, got 0 for all")
    # Where lines are solved between fixed points, held-out rows would have nothing to choose.
    share = 0.0 if solvable(estimator) and not estimator.learn_points else estimator.validation
    return held_out(whole, first, share, blocks=estimator.window > 1 or groups, seed=seed)


def key_column(estimator: Any) -> int:
    """Return the number of the key's column, or raise a ValueError."""
    key, names = estimator.key, getattr(estimator, "feature_names_in_", None)
    if isinstance(key, str):
        if names is None or key not in names:
            there = "columns without names" if names is None else ", ".join(map(str, names))
            raise ValueError(f"key must be a column of X, got {key!r}; X has {there}")
        return int(np.flatnonzero(names == key)[0])
    columns = estimator.n_features_in_
    if not -columns <= key < columns:
        raise ValueError(f"key must be a column of X, which has {columns}, got {key}; count from 0")
    return int(key % columns)


def input_columns(estimator: Any) -> NDArray[np.int64]:
    """Return the numbers of the columns that the branches see, or raise a ValueError."""
    others = [c for c in range(estimator.n_features_in_) if c != estimator.key_ or not estimator.key_only]
    if not others:
        raise ValueError("key_only must be False where the key is the only column, got True; the branch has no input")
    return np.array(others)


def decide_points(
    estimator: Any,
    columns: Array,
    wanted: Array,
    first: NDArray[np.int64],
    train: NDArray[np.int64],
    weight: Array | None,
    seed: int,
) -> tuple[Sequence[float], hg.FoundRanges | None]:
    """Return the points, given or found on the training rows, and what was found; warn of empty ranges.

    Args:
        estimator: with ``key_`` and ``inputs_``.
        columns: (n, F).
        wanted: (len(train), T) or (len(train),), what the points are to explain.
        first: (n,) the first row of each row's recording.
        train: rows to train on.
        weight: (n,), or None.
        seed: of the search.
    """
    key = columns[train, estimator.key_]
    points: Sequence[float] | None = estimator.points
    found = None
    if points is None:
        lagged = columns[:, estimator.inputs_][lagged_rows(train, first, estimator.window)].reshape(len(train), -1)
        points, found = search_points(
            key,
            lagged,
            wanted,
            estimator.search,
            block=1 if estimator.window == 1 else BLOCK * estimator.window,
            seed=seed,
            degree=1 if estimator.branch == "linear" or estimator.key_only else BENDS,
            weight=None if weight is None else weight[train],
        )
    points = hg.Ranges(points).points
    left = (
        "predicts the mean of all rows" if estimator.branch in ("linear", "mlp") else "keeps its first, random weights"
    )
    for sentence in empty_ranges(points, key):
        warnings.warn(f"{sentence}. This range {left}", UserWarning, stacklevel=4)
    return points, found


def architecture_of(estimator: Any, points: Sequence[float], width: int) -> Architecture:
    """Return the architecture for these points and so many outputs."""
    return Architecture(
        points=tuple(points),
        learn_points=bool(estimator.learn_points),
        branch=estimator.branch if isinstance(estimator.branch, str) else "",
        hidden=tuple(int(width) for width in estimator.hidden),
        columns=len(estimator.inputs_),
        window=estimator.window,
        out_features=width,
        raw=_raw(estimator, points),
    )


def _raw(estimator: Any, points: Sequence[float]) -> int | None:
    """Return where the flat window has the key that the switch is to normalize."""
    place = np.flatnonzero(estimator.inputs_ == estimator.key_)
    wanted = estimator.branch not in SEQUENCES if estimator.normalize == "auto" else bool(estimator.normalize)
    if not wanted or not len(place) or not finite(points):
        return None
    return int((estimator.window - 1) * len(estimator.inputs_) + place[0])


def recipe_of(estimator: Any, rows: int, seed: int) -> Recipe:
    """Return how to train on so many rows; lines are solved in one step on all of them."""
    batch, epochs = estimator.batch_size, estimator.epochs
    if solvable(estimator):
        batch, epochs = rows, 1
    if isinstance(batch, str):
        near = 2 ** round(math.log2(max(1, rows / 100)))
        batch = min(max(near, SMALLEST_BATCH), LARGEST_BATCH)
    if isinstance(epochs, str):
        epochs = min(max(round(STEPS / -(-rows // batch)), FEWEST_EPOCHS), MOST_EPOCHS)
    return Recipe(
        epochs=int(epochs),
        batch_size=int(batch),
        optimizer=estimator.optimizer,
        lr=estimator.lr,
        loss=estimator.loss,
        patience=estimator.patience,
        seed=seed,
    )

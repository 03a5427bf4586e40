"""A tree with a ridge line in each leaf: a rival that finds ranges of its own, of all inputs, in a closed form.

One tree is grown best split first. Its nodes are numbered in the order they were made, so that the tree of L leaves is
the first 2 L - 1 nodes of it, and one growth holds the trees of every size. What a leaf's line needs is the moments of
its rows, and those of a node are the sum of its children's. So five growths cross-validate all sizes and all strengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from hardgrad_lab.baselines.moments import ALPHAS, Array, Line, Moments

MOST_LEAVES = 128
VALUES = 4_000_000  # numbers that the scatters of all leaves may have: wide rows get fewer leaves
ALIKE = 1.01  # errors of folds that differ by less than this factor are equal
SIZES = tuple(2**k for k in range(8))  # of the trees that are tried


class RidgeTree:
    """A tree whose leaves hold ridge lines; its size and their strength by cross-validation.

    Args:
        x: (n, D), standardized, so that single precision, in which scikit-learn's trees split, is fine enough.
        y: (n, T).
        fold: (n,) of each row.
        seed: of the order in which equal splits are looked at.
        weight: (n,) what each row counts for; None where all count the same.

    Attributes:
        leaves: of the tree that was chosen. alpha: the strength that was chosen.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 400)[:, None]
        >>> y = np.where(x < 0, -x, 3 * x + 2)
        >>> tree = RidgeTree(x, y, np.arange(400) % 5, seed=0)
        >>> tree.predict(np.array([[-0.5], [0.5]])).round(3).tolist()
        [[0.5], [3.5]]
    """

    def __init__(self, x: Array, y: Array, fold: NDArray[np.int64], *, seed: int, weight: Array | None = None) -> None:
        share = np.ones(len(x)) if weight is None else weight
        most = max(1, min(MOST_LEAVES, VALUES // (x.shape[1] + y.shape[1]) ** 2, len(x) // (2 * x.shape[1] + 3)))
        self._grown = _Grown(x, y, share, most, seed)
        sizes = [size for size in SIZES if size <= most]
        errors = np.zeros((len(sizes), len(ALPHAS)))
        for number in np.unique(fold).tolist():
            out = fold == number
            if out.any() and not out.all():
                grown = _Grown(x[~out], y[~out], share[~out], most, seed)
                errors += grown.errors(x[out], y[out], share[out], sizes)
        size = int(errors.min(axis=1).argmin())
        # The weakest ridge that is as good: rows beside a jump, which no fold places right, must not decide on it.
        self.alpha = ALPHAS[int((errors[size] <= ALIKE * errors[size].min()).argmax())]
        self._lines = self._grown.lines(sizes[size], self.alpha)
        self.leaves = len(self._lines)

    @property
    def parameters(self) -> int:
        """Return the numbers of all lines, and a column and a threshold for each split."""
        line = next(iter(self._lines.values()))
        return self.leaves * (line.slopes.size + line.constant.size) + 2 * (self.leaves - 1)

    def predict(self, x: Array) -> Array:
        """Return (n, T) for x (n, D)."""
        leaf = self._grown.leaf(x, self.leaves)
        lines = [self._lines[node] for node in sorted(self._lines)]
        which = np.searchsorted(sorted(self._lines), leaf)
        slopes, constants = np.stack([line.slopes for line in lines]), np.stack([line.constant for line in lines])
        y: Array = np.empty((len(x), constants.shape[1]))
        for i in range(len(lines)):
            y[which == i] = x[which == i] @ slopes[i] + constants[i]
        return y


class _Grown:
    """One growth, and the moments of every node."""

    def __init__(self, x: Array, y: Array, weight: Array, most: int, seed: int) -> None:
        least = min(2 * x.shape[1] + 3, max(1, len(x) // 2))
        self.inputs = x.shape[1]
        self.tree = DecisionTreeRegressor(max_leaf_nodes=max(2, most), min_samples_leaf=least, random_state=seed)
        self.tree.fit(x, y, sample_weight=weight)
        left, right = self.tree.tree_.children_left, self.tree.tree_.children_right
        self.parent = np.zeros(len(left), dtype=np.int64)
        inner = np.flatnonzero(left >= 0)
        self.parent[left[inner]] = self.parent[right[inner]] = inner
        self.moments = self._of_nodes(x, y, weight)
        self._lines: dict[tuple[int, float], Line] = {}

    def leaf(self, x: Array, leaves: int) -> NDArray[np.int64]:
        """Return each row's leaf in the tree of so many leaves: climb from the grown tree's leaf to a node in it."""
        last = 2 * leaves - 2
        node = np.arange(len(self.parent))
        while (node > last).any():
            node = np.where(node > last, self.parent[node], node)
        found: NDArray[np.int64] = node[self.tree.apply(x)]
        return found

    def lines(self, leaves: int, alpha: float) -> dict[int, Line]:
        """Return the line of each leaf of the tree of so many leaves."""
        there = [node for node in range(len(self.parent)) if self._is_leaf(node, leaves)]
        for node in there:
            if (node, alpha) not in self._lines:
                self._lines[node, alpha] = self.moments[node].ridge(self.inputs, alpha)
        return {node: self._lines[node, alpha] for node in there}

    def errors(self, x: Array, y: Array, weight: Array, sizes: list[int]) -> Array:
        """Return the squared error on other rows, (sizes, strengths)."""
        unseen = self._of_nodes(x, y, weight)
        found = np.zeros((len(sizes), len(ALPHAS)))
        for i, size in enumerate(sizes):
            for j, alpha in enumerate(ALPHAS):
                found[i, j] = sum(unseen[node].error(line) for node, line in self.lines(size, alpha).items())
        return found

    def _is_leaf(self, node: int, leaves: int) -> bool:
        last, left = 2 * leaves - 2, int(self.tree.tree_.children_left[node])
        return node <= last and (left < 0 or left > last)

    def _of_nodes(self, x: Array, y: Array, weight: Array) -> list[Moments]:
        """Return the moments of every node: of the grown tree's leaves from rows, then of each parent by adding."""
        at = self.tree.apply(x)
        order = np.argsort(at, kind="stable")
        cuts = np.searchsorted(at[order], np.arange(len(self.parent) + 1))
        rows = [order[cuts[node] : cuts[node + 1]] for node in range(len(self.parent))]
        found = [Moments.of(x[mine], y[mine], weight[mine]) for mine in rows]
        for node in range(len(found) - 1, 0, -1):  # children come after their parents
            found[self.parent[node]] = found[self.parent[node]] + found[node]
        return found

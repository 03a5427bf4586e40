"""Optuna as a policy: points for a black box, kept in order by searching the gaps between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import optuna
import torch
from torch import Tensor

import hardgrad as hg


class OptunaPolicy:
    r"""A policy for ``hardgrad.search_ranges`` that asks Optuna's sampler where to put the points.

    What is sampled are the N gaps between the points, in shares of the rows:

    .. math:: q_i = \text{least} + (1 - N \, \text{least}) \frac{g_i}{\sum_j g_j}, \qquad g_i \in [0.01, 1]

    so that points are in order, and ranges have rows enough, in every trial. The points are the quantiles at
    :math:`q_1, q_1 + q_2, \ldots`. With the proxy it only repeats what "dynamic_programming" finds exactly; its use is
    a score that is not a sum over ranges, such as the validation loss of a network, or a listener's marks.

    Args:
        trials: how many choices of points are scored.
        score: ``score(points) -> loss``, of the inner points. Default: the ridge proxy on the rows that are given.
        least_share: least share of the rows in a range, at most 1 / N.
        seed: of the sampler.

    Raises:
        ValueError: for ``trials`` less than 1, or ranges that cannot all have their share.

    Example:
        >>> import torch, hardgrad as hg
        >>> from hardgrad_lab.search import OptunaPolicy
        >>> x = torch.linspace(-1, 1, 500)
        >>> points = OptunaPolicy(60)(x[:, None], x, torch.where(x < 0.3, x, -x)[:, None], 2)
        >>> abs(points[0] - 0.3) < 0.05
        True

    Source: Akiba et al. 2019, Optuna.
    """

    def __init__(
        self,
        trials: int = 100,
        *,
        score: Callable[[Sequence[float]], float] | None = None,
        least_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        if trials < 1:
            raise ValueError(f"OptunaPolicy: trials must be at least 1, got {trials}")
        self.trials = trials
        self.score = score
        self.least_share = least_share
        self.seed = seed

    def __call__(self, x: Tensor, key: Tensor, target: Tensor, ranges: int) -> list[float]:
        if ranges * self.least_share > 1:
            raise ValueError(
                f"OptunaPolicy: least_share must be at most 1 / {ranges} for {ranges} ranges, got {self.least_share}"
            )
        keys = key.double().sort().values

        def objective(trial: optuna.Trial) -> float:
            points = self._points(keys, [trial.suggest_float(f"gap{i}", 0.01, 1.0) for i in range(ranges)])
            return hg.segments.proxy_loss(x, key, target, points) if self.score is None else float(self.score(points))

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.seed))
            study.optimize(objective, n_trials=self.trials)
        finally:
            optuna.logging.set_verbosity(before)
        return self._points(keys, [study.best_params[f"gap{i}"] for i in range(ranges)])

    def _points(self, keys: Tensor, gaps: list[float]) -> list[float]:
        share = torch.tensor(gaps, dtype=torch.float64)
        share = self.least_share + (1 - len(gaps) * self.least_share) * share / share.sum()
        place = share.cumsum(0)[:-1] * (len(keys) - 1)  # torch.quantile refuses more than 2^24 keys
        low = place.long()
        above = keys[(low + 1).clamp(max=len(keys) - 1)]
        points: list[float] = torch.lerp(keys[low], above, place - low).tolist()
        return points

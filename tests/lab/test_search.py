"""Optuna as a policy of the search: ordered points, the proxy and a score of one's own."""

from __future__ import annotations

from itertools import pairwise

import optuna
import pytest
import torch

import hardgrad as hg
from hardgrad_lab.search import OptunaPolicy

G = torch.Generator().manual_seed(0)
KEY = torch.rand(600, generator=G, dtype=torch.float64) ** 2
X = torch.randn(600, 2, generator=G, dtype=torch.float64)
Y = torch.where(KEY < 0.3, X[:, 0], -X[:, 0])


def test_every_trial_is_in_order_and_leaves_ranges_their_rows() -> None:
    tried = []

    def score(points: list[float]) -> float:
        tried.append(points)
        return abs(points[0] - 0.1) + abs(points[1] - 0.5)

    points = OptunaPolicy(80, score=score, least_share=0.1)(X, KEY, Y, 3)
    assert len(tried) == 80
    for trial in tried:
        edges = [float("-inf"), *trial, float("inf")]
        assert all(
            ((low <= KEY) & (high > KEY)).sum() >= 59 for low, high in pairwise(edges)
        )  # 60, less one by rounding
    assert score(points) == min(score(trial) for trial in tried[:80])
    assert points == pytest.approx([0.1, 0.5], abs=0.08)


def test_with_the_proxy_it_finds_a_planted_point_through_search_ranges() -> None:
    # Each trial places the point at one of 600 rows; 40 trials of a one-dimensional search come within a few per cent.
    found = hg.search_ranges(
        X, KEY, Y, max_ranges=2, policy=OptunaPolicy(40), criterion="bic", generator=torch.Generator().manual_seed(0)
    )
    assert len(found) == 2
    assert found.points[1] == pytest.approx(0.3, abs=0.04)
    assert found.policy == "OptunaPolicy"
    exact = hg.search_ranges(X, KEY, Y, max_ranges=2, criterion="bic")
    assert exact.criterion_path[1].score <= found.criterion_path[1].score


def test_the_seed_decides_and_the_log_level_stays() -> None:
    before = optuna.logging.get_verbosity()
    assert OptunaPolicy(10, seed=1)(X, KEY, Y, 3) == OptunaPolicy(10, seed=1)(X, KEY, Y, 3)
    assert OptunaPolicy(10, seed=1)(X, KEY, Y, 3) != OptunaPolicy(10, seed=2)(X, KEY, Y, 3)
    assert optuna.logging.get_verbosity() == before


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="trials must be at least 1, got 0"):
        OptunaPolicy(0)
    with pytest.raises(ValueError, match=r"least_share must be at most 1 / 4 for 4 ranges, got 0.3"):
        OptunaPolicy(5, least_share=0.3)(X, KEY, Y, 4)

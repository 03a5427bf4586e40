"""The search for the conditions: exactness, planted points, nothing to find, invariances, and its own doubts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad.switch.search import proxy
from hardgrad.switch.search.exact import best_cuts
from hardgrad.switch.search.refine import best_near, move
from hardgrad.switch.search.rows import Rows, sorted_rows
from hardgrad.switch.search.sums import Sums

EDGES = (-0.6, -0.25, 0.1, 0.5)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, generator=g, dtype=torch.float64) * 2 - 1


def normal(*shape: int, g: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def planted(
    n: int, d: int, seed: int, noise: float = 0.1, edges: tuple[float, ...] = EDGES, outputs: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """A key, inputs that do not know it, and another linear map in each range."""
    g = seeded(seed)
    key, x = uniform(n, g), normal(n, d, g=g)
    i = torch.bucketize(key, torch.tensor(edges, dtype=torch.float64), right=True)
    weight, bias = normal(len(edges) + 1, d, outputs, g=g), normal(len(edges) + 1, outputs, g=g)
    y = torch.einsum("nd,ndo->no", x, weight[i]) + bias[i] + noise * normal(n, outputs, g=g)
    return key, x, y.squeeze(1)


def rows_of(key: Tensor, x: Tensor, y: Tensor, least_share: float = 0.05, ridge: float = 1e-6) -> Rows:
    return sorted_rows("test", key, x, y, least_share, ridge)[0]


def plain_loss(z: Tensor, d: int, ridge: float) -> float:
    """The loss of a ridge model of these rows, by a least squares solver on the rows themselves, nothing summed."""
    z = z - z.mean(0)
    x, y = z[:, :d], z[:, d:]
    penalty = (ridge * x.square().sum(0) + proxy.SPECK * len(z)).sqrt().diag()
    slope = torch.linalg.lstsq(torch.cat([x, penalty]), torch.cat([y, y.new_zeros(d, y.shape[1])])).solution
    return float((x @ slope - y).square().sum())


# The proxy


@pytest.mark.parametrize("n", [40, 2000])
def test_sums_between_any_positions_are_those_of_the_rows(n: int) -> None:
    g = seeded(0)
    z = normal(n, 3, g=g) * torch.tensor([1, 100, 0.01]) + torch.tensor([1e4, 0, -5])
    ends = torch.randint(0, n + 1, (200, 2), generator=g).sort(1).values
    start, end = ends[ends[:, 0] < ends[:, 1]].T
    moments = Sums(z).between(start, end)
    for i, (a, b) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        assert moments.size[i] == b - a
        torch.testing.assert_close(moments.mean[i], z[a:b].mean(0), rtol=1e-12, atol=1e-12)
        centred = z[a:b] - z[a:b].mean(0)
        torch.testing.assert_close(moments.scatter[i], centred.T @ centred, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("d", "outputs", "ridge"), [(1, 1, 1e-6), (4, 1, 0.1), (3, 2, 1e-3)])
def test_losses_of_segments_and_splits_are_those_of_a_plain_solver(d: int, outputs: int, ridge: float) -> None:
    rows = rows_of(*planted(300, d, 1, outputs=outputs), ridge=ridge)
    cuts = torch.tensor([40, 100, 111, 250])
    edges = [0, *cuts.tolist(), 300]
    losses = proxy.segment_losses(rows, cuts)
    for i, j in itertools.product(range(6), range(6)):
        if edges[j] - edges[i] < rows.least:
            assert losses[i, j] == math.inf
        else:
            expected = plain_loss(rows.z[edges[i] : edges[j]], d, ridge)
            assert float(losses[i, j]) == pytest.approx(expected, rel=1e-9)
    split = proxy.split_losses(rows, torch.tensor([[40, 80, 80, 200, 250], [0, 30, 50, 60, 300]]))
    for w, (low, *inner, high) in enumerate([[40, 80, 80, 200, 250], [0, 30, 50, 60, 300]]):
        for k, cut in enumerate(inner):
            expected = plain_loss(rows.z[low:cut], d, ridge) + plain_loss(rows.z[cut:high], d, ridge)
            assert float(split[w, k]) == pytest.approx(expected, rel=1e-9)


def test_a_narrow_range_far_from_zero_keeps_its_digits() -> None:
    # Keys 1e6 apart in scale: with raw second moments the bulk's variance, 1e-12 of the whole's, would be rounding.
    g = seeded(2)
    key = torch.cat([uniform(500, g), 1e7 + uniform(30, g)])
    y = torch.where(key < 0.2, key, 3 - key)
    rows = rows_of(key, key, y)
    expected = plain_loss(rows.z[: int((key < 0.2).sum())], 1, 1e-6)
    assert proxy.loss_of(rows, [int((key < 0.2).sum())]) < 1e-9 * 530
    assert expected < 1e-9


# The exact choice


@pytest.mark.parametrize("seed", range(5))
def test_dynamic_programming_is_brute_force(seed: int) -> None:
    rows = rows_of(*planted(120, 2, seed, noise=1.0), least_share=0.1)
    cuts = torch.arange(8, 120, 9)
    path = best_cuts(proxy.segment_losses(rows, cuts), cuts, 5)
    for ranges in range(1, 6):
        offers = []
        for chosen in itertools.combinations(cuts.tolist(), ranges - 1):
            edges = [0, *chosen, 120]
            if min(b - a for a, b in itertools.pairwise(edges)) >= rows.least:
                pieces = [plain_loss(rows.z[a:b], 2, 1e-6) for a, b in itertools.pairwise(edges)]
                offers.append((sum(pieces), list(chosen)))
        assert path[ranges] == min(offers)[1]


def test_a_cut_moves_to_the_best_of_all_rows_within_reach() -> None:
    rows = rows_of(*planted(200, 2, 3, noise=0.3, edges=(0.1,)))
    assert rows.least == 10
    losses = {c: plain_loss(rows.z[:c], 2, 1e-6) + plain_loss(rows.z[c:], 2, 1e-6) for c in range(10, 191)}
    true = int((rows.key < 0.1).sum())
    found = best_near(rows, [(0, true - 7, 200)], 15)[0]  # 15: tried at every row
    assert found == min(range(true - 22, true + 9), key=losses.__getitem__)


def test_moved_cuts_cannot_be_moved_alone_for_a_gain() -> None:
    rows = rows_of(*planted(400, 2, 4, noise=0.5))
    path = move(rows, {4: [100, 200, 300]}, 7, {})
    edges = [0, *path[4], 400]

    def loss(cut: int, k: int) -> float:
        return plain_loss(rows.z[edges[k - 1] : cut], 2, 1e-6) + plain_loss(rows.z[cut : edges[k + 1]], 2, 1e-6)

    for k in (1, 2, 3):
        near = [c for c in range(edges[k] - 7, edges[k] + 8) if edges[k - 1] + 20 <= c <= edges[k + 1] - 20]
        assert min(near, key=lambda c: loss(c, k)) == edges[k]


# Planted points


@pytest.mark.parametrize("policy", ["dynamic_programming", "tree"])
@pytest.mark.parametrize("criterion", ["held_out", "bic"])
@pytest.mark.parametrize("seed", range(3))
def test_all_planted_points_come_back(policy: str, criterion: str, seed: int) -> None:
    # 2000 keys on [-1, 1] lie 0.001 apart; a jump of several standard deviations of noise is found within a few keys.
    found = hg.search_ranges(
        *planted(2000, 10, seed), max_ranges=8, policy=policy, criterion=criterion, generator=seeded(seed)
    )
    assert len(found) == 5
    assert found.points[1:-1] == pytest.approx(EDGES, abs=0.006)
    assert found.criterion_path[4].ranges == 5
    assert all(score.loss < 0.02 < score.one_range for score in found.scores)

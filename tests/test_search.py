"""The search for the conditions: exactness, planted points, nothing to find, invariances, and its own doubts."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad.segments import proxy
from hardgrad.segments.bootstrap import intervals, losses_of_many, one_range_p_value
from hardgrad.segments.exact import best_cuts
from hardgrad.segments.policies import dynamic_programming
from hardgrad.segments.refine import best_within_reach, move
from hardgrad.segments.rows import Rows, sorted_rows
from hardgrad.segments.sums import Sums

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
    """Inputs, a key that they do not know, and another linear map in each range."""
    g = seeded(seed)
    key, x = uniform(n, g), normal(n, d, g=g)
    i = torch.bucketize(key, torch.tensor(edges, dtype=torch.float64), right=True)
    weight, bias = normal(len(edges) + 1, d, outputs, g=g), normal(len(edges) + 1, outputs, g=g)
    y = torch.einsum("nd,ndo->no", x, weight[i]) + bias[i] + noise * normal(n, outputs, g=g)
    return x, key, y.squeeze(1)


def rows_of(x: Tensor, key: Tensor, y: Tensor, least_share: float = 0.05, ridge: float = 1e-6) -> Rows:
    return sorted_rows("test", x, key, y, least_share, ridge)[0]


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
        centerd = z[a:b] - z[a:b].mean(0)
        torch.testing.assert_close(moments.scatter[i], centerd.T @ centerd, rtol=1e-9, atol=1e-9)


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
    found = best_within_reach(rows, [(0, true - 7, 200)], 15)[0]  # 15: tried at every row
    assert found == min(range(true - 22, true + 9), key=losses.__getitem__)


def test_a_cut_moves_to_a_far_edge_by_finer_and_finer_steps() -> None:
    rows = rows_of(*planted(2000, 2, 3, noise=0.01, edges=(0.1,)))
    true = int((rows.key < 0.1).sum())
    assert best_within_reach(rows, [(0, true - 187, 2000), (300, true + 101, 1900)], 200) == [true, true]


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


@pytest.mark.parametrize(
    ("name", "levels"),
    [("quantizer", (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75)), ("dead zone", (-0.3, 0.3)), ("folder", (-0.5, 0.5))],
)
def test_breaks_of_static_devices_come_back_from_the_signal_alone(name: str, levels: tuple[float, ...]) -> None:
    x = uniform(2000, seeded(5))
    y = {
        "quantizer": (4 * x).floor() / 4,
        "dead zone": torch.where(x.abs() < 0.3, 0.0, x),
        "folder": (torch.remainder(2 * x + 1, 4) - 2).abs() - 1,
    }[name]
    found = hg.search_ranges(x, x, y, max_ranges=12, generator=seeded(0))
    assert found.points[1:-1] == pytest.approx(levels, abs=0.003)
    assert not found.bends


def test_several_targets_and_integer_keys_that_repeat() -> None:
    x, key, y = planted(3000, 4, 6, outputs=3)
    found = hg.search_ranges(x, key.mul(20).floor().int(), y, max_ranges=6, criterion="bic")
    assert found.points == (-20, -12.5, -5.5, 1.5, 9.5, 19)  # -0.25 is the key -5 of 20; keys are whole, points between
    assert sum(score.rows for score in found.scores) == 3000


@pytest.mark.parametrize(("dtype", "step"), [(torch.float32, 2**-23), (torch.float64, 2**-52)])
@pytest.mark.parametrize("first", [0, 1])
def test_points_part_neighbours_among_the_numbers(dtype: torch.dtype, step: float, first: int) -> None:
    key = torch.tensor([1.0 + first * step, 1.0 + (first + 1) * step], dtype=dtype).repeat(50)
    x = torch.linspace(-1, 1, 100)
    found = hg.search_ranges(x, key, torch.where(key > key.min(), x, -x), max_ranges=2, generator=seeded(0))
    assert found.ranges().index(key).tolist() == (key > key.min()).int().tolist()


# Nothing to find


NOTHING = {
    "noise": lambda key, x, g: normal(len(key), g=g),
    "linear": lambda key, x, g: x.sum(1) + normal(len(key), g=g),
    "linear, no noise": lambda key, x, g: x.sum(1),
    "heavy tails": lambda key, x, g: x.sum(1) + normal(len(key), g=g) / normal(len(key), g=g).abs(),
    "steps of the noise alone": lambda key, x, g: x.sum(1) + torch.where(key < 0.2, 0.1, 2.0) * normal(len(key), g=g),
    "constant": lambda key, x, g: torch.ones_like(key),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_one_range_where_there_is_nothing_to_find(kind: str) -> None:
    # Ten seeds; of 100 seeds (n = 1000, six ranges at most) none found a second range in any of these.
    for seed in range(10):
        g = seeded(seed)
        key = uniform(400, g)
        x = torch.cat([key[:, None], normal(400, 2, g=g)], 1)
        found = hg.search_ranges(x, key, NOTHING[kind](key, x, g), max_ranges=4, generator=g)
        assert len(found) == 1
        assert found.points == (float(key.min()), float(key.max()))
        assert "1 range" in str(found)


def test_a_smooth_curve_is_cut_but_not_silently() -> None:
    x = uniform(1000, seeded(7))
    found = hg.search_ranges(x, x, torch.sin(6 * x), max_ranges=8, generator=seeded(0))
    assert len(found) == 8
    assert found.bends
    assert "bends rather than breaks" in str(found)
    jump = hg.search_ranges(x, x, (x > 0.2).double(), max_ranges=8, generator=seeded(0))
    assert max(found.gains) < 0.1 < min(jump.gains)


# Invariances


def test_units_and_the_order_of_rows_do_not_matter() -> None:
    x, key, y = planted(1500, 4, 8, noise=0.5)
    first = hg.search_ranges(x, key, y, max_ranges=7, generator=seeded(1))
    scale = torch.tensor([1e-6, 1.0, 1e5, 3.0])
    moved = hg.search_ranges(x * scale - 50, 1e3 * key + 7, -1e-4 * y + 2, max_ranges=7, generator=seeded(1))
    assert moved.points == pytest.approx([1e3 * point + 7 for point in first.points], rel=1e-9)
    assert moved.gains == pytest.approx(first.gains, rel=1e-6)
    order = torch.randperm(1500, generator=seeded(2))
    mixed = hg.search_ranges(x[order], key[order], y[order], max_ranges=7, generator=seeded(1))
    assert mixed.points == first.points
    assert [tried.score for tried in mixed.criterion_path] == pytest.approx(
        [tried.score for tried in first.criterion_path], rel=1e-12
    )


@pytest.mark.parametrize("policy", ["dynamic_programming", "gradient"])
def test_no_unit_is_too_large_or_too_small(policy: str) -> None:
    x, key, y = planted(300, 2, 8, edges=(0.1,))
    choose = hg.segments.Gradient(torch.nn.Linear(2, 1), steps=5) if policy == "gradient" else policy

    def search(x: Tensor, key: Tensor, y: Tensor) -> hg.FoundRanges:
        return hg.search_ranges(x, key, y, max_ranges=3, policy=choose, generator=seeded(1))

    first, mixed = search(x, key, y), torch.tensor([1e-300, 1e200], dtype=torch.float64)
    assert len(first) > 1
    for found in (
        search(x * 1e160, key, y),
        search(x * mixed, key, y * 1e-310),
        search(x, key * 1e300, y * 1e300),
        search(x, key * 1.7e308, y),
        search(x * 1e-300, key * 1e-300, y),
    ):
        assert found.gains == pytest.approx(first.gains, rel=1e-6)
        assert found.smooth == pytest.approx(first.smooth, rel=1e-6)
        assert all(map(math.isfinite, found.points))
        assert len(found.ranges()) == len(first)
    far = search(x * 1e-3 + 1e9, key * 1e-3 + 1e9, y * 1e-3 + 1e9)  # known to 1e-4 of what they vary by
    assert far.gains == pytest.approx(first.gains, rel=1e-2)


def test_nothing_that_is_given_is_written_to() -> None:
    x, key, y = planted(300, 2, 8, edges=(0.1,))
    data = x, key, y
    before = [each.clone() for each in data]

    def writes(x: Tensor, key: Tensor, target: Tensor, ranges: int) -> list[float]:
        points = torch.quantile(key, torch.linspace(0, 1, ranges + 1, dtype=torch.float64))[1:-1].tolist()
        for each in (x, key, target):
            each.zero_()
        return points

    found = hg.search_ranges(*data, max_ranges=3, policy=writes, generator=seeded(0))
    assert found.points == hg.search_ranges(*data, max_ranges=3, policy="quantile", generator=seeded(0)).points
    hg.search_key(x, {"k": key}, y, max_ranges=2, generator=seeded(0))
    assert all(torch.equal(each, was) for each, was in zip(data, before, strict=True))


def test_a_search_is_the_same_in_every_mode_of_torch() -> None:
    data = planted(200, 2, 9, edges=(0.1,))

    def search() -> list[object]:
        gradient = hg.search_ranges(*data, max_ranges=2, policy=hg.segments.Gradient(steps=5), criterion="bic")
        return [hg.search_ranges(*data, max_ranges=3, bootstrap=3, generator=seeded(0)), gradient]

    wanted = search()
    for mode in (torch.inference_mode(), torch.no_grad(), torch.device("meta"), torch.autocast("cpu", torch.bfloat16)):
        with mode:
            assert search() == wanted
    assert pickle.loads(pickle.dumps(wanted)) == copy.deepcopy(wanted) == wanted
    copy.deepcopy(pickle.loads(pickle.dumps(hg.segments.Gradient(torch.nn.Linear(2, 1)))))


def test_few_blocks_and_keys_that_repeat() -> None:
    x, key, y = planted(300, 2, 9, edges=(0.1,))
    found = hg.search_ranges(x, key, y, max_ranges=2, block=100, bootstrap=30, generator=seeded(0))
    assert found.p_value is not None
    with pytest.raises(ValueError, match="block must leave at least 3 blocks of rows, got 150 for 300 rows"):
        hg.search_ranges(x, key, y, max_ranges=2, block=150, bootstrap=5)
    with pytest.raises(ValueError, match="block must leave at least 2 blocks"):
        hg.search_key(x, {"k": key}, y, max_ranges=2, block=300)
    tied = torch.arange(300) % 3
    hg.search_ranges(x, tied, y, max_ranges=4, policy=hg.segments.Gradient(steps=2), generator=seeded(0))


def test_one_seed_gives_one_answer() -> None:
    data = planted(400, 2, 9, noise=1.0)
    found = [hg.search_ranges(*data, max_ranges=4, bootstrap=5, generator=seeded(3)) for _ in range(2)]
    assert found[0] == found[1]
    torch.manual_seed(3)
    assert hg.search_ranges(*data, max_ranges=4, bootstrap=5) == found[0]


# How many


def test_held_out_losses_are_those_of_models_fitted_without_the_row() -> None:
    x, key, y = planted(300, 2, 10, edges=(0.1,))
    held = torch.zeros(300, dtype=torch.bool)
    held[::3] = True
    found = hg.search_ranges(x, key, y, max_ranges=2, held_out=held)
    part = hg.search_ranges(x[~held], key[~held], y[~held], max_ranges=2, criterion="bic")
    y_hat = torch.empty_like(y)
    for i in range(2):
        seen, unseen = (part.ranges().index(key[each]) == i for each in (~held, held))
        design = torch.cat([x, torch.ones(300, 1)], 1)
        solution = torch.linalg.lstsq(design[~held][seen], y[~held][seen]).solution
        y_hat[held.nonzero()[:, 0][unseen]] = design[held][unseen] @ solution
    expected = (y_hat - y)[held].square().mean() / y.var(correction=0)
    assert found.criterion_path[1].score == pytest.approx(float(expected), rel=1e-4)


def test_rows_of_a_block_are_held_out_together() -> None:
    # A slow random walk and a key that is time: neighbours know each other, so single held-out rows are no news.
    g = seeded(11)
    x, y = normal(600, 1, g=g), normal(600, g=g).cumsum(0)
    key = torch.arange(600)
    fooled = hg.search_ranges(x, key, y, max_ranges=6, generator=seeded(0))
    blocked = hg.search_ranges(x, key, y, max_ranges=6, generator=seeded(0), block=150)
    assert len(fooled) == 6
    assert blocked.criterion_path[0].error > 3 * fooled.criterion_path[0].error


@pytest.mark.parametrize("policy", ["dynamic_programming", "tree", "quantile"])
def test_never_more_than_max_ranges_nor_less_than_the_share(policy: str) -> None:
    data = planted(1000, 2, 12)
    for most in (1, 3):
        found = hg.search_ranges(*data, max_ranges=most, policy=policy, least_share=0.2, generator=seeded(0))
        assert len(found) <= most
        assert all(score.rows >= 200 for score in found.scores)
    assert len(hg.search_ranges(*data, max_ranges=50, policy=policy, least_share=0.2, generator=seeded(0))) <= 5


def test_quantile_points_part_the_rows_evenly() -> None:
    found = hg.search_ranges(*planted(1000, 2, 13), max_ranges=4, policy="quantile", generator=seeded(0))
    assert [score.rows for score in found.scores] == [250] * 4


def test_a_function_may_be_the_policy() -> None:
    asked = []

    def policy(x: Tensor, key: Tensor, target: Tensor, ranges: int) -> list[float]:
        asked.append((tuple(x.shape), len(key), tuple(target.shape), ranges))
        return [EDGES[i] for i in range(ranges - 1)]

    found = hg.search_ranges(*planted(1000, 3, 14), max_ranges=5, policy=policy, generator=seeded(0))
    assert found.points[1:-1] == pytest.approx(EDGES, abs=0.005)  # snapped between the two keys beside
    assert found.policy == "policy"
    assert asked[:4] == [((1000, 3), 1000, (1000, 1), ranges) for ranges in (2, 3, 4, 5)]
    with pytest.raises(ValueError, match=r"a policy must return 1 inner points for 2 ranges, got \[\]"):
        hg.search_ranges(*planted(1000, 3, 14), max_ranges=5, policy=lambda *_: [])


def test_learned_points_move_from_equal_counts_to_the_planted_one() -> None:
    # First order in the jump, the lent gradient stops short of the point: within 0.15 of it, from 0.3 away.
    x = uniform(1000, seeded(20))
    policy = hg.segments.Gradient(torch.nn.Linear(1, 1), steps=200)
    found = hg.search_ranges(x, x, torch.where(x < 0.3, x, 1.0), max_ranges=2, policy=policy, criterion="bic")
    assert len(found) == 2
    assert found.points[1] == pytest.approx(0.3, abs=0.15)
    assert found.policy == "Gradient"
    with pytest.raises(ValueError, match="steps and batch must be at least 1, got 0 and 256"):
        hg.segments.Gradient(steps=0)


# How sure


def test_the_bootstrap_is_sure_of_a_real_point_and_not_of_a_made_one() -> None:
    x, key, y = planted(500, 2, 15, noise=0.3, edges=(0.2,))
    found = hg.search_ranges(x, key, y, max_ranges=3, bootstrap=39, generator=seeded(0))
    assert len(found) == 2
    assert found.p_value == 1 / 40
    assert found.support[0] > 0.9
    low, high = found.intervals[0]
    assert low < 0.2 < high
    assert high - low < 0.05
    noise = hg.search_ranges(x, key, normal(500, g=seeded(1)), max_ranges=3, bootstrap=39, generator=seeded(0))
    assert noise.intervals == ()
    assert noise.p_value > 0.05


def test_p_values_of_noise_are_uniform() -> None:
    # 60 seeds, 19 resamples, noise that grows along the key: p <= 0.1 is expected 6 times, sigma 2.3; 13 is 3 sigma.
    small = 0
    for seed in range(60):
        g = seeded(seed)
        key, x = uniform(200, g), normal(200, 1, g=g)
        rows = rows_of(x, key, x[:, 0] + (key + 1.2) * normal(200, g=g))
        small += one_range_p_value(rows, 3, torch.arange(200), 19, 16, g) <= 0.1
    assert small <= 13


def test_intervals_hold_the_real_point_as_often_as_they_say() -> None:
    # 40 seeds at 95 %: 38 expected, sigma 1.4; at least 34, 3 sigma.
    held = 0
    for seed in range(40):
        g = seeded(seed)
        key = uniform(300, g)
        rows = rows_of(key, key, (key > 0.3).double() + 0.3 * normal(300, g=g))
        cuts = dynamic_programming(32)(rows, 2)[2]
        low, high = intervals(rows, cuts, torch.arange(300), 40, g)[0]
        held += low <= 0.3 <= high
    assert held >= 34


def test_many_targets_at_once_lose_what_each_loses_alone() -> None:
    rows = rows_of(*planted(200, 3, 16, outputs=2))
    edges = torch.tensor([20, 70, 75, 160])
    member = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]], dtype=torch.float64)
    y = normal(200, 2, 5, g=seeded(17)) + 3
    losses = losses_of_many(rows, edges, member, y)
    for s, (a, b) in enumerate([(20, 70), (20, 75), (70, 160), (20, 160)]):
        for r in range(5):
            z = torch.cat([rows.z[a:b, :3], y[a:b, :, r]], 1)
            assert float(losses[s, r]) == pytest.approx(plain_loss(z, 3, rows.ridge), rel=1e-9)


# Which key


def test_the_key_and_its_lag_are_found() -> None:
    g = seeded(18)
    a, b, x = uniform(1500, g), uniform(1500, g), normal(1500, g=g)
    y = torch.where(a.roll(2) < 0.25, x, -x) + 0.3 * normal(1500, g=g)
    ranked = hg.search_key(x, {"a": a, "b": b}, y, max_ranges=3, lags=range(4), generator=g)
    assert (ranked.best.name, ranked.best.lag, ranked.best.ranges) == ("a", 2, 2)
    assert ranked.best.points == pytest.approx((0.25,), abs=0.01)
    assert ranked.best.gain > 10 * ranked.best.error
    assert all(score.gain == 0 and score.behind > 10 * score.behind_error for score in ranked.ranking[1:])
    assert str(ranked).splitlines()[1].split()[:3] == ["a", "2", "2"]
    assert json.loads(ranked.to_json())[0]["name"] == "a"
    assert hg.search_key(x[2:], torch.stack([b, a], 1)[:-2], y[2:], max_ranges=3, generator=g).best.name == "1"


# What it says


def test_what_was_found_reads_and_saves_and_draws() -> None:
    x, key, y = planted(600, 2, 19, edges=(0.2,))
    found = hg.search_ranges(x, key, y, max_ranges=3, bootstrap=5, outside="error", generator=seeded(0))
    data = json.loads(found.to_json())
    assert data["points"] == list(found.points)
    assert data["scores"][0]["rows"] == found.scores[0].rows
    assert len(found.ranges()) == 2
    assert found.ranges().outside == "error"
    text = str(found)
    assert text.startswith("2 ranges by dynamic_programming, chosen by held_out\none range is enough: p = ")
    assert f"{found.points[1]:.5g}" in text

    axes = Axes()
    found.plot(axes, key, y)
    assert axes.lines == [found.points[1]]
    assert axes.spans == [found.intervals[0]]
    assert sum(axes.dots) == 600


class Axes:
    """What ``plot`` asks of matplotlib's axes."""

    def __init__(self) -> None:
        self.lines, self.spans, self.dots = [], [], []

    def axvline(self, x: float, **_: object) -> None:
        self.lines.append(x)

    def axvspan(self, low: float, high: float, **_: object) -> None:
        self.spans.append((low, high))

    def plot(self, x: Tensor, y: Tensor, *_: object, **__: object) -> None:
        self.dots.append(len(x))

    def set_xlabel(self, _: str) -> None: ...


# Mistakes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"key": torch.zeros(99)}, r"x must have shape \(B,\) or \(B, columns\) with B = 99, .* got \(100, 2\)"),
        ({"key": torch.zeros(100, 1)}, r"key must have shape \(B,\), one number a row, got \(100, 1\)"),
        ({"target": torch.zeros(100, 1, 1)}, r"target must have shape .* got \(100, 1, 1\)"),
        ({"key": torch.full((100,), 2.0)}, "key must have at least two different values, got 2 in all 100 rows"),
        ({"key": torch.ones(100).bool()}, "key must be real numbers, got torch.bool"),
        ({"max_ranges": 0}, "max_ranges must be at least 1, got 0"),
        ({"policy": "best"}, "policy must be one of 'dynamic_programming', .* got 'best'"),
        ({"criterion": "aic"}, "criterion must be one of 'held_out', 'bic', got 'aic'"),
        ({"least_share": 0.7}, r"least_share must lie in \(0, 0.5\], got 0.7"),
        ({"held_out": 0.0}, r"held_out must lie in \(0, 0.5\], .* got 0.0"),
        ({"held_out": torch.zeros(100).bool()}, "held_out must name at least one row and leave 6, .* got 0 of 100"),
        ({"held_out": torch.zeros(100)}, r"held_out as a tensor must be bool of shape \(100,\), .* torch.float32"),
        ({"ridge": 0.0}, "ridge must be at least 1e-10, got 0.0"),
        ({"outside": "clamp"}, "outside must be one of 'nearest', 'error', got 'clamp'"),
        ({"block": 0}, "block must be at least 1, got 0"),
        ({"block": 1.5}, "block must be a whole number, at least 1, got 1.5"),
        ({"max_ranges": True}, "max_ranges must be a whole number, at least 1, got True"),
        ({"bootstrap": 10**30}, "bootstrap must be at most 100000"),
        ({"candidates": "all"}, "candidates must be a whole number"),
        ({"held_out": 1e-9}, "held_out must be at least 0.001"),
        ({"held_out": "half"}, r"held_out must lie in \(0, 0.5\], .* got 'half'"),
        ({"ridge": math.inf}, "ridge must be at least 1e-10, got inf"),
        ({"least_share": math.nan}, "least_share must be a real number, got nan"),
        ({"x": torch.zeros(100, 2).to("meta")}, "x must have values to read"),
        ({"policy": lambda *_: [math.nan]}, r"a policy must return 1 inner points .* all finite, got \[nan\]"),
        ({"policy": lambda *_: None}, "a policy must return 1 inner points .* as numbers, got None"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], complaint: str) -> None:
    right = {"x": torch.randn(100, 2), "key": torch.arange(100), "target": torch.randn(100), "max_ranges": 2}
    with pytest.raises(ValueError, match=complaint):
        hg.search_ranges(**{**right, **change})


def test_rows_without_numbers_are_named() -> None:
    x = torch.randn(100, 2)
    x[17, 1], x[40, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match=r"x must be finite numbers, got .*nan\] in row 17 and 1 more such rows"):
        hg.search_ranges(x, torch.arange(100), torch.randn(100), max_ranges=2)


def test_too_few_rows_and_no_tensor() -> None:
    with pytest.raises(ValueError, match=r"a range needs at least 42 rows, twice the 21 coefficients .* got 30 rows"):
        hg.search_ranges(torch.randn(30, 20), torch.arange(30), torch.randn(30), max_ranges=2)
    with pytest.raises(TypeError, match="target must be a tensor, got list"):
        hg.search_ranges(torch.randn(3), torch.arange(3), [1, 2, 3], max_ranges=2)
    with pytest.raises(ValueError, match=r"lags must be whole numbers from 0 .* got \[-1\]"):
        hg.search_key(torch.randn(30), {"a": torch.arange(30)}, torch.randn(30), max_ranges=2, lags=[-1])
    with pytest.raises(ValueError, match=r"lags must be whole numbers from 0 .* got \[1.5\]"):
        hg.search_key(torch.randn(30), {"a": torch.arange(30)}, torch.randn(30), max_ranges=2, lags=[1.5])
    with pytest.raises(ValueError, match=r"keys\['a'\] must have shape \(30,\).* got \(29,\)"):
        hg.search_key(torch.randn(30), {"a": torch.arange(29)}, torch.randn(30), max_ranges=2)
    with pytest.raises(TypeError, match=r"keys must be a tensor .* got list"):
        hg.search_key(torch.randn(30), [1, 2], torch.randn(30), max_ranges=2)
    with pytest.raises(TypeError, match="generator must be a torch"):
        hg.search_ranges(torch.randn(30), torch.arange(30), torch.randn(30), max_ranges=2, generator=0)
    for points in ([math.nan], ["a"], 0.5):
        with pytest.raises(ValueError, match="points must be numbers, and none of them NaN, got"):
            hg.segments.proxy_loss(torch.randn(30), torch.arange(30), torch.randn(30), points)
    for options in ({"lr": 0.0}, {"lr": math.inf}, {"steps": 1.5}, {"seed": -1}, {"branch": 3}):
        with pytest.raises((ValueError, TypeError), match=f"Gradient: .*{next(iter(options))}"):
            hg.segments.Gradient(**options)
    wide = hg.segments.Gradient(torch.nn.Linear(1, 3), steps=1)
    with pytest.raises(ValueError, match=r"branch must map x \(B, 1\) to targets \(B, 1\), got"):
        wide(torch.rand(30, 1), torch.rand(30), torch.rand(30, 1), 2)
    with pytest.raises(ValueError, match="keys must be at least one, got none"):
        hg.search_key(torch.randn(30), {}, torch.randn(30), max_ranges=2)


# Branches that bend, and rows that weigh


def test_a_polynomial_of_the_key_takes_a_curve_for_one_range_and_places_its_end() -> None:
    x = uniform(1500, seeded(30))
    y = torch.where(x < 0.2, x**3 - x, 2 * x**2) + 0.02 * normal(1500, g=seeded(31))
    found = hg.search_ranges(x, x, y, max_ranges=8, degree=3, generator=seeded(0))
    assert found.points[1:-1] == pytest.approx((0.2,), abs=0.01)
    assert len(hg.search_ranges(x, x, y, max_ranges=8, generator=seeded(0))) > 3
    # A model of degree 3 leaves nothing of a cubic.
    assert hg.segments.proxy_loss(x, x, x**3, [], degree=3) < 1e-9 < hg.segments.proxy_loss(x, x, x**3, [])


@pytest.mark.parametrize("kind", NOTHING)
def test_polynomials_find_one_range_where_there_is_nothing_to_find(kind: str) -> None:
    # Five seeds of six kinds; of these 30 none finds a second range.
    for seed in range(5):
        g = seeded(seed)
        key = uniform(400, g)
        x = torch.cat([key[:, None], normal(400, 2, g=g)], 1)
        assert len(hg.search_ranges(x, key, NOTHING[kind](key, x, g), max_ranges=4, degree=3, generator=g)) == 1


@pytest.mark.parametrize("degree", [1, 3])
def test_a_row_of_weight_two_is_there_twice(degree: int) -> None:
    x, key, y = planted(200, 2, 32, outputs=2)
    times = torch.randint(1, 4, (200,), generator=seeded(33)).double()
    points = [-0.3, 0.25]
    again = [each.repeat_interleave(times.long(), 0) for each in (x, key, y)]
    repeated = hg.segments.proxy_loss(*again, points, degree=degree)
    weighted = hg.segments.proxy_loss(x, key, y, points, degree=degree, weights=times)
    assert weighted == pytest.approx(repeated, rel=1e-9)
    assert weighted != pytest.approx(hg.segments.proxy_loss(x, key, y, points, degree=degree), rel=1e-3)
    assert hg.segments.proxy_loss(x, key, y, points, weights=1e300 * times) == pytest.approx(
        hg.segments.proxy_loss(x, key, y, points, weights=times), rel=1e-9
    )


def test_rows_that_weigh_little_do_not_move_points() -> None:
    x, key, y = planted(1000, 2, 34, edges=(0.1,))
    other = torch.rand(1000, generator=seeded(35)) < 0.3
    spoilt = torch.where(other, torch.where(key < -0.4, 9.0, -9.0), y)  # a louder break at -0.4 in a third of the rows
    weights = torch.where(other, 1e-9, 1.0)
    found = hg.search_ranges(x, key, spoilt, max_ranges=4, weights=weights, generator=seeded(0))
    assert found.points[1:-1] == pytest.approx((0.1,), abs=0.01)
    assert found.scores[0].loss < 0.1
    alone = hg.search_ranges(x[~other], key[~other], y[~other], max_ranges=4, generator=seeded(0))
    assert [score.loss for score in found.scores] == pytest.approx([score.loss for score in alone.scores], rel=1e-4)
    assert len(hg.search_ranges(x, key, spoilt, max_ranges=4, generator=seeded(0))) > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degree": 0}, "degree must be a whole number, at least 1, got 0|degree must be at least 1, got 0"),
        ({"degree": 9}, "degree must be at most 8"),
        ({"weights": torch.ones(99)}, r"weights must have shape \(100,\), one for each row, got \(99,\)"),
        ({"weights": torch.zeros(100)}, "weights must be above 0 and finite, got 0 in row 0; leave out rows"),
        ({"weights": torch.ones(100), "bootstrap": 5}, "bootstrap must be 0 where rows have weights, got 5"),
    ],
)
def test_wrong_degrees_and_weights_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hg.search_ranges(torch.randn(100), torch.arange(100), torch.randn(100), max_ranges=2, **options)

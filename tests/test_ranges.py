"""Which range a number falls into, against numpy-free enumeration: a plain loop over the published rule."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import hardgrad as hg
from hardgrad.switch.points import FEW, Points

POINTS = [-1.0, -0.6, -0.25, 0.0, 0.25, 0.75, 1.0]  # the published program's


def published(key: float, points: list[float]) -> int:
    """The published rule: [a, b), the last range closed."""
    for i in range(len(points) - 1):
        if points[i] <= key < points[i + 1] or (i == len(points) - 2 and key == points[-1]):
            return i
    return 0 if key < points[0] else len(points) - 2


def from_right(key: float, points: list[float]) -> int:
    for i in range(len(points) - 1):
        if points[i] < key <= points[i + 1] or (i == 0 and key == points[0]):
            return i
    return 0 if key < points[0] else len(points) - 2


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("rows", [FEW, FEW + 1], ids=["few", "many"])
def test_every_key_falls_into_the_range_the_rule_names(closed: str, rows: int) -> None:
    torch.manual_seed(0)
    keys = torch.cat([torch.tensor(POINTS), torch.rand(rows - len(POINTS)) * 2.4 - 1.2])
    rule = published if closed == "left" else from_right
    points = torch.tensor(POINTS).tolist()  # as the key's dtype holds them
    ranges = hg.Ranges(POINTS, closed=closed)
    assert ranges(keys).tolist() == [rule(key, points) for key in keys.tolist()]
    assert ranges.visits.tolist() == [sum(rule(k, points) == i for k in keys.tolist()) for i in range(6)]
    assert ranges.below.item() == sum(k < -1 for k in keys.tolist())
    assert ranges.above.item() == sum(k > 1 for k in keys.tolist())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("copies", [1, FEW], ids=["few", "many"])
def test_a_key_written_as_a_point_is_on_the_point_in_every_dtype(dtype: torch.dtype, closed: str, copies: int) -> None:
    ranges = hg.Ranges(POINTS, closed=closed).to(dtype)
    index = ranges(torch.tensor(POINTS * copies, dtype=dtype))
    on_the_left = [0, 0, 1, 2, 3, 4, 5]
    assert index.tolist() == (([0, 1, 2, 3, 4, 5, 5] if closed == "left" else on_the_left) * copies)
    assert ranges.points == tuple(POINTS)


def test_a_compiled_graph_routes_as_eager_code_does() -> None:
    torch.manual_seed(0)
    keys = torch.cat([torch.tensor(POINTS), torch.rand(100) * 2.4 - 1.2])
    for closed, backend in (("left", "inductor"), ("right", "aot_eager")):
        eager = hg.Ranges(POINTS, closed=closed)
        compiled = copy.deepcopy(eager)
        assert torch.equal(torch.compile(compiled, fullgraph=True, backend=backend)(keys), eager(keys))
        assert torch.equal(compiled.visits, eager.visits)
        assert (compiled.below, compiled.above) == (eager.below, eager.above)


@pytest.mark.parametrize("copies", [1, FEW], ids=["few", "many"])
def test_integer_keys_compare_with_points_between_them(copies: int) -> None:
    assert hg.Ranges([0, 1.5, 3])(torch.tensor([0, 1, 2, 3] * copies)).tolist() == [0, 0, 1, 1] * copies


def test_any_shape_of_key_keeps_its_shape() -> None:
    ranges = hg.Ranges([0, 1, 2])
    for shape in ((), (0,), (3, 0), (4, 5), (3, 40, 2)):
        index = ranges(torch.rand(shape) * 2)
        assert index.shape == shape
        assert index.dtype is torch.int64


@pytest.mark.parametrize("copies", [1, FEW], ids=["few", "many"])
def test_a_key_that_is_no_number_is_refused_with_its_row(copies: int) -> None:
    keys = torch.zeros(4 * copies)
    keys[2] = math.nan
    with pytest.raises(ValueError, match="NaN in row 2"):
        hg.Ranges([-1, 1])(keys)
    with pytest.raises(ValueError, match=r"NaN in row \(1, 0\)"):
        hg.Ranges([-1, 1])(keys.reshape(-1, 2))


@pytest.mark.parametrize("copies", [1, FEW], ids=["few", "many"])
def test_outside_is_an_error_where_it_was_asked_to_be(copies: int) -> None:
    keys = torch.zeros(3 * copies)
    keys[1] = 1.5
    with pytest.raises(ValueError, match=r"within \[-1, 1\], got 1.5 in row 1; widen"):
        hg.Ranges([-1, 1], outside="error")(keys)
    assert hg.Ranges([-1, 0, 1])(keys).tolist()[:3] == [1, 1, 1]


def test_infinite_outer_points_hold_everything() -> None:
    ranges = hg.Ranges([-math.inf, 0, math.inf], outside="error")
    assert ranges(torch.tensor([-1e30, -math.inf, 0.0, math.inf])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([1.0], "at least two"),
        ([0.0, 2.0, 1.0], "1 after 2 .position 2.; sort"),
        ([0.0, 1.0, 1.0], "1 twice .position 2."),
        ([0.0, math.nan], "NaN at position 1"),
    ],
)
def test_wrong_points_are_named(points: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hg.Ranges(points)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="outside must be one of 'nearest', 'error', got 'clamp'"):
        hg.Ranges([0, 1], outside="clamp")
    with pytest.raises(ValueError, match="closed must be one of"):
        hg.Ranges([0, 1], closed="both")
    with pytest.raises(TypeError, match="key must be a tensor, got float"):
        hg.Ranges([0, 1])(0.5)
    with pytest.raises(ValueError, match="bool"):
        hg.Ranges([0, 1])(torch.tensor([True]))


def test_a_state_with_other_points_does_not_load() -> None:
    ranges = hg.Ranges([0, 1, 2])
    ranges(torch.tensor([0.5, 1.5, 1.7, 3.0]))
    again = hg.Ranges([0, 1, 2])
    again.load_state_dict(ranges.state_dict())
    assert again.visits.tolist() == [1, 3]
    assert again.above.item() == 1
    with pytest.raises(ValueError, match=r"has the points \[0.0, 1.0, 2.0\], and these ranges \[0.0, 1.0, 3.0\]"):
        hg.Ranges([0, 1, 3]).load_state_dict(ranges.state_dict())
    again.reset_counts()
    assert again.visits.tolist() == [0, 0]
    assert again.above.item() == 0


def test_an_activation_checkpoint_counts_each_key_once() -> None:
    switch = hg.Switch(hg.Ranges([0, 1, 2]), torch.nn.Linear(1, 1))
    x = torch.tensor([[0.5], [1.5], [1.7], [2.5]], requires_grad=True)
    torch.utils.checkpoint.checkpoint(switch, x, x[:, 0], use_reentrant=False).sum().backward()
    assert switch.ranges.visits.tolist() == [1, 3]
    assert switch.ranges.above.item() == 1


def test_a_grid_is_the_product_of_its_ranges() -> None:
    torch.manual_seed(0)
    a, b = hg.Ranges([0, 1, 2]), hg.Ranges([0, 10, 20, 30])
    key = torch.rand(200, 2) * torch.tensor([2.0, 30.0])
    grid = hg.Grid(a, b)
    assert grid.branches == 6
    assert torch.equal(grid(key), a.index(key[:, 0]) * 3 + b.index(key[:, 1]))
    shared = hg.Grid(a, b, share=[[0, 1, 1], [0, 1, 2]])
    table = torch.tensor([[0, 1, 1], [0, 1, 2]])
    assert torch.equal(shared(key), table[a.index(key[:, 0]), b.index(key[:, 1])])
    assert shared.visits.sum() == 200
    assert shared.label(2) == "[1, 2] x [20, 30]"
    assert shared.label(0) == "[0, 1) x [0, 10) or [1, 2] x [0, 10)"
    grid.reset_counts()
    assert grid.cells.unique().numel() == 6


def test_a_grids_mistakes_are_named() -> None:
    a = hg.Ranges([0, 1, 2])
    with pytest.raises(ValueError, match="at least one"):
        hg.Grid()
    with pytest.raises(ValueError, match=r"shape \(2, 2\), got \(2,\)"):
        hg.Grid(a, a, share=[0, 1])
    with pytest.raises(ValueError, match=r"without a gap, got \[0, 2\]"):
        hg.Grid(a, a, share=[[0, 2], [0, 2]])
    with pytest.raises(ValueError, match=r"\(..., 2\), one number for each ranges, got \(3,\)"):
        hg.Grid(a, a)(torch.zeros(3))


def nested() -> hg.If:
    loud = hg.If(hg.Ranges([0, 5, 10]), ["bass", hg.If(hg.Ranges([0, 1, 2]), ["quiet", "treble"], key=2)], key=1)
    return hg.If(hg.Ranges([0, 1, 2, 3]), ["quiet", loud, "bass"])


def by_hand(k: list[float]) -> str:
    if k[0] < 1:
        return "quiet"
    if k[0] >= 2 or k[1] < 5:
        return "bass"
    return "quiet" if k[2] < 1 else "treble"


def test_nested_ifs_choose_as_nested_ifs_do() -> None:
    torch.manual_seed(0)
    tree = nested()
    key = torch.rand(300, 3) * torch.tensor([3.0, 10.0, 2.0])
    assert [tree.names[i] for i in tree(key).tolist()] == [by_hand(k) for k in key.tolist()]
    assert tree.names == ["quiet", "bass", "treble"]
    assert torch.equal(torch.compile(nested(), fullgraph=True, backend="aot_eager")(key), tree.index(key))


def test_a_row_is_asked_only_the_questions_on_its_way() -> None:
    key = torch.tensor([[0.5, math.nan, math.nan], [1.5, 2.0, math.nan]])
    assert nested()(key).tolist() == [0, 1]
    with pytest.raises(ValueError, match="NaN"):
        nested()(torch.tensor([[1.5, 7.0, math.nan]]))


def test_nested_ifs_print_as_a_tree() -> None:
    assert nested().text().splitlines() == [
        "key 0 in [0, 1): quiet",
        "key 0 in [1, 2):",
        "    key 1 in [0, 5): bass",
        "    key 1 in [5, 10]:",
        "        key 2 in [0, 1): quiet",
        "        key 2 in [1, 2]: treble",
        "key 0 in [2, 3]: bass",
    ]


def test_nested_ifs_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="one entry for each of 2 ranges, got 1"):
        hg.If(hg.Ranges([0, 1, 2]), ["a"])
    with pytest.raises(ValueError, match=r"\(..., 3\) or a longer last dimension, got \(4, 2\)"):
        nested()(torch.zeros(4, 2))


def test_points_are_a_value() -> None:
    points, same = Points((0.0, 1.0, 2.0)), Points((0.0, 1.0, 2.0))
    points.index(torch.tensor([0.5]))  # which keeps the points as a float32 key sees them
    assert points == same != Points((0.0, 1.0, 2.0), closed="right")
    assert hash(points) == hash(same)
    assert (len(points), points.spans, points.label(1)) == (2, [(0.0, 1.0), (1.0, 2.0)], "[1, 2]")
    learned = hg.LearnedRanges([0, 1, 2])
    before = learned.current()
    with torch.no_grad():
        learned.inner.fill_(1.5)
    assert (before.values, learned.current().values) == ((0.0, 1.0, 2.0), (0.0, 1.5, 2.0))


def test_no_condition_is_anothers_subclass_and_each_answers_what_layers_ask() -> None:
    plain, learned = hg.Ranges([0, 1, 2]), hg.LearnedRanges([0, 1, 2])
    late, grid = hg.Hysteresis(plain, 0.1), hg.Grid(hg.LearnedRanges([0, 1, 2]))
    conditions = [plain, learned, late, grid, hg.If(plain, ["a", "b"])]
    for a in conditions:
        assert [type(b) for b in conditions if isinstance(b, type(a))] == [type(a)]
    assert [condition.along_time for condition in conditions] == [False, False, True, False, False]
    assert [condition.learns() for condition in conditions] == [False, True, False, True, False]
    assert [condition.learned_points is learned.inner for condition in conditions] == [False, True, False, False, False]
    assert [tuple(condition.leading(torch.zeros(3, 1))) for condition in conditions] == [(3, 1)] * 3 + [(3,)] * 2

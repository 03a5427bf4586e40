"""One stack of layers, each range running its own: against plain loops over rows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

POINTS = [-1.0, -0.25, 0.5, 1.0]
MASK = [[True, False, True, False, True], [False, True, True, False, True], [False, False, False, True, True]]


def stack() -> list[nn.Module]:
    return [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2)]


def masked(mask: Any = MASK, **options: Any) -> hg.LayerMask:
    return hg.LayerMask(stack(), hg.Ranges(POINTS), mask, **options).double()


def batch(rows: int, high: float = 1.0) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, 4, dtype=torch.float64), torch.rand(rows, dtype=torch.float64) * (high + 1) - 1


def plain_loop(layer: hg.LayerMask, x: Tensor, key: Tensor, mask: Any = MASK) -> Tensor:
    rows = []
    for row, i in zip(x, layer.ranges.index(key).tolist(), strict=True):
        for module, runs in zip(layer.layers, mask[i], strict=True):
            row = module(row) if runs else row
        rows.append(row)
    return torch.stack(rows)


def gradients(layer: nn.Module, loss: Tensor, x: Tensor) -> list[Tensor | None]:
    layer.zero_grad()
    x.grad = None
    loss.backward()
    return [x.grad, *(p.grad for p in layer.parameters())]


def assert_same(found: list[Tensor | None], expected: list[Tensor | None]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("high", [1.0, 0.49])
def test_equals_a_plain_loop(rows: int, high: float) -> None:
    layer = masked()
    x, key = batch(rows, high)
    x.requires_grad_()
    expected = plain_loop(layer, x, key)
    wanted = gradients(layer, expected.square().sum(), x)
    y = layer(x, key)
    torch.testing.assert_close(y, expected)
    assert_same(gradients(layer, y.square().sum(), x), wanted)
    if high < 0.5:  # no row of the last range, which alone runs layer 3
        assert layer.layers[3].weight.grad is None
    assert torch.equal(layer.ranges.visits, torch.bincount(layer.ranges.index(key), minlength=3))


def test_a_branch_is_its_layers_and_shares_their_weights() -> None:
    layer = masked()
    x, key = batch(5, -0.3)
    torch.testing.assert_close(layer(x, key), layer.branch(0)(x))
    assert layer.branch(0)[0] is layer.layers[0]
    assert len(layer.branch(2)) == 2


def test_no_mask_runs_everything_and_shapes_may_change() -> None:
    layers = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 1)).double()
    layer = hg.LayerMask(layers, hg.Ranges(POINTS))
    x, key = batch(6)
    assert torch.equal(layer(x, key), layers(x))


def test_keys_per_step_and_from_a_column_and_a_grid() -> None:
    x, key = torch.randn(3, 5, 4, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64) * 2 - 1
    layer = masked()
    expected = plain_loop(layer, x.reshape(15, 4), key.reshape(15)).reshape(3, 5, 2)
    torch.testing.assert_close(layer(x, key), expected)
    x[..., 2] = key
    by_column = hg.LayerMask(list(layer.layers), layer.ranges, MASK, key=2)
    assert torch.equal(by_column(x), layer(x, key))
    grid = hg.Grid(hg.Ranges([-1, 0, 1]), hg.Ranges([-1, 0, 1]), share=[[0, 1], [1, 2]])
    by_grid = hg.LayerMask(list(layer.layers), grid, MASK)
    keys = torch.stack([key, key.flip(0)], -1)
    index = (key >= 0).long() + (key.flip(0) >= 0).long()
    middle = torch.tensor([-0.5, 0.0, 0.7], dtype=torch.float64)[index]
    torch.testing.assert_close(by_grid(x, keys), layer(x, middle))


def test_a_skipped_layer_does_not_see_the_row() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            assert x.isfinite().all()
            return (x * self.weight).sqrt()

    layer = hg.LayerMask([Fragile(), nn.Tanh()], hg.Ranges([-1, 0, 1]), [[1, 1], [0, 1]])
    x = torch.tensor([[1.0] * 4, [torch.nan] * 4, [-3.0] * 4], dtype=torch.float64, requires_grad=True)
    y = layer(x, torch.tensor([-0.5, 0.5, 0.5]))
    y.sum().backward()
    assert layer.layers[0].weight.grad.isfinite().all()
    assert x.grad.isfinite().all(1).tolist() == [True, False, True]


# Dropout.


def test_dropout_skips_layers_at_its_rate_in_training_alone() -> None:
    """n = 20000 rows a range, seed 0; a rate's sigma is at most 0.5 / sqrt(n) = 0.0035, five of them allowed."""
    adders = [_Add(10.0**i) for i in range(3)]
    rates = [[0.0, 0.3, 1.0], [0.5, 0.9, 0.0]]
    mask = [[1, 1, 1], [1, 0, 1]]
    layer = hg.LayerMask(adders, hg.Ranges([-1, 0, 1]), mask, dropout=rates)
    n = 20000
    x, key = torch.zeros(2 * n, 1), torch.cat([torch.full((n,), -0.5), torch.full((n,), 0.5)])
    y = layer(x, key).reshape(2, n).long()
    ran = torch.stack([(y // 10**i % 10).double() for i in range(3)], -1)
    expected = (1 - torch.tensor(rates)) * torch.tensor(mask)
    assert (ran.mean(1) - expected).abs().max() < 5 * 0.5 / n**0.5
    both = ran[1, :, 0] * ran[1, :, 2]  # drawn for each row and layer: independent
    assert abs(both.mean() - ran[1, :, 0].mean() * ran[1, :, 2].mean()) < 5 * 0.5 / n**0.5
    layer.eval()
    assert layer(x, key).reshape(2, n).unique(dim=1).tolist() == [[111.0], [101.0]]


class _Add(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value


def test_dropout_is_seeded() -> None:
    x, key = batch(40)
    drop = [[0.5, 0.5, 0.5, 0.5, 0.0]] * 3
    layer = masked(None, dropout=drop)
    torch.manual_seed(3)
    first = layer(x, key)
    assert not torch.equal(layer(x, key), first)
    torch.manual_seed(3)
    assert torch.equal(layer(x, key), first)
    own = hg.LayerMask(list(layer.layers), layer.ranges, dropout=drop, generator=torch.Generator().manual_seed(3))
    twin = copy.deepcopy(own)
    before = torch.get_rng_state()
    assert torch.equal(own(x, key), twin(x, key))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_dropped_for_every_row_gets_no_gradient() -> None:
    layer = hg.LayerMask([nn.Linear(4, 4), nn.Linear(4, 4)], hg.Ranges([-1, 1]), dropout=[[1.0, 0.0]])
    layer(torch.randn(5, 4), torch.zeros(5)).sum().backward()
    assert layer.layers[0].weight.grad is None
    assert layer.layers[1].weight.grad is not None


# What a layer must survive.


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtypes_copies_and_files(dtype: torch.dtype) -> None:
    layer = masked(dropout=[[0.5] * 4 + [0.0]] * 3).to(dtype).eval()
    x, key = batch(9)
    x = x.to(dtype)
    y = layer(x, key)
    assert y.dtype is dtype
    assert layer.mask.dtype is torch.bool
    twin, other = copy.deepcopy(layer), masked().to(dtype)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(twin(x, key), y)
    assert torch.equal(other(x, key), y)
    assert layer(x[:0], key[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="the state to load has the mask"):
        masked(None).load_state_dict(layer.state_dict())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_one_graph_compiled_and_exported() -> None:
    layer = masked()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    rows = torch.export.Dim("B")
    program = torch.export.export(copy.deepcopy(layer), batch(6), dynamic_shapes=({0: rows}, {0: rows}))
    for size, high in ((7, 1.0), (5, 0.49), (4, -0.3)):
        x, key = batch(size, high)
        x.requires_grad_()
        wanted = layer(x, key)
        expected = gradients(layer, wanted.square().sum(), x)
        torch.testing.assert_close(program.module()(x, key), wanted)
        y = compiled(x, key)
        torch.testing.assert_close(y, wanted)
        found = gradients(layer, y.square().sum(), x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b)


def test_under_autocast_a_layer_that_may_be_skipped_keeps_the_dtype_whoever_else_is_there() -> None:
    layer = hg.LayerMask([nn.Linear(4, 4)], hg.Ranges(POINTS), [[1], [0], [1]])
    x, key = torch.randn(4, 4), torch.tensor([-0.5, -0.5, 0.0, 0.7])
    with torch.autocast("cpu", torch.bfloat16):
        mixed, alone = layer(x, key), layer(x[:2], key[:2])
    assert mixed.dtype is alone.dtype is torch.float32
    assert torch.equal(mixed[:2], alone)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(alone, layer.layers[0](x[:2]).float())


def test_what_is_no_layer_or_condition_is_named() -> None:
    ranges = hg.Ranges([-1, 0, 1])
    for call, message in (
        (lambda: hg.LayerMask(nn.Linear(1, 1), ranges), "layers must be torch.nn.Sequential or a list"),
        (lambda: hg.LayerMask([torch.tanh], ranges), "layers must be modules, got builtin.* at position 0"),
        (lambda: hg.LayerMask([nn.Tanh()], [0, 1]), "ranges must be a condition such as Ranges"),
        (lambda: hg.LayerMask([nn.Tanh()], ranges, "ab"), r"mask must be \(ranges, layers\) = \(2, 1\) numbers"),
        (lambda: hg.LayerMask([nn.Tanh()], ranges, dropout=True), "dropout must be probabilities, 0 to 1, got True"),
        (lambda: hg.LayerMask([nn.Tanh()], ranges, generator=3), "generator must be a torch.Generator or None"),
        (lambda: hg.LayerMask([nn.Tanh()], ranges, key="a"), "key must be a whole number"),
        (lambda: hg.LayerMask([nn.Tanh()], ranges).branch(2), r"i must be a range, 0 \.\. 1, got 2"),
        (lambda: hg.LayerMask([nn.Tanh()], ranges)([1.0], torch.zeros(1)), "x must be a tensor, got list"),
        (lambda: hg.RecurrentSwitch(ranges, [1, 2], state="reset"), "branches must be modules, got int at position 0"),
        (lambda: hg.RecurrentSwitch(ranges, nn.GRU(1, 1), state=None), "state must be one of"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_compiled_dropout_runs() -> None:
    layer = masked(None, dropout=[[0.5] * 4 + [0.0]] * 3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, key = batch(30)
    assert not torch.equal(compiled(x, key), compiled(x, key))
    layer.eval()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x, key), layer(x, key))


def test_mistakes_are_named() -> None:
    ranges = hg.Ranges([-1, 0, 1])
    with pytest.raises(ValueError, match="layers must be at least one, got none"):
        hg.LayerMask([], ranges)
    with pytest.raises(ValueError, match=r"mask must be \(ranges, layers\) = \(2, 1\), got \(1, 2\)"):
        hg.LayerMask([nn.Tanh()], ranges, [[1, 1]])
    with pytest.raises(ValueError, match="mask must hold True and False, got"):
        hg.LayerMask([nn.Tanh()], ranges, [[0.5], [1]])
    for wrong in (1.5, [[-0.1], [0.0]], float("nan")):
        with pytest.raises(ValueError, match="dropout must be probabilities, 0 to 1, got"):
            hg.LayerMask([nn.Tanh()], ranges, dropout=wrong)
    with pytest.raises(ValueError, match=r"dropout must be \(ranges, layers\) = \(2, 1\), got \(1,\)"):
        hg.LayerMask([nn.Tanh()], ranges, dropout=[0.5])
    layer = hg.LayerMask([nn.Linear(4, 3)], ranges, [[1], [0]])
    with pytest.raises(ValueError, match=r"layer 0 \(Linear\) may be skipped.*\(4,\), got \(3,\)"):
        layer(torch.randn(2, 4), torch.tensor([-0.5, -0.5]))
    with pytest.raises(ValueError, match=r"got key \(3,\) and x \(2, 4\)"):
        layer(torch.randn(2, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="LayerMask: forward must be given a key"):
        layer(torch.randn(2, 4))
    with pytest.raises(ValueError, match="LayerMask: ranges must not learn here"):
        hg.LayerMask([nn.Tanh()], hg.LearnedRanges([-1, 0, 1]))(torch.randn(2, 4), torch.zeros(2))

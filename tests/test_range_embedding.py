"""A number into a vector: against the switch of linear branches that it stands for, and against plain loops."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg

POINTS = [-1.0, -0.25, 0.5, 1.0]


def embedding(**options: Any) -> hg.RangeEmbedding:
    return hg.RangeEmbedding(hg.Ranges(POINTS), 5, **options).double()


def plain_loop(layer: hg.RangeEmbedding, x: Tensor, key: Tensor | None = None, normalize: bool = False) -> Tensor:
    key = x if key is None else key
    rows = []
    for number, k in zip(x.reshape(-1), key.reshape(-1).tolist(), strict=True):
        i = max(j for j in range(3) if k >= POINTS[j])
        low, high = POINTS[i], POINTS[i + 1]
        number = (number - (low + high) / 2) / ((high - low) / 2) if normalize else number
        rows.append(layer.branch(i).weight[:, 0] * number + layer.branch(i).bias)
    return torch.stack(rows).reshape(*x.shape, 5)


@pytest.mark.parametrize("shape", [(), (7,), (4, 6), (2, 3, 4)])
@pytest.mark.parametrize("normalize", [False, True])
def test_equals_a_plain_loop(shape: tuple[int, ...], normalize: bool) -> None:
    layer = embedding(normalize=normalize)
    x = (torch.rand(shape, dtype=torch.float64) * 1.4 - 1).requires_grad_()  # none in the last range
    weight = torch.randn(*shape, 5, dtype=torch.float64)
    x.data.clamp_(max=0.49)
    expected = plain_loop(layer, x, normalize=normalize)
    (expected * weight).sum().backward()
    wanted = [x.grad, *(p.grad for p in layer.parameters())]
    layer.zero_grad()
    x.grad = None
    y = layer(x)
    (y * weight).sum().backward()
    torch.testing.assert_close(y, expected)
    for found, want in zip([x.grad, *(p.grad for p in layer.parameters())], wanted, strict=True):
        assert (found is None) == (want is None)
        if want is not None:
            torch.testing.assert_close(found, want)
    assert layer.branch(2).weight.grad is None
    assert layer.ranges.visits.sum() == x.numel()


def test_equals_the_switch_it_stands_for() -> None:
    layer = embedding(normalize=True)
    switch = hg.Switch(layer.ranges, list(layer.branches), normalize=True)
    x = torch.rand(30, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(layer(x), switch(x[:, None], x))
    key = torch.rand(30, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(layer(x, key), switch(x[:, None], key))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, weight_decay=0.1),
    ],
)
def test_training_on_mixed_batches_equals_training_each_range_alone(optimizer: Any) -> None:
    layer = embedding()
    alone = [copy.deepcopy(branch) for branch in layer.branches]
    together, each = optimizer(layer.parameters()), [optimizer(branch.parameters()) for branch in alone]
    for step in range(6):
        x = torch.rand(8, dtype=torch.float64) * (2 if step % 2 else 1.25) - 1  # every second batch misses a range
        target = torch.randn(8, 5, dtype=torch.float64)
        together.zero_grad()
        (layer(x) - target).square().sum().backward()
        together.step()
        index = layer.ranges.index(x)
        for i, branch in enumerate(alone):
            rows = index == i
            each[i].zero_grad()
            if rows.any():
                (branch(x[rows, None]) - target[rows]).square().sum().backward()
                each[i].step()
    for branch, single in zip(layer.branches, alone, strict=True):
        for p, q in zip(branch.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_gradient_by_finite_differences() -> None:
    layer = embedding(normalize=True)
    x = torch.tensor([[-0.7, -0.1], [0.3, 0.8]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtypes_copies_and_files(dtype: torch.dtype) -> None:
    layer = embedding(init="identical").to(dtype)
    assert torch.equal(layer.branch(0).weight, layer.branch(2).weight)
    x = (torch.rand(9) * 2 - 1).to(dtype)
    assert layer(x).dtype is dtype
    assert layer(torch.tensor([0, 1, -1])).dtype is dtype
    twin, other = copy.deepcopy(layer), embedding().to(dtype)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(twin(x), layer(x))
    assert torch.equal(other(x), layer(x))
    empty = layer(x[:0].reshape(0, 3))
    assert empty.shape == (0, 3, 5)
    layer.zero_grad()
    empty.sum().backward()
    assert all(p.grad is None for p in layer.parameters())


def test_nan_in_x_stays_in_its_row_and_range() -> None:
    layer = embedding()
    x = torch.tensor([0.1, torch.nan, 0.2], dtype=torch.float64)
    key = torch.tensor([-0.5, 0.7, -0.6], dtype=torch.float64)
    y = layer(x, key)
    y.sum().backward()
    assert y.isnan().any(1).tolist() == [False, True, False]
    assert layer.branch(0).weight.grad.isfinite().all()
    with pytest.raises(ValueError, match="got NaN in row 1"):
        layer(x)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_one_graph_compiled_and_exported() -> None:
    layer = embedding(normalize=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    program = torch.export.export(
        copy.deepcopy(layer), (torch.zeros(4, 3, dtype=torch.float64),), dynamic_shapes=({0: torch.export.Dim("B")},)
    )
    for rows in (2, 5):
        x = torch.rand(rows, 3, dtype=torch.float64) * 0.7 - 1  # the last range is missed
        wanted = layer(x)
        torch.testing.assert_close(compiled(x), wanted)
        torch.testing.assert_close(program.module()(x), wanted)
        layer.zero_grad()
        compiled(x).sum().backward()
        assert not layer.branch(2).weight.grad.any()
        assert layer.branch(0).weight.grad.any()


def test_along_sequences_with_hysteresis() -> None:
    layer = hg.RangeEmbedding(hg.Hysteresis(hg.Ranges([-1, 0, 1]), 0.2), 2)
    x = torch.tensor([[-0.5, 0.1, 0.3, -0.1]])
    index = [0, 0, 1, 1]
    for t, i in enumerate(index):
        torch.testing.assert_close(layer(x)[0, t], layer.branch(i)(x[0, t : t + 1]))
    assert layer(x[:0]).shape == (0, 4, 2)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="features must be at least one, got 0"):
        hg.RangeEmbedding(hg.Ranges(POINTS), 0)
    with pytest.raises(ValueError, match="ranges must be of one number, got Grid of 2 keys"):
        hg.RangeEmbedding(hg.Grid(hg.Ranges(POINTS), hg.Ranges(POINTS)), 2)
    with pytest.raises(ValueError, match=r"key must have x's shape, got key \(2,\) and x \(3,\)"):
        embedding()(torch.zeros(3), torch.zeros(2))
    assert isinstance(embedding().branch(1), nn.Linear)


def test_learned_points_get_their_gradient() -> None:
    layer = hg.RangeEmbedding(hg.LearnedRanges(POINTS, band=1.0), 2).double()
    switch = hg.Switch(layer.ranges, list(layer.branches))
    x = torch.rand(40, dtype=torch.float64) * 2 - 1
    found = []
    for y in (layer(x), switch(x[:, None], x)):
        layer.zero_grad()
        y.square().sum().backward()
        found.append([p.grad for p in layer.ranges.parameters()])
    assert any(grad.any() for grad in found[0])
    torch.testing.assert_close(*found)
    torch.testing.assert_close(layer(torch.tensor(0.3, dtype=torch.float64)), layer(torch.tensor([0.3]).double())[0])

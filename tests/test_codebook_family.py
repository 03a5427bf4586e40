"""Codes that are computed: finite scalar and lookup-free quantization."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad as hg


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LAYERS: dict[str, Callable[..., Any]] = {
    "levels": lambda **options: hg.levels([8, 5, 2], **options),
    "lookup_free": lambda **options: hg.lookup_free(3, **options),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


# ------------------------------------------------------------------------------------------------------ both of them


@every_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_index_decodes_to_the_value(make: Callable[..., Any], dtype: torch.dtype) -> None:
    layer = make()
    y, index = layer(3 * randn(500, 3).to(dtype))
    assert y.dtype == dtype
    assert index.dtype == torch.long
    assert index.shape == (500,)
    assert torch.equal(layer.codes(index).to(dtype), y)
    every = torch.arange(math.prod(layer.sizes))
    codes = layer.codes(every)
    assert len(codes.unique(dim=0)) == len(every)
    assert codes.abs().max() <= 1


@every_layer
def test_half_is_the_value_of_the_same_number_in_single(make: Callable[..., Any]) -> None:
    x = 3 * randn(2000, 3).bfloat16()
    y, index = make()(x)
    wide, same = make()(x.float())
    assert torch.equal(index, same)
    assert torch.equal(wide.bfloat16(), y)


@every_layer
def test_dim_is_where_the_numbers_are(make: Callable[..., Any]) -> None:
    x = randn(2, 3, 4, 5)
    y, index = make(dim=1)(x)
    last, expected = make()(x.movedim(1, -1))
    assert torch.equal(y, last.movedim(-1, 1))
    assert torch.equal(index, expected)
    assert torch.equal(make(dim=1).codes(index).double(), make().codes(index).movedim(-1, 1).double())


@every_layer
def test_a_masked_row_has_no_part(make: Callable[..., Any]) -> None:
    x, mask = randn(6, 3), torch.tensor([True, False, True, True, False, True])
    kept = x[mask].requires_grad_()
    expected, index = make()(kept)
    expected.square().sum().backward()
    spoilt = torch.where(mask[:, None], x, torch.nan).requires_grad_()
    y, found = make()(spoilt, mask)
    y.square().sum().backward()
    assert torch.equal(y[mask], expected)
    assert torch.equal(found[mask], index)
    assert not y[~mask].any()
    assert bool((found[~mask] == -1).all())
    torch.testing.assert_close(spoilt.grad[mask], kept.grad)
    assert not spoilt.grad[~mask].any()
    assert torch.equal(make().codes(found).double()[~mask], torch.zeros(2, 3, dtype=torch.float64))


@every_layer
def test_in_evaluation_no_gradient_passes_and_a_backward_hears_so(make: Callable[..., Any]) -> None:
    x = randn(4, 3).requires_grad_()
    trained, index = make()(x)
    y, same = make().eval()(x)
    assert torch.equal(y, trained)
    assert torch.equal(index, same)
    with pytest.warns(UserWarning, match="no gradient passes through this layer in eval"):
        y.sum().backward()
    assert not x.grad.any()
    with hg.penalties() as bag:
        make(differentiable_in_eval=True).eval()(x)[0].sum().backward()
    assert x.grad.all()
    assert len(bag) == 0


@every_layer
def test_a_row_that_cannot_be_refused_is_nan_and_no_other_feels_it(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = randn(4, 3, dtype=torch.float32)
    x[1, 2] = torch.nan
    layer, rest = make(), [0, 2, 3]
    leaf = x.clone().requires_grad_()
    monkeypatch.setattr("hardgrad.codebook.rows.readable", lambda x: False)  # as on a GPU
    y, index = layer(leaf)
    y.sum().backward()
    assert y[1].isnan().all()
    assert index[1] == -1
    kept = x[rest].requires_grad_()
    expected, same = layer(kept)
    expected.sum().backward()
    assert torch.equal(y[rest], expected)
    assert torch.equal(index[rest], same)
    torch.testing.assert_close(leaf.grad[rest], kept.grad)


@every_layer
def test_mistakes_are_named(make: Callable[..., Any]) -> None:
    layer, x = make(), randn(4, 3)
    name = layer.word
    for wrong, error, words in (
        (lambda: layer(x[:, :2]), ValueError, f"{name}: x must have the width 3 at dim -1, got shape .4, 2"),
        (lambda: layer(x[0, 0]), ValueError, f"{name}: x must have the width 3 at dim -1, got shape ..; give"),
        (lambda: layer(x.long()), ValueError, f"{name}: x must be floating point, got torch.int64"),
        (lambda: layer(x.log()), ValueError, f"{name}: x must be finite, got . of 4 rows with NaN"),
        (lambda: layer(x, x > 0), ValueError, f"{name}: mask must be bool of shape .4,."),
        (lambda: layer(x, torch.ones(4)), ValueError, f"{name}: mask must be bool of shape"),
        (lambda: layer.codes(x), TypeError, f"{name}: index must be of whole numbers, got torch.float64"),
        (
            lambda: layer.codes(torch.tensor([0, 80])),
            ValueError,
            f"{name}: index must be .* got numbers from 0 to 80",
        ),
        (lambda: layer.codes(torch.tensor(-2)), ValueError, f"{name}: index must be .* got numbers from -2"),
        (lambda: make(dim=None), TypeError, f"{name}: dim must be a whole number"),
        (lambda: make(differentiable_in_eval=1), TypeError, f"{name}: differentiable_in_eval must be True"),
    ):
        with pytest.raises(error, match=words):
            wrong()


def test_one_graph_gives_the_same() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), Alternated(hg.levels([5, 4, 3]), hg.lookup_free(3)))
    x = randn(4, 3, dtype=torch.float32)
    found = []
    for run in (model, torch.compile(model, backend="eager", fullgraph=True)):
        model.zero_grad()
        y, index = run(x)
        y.square().sum().backward()
        found.append((y, index, model[0].weight.grad.clone()))
    (y, index, slope), (in_graph, same, lent) = found
    assert torch.equal(y, in_graph)
    assert torch.equal(index, same)
    torch.testing.assert_close(lent, slope)


class Alternated(torch.nn.Module):
    def __init__(self, *layers: torch.nn.Module) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, numbers = zip(*(layer(x) for layer in self.layers), strict=True)
        return sum(values), sum(numbers)


# ------------------------------------------------------------------------------------------------------------ levels


def published(x: Tensor, sizes: list[int]) -> tuple[list[float], int]:
    """The paper's appendix A.1 for one row, number by number."""
    values, index, place = [], 0, 1
    for number, size in zip(x.tolist(), sizes, strict=True):
        half = (size - 1) * (1 - 1e-3) / 2
        offset = 0.5 if size % 2 == 0 else 0.0
        digit = round(math.tanh(number + math.tan(offset / half)) * half - offset)
        values.append(digit / (size // 2))
        index += (digit + size // 2) * place
        place *= size
    return values, index


@pytest.mark.parametrize("sizes", [[8, 5, 5, 5], [2, 3, 4], [7], [1000, 999]])
def test_levels_are_the_papers(sizes: list[int]) -> None:
    x = 2 * randn(100, len(sizes))
    y, index = hg.levels(sizes)(x)
    expected = [published(row, sizes) for row in x]
    assert y.tolist() == [values for values, _ in expected]
    assert index.tolist() == [index for _, index in expected]


@pytest.mark.parametrize("size", [2, 3, 4, 5, 256, 999, 1000])
def test_every_level_is_reached(size: int) -> None:
    _, index = hg.levels([size])(torch.linspace(-9, 9, 200_001).unsqueeze(-1))
    assert index.unique().tolist() == list(range(size))


def test_the_gradient_of_levels_is_that_of_the_bound() -> None:
    x, sizes, h = randn(5, 3).requires_grad_(), [4, 5, 2], 1e-6
    weight = randn(5, 3, seed=1)
    (hg.levels(sizes)(x)[0] * weight).sum().backward()

    def bound(x: Tensor) -> Tensor:
        columns = []
        for column, size in zip(x.unbind(-1), sizes, strict=True):
            half = (size - 1) * (1 - 1e-3) / 2
            offset = 0.5 if size % 2 == 0 else 0.0
            columns.append((torch.tanh(column + math.tan(offset / half)) * half - offset) / (size // 2))
        return torch.stack(columns, -1)

    numeric = (bound(x + h) - bound(x - h)) / (2 * h) * weight
    torch.testing.assert_close(x.grad, numeric.detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("levels", "error", "words"),
    [
        ([], ValueError, "levels: levels must be at least one, of a product below"),
        (5, TypeError, "levels: levels must be a list of whole numbers, got int 5"),
        ("85", TypeError, "levels: levels must be a list of whole numbers, got str '85'"),
        ([8, 1], ValueError, "levels: levels must be at least 2 and at most 1000, got 1"),
        ([1001], ValueError, "levels: levels must be at least 2 and at most 1000, got 1001"),
        ([2.5], TypeError, "levels: levels must be a whole number"),
        ([1000] * 7, ValueError, r"levels: .* of a product below 2 \*\* 63, got 7 of product 1e\+21"),
    ],
)
def test_levels_that_are_none(levels: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        hg.levels(levels)


# ------------------------------------------------------------------------------------------------------- lookup-free


def entropies(x: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The mean entropy of rows, and the entropy of their mean, over all 2 ** bits codes."""
    codes = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=x.shape[-1])), dtype=x.dtype)
    q = torch.softmax(-(x[:, None] - codes).square().sum(-1) / temperature, -1)
    return torch.special.entr(q).sum(-1).mean(), torch.special.entr(q.mean(0)).sum()


def penalty(layer: Any, x: Tensor) -> Tensor:
    with hg.penalties() as bag:
        layer(x)
    return bag.total()


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize("bits", [1, 4, 5])
def test_the_entropy_term_is_that_of_all_codes(bits: int, temperature: float) -> None:
    x = 0.3 * randn(7, bits)
    layer = hg.lookup_free(bits, entropy=0.7, temperature=temperature, commitment=0.0)
    of_rows, of_mean = entropies(x, temperature)
    torch.testing.assert_close(penalty(layer, x), 0.7 * (of_rows - of_mean))


def test_bits_that_say_the_same_are_not_taken_for_many_codes() -> None:
    x = randn(500, 1).expand(500, 9)
    term = penalty(hg.lookup_free(9, entropy=1.0, temperature=0.01, commitment=0.0), x)
    assert -math.log(2) - 0.05 < term < -0.5  # two codes; 512 would give up to -log 512 = -6.2


def test_more_than_12_bits_are_taken_in_groups() -> None:
    x = 0.3 * randn(6, 14)
    groups = [entropies(part, 1.0) for part in (x[:, :7], x[:, 7:])]
    expected = sum(of_rows - of_mean for of_rows, of_mean in groups)
    torch.testing.assert_close(penalty(hg.lookup_free(14, entropy=1.0, commitment=0.0), x), expected)


def test_the_penalty_reaches_x_and_counts_once() -> None:
    x, layer = randn(6, 3).requires_grad_(), hg.lookup_free(3, entropy=0.3, temperature=0.5, commitment=0.2)

    def written(x: Tensor) -> Tensor:
        of_rows, of_mean = entropies(x, 0.5)
        return 0.3 * (of_rows - of_mean) + 0.2 * (x - x.detach().sign()).square().mean()

    (expected,) = torch.autograd.grad(written(x), x)
    torch.testing.assert_close(torch.autograd.grad(penalty(layer, x), x)[0], expected)
    (y, _), weight = layer(x), randn(6, 3, seed=1)
    (100 * y * weight).sum().backward()  # copied, and the penalty once whatever the loss is scaled by
    torch.testing.assert_close(x.grad, 100 * weight + expected)


def test_the_penalty_of_sure_rows_is_finite_in_half() -> None:
    for dtype in (torch.float32, torch.float16):
        largest = 1e38 if dtype == torch.float32 else 6e4  # times 4 / temperature it is no number
        x = torch.tensor([[largest, -6e4], [5e4, 1e-4], [6e4, -5.0]], dtype=dtype).requires_grad_()
        layer = hg.lookup_free(2, temperature=0.01, commitment=0.0)
        layer(x)[0].sum().backward()
        assert bool(x.grad.isfinite().all())


def test_zero_is_one_and_62_bits_make_an_index() -> None:
    layer = hg.lookup_free(62)
    x = torch.where(torch.arange(62) % 3 == 0, -1.0, 0.0)
    y, index = layer(x)
    assert y.tolist() == [-1.0 if bit % 3 == 0 else 1.0 for bit in range(62)]
    assert index.item() == sum(2**bit for bit in range(62) if bit % 3)
    assert torch.equal(layer.codes(index), y)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"bits": 63}, ValueError, "lookup_free: bits must be at least 1 and at most 62, got 63"),
        ({"bits": 0}, ValueError, "lookup_free: bits must be at least 1"),
        ({"entropy": -1.0}, ValueError, "lookup_free: entropy must be at least 0, got -1.0"),
        ({"temperature": 0.0}, ValueError, "lookup_free: temperature must be above 0, got 0.0"),
        ({"commitment": math.nan}, ValueError, "lookup_free: commitment must be at least 0 and finite, got nan"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        hg.lookup_free(**({"bits": 3} | options))


# ---------------------------------------------------------------------------------------------------------- residual


def chain(stages: int = 3, *, dropout: float = 0.0, codes: int = 6, width: int = 4, **options: Any) -> Any:
    torch.manual_seed(3)
    options = {"start": "normal", "learn": None, "revive": None} | options
    return hg.ResidualCodebook(hg.Codebook(codes, width, **options), stages, dropout=dropout)


def written(layer: Any, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What is left, the code and its number at each stage, by enumeration."""
    left, found = x.detach(), []
    for stage in layer.stages:
        weight = stage.weight.detach()[0].to(x.dtype)
        index = (left[:, None] - weight).square().sum(-1).argmin(-1)
        found.append((left, weight[index], index))
        left = left - weight[index]
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_value_is_the_sum_of_the_decoded_codes(dtype: torch.dtype) -> None:
    layer, x = chain().eval(), randn(50, 4).to(dtype)
    assert not torch.equal(layer.stages[0].weight, layer.stages[1].weight)
    y, index = layer(x)
    assert index.shape == (50, 3)
    assert y.dtype == dtype
    assert torch.equal(layer.codes(index).to(dtype), y)
    wide = x if dtype == torch.float64 else x.float()
    assert torch.equal(index, torch.stack([number for _, _, number in written(layer, wide)], -1))


@pytest.mark.parametrize("gradient", ["copy", "rotation", "directional"])
def test_the_gradient_is_that_of_a_graph_written_by_hand(gradient: str) -> None:
    beta, n, d = 0.7, 9, 4
    layer = chain(gradient=gradient, learn="gradient", commitment=beta).double()
    x, weight = randn(n, d, seed=5).requires_grad_(), randn(n, d, seed=6)
    (layer(x)[0] * weight).sum().backward()
    stages = written(layer, x)
    total = sum(code for _, code, _ in stages)
    lent, to_codes = lent_by_hand(gradient, x.detach(), total, weight)
    terms = sum(2 * beta * (left - code) / (n * d) for left, code, _ in stages)
    torch.testing.assert_close(x.grad, lent + terms)
    for stage, (left, code, index) in zip(layer.stages, stages, strict=True):
        own = to_codes if gradient == "directional" else 2 * (code - left) / (n * d)
        expected = torch.zeros(6, d, dtype=torch.float64).index_add_(0, index, own)
        torch.testing.assert_close(stage.weight.grad[0], expected)
    assert all(float((left - code).norm()) > 0.5 for left, code, _ in stages)  # so no term was zero


def lent_by_hand(gradient: str, x: Tensor, total: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The task's gradient to x and to the codes, row by row with whole matrices."""
    to_x, to_codes = torch.zeros_like(x), torch.zeros_like(x)
    for row, (a, e, g) in enumerate(zip(x, total, weight, strict=True)):
        matrix = torch.eye(len(a), dtype=a.dtype)
        if gradient == "directional":
            unit = (e - a) / (e - a).norm()
            matrix = matrix - torch.outer(unit, unit)
            to_codes[row] = unit * (unit @ g)
        if gradient == "rotation" and a @ e > 0:  # two reflections, along a and half way between
            half = a / a.norm() + e / e.norm()
            first, second = (matrix - 2 * torch.outer(v, v) / (v @ v) for v in (a, half))
            matrix = second @ first * (e.norm() / a.norm()).clamp(0.5, 2)
        to_x[row] = matrix.mT @ g
    return to_x, to_codes


def test_a_scope_has_the_terms_of_all_stages_and_the_task_its_own() -> None:
    layer, x = chain(learn="gradient", commitment=0.3).double(), randn(8, 4).requires_grad_()
    with hg.penalties(layer) as bag:
        y, _ = layer(x)
    assert len(bag) == 1
    expected = sum(1.3 * (left - code).square().mean() for left, code, _ in written(layer, x))
    torch.testing.assert_close(bag.total(), expected)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_a_bridge_imitates_the_whole_chain_with_one_network() -> None:
    layer, x = chain(gradient="bridge", commitment=0.0), randn(16, 4, dtype=torch.float32)
    assert [name for name, _ in layer.named_parameters() if "approximator" not in name] == []
    assert {name.split(".")[1] for name, _ in layer.named_parameters()} == {"0"}
    approximator = layer.stages[0].approximator
    with hg.penalties() as bag:
        y, _ = layer(x)
    torch.testing.assert_close(bag.total(), 10 * (approximator(x) - y).square().sum() / 16)


@pytest.mark.parametrize("learn", ["ema", "gradient"])
def test_stages_learn_apart_and_only_in_batches_they_are_in(learn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = chain(learn=learn, revive=0.01, dropout=1.0, start="kmeans"), randn(64, 4, dtype=torch.float32)
    monkeypatch.setattr(type(layer), "_active", lambda self, rows: torch.tensor(2))
    layer(x)
    codes = [stage.weight for stage in layer.stages]  # k-means has begun all, each at what was left
    error = [float(sum(code for _, code, _ in written(layer, x)[:n]).sub(x).square().mean()) for n in (1, 2, 3)]
    assert error[0] > 1.3 * error[1] > 1.69 * error[2]
    layer(x)  # what the batch before said is done by now
    starts = [code.detach().clone() for code in codes]
    for _ in range(2):
        layer.zero_grad()
        y, index = layer(x + 0.5)
        y.sum().backward()
    assert bool((index[:, 2] == -1).all())
    assert bool((index[:, :2] >= 0).all())
    assert torch.equal(layer.codes(index), y)
    if learn == "ema":
        assert [torch.equal(*pair) for pair in zip(starts, codes, strict=True)] == [False, False, True]
    else:
        assert [bool(code.grad.any()) for code in codes] == [True, True, False]
    assert [usage.rows for usage in layer.usage()] == [256, 256]
    with pytest.raises(RuntimeError, match="no training batch has passed"):
        chain().usage()


def test_dropout_draws_the_number_of_stages_evenly_and_from_the_seed() -> None:
    layer, x = chain(4, dropout=0.5), torch.zeros(2, 4)
    torch.manual_seed(0)
    drawn = [int(layer._active(x)) for _ in range(400)]
    # Of 400 draws 50 +- 6.6 are 1, 2 or 3, and 250 +- 9.7 are all 4: five sigma.
    assert all(17 < drawn.count(number) < 83 for number in (1, 2, 3))
    assert set(drawn) == {1, 2, 3, 4}
    torch.manual_seed(0)
    assert drawn[:10] == [int((layer(x)[1][0] >= 0).sum()) for _ in range(10)]
    assert bool((layer.eval()(x)[1] >= 0).all())


def test_every_process_counts_alike_whatever_it_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one would wait for a sum that another never asks for."""
    layer, x = chain(learn="ema", revive=0.01), randn(16, 4, dtype=torch.float32)
    sums: list[tuple[int, ...]] = []

    def added(values: Tensor) -> Tensor:
        sums.append(tuple(values.shape))
        return values

    monkeypatch.setattr("hardgrad.codebook.moving.added", added)
    found = []
    for active in (1, 3):
        monkeypatch.setattr(type(layer), "_active", lambda self, rows, active=active: torch.tensor(active))
        layer(x)
        found.append(list(sums))
        sums.clear()
    assert found[0] == found[1] != []


def test_the_chain_takes_heads_masks_and_dim() -> None:
    layer, x = chain(heads=2, dim=1, learn="gradient"), randn(2, 4, 5, dtype=torch.float32)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False]])
    spoilt = torch.where(mask[:, None], x, torch.nan).requires_grad_()
    y, index = layer(spoilt, mask)
    y.sum().backward()
    assert index.shape == (2, 5, 2, 3)
    assert torch.equal(layer.codes(index), y)
    assert bool((index[~mask] == -1).all())
    assert not y.movedim(1, -1)[~mask].any()
    assert not spoilt.grad.movedim(1, -1)[~mask].any()
    kept, same = chain(heads=2, learn="gradient")(x.movedim(1, -1)[mask])
    assert torch.equal(index[mask], same)
    assert torch.equal(y.movedim(1, -1)[mask], kept)
    coarse = index.clone()
    coarse[..., 1:] = -1
    assert torch.equal(layer.codes(coarse), layer.stages[0].codes(index[..., 0]))


def test_stripped_it_is_the_chain_alone() -> None:
    layer, x = chain(learn="simvq", gradient="bridge", dropout=0.5), randn(6, 4, dtype=torch.float32)
    layer(x)
    stripped = hg.strip(layer)
    assert sorted(stripped.state_dict()) == ["stages.0.weight", "stages.1.weight", "stages.2.weight"]
    for found, right in zip(stripped(x), layer.eval()(x), strict=True):
        assert torch.equal(found, right)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: hg.ResidualCodebook(torch.nn.Linear(3, 3), 2), TypeError, "layer must be a Codebook, got Linear"),
        (lambda: chain(0), ValueError, "stages must be at least 1, got 0"),
        (lambda: chain(dropout=1.5), ValueError, "dropout must be at least 0 and at most 1, got 1.5"),
        (lambda: chain(distance="cosine"), ValueError, "layer must have distance='euclidean', got 'cosine'"),
        (
            lambda: hg.ResidualCodebook(begun(), 2),
            ValueError,
            "layer must be new, got one that has seen",
        ),
        (lambda: chain()(torch.zeros(2, 3)), ValueError, "x must have the width 4 at dim -1"),
        (
            lambda: chain().codes(torch.zeros(2, 4).long()),
            ValueError,
            r"index must have shape \(..., 3\).*got \(2, 4\)",
        ),
        (lambda: chain().codes(torch.full((3,), 6)), ValueError, "index must be from 0 to 5"),
    ],
)
def test_mistakes_of_a_chain_are_named(wrong: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"ResidualCodebook: {words}"):
        wrong()


def begun() -> hg.Codebook:
    layer = hg.Codebook(2, 4)
    layer(randn(8, 4, dtype=torch.float32))
    return layer


def test_a_tensor_of_one_number_is_no_list_of_levels() -> None:
    with pytest.raises(TypeError, match="levels must be a list of whole numbers, got"):
        hg.levels(torch.tensor(3.0))

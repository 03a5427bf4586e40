"""hg.Codebook: its value, each gradient against an independent derivation, its terms, its modes, its refusals."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from hardgrad.codebook.gradients import GRADIENTS

WORDS = (*GRADIENTS, "bridge")
EVERY: list[Any] = [*WORDS, torch.tanh]


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _layer(codes: int = 5, width: int = 6, **options: Any) -> Any:
    torch.manual_seed(1)
    options = {"start": _randn(codes, width, seed=4), "commitment": 0.0} | options
    return hg.Codebook(codes, width, **options).double()


def _lent(layer: Any, x: Tensor, g: Tensor, **more: Any) -> Tensor:
    """The gradient at x when g arrives at y; the layer's own terms are collected, and left out."""
    x = x.clone().requires_grad_()
    with hg.penalties():
        layer(x, **more)[0].backward(g)
    assert x.grad is not None
    return x.grad


def _state(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in layer.state_dict().items()}


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------------------------- the value


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("shape", "dim"), [((7, 6), -1), ((2, 6, 3, 2), 1), ((6,), -1), ((0, 6), -1)])
def test_the_value_is_the_nearest_code_bit_for_bit(
    dtype: torch.dtype, distance: str, heads: int, shape: tuple[int, ...], dim: int
) -> None:
    layer, x = _layer(distance=distance, heads=heads, dim=dim), _randn(*shape).to(dtype)
    kept = x.clone()
    y, index = layer(x)
    assert torch.equal(x, kept)
    assert (y.shape, y.dtype, index.dtype) == (x.shape, dtype, torch.int64)
    assert torch.equal(layer.codes(index).to(dtype), y)
    table = layer.weight / (layer.weight.norm(dim=-1, keepdim=True) if distance == "cosine" else 1)
    vectors = x.double().movedim(dim, -1).unflatten(-1, (heads, -1))
    score = (
        (vectors.unsqueeze(-2) - layer.weight) if distance == "euclidean" else vectors.unsqueeze(-2) * -table
    ).double()
    want = (score.square().sum(-1) if distance == "euclidean" else score.sum(-1)).argmin(-1)
    assert torch.equal(index, want if heads > 1 else want.squeeze(-1))
    assert torch.equal(y.movedim(dim, -1).unflatten(-1, (heads, -1)), _at(table, want).to(dtype))


def _at(table: Tensor, index: Tensor) -> Tensor:
    return torch.stack([table[head][index[..., head]] for head in range(len(table))], -2)


def test_half_compares_in_single_precision() -> None:
    """Their squares are 3.6e5, which fp16 cannot hold, and differ by less than bf16 can tell."""
    start = torch.tensor([[600.0, 0.0], [600.0, 1.0]])
    for dtype in (torch.float16, torch.bfloat16):
        _, index = hg.Codebook(2, 2, start=start)(torch.tensor([[600.0, 1.0], [600.0, 0.0]], dtype=dtype))
        assert index.tolist() == [1, 0]
    layer, x = hg.Codebook(200, 8, start=_randn(200, 8).float(), learn=None), _randn(200, 8, seed=2).float()
    with torch.autocast("cpu", torch.bfloat16):  # enough of both for a matrix product
        assert torch.equal(layer(x)[1], (x[:, None] - layer.weight[0]).square().sum(-1).argmin(1))


def test_y_and_index_are_the_callers_own() -> None:
    for options in ({}, {"learn": "gradient", "distance": "cosine"}, {"gradient": "directional", "learn": "simvq"}):
        layer, x = _layer(**options), _randn(7, 6).requires_grad_()
        other, same = copy.deepcopy(layer), x.detach().clone().requires_grad_()
        for each, at, write in ((layer, x, False), (other, same, True)):
            h = at * 1.0
            y, index = each(h)
            loss = (y * _randn(7, 6, seed=2)).sum()
            if write:
                y.zero_(), index.zero_()
            loss.backward()
            each(_randn(7, 6, seed=3))
        assert torch.equal(x.grad, same.grad)  # type: ignore[arg-type]  # there is one
        assert _equal(_state(layer), _state(other))


# ------------------------------------------------------------------------------------------------------ the gradients


def _turn(x: Tensor, e: Tensor) -> Tensor:
    """The rotation of the plane of x and e that takes x's direction to e's, as the exponential of its generator."""
    u, v = x / x.norm(), e / e.norm()
    across = v - (u @ v) * u
    across = across / across.norm()
    return torch.linalg.matrix_exp(torch.acos(u @ v) * (torch.outer(across, u) - torch.outer(u, across)))


@pytest.mark.parametrize("heads", [1, 2])
def test_rotation_is_the_rotation_matrix(heads: int) -> None:
    x, g = _randn(1, 6, seed=7), _randn(1, 6, seed=8)
    e = (x.unflatten(1, (heads, -1)) + 0.6 * _randn(1, heads, 6 // heads, seed=9)).transpose(0, 1)
    found = _lent(_layer(1, gradient="rotation", start=e, heads=heads), x, g)
    for row, code, arrives, out in zip(*(t.view(heads, -1) for t in (x, e, g, found)), strict=True):
        turn = _turn(row, code)
        torch.testing.assert_close(turn @ row / row.norm(), code / code.norm())
        assert row @ code > 0
        assert 0.5 < code.norm() / row.norm() < 2
        torch.testing.assert_close(out, code.norm() / row.norm() * turn.mT @ arrives)


def test_rotation_is_guarded() -> None:
    x, g = _randn(1, 4, seed=7), _randn(1, 4, seed=8)
    lend: Callable[[Tensor, Tensor], Tensor] = lambda e, x: _lent(_layer(1, 4, gradient="rotation", start=e), x, g)  # noqa: E731
    for opposite in (-x, -0.1 * x + 0.01 * _randn(1, 4, seed=9), torch.zeros(1, 4)):
        assert torch.equal(lend(opposite, x), g)
    assert torch.equal(lend(x, torch.zeros(1, 4, dtype=torch.float64)), g)
    near = x + 0.1 * _randn(1, 4, seed=9)
    turned = _turn(x[0], near[0]).mT @ g[0]
    for stretch, most in ((9.0, 2.0), (0.01, 0.5), (1.0, float(near.norm() / x.norm()))):
        torch.testing.assert_close(lend(stretch * near, x)[0], most * turned)


def test_directional_is_the_derivative_of_its_formula() -> None:
    """Central differences of x + |e - x| d, the direction d held; into codes summed over the rows that took them."""
    layer, x, g = _layer(gradient="directional", learn="gradient"), _randn(7, 6), _randn(7, 6, seed=2)
    index, weight = layer(x)[1], layer.weight[0].detach().clone()
    gap = weight[index] - x
    d, h = gap / gap.norm(dim=1, keepdim=True), 1e-6

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        return ((x + (weight[index] - x).norm(dim=1, keepdim=True) * d) * g).sum()

    found = _lent(layer, x, g)
    for at, actual, f in ((x, found, lambda t: loss(t, weight)), (weight, layer.weight.grad[0], lambda t: loss(x, t))):
        nudges = h * torch.eye(at.numel(), dtype=at.dtype).view(-1, *at.shape)
        numeric = torch.stack([(f(at + n) - f(at - n)) / (2 * h) for n in nudges])
        torch.testing.assert_close(actual, numeric.view_as(at), rtol=1e-7, atol=1e-8)
    on_a_code = weight[:1].clone()
    assert torch.equal(_lent(layer, on_a_code, g[:1]), g[:1])  # no direction: copied


def test_copy_and_a_users_twin() -> None:
    x, g = _randn(7, 6), _randn(7, 6, seed=2)
    assert torch.equal(_lent(_layer(), x, g), g)
    network = nn.Linear(6, 6).double()
    layer = _layer(gradient=network)
    torch.testing.assert_close(_lent(layer, x, g), g @ network.weight)
    torch.testing.assert_close(network.weight.grad, g.mT @ x)  # the task trains its weights
    in_place = _layer(gradient=lambda t: t.mul_(3.0))
    assert torch.equal(_lent(in_place, x, g), 3 * g)


def test_a_bridge_lends_its_approximators_gradient_and_learns_from_the_distance() -> None:
    network = nn.Sequential(nn.Linear(6, 6), nn.Tanh()).double()
    layer, x, g = _layer(gradient="bridge", learn=None, approximator=network), _randn(7, 6), _randn(7, 6, seed=2)
    code = layer.weight[0][layer(x)[1]]
    alone = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(network(alone), alone, g)
    x.requires_grad_()
    layer(x)[0].backward(g)
    torch.testing.assert_close(x.grad, wanted)
    of_weight = torch.autograd.grad(10 * (network(x.detach()) - code).square().sum(1).mean(), network[0].weight)
    torch.testing.assert_close(network[0].weight.grad, *of_weight)
    frozen = _layer(gradient="bridge", approximator=network, differentiable_in_eval=True).eval()
    torch.testing.assert_close(_lent(frozen, x.detach(), g), wanted)


def test_cosine_passes_through_the_unit_sphere() -> None:
    x, g = _randn(7, 6), _randn(7, 6, seed=2)
    unit = x / x.norm(dim=1, keepdim=True)
    wanted = (g - (g * unit).sum(1, keepdim=True) * unit) / x.norm(dim=1, keepdim=True)
    torch.testing.assert_close(_lent(_layer(distance="cosine"), x, g), wanted)
    zeros = torch.zeros(1, 6, dtype=torch.float64)
    assert torch.equal(_lent(_layer(distance="cosine"), zeros, g[:1]), g[:1])


# ---------------------------------------------------------------------------------------------------------- the terms


@pytest.mark.parametrize("gradient", WORDS)
@pytest.mark.parametrize("learn", ["ema", "gradient", None])
def test_the_terms_are_the_published_ones(gradient: str, learn: Any) -> None:
    """Into x: g as lent, and 2 beta (x - e) / (n d). Into codes: 2 (e - x) / (n d) of the rows that took them."""
    layer, x = _layer(gradient=gradient, learn=learn, commitment=0.7), _randn(7, 6).requires_grad_()
    g = torch.zeros(7, 6, dtype=torch.float64)
    y, index = layer(x)
    code = y.detach()
    y.backward(g)
    torch.testing.assert_close(x.grad, 2 * 0.7 * (x.detach() - code) / 42)
    if learn == "gradient":
        wanted = torch.zeros(5, 6, dtype=torch.float64).index_add_(0, index, 2 * (code - x.detach()) / 42)
        torch.testing.assert_close(layer.weight.grad[0], wanted if gradient != "directional" else 0 * wanted)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("learn", ["gradient", "simvq"])
@pytest.mark.parametrize("gradient", EVERY)
def test_codes_that_learn_by_gradient_always_get_one(gradient: Any, learn: str, distance: str) -> None:
    layer = _layer(gradient=gradient, learn=learn, distance=distance, commitment=None, heads=2)
    for x, scope in ((_randn(7, 6), False), (_randn(7, 6).requires_grad_(), False), (_randn(7, 6), True)):
        layer.zero_grad()
        if scope:
            with hg.penalties() as bag:
                (layer(x)[0].sum() + bag.total()).backward()
        else:
            layer(x)[0].sum().backward()
        for name, parameter in layer.named_parameters():
            assert getattr(parameter.grad, "abs", torch.zeros(1).abs)().sum() > 0, name  # None is no gradient


def test_a_frozen_table_is_drawn_unless_asked_otherwise() -> None:
    torch.manual_seed(0)
    layer = hg.Codebook(4096, 6, heads=2, learn="simvq")
    layer(_randn(5, 6))  # fewer rows than k-means would need
    # The square of a code's length is 1 on average, with a deviation of sqrt(2 / 3): 5 sigma of 8192 draws, seed 0.
    assert abs(layer.weight.square().sum(-1).mean() - 1) < 5 * (2 / 3 / 8192) ** 0.5
    with pytest.raises(ValueError, match="at least 4096 rows for start='kmeans'"):
        hg.Codebook(4096, 6)(_randn(5, 6))


def test_simvq_learns_one_map_of_a_frozen_table() -> None:
    layer, x = _layer(learn="simvq"), _randn(7, 6)
    with torch.no_grad():
        layer.map.add_(0.1 * _randn(1, 6, 6, seed=6))
    table = layer.weight.clone()
    y, index = layer(x)
    assert torch.equal(y, (table @ layer.map)[0][index])
    single = copy.deepcopy(layer).float()
    with torch.autocast("cpu", torch.bfloat16):
        value, _ = single(x.float())
    assert torch.equal(value, (single.weight @ single.map)[0][index])
    y.sum().backward()
    at = table[0][index]
    torch.testing.assert_close(layer.map.grad[0], at.mT @ (2 * (at @ layer.map[0].detach() - x) / 42))
    torch.optim.SGD([layer.map], 1.0).step()
    layer(x)
    assert torch.equal(layer.weight, table)


def test_a_scope_collects_the_terms() -> None:
    layer, x = _layer(learn="gradient", commitment=0.25), _randn(7, 6)
    with hg.penalties() as bag:
        y, _ = layer(x)
    torch.testing.assert_close(bag.total(), 1.25 * (x - y.detach()).square().mean())
    with hg.penalties() as bag:
        _layer()(x)
    assert len(bag) == 0


@pytest.mark.parametrize("gradient", [*EVERY, nn.Linear(6, 6)])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_masked_row_is_as_if_it_were_not_there(gradient: Any, heads: int) -> None:
    options = {"gradient": copy.deepcopy(gradient), "learn": "gradient", "heads": heads, "dim": 1, "commitment": None}
    layer, mask = _layer(**options), torch.tensor([[True, False, True], [False, False, True]])
    alone, x = copy.deepcopy(layer), _randn(2, 6, 3)
    few = x.movedim(1, -1)[mask].unsqueeze(-1).clone().requires_grad_()
    x.movedim(1, -1)[~mask] = torch.nan
    x.requires_grad_()
    g = _randn(2, 6, 3, seed=2)
    y, index = layer(x, mask)
    want, its_index = alone(few)
    y.backward(g)
    want.backward(g.movedim(1, -1)[mask].unsqueeze(-1))
    assert torch.equal(y.movedim(1, -1)[mask], want.squeeze(-1))
    assert torch.equal(index[mask], its_index.squeeze(1))
    assert (y.movedim(1, -1)[~mask] == 0).all()
    assert (index[~mask] == -1).all()
    assert torch.equal(layer.codes(index), y)
    torch.testing.assert_close(x.grad.movedim(1, -1)[mask], few.grad.squeeze(-1))  # type: ignore[union-attr]  # there is one
    assert (x.grad.movedim(1, -1)[~mask] == 0).all()  # type: ignore[union-attr]  # there is one
    for (name, a), b in zip(layer.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert layer.usage().rows == alone.usage().rows == 3


def test_nobody_there_is_no_number() -> None:
    layer, x = _layer(learn="gradient", commitment=None), _randn(3, 6).requires_grad_()
    with hg.penalties() as bag:
        y, index = layer(x, torch.zeros(3, dtype=torch.bool))
    (y.sum() + bag.total()).backward()
    assert bag.total() == 0
    assert (x.grad == 0).all()
    assert (layer.weight.grad == 0).all()
    assert index.tolist() == [-1] * 3


# --------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("learn", ["ema", "gradient", "simvq", None])
def test_nothing_moves_in_eval(learn: Any) -> None:
    layer, x = _layer(learn=learn), _randn(7, 6)
    layer(x)
    before = _state(layer.eval())
    y, index = layer(x.requires_grad_())
    with pytest.warns(
        UserWarning, match=r"Codebook: no gradient passes through this layer in eval.* differentiable_in_eval=True"
    ):
        y.sum().backward()
    assert (x.grad == 0).all()
    assert _equal(before, _state(layer))
    for guard in (torch.no_grad, torch.inference_mode):
        with guard():
            assert torch.equal(layer(x)[0], y)
            assert torch.equal(layer(x)[1], index)
    lends = _layer(learn=learn, differentiable_in_eval=True, commitment=None).eval()
    assert torch.equal(_lent(lends, x.detach(), torch.ones(7, 6)), torch.ones(7, 6))
    task = _layer(learn=learn, differentiable_in_eval=True, gradient="directional").eval()
    assert _lent(task, x.detach(), torch.ones(7, 6)).abs().sum() > 0
    assert all(parameter.grad is None for each in (lends, task) for parameter in each.parameters())


@pytest.mark.parametrize("learn", ["ema", "gradient", "simvq"])
def test_strip_leaves_codes_alone(learn: str) -> None:
    layer, x = _layer(learn=learn, gradient="bridge", distance="cosine", heads=2), _randn(7, 6)
    model = nn.Sequential(layer)
    layer(x)
    if learn == "simvq":
        torch.nn.init.normal_(layer.map)
    bare = hg.strip(model)
    assert list(bare.state_dict()) == ["0.weight"]
    for a, b in zip(bare(x), model.eval()(x), strict=True):
        assert torch.equal(a, b)
    with pytest.warns(UserWarning, match="train the model that was given to strip"):
        bare(x.requires_grad_())[0].sum().backward()
    with pytest.raises(RuntimeError, match="the codes have not begun"):
        hg.strip(hg.Codebook(5, 6))


class _Doubled(hg.Codebook):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, index = super().forward(x, mask)
        return 2 * y, index


def test_strip_keeps_a_class_of_the_users_own() -> None:
    layer, x = _Doubled(5, 6, start="normal", learn="simvq"), _randn(7, 6).float()
    bare = hg.strip(layer)
    assert type(bare) is _Doubled
    assert list(bare.state_dict()) == ["weight"]
    assert torch.equal(bare(x)[0], layer(x)[0])


def test_what_strip_leaves_is_exported() -> None:
    """The layer itself, in eval, is a subject of the pairs of modes."""
    import onnxruntime

    model, x = hg.strip(_layer(heads=2, dim=1, distance="cosine").float()), _randn(2, 6, 3).float()
    y, index = model(x)
    program = torch.export.export(model, (x,))
    for a, b in zip(program.module()(x), (y, index), strict=True):
        assert torch.equal(a, b)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        torch.onnx.export(program, (x,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found[0]), y)
    assert torch.equal(torch.from_numpy(found[1]), index)


# -------------------------------------------------------------------------------------------------------------- modes


def test_it_compiles_whole() -> None:
    layer = _layer(gradient="rotation", distance="cosine", heads=2, commitment=None, revive=0.5)
    other = copy.deepcopy(layer)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for step in range(2):
        x = _randn(7, 6, seed=step).requires_grad_()
        same = x.detach().clone().requires_grad_()
        # The second run of a checkpoint, of code that cannot ask whether it is one, moves nothing more.
        y, index = checkpoint(compiled, x, use_reentrant=False)
        want, its_index = other(same)
        torch.testing.assert_close(y, want)
        assert torch.equal(index, its_index)
        (y * y.detach()).sum().backward()
        (want * want.detach()).sum().backward()
        torch.testing.assert_close(x.grad, same.grad)
    for name, value in other.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value, msg=name)
    layer.eval(), other.eval()
    assert torch.equal(compiled(x)[1], other(x)[1])


def test_a_transform_takes_it_and_moves_nothing() -> None:
    layer, x, g = _layer(commitment=0.5), _randn(7, 6), _randn(7, 6, seed=2)
    before = _state(layer)
    with pytest.warns(UserWarning, match="codes of learn='ema' stay"):
        found = grad(lambda x: (layer(x)[0] * g).sum())(x)
    torch.testing.assert_close(found, g + (x - layer.weight[0][layer(x)[1]]) / 42)
    layer = _layer(learn="gradient", commitment=0.5)
    rows = vmap(grad(lambda row, g: (layer(row)[0] * g).sum()))(x, g)
    torch.testing.assert_close(rows, g + (x - layer(x)[0].detach()) / 6)
    weight = grad(lambda w: functional_call(layer, {"weight": w}, (x,))[0].sum())(layer.weight.detach())
    layer(x)[0].sum().backward()
    torch.testing.assert_close(weight, layer.weight.grad)
    assert _equal(before, _state(_layer(commitment=0.5)))
    with pytest.raises(RuntimeError, match=r"outside of torch\.func"):
        grad(lambda x: hg.Codebook(5, 6, learn="gradient")(x)[0].sum())(x)


def test_two_calls_before_a_backward() -> None:
    """Though the second brings dead codes back, in place."""
    layer, x = _layer(8, learn="gradient", distance="cosine", revive=0.9), _randn(3, 6).requires_grad_()
    for _ in range(2):
        first, second = layer(x)[0], layer(x)[0]
        (first + second).sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_a_checkpoint_changes_nothing() -> None:
    layer, x = _layer(commitment=None), _randn(7, 6)
    other = copy.deepcopy(layer)
    for step in range(2):
        a, b = (_randn(7, 6, seed=step).requires_grad_() for _ in range(2))
        layer(a)[0].square().sum().backward()
        checkpoint(lambda b: other(b)[0], b, use_reentrant=False).square().sum().backward()
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]  # there is one
    layer(x), other(x)
    assert _equal(_state(layer), _state(other))


def test_a_scaled_loss_scales_the_terms_in_a_scope() -> None:
    """fp16 takes no term of 1e-8: scaled, it arrives."""
    layer, x = _layer(commitment=0.25, learn="gradient").half(), (_randn(4096, 6) * 0.01).half().requires_grad_()
    with hg.penalties() as bag:
        y, _ = layer(x)
        (2.0**14 * (y.float().sum() * 0 + bag.total())).backward()
    wanted = 0.25 * 2 * (x.detach().float() - y.detach().float()) / x.numel()
    torch.testing.assert_close(x.grad.float() / 2.0**14, wanted, rtol=2e-3, atol=1e-9)  # type: ignore[union-attr]  # there is one
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.abs().sum() > 0


def test_second_derivatives_are_those_of_the_formula() -> None:
    """Of x + |e - x| d, with d constant; a rotation and a copy are linear."""
    x, g = _randn(2, 6), _randn(2, 6, seed=2)
    layer = _layer(gradient="directional", learn="gradient")
    index = layer(x)[1]
    gap = (layer.weight[0][index] - x).detach()
    d = gap / gap.norm(dim=1, keepdim=True)

    def formula(x: Tensor) -> Tensor:
        return ((x + (layer.weight[0][index].detach() - x).norm(dim=1, keepdim=True) * d).pow(2) * g).sum()

    def value(x: Tensor) -> Tensor:
        return (layer(x)[0].pow(2) * g).sum()

    torch.testing.assert_close(_second(value, x), _second(formula, x))
    for word in ("copy", "rotation"):
        layer = _layer(gradient=word)
        assert _second(lambda x, layer=layer: (layer(x)[0] * g).sum(), x).abs().max() == 0


def _second(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(f(x), x, create_graph=True)
    if not first.requires_grad:
        return torch.zeros_like(x)
    second = torch.autograd.grad((first * torch.arange(12.0).view(2, 6)).sum(), x, allow_unused=True)[0]
    return torch.zeros_like(x) if second is None else second


def test_a_row_that_cannot_be_refused_is_nan_and_no_other_feels_it() -> None:
    layer, x = _layer(commitment=0.25, learn="gradient"), _randn(7, 6)
    x[2, 1], x[4, 3] = torch.nan, torch.inf
    torch.compiler.reset()
    y, index = torch.compile(layer, fullgraph=True, backend="eager")(x.requires_grad_())
    y[[0, 1, 3, 5, 6]].sum().backward()
    good = torch.tensor([0, 1, 3, 5, 6])
    assert y[[2, 4]].isnan().all()
    assert index[[2, 4]].tolist() == [-1, -1]
    assert torch.equal(y[good], _layer()(x.detach()[good])[0])
    assert x.grad[good].isfinite().all()
    assert layer.weight.grad.isfinite().all()
    assert layer.usage().rows == 5


def test_shapes_pass_without_numbers() -> None:
    with torch.device("meta"):
        layer = hg.Codebook(5, 6, start="normal", gradient="rotation", learn="gradient")
        y, index = layer(torch.zeros(7, 6))
    assert y.is_meta
    assert y.shape == (7, 6)
    assert index.shape == (7,)


# ------------------------------------------------------------------------------------------------------------ refusals


def _bad(x: Tensor, value: float) -> Tensor:
    x = x.clone()
    x[1, 2] = value
    return x


X = _randn(7, 6)
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "width": (lambda layer: layer(X[:, :5]), r"x must have the width 6 at dim -1, got shape \(7, 5\)"),
    "no dimension": (lambda layer: layer(X.sum()), r"x must have the width 6"),
    "integers": (lambda layer: layer(X.long()), "x must be floating point, got torch.int64"),
    "no tensor": (lambda layer: layer([1.0]), "x must be a tensor, got list"),
    "NaN": (lambda layer: layer(_bad(X, torch.nan)), "x must be finite, got 1 of 7 rows with NaN"),
    "infinity": (lambda layer: layer(_bad(X, torch.inf)), "x must be finite, got 1 of 7 rows"),
    "mask": (lambda layer: layer(X, torch.ones(6).bool()), r"mask must be bool of shape \(7,\)"),
    "mask of numbers": (lambda layer: layer(X, torch.ones(7)), "mask must be bool"),
    "a device": (lambda layer: layer(X.to("meta")), "layer must be on x's device meta, got cpu"),
    "index": (lambda layer: layer.codes(torch.tensor([0, 5])), "index must be from 0 to 4.* got numbers from 0 to 5"),
    "below": (lambda layer: layer.codes(torch.tensor([-2])), "index must be from 0 to 4"),
    "half an index": (lambda layer: layer.codes(X), "index must be of whole numbers, got torch.float64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_raises_moves_nothing(name: str) -> None:
    call, words = REFUSED[name]
    layer = _layer()
    layer(X)
    before = _state(layer)
    with pytest.raises((ValueError, TypeError), match=f"^Codebook: {words}"):
        call(layer)
    assert _equal(before, _state(layer))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codes": 0}, "codes must be at least 1, got 0"),
        ({"width": 2.5}, "width must be a whole number, at least 1, got float 2.5"),
        ({"heads": 4}, "heads must divide the width 6, got 4"),
        ({"dim": "last"}, "dim must be a whole number"),
        (
            {"gradient": "rotate"},
            "gradient must be one of 'copy', 'rotation', 'directional', 'bridge', got 'rotate'; or",
        ),
        ({"learn": "sgd"}, "learn must be one of 'ema', 'gradient', 'simvq', got 'sgd'"),
        ({"distance": "dot"}, "distance must be one of 'euclidean', 'cosine', got 'dot'"),
        ({"start": "zeros"}, "start must be one of 'kmeans', 'normal', got 'zeros'"),
        ({"start": torch.zeros(4, 6)}, "start must have shape"),
        ({"commitment": -1}, "commitment must be at least 0, got -1"),
        ({"decay": 1.0}, "decay must be at least 0 and below 1"),
        ({"approximator": nn.Identity()}, "approximator must be None for gradient='copy'; only 'bridge'"),
        ({"gradient": "bridge", "approximator": torch.tanh}, "approximator must be an nn.Module"),
        ({"differentiable_in_eval": 1}, "differentiable_in_eval must be True or False"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^Codebook: {words}"):
        hg.Codebook(**({"codes": 5, "width": 6} | options))


def test_a_path_of_another_shape_is_named() -> None:
    for options in ({"gradient": lambda t: t[:, :2]}, {"gradient": "bridge", "approximator": nn.Linear(6, 2)}):
        (name,) = set(options) - {"gradient"} or {"gradient"}
        with pytest.raises(ValueError, match=rf"Codebook: {name} must return a floating tensor of x's shape \(7, 6\)"):
            _layer(**options)(_randn(7, 6).requires_grad_())


def test_codes_that_were_copied_tensor_by_tensor_have_begun() -> None:
    """As averages of weights are written, and what a library loads without ``load_state_dict``."""
    layer = hg.Codebook(5, 6)
    average = torch.optim.swa_utils.AveragedModel(layer)
    layer(X.float())
    average.update_parameters(layer)
    found, expected = average.eval()(X.float()), layer.eval()(X.float())
    assert torch.equal(found[0], expected[0])


def test_codes_that_have_not_begun_and_replicas_are_refused() -> None:
    with pytest.raises(RuntimeError, match="Codebook: the codes have not begun"):
        hg.Codebook(5, 6).eval()(X.float())
    with pytest.raises(RuntimeError, match="Codebook: the codes have not begun"):
        hg.Codebook(5, 6).codes(torch.tensor([0]))
    layer = _layer()
    layer._is_replica = True  # what nn.DataParallel marks them by
    with pytest.raises(RuntimeError, match=r"Codebook: a replica of nn\.DataParallel .* use DistributedDataParallel"):
        layer(X)
    assert torch.equal(layer.eval()(X)[0], _layer().eval()(X)[0])

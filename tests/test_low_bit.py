"""Quantizers whose scale learns: exact numbers, the published gradients by hand, starts, parametrizations, modes."""

from __future__ import annotations

import copy
import gc
import io
import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations
from torch.utils.checkpoint import checkpoint

import hardgrad as hg

BOTH = pytest.mark.parametrize("kind", [hg.LearnedScale, hg.LearnedClip])
NAN = math.nan


def parametrized(quantizer: nn.Module) -> nn.Linear:
    torch.manual_seed(1)
    layer = nn.Linear(6, 4)
    register_parametrization(layer, "weight", quantizer)
    return layer


def small_model() -> nn.Sequential:
    quantized = parametrized(hg.LearnedScale(2, per_channel=0))
    return nn.Sequential(hg.LearnedScale(3), quantized, hg.LearnedClip(2, start=0.7), nn.Linear(4, 2))


def batch(rows: int = 5) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(2))


def gradients(run: Callable[..., Tensor], model: nn.Module, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    run(x).square().sum().backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


# ------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("signed", [True, False])
@BOTH
def test_the_value_is_a_whole_number_of_steps_rounded_once(kind: Any, bits: int, signed: bool) -> None:
    if bits == 1 and signed:
        return
    layer = kind(bits, signed, start=0.3711)
    x = torch.randn(300, generator=torch.Generator().manual_seed(bits)) * 2.0**bits / 5
    step = Fraction(layer.step.item())
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low = -high if signed and kind is hg.LearnedClip else low
    numbers = [round(min(max(Fraction(v) / step, Fraction(low)), Fraction(high))) for v in x.tolist()]
    assert layer.integers(x).tolist() == numbers
    assert {min(numbers), max(numbers)} == {low, high}
    expected = torch.tensor([float(n * step) for n in numbers], dtype=torch.float64).float()  # the product is exact
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@BOTH
def test_half_is_the_single_result_rounded(kind: Any, dtype: torch.dtype) -> None:
    layer, x = kind(4, start=0.9), torch.linspace(-9, 9, 999).to(dtype)
    assert torch.equal(layer(x), layer(x.float()).to(dtype))
    assert layer(x).dtype == dtype


def test_the_clip_is_where_the_levels_end() -> None:
    layer = hg.LearnedClip(2, start=3.0)
    assert layer(torch.tensor([-1.0, 0.6, 2.4, 3.0, 9.0, math.inf])).tolist() == [0.0, 1.0, 2.0, 3.0, 3.0, 3.0]
    signed = hg.LearnedClip(2, signed=True, start=3.0)
    assert signed(torch.tensor([-math.inf, -1.4, 1.6])).tolist() == [-3.0, 0.0, 3.0]


@BOTH
def test_nan_stays_and_has_no_whole_number(kind: Any) -> None:
    layer = kind(2, start=1.0)
    assert layer(torch.tensor([NAN, 1.0])).isnan().tolist() == [True, False]
    with pytest.raises(ValueError, match="x must be numbers to have integers, got nan"):
        layer.integers(torch.tensor([NAN]))
    assert (kind(9, start=1.0).integers(torch.ones(2)).dtype, layer.integers(torch.ones(2)).dtype) == (
        torch.int32,
        torch.int8 if kind is hg.LearnedScale else torch.uint8,
    )


# ---------------------------------------------------------------------------------------------------------- gradients

# x, y, dy/dx, dy/ds / g: s = 0.5, two bits, levels -1, -0.5, 0, 0.5; equation 3 has its ends outside.
SIGNED = [
    (-3.0, -1.0, 0.0, -2.0), (-1.0, -1.0, 0.0, -2.0), (-0.9, -1.0, 1.0, -0.2), (-0.2, 0.0, 1.0, 0.4),
    (0.2, 0.0, 1.0, -0.4), (0.3, 0.5, 1.0, 0.4), (0.5, 0.5, 0.0, 1.0), (7.0, 0.5, 0.0, 1.0),
]  # fmt: skip
UNSIGNED = [
    (-1.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0),
    (0.3, 0.5, 1.0, 0.4),
    (1.4, 1.5, 1.0, 0.2),
    (9.0, 1.5, 0.0, 3.0),
]
# a = 1.5: levels 0, 0.5, 1, 1.5, and with a sign -1.5, 0, 1.5.
CLIP = [(-1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (1.4, 1.5, 1.0, 0.0), (1.5, 1.5, 0.0, 1.0), (9.0, 1.5, 0.0, 1.0)]
CLIP_SIGNED = [(-9.0, -1.5, 0.0, -1.0), (-1.4, -1.5, 1.0, 0.0), (0.2, 0.0, 1.0, 0.0), (1.5, 1.5, 0.0, 1.0)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("layer", "table", "gain"),
    [
        (hg.LearnedScale(2, start=0.5), SIGNED, 1.0),
        (hg.LearnedScale(2, signed=False, start=0.5), UNSIGNED, 3**-0.5),
        (hg.LearnedClip(2, start=1.5), CLIP, 1.0),
        (hg.LearnedClip(2, signed=True, start=1.5), CLIP_SIGNED, 1.0),
    ],
)
def test_gradients_are_those_of_the_papers(
    layer: Any, table: Any, gain: float, dtype: torch.dtype, sign: float
) -> None:
    layer = copy.deepcopy(layer)
    layer.scale.data *= sign  # a scale beyond 0 is the same quantizer
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for x, y, by_x, by_scale in table:
            given = torch.tensor([x], dtype=dtype, requires_grad=True)
            layer.zero_grad()
            value = layer(given)
            value.backward(torch.tensor([2.0], dtype=dtype))
            assert value.item() == y
            assert given.grad.item() == 2 * by_x
            assert layer.scale.grad.item() == pytest.approx(2 * sign * gain * by_scale, abs=2e-3)
    assert [str(each.message).partition(";")[0] for each in said] == (
        [f"{layer.word}: scale has passed 0 in a step of the optimizer, and counts by its magnitude"]
        if sign < 0
        else []
    )


@pytest.mark.parametrize("signed", [True, False])
@BOTH
def test_gradients_are_finite_differences_of_the_straight_through_formula(kind: Any, signed: bool) -> None:
    """The formula has a constant in place of what rounding added: round(u) = u + constant."""
    x = (torch.randn(40, generator=torch.Generator().manual_seed(3)).double() * 2).requires_grad_()
    layer = kind(3, signed, start=1.3).double()
    weights, at, s, eps = torch.randn(40).double(), x.detach(), layer.scale.detach(), 1e-6
    (layer(x) * weights).sum().backward()
    if kind is hg.LearnedScale:
        left = (at / s).clamp(layer.lowest, layer.highest).round() - (at / s).clamp(layer.lowest, layer.highest)
        formula = lambda x, s: s * ((x / s).clamp(layer.lowest, layer.highest) + left)  # noqa: E731
        gain = (40 * layer.highest) ** -0.5  # one row of forty numbers
    else:
        left = layer(at).detach() - at.clamp(s * (-1 if signed else 0), s)
        formula = lambda x, s: torch.minimum(torch.maximum(x, -s if signed else 0 * s), s) + left  # noqa: E731
        gain = 1.0
    by_scale = ((formula(at, s + eps) - formula(at, s - eps)) * weights).sum() / (2 * eps)
    by_x = (formula(at + eps, s) - formula(at - eps, s)) * weights / (2 * eps)
    torch.testing.assert_close(layer.scale.grad[0], gain * by_scale, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(x.grad, by_x, rtol=1e-6, atol=1e-8)


def test_the_scale_of_the_gradient_counts_a_row_a_channel_or_a_weight() -> None:
    x = torch.randn(5, 3, 4, 2)
    for layer, n in [
        (hg.LearnedScale(3, start=0.1), 24),
        (hg.LearnedScale(3, start=0.1, per_channel=1, channels=3), 8),
        (hg.LearnedScale(3, start=0.1, per_channel=-1, channels=2), 12),
        (hg.LearnedScale(3, start=0.1, batched=False), 120),
    ]:
        layer(x).sum().backward()
        assert layer._gain(x) == pytest.approx((n * 3) ** -0.5)
        expected = torch.where(x / 0.1 > 3, 3.0, torch.where(x / 0.1 < -4, -4.0, (x / 0.1).round() - x / 0.1))
        dims = [dim for dim in range(4) if layer.per_channel is None or dim != layer.per_channel % 4]
        torch.testing.assert_close(
            layer.scale.grad, expected.sum(dims).view(-1) * (n * 3) ** -0.5, rtol=1e-3, atol=1e-3
        )
    weight = parametrized(hg.LearnedScale(2, per_channel=0))
    assert weight.parametrizations.weight[0]._gain(weight.weight) == pytest.approx(6**-0.5)


def test_channels_are_quantizers_of_their_own() -> None:
    x = torch.randn(4, 3, 2)
    layer = hg.LearnedScale(3, per_channel=-2, channels=3)
    y = layer(x)
    for channel in range(3):
        alone = hg.LearnedScale(3)
        assert torch.equal(alone(x[:, channel]), y[:, channel])
        assert torch.equal(alone.scale, layer.scale[channel : channel + 1])


def test_a_second_derivative_takes_what_rounding_leaves_for_a_constant() -> None:
    layer = hg.LearnedScale(3, start=0.5, batched=False).double()
    x = torch.tensor([0.3, 0.9, 9.0, -9.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    by_x, by_scale = torch.autograd.grad(first.sum(), (x, layer.scale))
    y, slope = layer(x).detach(), torch.tensor([0.4, 0.2, 3.0, -4.0], dtype=torch.float64)
    torch.testing.assert_close(by_x, torch.tensor([6.0, 6.0, 0.0, 0.0]).double() * y)  # y is x + s slope, where it is
    torch.testing.assert_close(by_scale[0], (6 * y * slope)[:2].sum() * 12**-0.5)


# -------------------------------------------------------------------------------------------------------------- starts


def test_the_scale_starts_from_the_first_batch_or_the_weight() -> None:
    x = batch()
    layer = hg.LearnedScale(3)
    layer(x)
    assert layer.scale.item() == pytest.approx(2 * x.abs().mean().item() / 3**0.5)
    layer(9 * x)
    assert layer.scale.item() == pytest.approx(2 * x.abs().mean().item() / 3**0.5)
    clip = hg.LearnedClip(2)
    clip(x)
    assert clip.scale.item() == pytest.approx(2 * x.abs().mean().item() * 3**0.5)
    linear = parametrized(hg.LearnedScale(2))
    original = linear.parametrizations.weight
    assert original[0].scale.item() == pytest.approx(2 * original.original.abs().mean().item())
    layer.reset_parameters()
    layer(9 * x)
    assert layer.scale.item() == pytest.approx(18 * x.abs().mean().item() / 3**0.5)


@pytest.mark.parametrize(
    "nothing", [torch.zeros(3, 6), torch.full((3, 6), NAN), torch.full((3, 6), math.inf), torch.zeros(0, 6)]
)
@BOTH
def test_a_batch_that_says_nothing_starts_nothing(kind: Any, nothing: Tensor) -> None:
    layer = kind(3)
    y = layer(nothing.clone().requires_grad_())
    assert torch.equal(y.isnan(), nothing.isnan())
    y.sum().backward()
    assert layer.scale.item() == 0
    assert torch.equal(layer(batch()), kind(3)(batch()))


def test_a_weight_of_zeros_starts_when_it_has_moved() -> None:
    layer = nn.Linear(6, 4)
    nn.init.zeros_(layer.weight)
    register_parametrization(layer, "weight", hg.LearnedScale(2))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(batch()).sum().backward()
    optimizer.step()
    assert layer.weight.abs().sum() > 0
    assert layer.parametrizations.weight[0].scale.item() > 0


@BOTH
def test_without_a_value_nothing_is_evaluated(kind: Any) -> None:
    layer = kind(3).eval()
    said = f"{layer.word}: scale must have a value before eval"
    with pytest.raises(RuntimeError, match=said):
        layer(batch())
    with pytest.raises(RuntimeError, match=said):
        torch.export.export(layer, (batch(),))
    layer.train()
    with pytest.raises(RuntimeError, match=said):
        grad(lambda x: layer(x).sum())(batch())
    layer.scale.data.fill_(0.2)
    assert torch.equal(layer.eval()(batch()), kind(3, start=0.2)(batch()))


@BOTH
def test_a_scale_of_zero_is_an_error(kind: Any) -> None:
    layer = kind(3, start=0.5)
    layer.scale.data.zero_()
    with pytest.raises(RuntimeError, match="scale must not be 0, got 0 after a step; lower its learning rate"):
        layer(batch())
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert compiled(batch()).isnan().all()


# ----------------------------------------------------------------------------------------------------- parametrization


def test_a_parametrized_weight_trains_is_saved_loaded_copied_and_removed() -> None:
    model = small_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)  # before any batch, and it finds every scale
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        model(batch()).square().sum().backward()
        optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {"0.scale", "1.parametrizations.weight.0.scale", "2.scale", "1.parametrizations.weight.original"} <= moved
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded, copied = small_model(), copy.deepcopy(model)
    loaded.load_state_dict(torch.load(file))
    expected = model.eval()(batch())
    program = torch.export.export(loaded.eval(), (batch(),))  # before it has seen any batch
    torch.testing.assert_close(program.module()(batch()), expected)
    assert torch.equal(loaded(batch()), expected)
    assert torch.equal(copied.eval()(batch()), expected)
    assert torch.equal(hg.strip(model)(batch()), expected)
    weight = model[1].weight.detach().clone()
    assert (weight / model[1].parametrizations.weight[0].step[:, None]).round().unique().numel() <= 4
    remove_parametrizations(model[1], "weight")
    assert torch.equal(model[1].weight, weight)
    assert torch.equal(model(batch()), expected)


def test_a_new_weight_keeps_the_scale() -> None:
    layer = parametrized(hg.LearnedScale(2, per_channel=0))
    scale = layer.parametrizations.weight[0].scale.detach().clone()
    layer.weight = torch.ones(4, 6)
    assert torch.equal(layer.parametrizations.weight[0].scale, scale)
    assert torch.equal(layer.weight, scale[:, None].expand(4, 6))


def test_a_model_made_on_the_meta_device_starts_when_it_has_weights() -> None:
    with torch.device("meta"):
        model = small_model()
        assert model(torch.empty(5, 6)).shape == (5, 2)
    model = model.to_empty(device="cpu")
    model.load_state_dict(small_model().state_dict())
    assert torch.equal(model(batch()), small_model()(batch()))


# --------------------------------------------------------------------------------------------------------------- modes


def test_compiled_code_starts_and_trains_as_eager_code_does() -> None:
    model, twin = small_model(), small_model()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for rows in (5, 5, 7):  # the start, the steady state, another size
        ours, theirs = gradients(compiled, model, batch(rows)), gradients(twin, twin, batch(rows))
        assert len(ours) == 7
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert torch.equal(compiled(batch()), twin(batch()))


def test_functional_gradients_are_those_of_backward() -> None:
    model = small_model()
    model(batch())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, parameters, (x,)).square().sum()

    found = grad(loss)(dict(model.named_parameters()), batch())
    torch.testing.assert_close(list(found.values()), gradients(model, model, batch()))
    rows = vmap(grad(loss), in_dims=(None, 0))(dict(model.named_parameters()), batch())
    torch.testing.assert_close([each.sum(0) for each in rows.values()], gradients(model, model, batch()))
    traced = torch.compile(grad(loss), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(traced(dict(model.named_parameters()), batch()), found)


def test_a_checkpoint_gives_the_same_with_the_start_inside() -> None:
    model, twin = small_model(), small_model()
    ours = gradients(lambda x: checkpoint(model, x, use_reentrant=False), model, batch())
    torch.testing.assert_close(ours, gradients(twin, twin, batch()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_scaled_loss_under_autocast_gives_the_gradient_of_the_scale(dtype: torch.dtype) -> None:
    model = small_model()
    model(batch())
    whole = gradients(model, model, batch())
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype):
        loss = model(batch()).float().square().sum()
    (loss * 1024).backward()
    for half, full in zip([p.grad for p in model.parameters()], whole, strict=True):
        assert half is not None
        assert (half / 1024 - full).norm() < 0.2 * full.norm() + 0.05


@pytest.mark.filterwarnings("ignore::Warning:torch.*", "ignore::Warning:onnx.*", "ignore::Warning:copyreg")
def test_evaluation_is_exported_to_onnx(tmp_path: Path) -> None:
    import onnxruntime

    model = small_model()
    model(batch())
    model.eval()
    file = tmp_path / "model.onnx"
    torch.onnx.export(model, (batch(),), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: batch().numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(batch()).detach())


def test_the_input_is_left_alone_and_the_output_may_be_written_to() -> None:
    x = batch().requires_grad_()
    layer = hg.LearnedScale(3, start=0.4)
    layer(x * 1.0).mul_(3.0).sum().backward()
    assert torch.equal(x.detach(), batch())
    assert set(x.grad.unique().tolist()) <= {0.0, 3.0}
    number = torch.tensor(0.7, requires_grad=True)
    layer(number).backward()
    assert (layer(number).shape, number.grad.item()) == ((), 1.0)


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(_learned(rank), f"{folder}/{rank}.pt")
    gc.collect()  # a model that outlives its group may wait for its threads for ever
    dist.destroy_process_group()


def _learned(rank: int) -> tuple[Any, ...]:
    rows = torch.cat([batch(4), 3 * batch(2)])[4 * rank : 4 + 2 * rank]
    model, joint = DistributedDataParallel(small_model()), small_model()
    found = []
    for _ in range(2):
        model.zero_grad()
        # DDP takes the mean over processes of what may be different numbers of rows.
        (model(rows).square().sum() * 2).backward()
        found.append([p.grad.clone() for p in model.module.parameters()])
    return found, model.module[0].scale.detach(), joint.state_dict()


def test_two_processes_start_and_learn_as_one(tmp_path: Path) -> None:
    mp.start_processes(_process, args=(str(tmp_path),), nprocs=2, start_method="fork")
    x, model = torch.cat([batch(4), 3 * batch(2)]), small_model()
    for rank in range(2):
        found, scale, _ = torch.load(tmp_path / f"{rank}.pt")
        for once in found:
            torch.testing.assert_close(once, gradients(model, model, x))
        torch.testing.assert_close(scale, model[0].scale.detach())


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((1,), {"signed": True}, "bits must be at least 2 and at most 16, got 1; one bit with a sign is"),
        ((0,), {"signed": False}, "bits must be at least 1 and at most 16, got 0"),
        ((17,), {}, "bits must be at least . and at most 16, got 17"),
        ((2.0,), {}, "bits must be a whole number, at least . and at most 16, got float 2.0"),
        ((2,), {"signed": 1}, "signed must be True or False, got int 1"),
        ((2,), {"start": 0.0}, "start must be at least 1e-30 and at most 1e.30, got 0.0"),
        ((2,), {"channels": 3}, "channels must come with per_channel, got 3; say which dimension"),
        ((2,), {"per_channel": 0, "channels": 0}, "channels must be at least 1, got 0"),
        ((2,), {"per_channel": "x"}, "per_channel must be a whole number, got str 'x'"),
        ((2,), {"batched": None}, "batched must be True or False, got NoneType"),
    ],
)
@BOTH
def test_wrong_arguments_are_named(kind: Any, arguments: Any, options: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{kind.__name__}: {said}"):
        kind(*arguments, **options)


def test_an_input_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"LearnedScale: x must be floating point, got torch.int64"):
        hg.LearnedScale(2)(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"LearnedScale: channels must be x's 6, got 1; give channels=6"):
        hg.LearnedScale(2, per_channel=1)(batch())
    with pytest.raises(
        ValueError, match=r"LearnedClip: per_channel must be a dimension of x, got 2 for shape \(5, 6\)"
    ):
        hg.LearnedClip(2, per_channel=2, channels=3)(batch())

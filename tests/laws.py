"""What every surrogate must obey, over every hard function it admits.

A law is a function of a case that fails by assertion. ``LAWS`` is what the pass-matrix in the docs is written from.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from cases import SCALE, Case
from hardgrad.user_code import writes_nowhere
from laws_modes import MODES
from place import DEVICE

Gradients = dict[str, Tensor]


def loss_of(output: Tensor) -> Tensor:
    """A loss that weighs every output of a sample differently."""
    weight = torch.linspace(-1.0, 2.0, output[0].numel(), dtype=output.dtype, device=output.device)
    return (output.flatten(1) * weight).sum(1).mean()


def gradients(model: nn.Module, x: Tensor, run: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Gradients]:
    """Output and gradients of ``loss_of``, the input's too; ``run`` calls the model some other way."""
    x = x.detach().clone().requires_grad_()
    model.zero_grad()
    output = (run or model)(x)
    loss_of(output).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return output.detach(), found | {"input": x.grad.clone()}


def assert_close(a: Gradients, b: Gradients, tolerance: float = 1e-9) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def assert_same(a: tuple[Tensor, Gradients], b: tuple[Tensor, Gradients]) -> None:
    torch.testing.assert_close(a[0], b[0], rtol=1e-9, atol=1e-9)
    assert_close(a[1], b[1])


def assert_near(a: Gradients, b: Gradients, relative: float) -> None:
    """All gradients together, as one vector, and none of another order of magnitude."""
    error = torch.stack([(a[name] - b[name]).norm() for name in b]).norm()
    scale = torch.stack([g.norm() for g in b.values()]).norm()
    assert error < relative * scale, f"relative error {error / scale:.3g}"


def exact_value(case: Case) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        x = case.input(dtype=dtype)
        y, value = case.layer(dtype)(x.clone().requires_grad_()), case.function(x)
        assert torch.equal(y, value), dtype
        assert (y.shape, y.dtype, y.device) == (value.shape, value.dtype, value.device)
        assert y.requires_grad


def finite_gradient(case: Case) -> None:
    for dtype in (torch.float64, torch.float32):
        _, found = gradients(case.layer(dtype), case.input(dtype=dtype) * 100)
        assert all(g.isfinite().all() for g in found.values())


def independent_gradient(case: Case) -> None:
    """Into the input: central differences of what lends the gradient, by its own step if it has one.

    Into the approximator: of its penalty alone.
    """
    layer, x = case.layer(), case.input()
    _, found = gradients(layer, x)
    paths = {
        "bridge": lambda t: layer.approximator(t),
        "identity twin": lambda t: t,
        "soft twin": case.soft,
        "two points": case.function,
    }
    step = {"h": SCALE} if case.surrogate == "two points" else {}
    numeric = _central_difference(lambda t: loss_of(paths[case.surrogate](t)), x, **step)
    assert numeric.abs().max() > 0
    torch.testing.assert_close(found["input"], numeric, rtol=1e-6, atol=1e-8)
    if case.surrogate == "bridge":
        _approximator_learns_from_penalty_alone(layer, x, case.function(x), found)


def _approximator_learns_from_penalty_alone(layer: hg.Bridge, x: Tensor, value: Tensor, found: Gradients) -> None:
    for name, weight in layer.approximator.named_parameters():

        def penalty(w: Tensor, name: str = name) -> Tensor:
            output = functional_call(layer.approximator, {name: w}, (x,))
            return sum((10.0 * (output[b] - value[b]).pow(2).sum() / len(x) for b in range(len(x))), x.new_zeros(()))

        few = torch.arange(0, weight.numel(), max(1, weight.numel() // 3))
        numeric = _central_difference(penalty, weight.detach(), few).flatten()[few]
        actual = found[f"approximator.{name}"].flatten()[few]
        torch.testing.assert_close(actual, numeric, rtol=1e-5, atol=1e-6)


def _central_difference(f: Callable[[Tensor], Tensor], x: Tensor, at: Tensor | None = None, h: float = 1e-5) -> Tensor:
    result = torch.zeros_like(x)
    with torch.no_grad():
        for i in range(x.numel()) if at is None else at.tolist():
            nudge = torch.zeros_like(x)
            nudge.view(-1)[i] = h
            result.view(-1)[i] = (f(x + nudge) - f(x - nudge)) / (2 * h)
    return result


def evaluation(case: Case) -> None:
    """In eval, no_grad and inference_mode only the hard function runs, once."""
    layer, x = case.layer(), case.input().requires_grad_()
    calls: list[None] = []
    if case.surrogate == "two points":
        layer.hard = _Calls(case.function, calls)
    elif isinstance(layer, hg.Bridge):
        layer.approximator.register_forward_hook(lambda *_: calls.append(None))
    elif layer.soft is not None:
        soft = layer.soft
        layer.soft = lambda t: calls.append(None) or soft(t)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(layer(x), case.function(x))
    assert torch.equal(layer.eval()(x), case.function(x))
    expected = 3 if case.surrogate == "two points" else 0
    assert len(calls) == expected
    layer.train()(x)
    assert len(calls) > expected + 1 or case.surrogate != "two points"
    assert calls or case.surrogate == "identity twin"


class _Calls:
    def __init__(self, function: Callable[[Tensor], Tensor], calls: list[None]) -> None:
        self.function, self.calls = function, calls

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(None)
        return self.function(x)


def deepcopy_after_forward(case: Case) -> None:
    model, x = case.model(), case.input()
    before = gradients(model, x)
    model(x)
    assert_same(gradients(copy.deepcopy(model), x), before)


def two_calls(case: Case) -> None:
    """A layer called twice in one forward gets the sum of both gradients, of both penalties too."""
    model, first, second = case.model(), case.input(seed=0), case.input(seed=5)
    model.zero_grad()
    (loss_of(model(first)) + loss_of(model(second))).backward()
    both = {name: p.grad.clone() for name, p in model.named_parameters()}
    apart = [gradients(model, x)[1] for x in (first, second)]
    assert_close(both, {name: apart[0][name] + apart[1][name] for name in both})


def accumulation(case: Case) -> None:
    """Two half batches, penalties owned by the scope, give the gradient of the whole batch."""
    model, x = case.model(), case.input()
    with hg.penalties() as bag:
        _, whole = gradients(model, x, lambda t: _add_to_loss(model(t), bag))
    model.zero_grad()
    for half in x.chunk(2):
        with hg.penalties() as bag:
            ((loss_of(model(half)) + bag.total()) / 2).backward()
    whole.pop("input")
    assert_close({name: p.grad for name, p in model.named_parameters()}, whole)


def _add_to_loss(output: Tensor, bag: hg.Penalties) -> Tensor:
    """Output whose ``loss_of`` is greater by the bag's total: the last weight is 2, the batch is averaged."""
    extra = torch.zeros_like(output)
    extra[:, -1] = 0.5
    return output + extra * bag.total()


def scope(case: Case) -> None:
    """Self-training and the penalties scope give equal gradients."""
    model, x = case.model(), case.input()
    alone = gradients(model, x)[1]
    with hg.penalties() as bag:
        owned = gradients(model, x, lambda t: _add_to_loss(model(t), bag))[1]
    assert_close(alone, owned)
    assert [name for name, _ in bag] == (["1"] if case.surrogate == "bridge" else [])


def checkpointing(case: Case) -> None:
    """Both kinds of activation checkpoint, and the scope with the kind that supports it."""
    model, x = case.model(), case.input()
    plain = gradients(model, x)
    for reentrant in (False, True):
        assert_same(gradients(model, x, lambda t, r=reentrant: checkpoint(model, t, use_reentrant=r)), plain)
    with hg.penalties() as bag:
        owned = gradients(model, x, lambda t: _add_to_loss(checkpoint(model, t, use_reentrant=False), bag))[1]
    assert_close(owned, plain[1])
    assert len(bag) == (case.surrogate == "bridge")


def compilation(case: Case) -> None:
    """torch.compile(fullgraph=True): value and gradient of eager, in training with and without a scope, and in eval."""
    model, x = case.model(), case.input()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_same(gradients(model, x, compiled), gradients(model, x))
    with hg.penalties() as bag:
        owned = gradients(model, x, lambda t: _add_to_loss(compiled(t), bag))[1]
    assert_close(owned, gradients(model, x)[1])
    torch.testing.assert_close(compiled.eval()(x), model.eval()(x))


def function_transforms(case: Case) -> None:
    """torch.func: grad equals backward; vmap(grad) over samples equals a loop; vmap over stacked models too."""
    model, x = case.model(), case.input()
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: Gradients, x: Tensor) -> Tensor:
        return loss_of(functional_call(model, weights, (x,)))

    plain = gradients(model, x)[1]
    plain.pop("input")
    assert_close(grad(loss)(weights, x), plain)
    single = vmap(grad(lambda w, row: loss(w, row.unsqueeze(0))), in_dims=(None, 0), randomness="different")(weights, x)
    for b in range(len(x)):
        row = gradients(model, x[b : b + 1])[1]
        row.pop("input")
        assert_close({name: g[b] for name, g in single.items()}, row)
    stacked = {name: torch.stack([w, w]) for name, w in weights.items()}
    for seed in vmap(grad(loss), in_dims=(0, None), randomness="different")(stacked, x).values():
        torch.testing.assert_close(seed[0], seed[1])


def autocast_bf16(case: Case) -> None:
    """bf16 autocast: gradients finite, in the weights' dtype, and those of fp32 to bf16's precision."""
    layer, x = case.layer(torch.float32), case.input(dtype=torch.float32)
    plain = gradients(layer, x)

    def under_autocast(t: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            return layer(t)

    output, found = gradients(layer, x, under_autocast)
    assert torch.equal(output.float(), plain[0].float())
    assert all(g.dtype == torch.float32 for g in found.values())
    assert_near(found, plain[1], 0.1)


def scaled_fp16(case: Case) -> None:
    """fp16 autocast with loss scaling through the scope: unscaled gradients are those of fp32 to fp16's precision."""
    layer, x = case.layer(torch.float32), case.input(dtype=torch.float32)
    plain = gradients(layer, x)[1]
    optimizer = torch.optim.SGD([*layer.parameters(), x := x.requires_grad_()], lr=0.1)
    scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**5)
    layer.zero_grad()
    with hg.penalties() as bag, torch.autocast(DEVICE.type, dtype=torch.float16):
        loss = loss_of(layer(x)) + bag.total()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    found = {name: p.grad for name, p in layer.named_parameters()} | {"input": x.grad}
    assert_near(found, plain, 0.02)


def export(case: Case) -> None:
    """torch.export of the stripped model: equal outputs, and the graph of the bare function's model.

    A function that may write into its input is written down with a copy of it before.
    """
    model, x = case.model(torch.float32).eval(), case.input(dtype=torch.float32)
    stripped = hg.strip(model)
    program = torch.export.export(stripped, (x,))
    assert torch.equal(program.module()(x), model(x))
    bare = copy.deepcopy(model)
    bare[1] = _Bare(case.function)
    copies = 0 if writes_nowhere(case.function) else 1
    assert len(program.graph.nodes) == len(torch.export.export(bare, (x,)).graph.nodes) + copies
    assert program.state_dict.keys() == bare.state_dict().keys()


class _Bare(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def onnx(case: Case) -> None:
    """ONNX of the stripped model, run in onnxruntime: equal outputs."""
    model, x = case.model(torch.float32).eval(), case.input(dtype=torch.float32)
    session = _session(hg.strip(model), x)
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), model(x).detach(), rtol=1e-5, atol=1e-5)


_sessions: dict[tuple[str, bytes], Any] = {}


def _session(stripped: nn.Module, x: Tensor) -> Any:
    """A program that is another's to the letter and to the bit, as that of one function under two surrogates is, is
    written to ONNX once: that takes two seconds."""
    import onnxruntime

    program = torch.export.export(stripped, (x,))
    held = [value for value in (program.state_dict | program.constants).values() if isinstance(value, Tensor)]
    key = (program.graph_module.code, b"".join(value.detach().numpy().tobytes() for value in held))
    if key not in _sessions:
        buffer = io.BytesIO()
        torch.onnx.export(stripped, (x,), dynamo=True, verbose=False).save(buffer)
        _sessions[key] = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    return _sessions[key]


def double_backward(case: Case) -> None:
    """The gradient of the lent gradient: central differences of the first, whatever lends it; or refused."""
    layer, x = case.layer(), case.input().requires_grad_()
    if case.surrogate == "two points":
        (first,) = torch.autograd.grad(loss_of(layer(x)), x, create_graph=True)
        with pytest.raises(RuntimeError, match="perturb: its gradient has no derivative of its own"):
            first.sum().backward()
        return

    def direction(t: Tensor, create: bool) -> Tensor:
        (g,) = torch.autograd.grad(loss_of(layer(t)), t, create_graph=create)
        return (g * torch.linspace(0.5, 1.5, g.numel(), dtype=g.dtype, device=g.device).view_as(g)).sum()

    inner = direction(x, True)
    second = torch.autograd.grad(inner, x, allow_unused=True)[0] if inner.requires_grad else None
    numeric = torch.zeros_like(x).detach()
    for i in range(x.numel()):
        nudge = torch.zeros_like(numeric)
        nudge.view(-1)[i] = 1e-5
        plus, minus = ((x.detach() + s * nudge).requires_grad_() for s in (1, -1))
        numeric.view(-1)[i] = (direction(plus, False) - direction(minus, False)) / 2e-5
    torch.testing.assert_close(torch.zeros_like(numeric) if second is None else second, numeric, rtol=1e-4, atol=1e-6)


LAWS: dict[str, Callable[[Case], None]] = {
    "exact value": exact_value,
    "finite gradient": finite_gradient,
    "independent gradient": independent_gradient,
    "eval, no_grad": evaluation,
    "deepcopy": deepcopy_after_forward,
    "two calls": two_calls,
    "accumulation": accumulation,
    "penalties scope": scope,
    "checkpoint": checkpointing,
    "compile fullgraph": compilation,
    "torch.func": function_transforms,
    "bf16 autocast": autocast_bf16,
    "fp16 scaled": scaled_fp16,
    "export": export,
    "ONNX": onnx,
    "double backward": double_backward,
    **MODES,
}

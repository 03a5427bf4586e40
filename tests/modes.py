"""Modes in which a model may be run, and what a pair of them must give.

A *setting* changes what is right (evaluation, a dtype, autocast, an empty batch); a *way* must change nothing (a copy,
a compiler, a checkpoint, another thread). A pair is held against plain eager code under its settings alone.
"""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from mode_subjects import Model, Subject
from place import DEVICE

Inputs = tuple[Tensor, ...]
Run = Callable[..., Tensor]  # (model, *inputs) -> output
Found = dict[str, Tensor | None]


@dataclass(frozen=True)
class Mode:
    """One way or setting; what it leaves out stays as it is.

    Args:
        name: its column on the page.
        setting: whether it changes what is right.
        dtype: of the model and its inputs.
        prepare: (subject, model, inputs) to the model that is used from there on.
        inputs: what becomes of the inputs.
        wrap: what becomes of a call, inside compiled code.
        around: what becomes of a call, outside of it.
        compiler: the backend of ``torch.compile``.
        gradients: how gradients are asked for, one of ``GRADIENTS``.
        graph: whether a branch without rows has a gradient of zeros, which eager code makes None.
        right: settings that a way brings along.
        forward_only: whether there is no gradient.
    """

    name: str
    setting: bool = False
    dtype: torch.dtype | None = None
    prepare: Callable[[Subject, Model, Inputs], Model] | None = None
    inputs: Callable[[Inputs], Inputs] | None = None
    wrap: Callable[[Run], Run] | None = None
    around: Callable[[Run], Run] | None = None
    compiler: str | None = None
    gradients: str | None = None
    graph: bool = False
    right: tuple[str, ...] = ()
    forward_only: bool = False

    def __str__(self) -> str:
        return self.name


# Preparations: what a user did to the model before.


def _saved(subject: Subject, model: Model, inputs: Inputs) -> Model:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def _from_meta(subject: Subject, model: Model, inputs: Inputs) -> Model:
    with torch.device("meta"):
        late = subject.model(inputs[0].dtype)
    late.to_empty(device=DEVICE).load_state_dict(model.state_dict())
    return late.train(model.training)


def _assigned(subject: Subject, model: Model, inputs: Inputs) -> Model:
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    return model


def _validated(guard: Callable[[], Any]) -> Callable[[Subject, Model, Inputs], Model]:
    def prepare(subject: Subject, model: Model, inputs: Inputs) -> Model:
        training = model.training
        with guard():
            model.eval()(*inputs)
        return model.train(training)

    return prepare


def _flagged(flag: str) -> Callable[[Subject, Model, Inputs], Model]:
    def prepare(subject: Subject, model: Model, inputs: Inputs) -> Model:
        setattr(model, flag, True)
        return model

    return prepare


def _shared(subject: Subject, model: Model, inputs: Inputs) -> Model:
    return model.share_memory()


def _hooked(subject: Subject, model: Model, inputs: Inputs) -> Model:
    for module in model.modules():
        module.register_forward_hook(_see)
    return model


def _see(module: nn.Module, inputs: Any, output: Any) -> None:
    pass


def _frozen(subject: Subject, model: Model, inputs: Inputs) -> Model:
    for number, parameter in enumerate(model.layer.parameters()):
        parameter.requires_grad_(number % 2 == 1)
    return model


def _evaluating(subject: Subject, model: Model, inputs: Inputs) -> Model:
    return model.eval()


# Calls.


def _checkpointed(reentrant: bool) -> Callable[[Run], Run]:
    return lambda run: lambda model, *inputs: checkpoint(run, model, *inputs, use_reentrant=reentrant)


def _autocast(run: Run) -> Run:
    def call(model: Model, *inputs: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            return run(model, *inputs)

    return call


def _vmapped(run: Run) -> Run:
    def call(model: Model, *inputs: Tensor) -> Tensor:
        twice = [torch.stack([each, each]) for each in inputs]
        return torch.func.vmap(lambda *one: run(model, *one), randomness="same")(*twice).mean(0)

    return call


def _threaded(run: Run) -> Run:
    def call(model: Model, *inputs: Tensor) -> Tensor:
        found: list[Any] = []

        def work() -> None:
            try:
                found.append(run(model, *inputs))
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    return call


def _exported(run: Run) -> Run:
    def call(model: Model, *inputs: Tensor) -> Tensor:
        return torch.export.export(model, inputs).module()(*inputs)

    return call


def _onnx(run: Run) -> Run:
    def call(model: Model, *inputs: Tensor) -> Tensor:
        import onnxruntime

        program = torch.onnx.export(model, inputs, dynamo=True, verbose=False)
        buffer = io.BytesIO()
        program.save(buffer)
        session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        (output,) = session.run(None, {name: each.detach().numpy() for name, each in zip(names, inputs, strict=False)})
        return torch.from_numpy(output)

    return call


def _strided(inputs: Inputs) -> Inputs:
    return tuple(torch.stack([each, each], -1)[..., 0] for each in inputs)


def _empty(inputs: Inputs) -> Inputs:
    return tuple(each[:0] for each in inputs)


# How gradients are asked for. Each returns the output and the gradients by parameter name, x's as "input".


def weigh(output: Tensor) -> Tensor:
    """A loss that weighs every number differently."""
    wide = output.to(torch.promote_types(output.dtype, torch.float32))
    weight = torch.linspace(-1.0, 2.0, max(output.numel(), 1), dtype=wide.dtype, device=wide.device)
    return (wide * weight[: output.numel()].view_as(wide)).sum()


def _collect(model: Model, x: Tensor) -> Found:
    return {name: p.grad for name, p in model.named_parameters()} | {"input": x.grad}


def _backward(run: Run, model: Model, x: Tensor, keys: Inputs) -> Found:
    output = run(model, x, *keys)
    weigh(output).backward()
    return {"output": output} | _collect(model, x)


def _in_scope(run: Run, model: Model, x: Tensor, keys: Inputs) -> Found:
    with hg.penalties() as bag:
        output = run(model, x, *keys)
        (weigh(output) + bag.total()).backward()
    return {"output": output} | _collect(model, x)


def _in_two(run: Run, model: Model, x: Tensor, keys: Inputs) -> Found:
    output = run(model, x, *keys)
    loss = weigh(output)
    (loss * 0.25).backward(retain_graph=True)
    (loss * 0.75).backward()
    return {"output": output} | _collect(model, x)


def _named_inputs(run: Run, model: Model, x: Tensor, keys: Inputs) -> Found:
    output = run(model, x, *keys)
    wanted = [p for p in model.parameters() if p.requires_grad]
    weigh(output).backward(inputs=[*wanted, x])
    return {"output": output} | _collect(model, x)


def _batched(run: Run, model: Model, x: Tensor, keys: Inputs) -> Found:
    output = run(model, x, *keys)
    loss = weigh(output)
    leaves = {name: p for name, p in model.named_parameters() if p.requires_grad} | {"input": x}
    weights = torch.stack([torch.ones_like(loss), 3 * torch.ones_like(loss)])
    found = torch.autograd.grad(
        loss, list(leaves.values()), grad_outputs=weights, is_grads_batched=True, allow_unused=True
    )
    return {"output": output} | {name: g if g is None else g[0] for name, g in zip(leaves, found, strict=True)}


def _functional(run: Run, model: Model, x: Tensor, keys: Inputs, compiler: str | None = None) -> Found:
    leaves = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def loss(leaves: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        output = run(lambda *inputs: functional_call(model, leaves, inputs), x, *keys)
        return weigh(output), output

    step = torch.func.grad(loss, argnums=(0, 1), has_aux=True)
    if compiler:
        step = torch.compile(step, backend=compiler)
    (found, to_x), output = step({name: p.detach() for name, p in leaves.items()}, x.detach())
    return {"output": output} | found | {"input": to_x}


GRADIENTS: dict[str, Callable[..., Found]] = {
    "backward": _backward,
    "scope": _in_scope,
    "two": _in_two,
    "inputs": _named_inputs,
    "batched": _batched,
    "functional": _functional,
}

MODES = [
    Mode("eval", setting=True, prepare=_evaluating),
    Mode("float32", setting=True, dtype=torch.float32),
    Mode("bf16", setting=True, dtype=torch.bfloat16),
    Mode("fp16", setting=True, dtype=torch.float16),
    Mode("autocast", setting=True, dtype=torch.float32, wrap=_autocast),
    Mode("no rows", setting=True, inputs=_empty),
    Mode("frozen in part", setting=True, prepare=_frozen),
    Mode("deepcopy", prepare=lambda subject, model, inputs: copy.deepcopy(model)),
    Mode("torch.save whole", prepare=_saved),
    Mode("built on meta", prepare=_from_meta),
    Mode("load assign=True", prepare=_assigned),
    Mode("no_grad first", prepare=_validated(torch.no_grad)),
    Mode("inference first", prepare=_validated(torch.inference_mode)),
    Mode("shared memory", prepare=_shared),
    Mode("hooks", prepare=_hooked),
    Mode("writes into y", prepare=_flagged("writes")),
    Mode("strided", inputs=_strided),
    Mode("checkpoint", wrap=_checkpointed(False)),
    Mode("checkpoint, reentrant", wrap=_checkpointed(True)),
    Mode("thread", around=_threaded),
    Mode("penalties()", gradients="scope"),
    Mode("two backwards", gradients="two"),
    Mode("backward(inputs)", gradients="inputs", graph=True),
    Mode("batched gradients", gradients="batched", graph=True),
    Mode("func.grad", gradients="functional", graph=True),
    Mode("vmap", wrap=_vmapped, graph=True),
    Mode("compile eager", compiler="eager", graph=True),
    Mode("graph breaks, aot", compiler="aot_eager", prepare=_flagged("breaks"), graph=True),
    Mode("compile aot", compiler="aot_eager", graph=True),
    Mode("export", prepare=_evaluating, around=_exported, right=("eval",), forward_only=True),
    Mode("ONNX", prepare=_evaluating, dtype=torch.float32, around=_onnx, right=("eval", "float32"), forward_only=True),
]
INDUCTOR = Mode("inductor", compiler="inductor", graph=True)

# Two of a kind are not a pair: one dtype, one compiler, one way to ask for gradients, one thing that only runs forward.
_ONE_OF = (
    ("float32", "bf16", "fp16", "autocast"),
    ("compile eager", "graph breaks, aot", "compile aot", "export", "ONNX"),
    ("penalties()", "two backwards", "backward(inputs)", "batched gradients", "func.grad", "export", "ONNX"),
    ("checkpoint", "checkpoint, reentrant", "export", "ONNX"),
    ("bf16", "fp16", "ONNX"),
    ("autocast", "ONNX"),
    ("vmap", "export", "ONNX"),
    ("thread", "func.grad"),  # a transform is its own thread's
    ("no rows", "export", "ONNX"),  # a program is made of an example that has some
    # A copy of the model, taken or loaded, does not know what was hooked or switched on.
    ("built on meta", "hooks", "writes into y", "graph breaks, aot", "frozen in part"),
    ("shared memory", "deepcopy", "torch.save whole", "built on meta"),
)


# What is not as in plain eager code, and is said where users look, by what it does to what.
_COUNTS = "each backward counts the penalty anew, since nothing can tell it of the one before; take penalties()"
EXPLAINED = {
    frozenset(("checkpoint, reentrant", "two backwards")): f"penalties: in a reentrant checkpoint {_COUNTS}",
    frozenset(("compile eager", "two backwards")): f"penalties: in compiled code {_COUNTS}",
    frozenset(("compile aot", "two backwards")): f"penalties: in compiled code {_COUNTS}",
    frozenset(("graph breaks, aot", "two backwards")): f"penalties: in compiled code {_COUNTS}",
}


# What torch's compiler refuses with an error of its own where a layer breaks the graph: loud, and no sentence of ours.
_BREAKS = (
    "{}: torch.compile takes no torch.func derivative of a layer that breaks its graph; differentiate outside of it"
)
_TAKES_ONE = "{}: the backward of this compiled graph takes one gradient at a time; hand them over one by one"
BROKEN = (
    {
        (family, frozenset(("func.grad", compiler))): _BREAKS.format(family)
        for family in ("LayerMask", "CrossFade", "perturbed")
        for compiler in ("compile eager", "compile aot", "graph breaks, aot")
    }
    | {
        ("Codebook", frozenset((checkpointed, "compile eager"))): (
            'Codebook: the compiler\'s backend "eager" takes no checkpoint of a layer that moves its buffers; others do'
        )
        for checkpointed in ("checkpoint", "checkpoint, reentrant")
    }
    | {
        ("RangeEmbedding", frozenset(("batched gradients", "graph breaks, aot"))): _TAKES_ONE.format("RangeEmbedding"),
    }
)


# What is not linear in what arrives in its backward: two backwards are not one of their sum, nor is a mean over vmap.
STEPS = "its step goes along the gradient that arrives, so what scales the loss scales the step; take one backward"
NOT_LINEAR = {
    ("interpolated", "two backwards"): f"interpolated: {STEPS}",
    ("interpolated", "vmap"): f"interpolated: {STEPS}",
    ("imle", "two backwards"): f"imle: {STEPS}",
}


def pairs(modes: list[Mode] | None = None) -> Iterator[tuple[Mode, ...]]:
    """Every mode alone, then every pair that can be."""
    modes = MODES if modes is None else modes
    yield from ((mode,) for mode in modes)
    for a, b in combinations(modes, 2):
        if not any(a.name in group and b.name in group for group in _ONE_OF):
            yield a, b


def settings(modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    """Return those of the modes, and of what they bring along, that change what is right."""
    names = {m.name for m in modes if m.setting} | {name for m in modes for name in m.right}
    return tuple(m for m in MODES if m.name in names)


def _first(values: Iterator[Any], default: Any = None) -> Any:
    return next((value for value in values if value is not None), default)


def run(subject: Subject, modes: tuple[Mode, ...]) -> Found:
    """Run a fresh model of a subject in these modes; return its output and gradients."""
    dtype = _first((m.dtype for m in modes), torch.float64)
    model, inputs = subject.model(dtype), subject.inputs(dtype)
    for mode in sorted(modes, key=lambda m: m.setting, reverse=True):
        model = mode.prepare(subject, model, inputs) if mode.prepare else model
        inputs = mode.inputs(inputs) if mode.inputs else inputs
    call: Run = lambda model, *inputs: model(*inputs)  # noqa: E731
    for mode in modes:
        call = mode.wrap(call) if mode.wrap else call
    compiler = _first(m.compiler for m in modes)
    kind = _first((m.gradients for m in modes), "backward")
    if compiler and kind != "functional":
        torch.compiler.reset()
        call = torch.compile(call, backend=compiler)
    for mode in modes:
        call = mode.around(call) if mode.around else call
    torch.manual_seed(7)
    if any(m.forward_only for m in modes):
        with torch.no_grad():
            return {"output": call(model, *inputs)}
    x = inputs[0].detach().requires_grad_()
    more = {"compiler": compiler} if kind == "functional" else {}
    found = GRADIENTS[kind](call, model, x, inputs[1:], **more)
    # A penalty sends one, whatever it is multiplied by, and as often as there are forwards.
    if kind == "batched" or any(m.name == "vmap" for m in modes):
        found = {name: value for name, value in found.items() if not name.startswith(subject.owned or ("-",))}
    return {name: value if value is None else value.detach() for name, value in found.items()}


TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}


def difference(subject: Subject, modes: tuple[Mode, ...], found: Found, right: Found) -> str | None:
    """Say what is wrong with what was found, or None."""
    dtype = _first((m.dtype for m in modes), torch.float64)
    tolerance = TOLERANCE[torch.bfloat16 if any(m.name == "autocast" for m in modes) else dtype]
    if tolerance > TOLERANCE[torch.float32] and any(m.name == "vmap" for m in modes):
        tolerance = 1.0  # half precision rounds another product another way, and a hard function or a draw may flip
    lenient = any(m.graph for m in modes)
    gradients = [g for name, g in right.items() if name != "output" and g is not None and g.numel()]
    largest = max((float(g.abs().max()) for g in gradients), default=0.0)
    for name, value in found.items():
        want = right.get(name)
        if value is None or want is None:
            there = value if value is not None else want
            if there is not None and not (lenient and bool((there == 0).all())):
                return f"{name}: {'no gradient' if value is None else 'a gradient'} where the other is right"
            continue
        if value.dtype != want.dtype or value.shape != want.shape:
            return f"{name}: {value.dtype} {tuple(value.shape)} where {want.dtype} {tuple(want.shape)} is right"
        scale = float(want.abs().max()) if want.numel() else 0.0
        # A gradient that cancels is as exact as those that it comes from.
        least = tolerance * max(scale, 0.1 * largest, 1e-3)
        if not torch.allclose(value.double(), want.double(), rtol=tolerance, atol=least, equal_nan=True):
            return f"{name}: off by {float((value.double() - want.double()).abs().max()):.3g} of {scale:.3g}"
    return None

"""A model run for its gradients: on inputs that may need them, to a loss, with everything put back afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hardgrad import _check
from hardgrad.doctor.flow.values import tensors_of
from hardgrad.doctor.function import FunctionError


def twin_of(x: Any, all_need: bool) -> Any:
    """Return an input as it is, or one like it that needs a gradient and has no history."""
    if not isinstance(x, Tensor) or (x.is_leaf and not all_need):
        return x
    return x.detach().clone().requires_grad_(x.requires_grad or (all_need and x.is_floating_point()))


def called(model: Any, inputs: tuple[Any, ...]) -> Any:
    """Return the model's output; what it raises names the module."""
    try:
        return model(*inputs)
    except Exception as error:
        names = {id(m): name for name, m in model.named_modules()} if isinstance(model, nn.Module) else {}
        where, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code is nn.Module._call_impl.__code__:
                module = trace.tb_frame.f_locals["self"]
                where = f" in its module {names.get(id(module), '')!r} ({type(module).__name__})"
            trace = trace.tb_next
        raise FunctionError(f"breaks: the model raises{where}: {type(error).__name__}: {error}") from error


def loss_of(output: Any, loss: Any) -> tuple[Tensor, str]:
    """Return what to differentiate, and what that is in words."""
    if loss is not None:
        value = loss(output)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(f"breaks: loss must return one number, got {_check.kind_of(value)}; end it with .mean()")
        return value, "the loss given"
    if isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor):
        return output["loss"].sum(), "the output's own loss"
    tensors = _tensors(output)
    if not tensors:
        raise ValueError(f"breaks: the model must return a tensor, got {_check.kind_of(output)}; give loss=")
    tensors = [x for x in tensors if x.requires_grad] or [x for x in tensors if x.is_floating_point()] or tensors
    if len(tensors) == 1 and tensors[0].numel() == 1:
        return tensors[0].sum(), "the output"
    parts = [
        (x.to(torch.result_type(x, 0.5)) - torch.randn(x.shape, device=x.device)).abs().square().sum() for x in tensors
    ]
    return sum(parts[1:], parts[0]), "the squared distance of the outputs from random numbers; loss= takes your own"


def _tensors(output: Any) -> list[Tensor]:
    if is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in fields(output)]
    parts = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(parts, list | tuple):
        return [x for part in parts for x in _tensors(part)]
    return [parts] if isinstance(parts, Tensor) else []


@contextmanager
def put_back(model: Any, inputs: Any) -> Iterator[None]:
    """Give a model its gradients and buffers back afterwards, and the inputs theirs."""
    own = tensors_of(model)
    own += [x for x in tree_leaves(inputs) if isinstance(x, Tensor) and x.is_leaf]
    tracked = [x for x in own if not x.requires_grad and not x.is_inference()]
    kept, gradients = [(x, x.detach().clone()) for x in tracked], [(x, x.grad) for x in own]
    for x in own:
        x.grad = None
    try:
        yield
    finally:
        for x, gradient in gradients:
            x.grad = gradient
        for x, value in kept:
            if not torch.equal(x, value):
                x.data.copy_(value)


@contextmanager
def eagerly() -> Iterator[None]:
    """Run what torch.compile made in eager code, where the calls can be seen; it is not imported for that."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

"""Where the gradient of a step ends, found on the user's own model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from hardgrad import _check
from hardgrad.doctor.copies import private_copy
from hardgrad.doctor.flow.judge import Judge, names_of
from hardgrad.doctor.flow.report import Break, Breaks
from hardgrad.doctor.flow.tape import Tape
from hardgrad.doctor.function import FunctionError
from hardgrad.doctor.randomness import master_seed, seeded


class Watching(Breaks):
    """A ``with`` block around a training step; what it finds is ready when the block is left."""

    def __init__(self, model: Any, loss: Any) -> None:
        super().__init__()
        self._model, self._loss, self._tape, self._eager = model, loss, Tape(), _eagerly()
        self._entered = False

    def __enter__(self) -> Breaks:
        """Begin to watch."""
        self._entered = True
        self._eager.__enter__()
        self._tape.__enter__()
        self._tape.own(self._model)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        """Say what was found."""
        self._tape.__exit__(kind, error, trace)
        self._eager.__exit__(None, None, None)
        try:
            if error is None and not self._tape.passes:
                raise ValueError(
                    "breaks: no backward ran inside the with block, so nothing can be said of gradients; put "
                    "loss.backward() inside it"
                )
            if self._tape.passes:
                self._about = "the backward of the step"
                _judge(self, self._tape, self._model, [])
        finally:
            self._tape.close()
        if error is not None and self._found:
            error.add_note(str(self))

    def _known(self) -> tuple[Break, ...]:
        if not self._entered and self._found is None:  # a model that takes no inputs
            self._set(_examined(self._model, (), self._loss))
        return super()._known()


def breaks(model: Any, *inputs: Any, loss: Callable[[Any], Tensor] | None = None) -> Any:
    """Find every place where a model's gradient ends, with the call that mends it."""
    _check.function("breaks", "model", model, "of the inputs, or an nn.Module")
    if loss is not None:
        _check.function("breaks", "loss", loss, "of what the model returns")
    return _examined(model, inputs, loss) if inputs else Watching(model, loss)


def _examined(model: Any, inputs: tuple[Any, ...], loss: Any) -> Breaks:
    found = _run(model, inputs, loss, False)
    if found is None:
        found = _run(model, inputs, loss, True)
    assert found is not None
    return found


def _run(model: Any, inputs: tuple[Any, ...], loss: Any, all_need: bool) -> Breaks | None:
    """One step on copies; None if nothing in it needs a gradient, to be run again with inputs that do."""
    twin = private_copy(partial(_step, model, loss), state=True)
    own, loss = twin.args
    given = tree_map(partial(_twin, all_need=all_need), inputs)
    flat = [x for x in tree_leaves(given) if isinstance(x, Tensor)]
    named = [(f"input {i}", x) for i, x in enumerate(flat)]
    found, tape = Breaks(), Tape(copies=True)
    with seeded(master_seed(None), flat[0].device if flat else torch.device("cpu")), _eagerly(), torch.enable_grad():
        try:
            with tape:
                tape.own(own, flat)
                output = _called(own, given)
                value, found._about = _loss_of(output, loss)
                if value.requires_grad:
                    value.backward()
                else:
                    tape.differentiate(value)
            if not any(root is not None and root.requires_grad for root in tape.roots):
                if not all_need:
                    return None
                raise ValueError("breaks: nothing here needs a gradient: no parameter and no floating input")
            _judge(found, tape, own, named)
        finally:
            tape.close()
    return found


def _step(model: Any, loss: Any) -> None:
    """Hold both for one copy."""


def _twin(x: Any, all_need: bool) -> Any:
    if not isinstance(x, Tensor):
        return x
    needs = x.requires_grad or (all_need and x.is_floating_point())
    return x.detach().clone().requires_grad_(needs)


def _called(model: Any, inputs: tuple[Any, ...]) -> Any:
    try:
        return model(*inputs)
    except Exception as error:
        raise FunctionError(f"breaks: the model raises{_where(model, error)}: {type(error).__name__}: {error}") from error


def _where(model: Any, error: BaseException) -> str:
    names = {id(m): name for name, m in model.named_modules()} if isinstance(model, nn.Module) else {}
    where, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is nn.Module._call_impl.__code__:
            module = trace.tb_frame.f_locals["self"]
            name = names.get(id(module), "")
            where = f" in its module {name!r} ({type(module).__name__})" if name else f" in {type(module).__name__}"
        trace = trace.tb_next
    return where


def _loss_of(output: Any, loss: Any) -> tuple[Tensor, str]:
    if loss is not None:
        value = loss(output)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(f"breaks: loss must return one number, got {_check.kind_of(value)}; end it with .mean()")
        return value, "the loss given"
    if isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor):
        return output["loss"].sum(), "the output's own loss"
    tensors = [x for x in _tensors(output) if x.is_floating_point()]
    if not tensors:
        tensors = [x for x in _tensors(output)]
    if not tensors:
        raise ValueError(f"breaks: the model must return a tensor, got {_check.kind_of(output)}; give loss=")
    tensors = [x for x in tensors if x.requires_grad] or tensors
    if len(tensors) == 1 and tensors[0].numel() == 1:
        return tensors[0].sum(), "the output"
    parts = [((x.float() - torch.randn(x.shape, device=x.device)) ** 2).sum() for x in tensors]
    return torch.stack(parts).sum(), "the squared distance of the outputs from random numbers (give loss= for your own)"


def _tensors(output: Any) -> list[Tensor]:
    if is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in fields(output)]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [x for part in output for x in _tensors(part)]
    return [output] if isinstance(output, Tensor) else []


def _judge(found: Breaks, tape: Tape, model: Any, inputs: list[tuple[str, Tensor]]) -> None:
    names, modules = names_of(model, inputs)
    if not isinstance(model, nn.Module):
        leaves = [root for root in tape.roots if isinstance(root, Tensor) and root.is_leaf and root.requires_grad]
        names = {id(leaf): f"leaf {i} of shape {tuple(leaf.shape)}" for i, leaf in enumerate(leaves)} | names
    judge = Judge(tape, names, modules)
    found._found, found._harmless, found._parameters = judge.breaks(), judge.harmless(), judge.parameters()


@contextmanager
def _eagerly() -> Iterator[None]:
    """Run what torch.compile made in eager code, where the calls can be seen; it is not imported for that."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

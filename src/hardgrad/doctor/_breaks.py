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
from hardgrad.doctor.flow.answer import fill
from hardgrad.doctor.flow.judge import Judge
from hardgrad.doctor.flow.passing import Passing
from hardgrad.doctor.flow.report import Break, Breaks
from hardgrad.doctor.flow.tape import Tape, is_leaf
from hardgrad.doctor.function import FunctionError
from hardgrad.doctor.randomness import master_seed, seeded


def breaks(model: Any, *inputs: Any, loss: Callable[[Any], Tensor] | None = None) -> Watching:
    r"""Find every place where the gradient of a model ends, and the call that mends it.

    The model runs forward and backward once. For each value :math:`v` two sets of leaves are followed,

    .. math:: \text{made}(v) = \{\theta : v \text{ depends on } \theta\}, \qquad
        \text{has}(v) = \{\theta : \text{autograd has } \partial v / \partial \theta\}

    and each term of the loss reports, for :math:`\text{made} \setminus \text{has}`, the line that lost them. What comes
    back by another way in the same term is harmless, as ``x + (q - x).detach()`` or ``x * (x > 0)`` are; so are metrics
    that nobody differentiates. What is cut by hand (``detach``, ``no_grad``) is reported where a leaf gets no gradient
    from anywhere. Gradients that became zero or infinite on the way are found by what arrived.

    Args:
        model: an ``nn.Module``, or any function of the inputs. It runs on a copy, with random numbers of its own: your
            weights, ``.grad`` fields, buffers and random states are left as they were. For code that torch.compile
            made, eager code runs.
        *inputs: what the model takes, tensors of a real batch among them. Where no parameter needs a gradient, the
            floating inputs do. Without inputs the answer is a context manager, ``with breaks(model) as found:``, that
            watches a training step of your own, all of it, and changes nothing.
        loss: a function of the model's output, of one number. By default a scalar output is the loss, or the output's
            own "loss"; else it is the squared distance of all floating outputs from random numbers.

    Returns:
        A sequence of ``Break``, with ``kind``, ``file``, ``line``, ``module``, ``call``, ``why``, ``lost`` and ``cure``;
        ``harmless`` and ``parameters`` say what else was seen, ``str`` is a table.

    Raises:
        ValueError: if nothing needs a gradient, the loss is not one number, or no backward ran in the block.
        FunctionError: for what the model raises, with the module it happened in.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.Threshold(0.0, 0.0), nn.Linear(3, 1))
        >>> len(hg.doctor.breaks(net, torch.randn(8, 4)))
        0
        >>> found = hg.doctor.breaks(lambda x: net(x.round()), torch.randn(8, 4, requires_grad=True))
        >>> [(b.kind, b.call, b.lost, b.cure) for b in found]
        [('flat', 'round', ('input 0',), 'hg.straight_through(hg.hard.round)')]

    Source: the relation of value and gradient is the program slice of Weiser 1984 beside reverse-mode differentiation.
    """
    _check.function("breaks", "model", model, "of the inputs, or an nn.Module")
    if loss is not None:
        _check.function("breaks", "loss", loss, "of what the model returns")
    found = Watching(model, loss)
    if inputs:
        found._examine(inputs)
    return found


class Watching(Breaks):
    """What ``breaks`` returns: an answer; or, made without inputs, a ``with`` block around a step that gives one."""

    def __init__(self, model: Any, loss: Any) -> None:
        super().__init__()
        self._model, self._loss = model, loss
        self._tape: Tape | None = None

    def __enter__(self) -> Watching:
        """Begin to watch."""
        if self._found is not None:
            raise ValueError("breaks: the model has run already; for a with block around your own step give no inputs")
        self._eager, self._tape = _eagerly(), Tape(self._model)
        self._eager.__enter__()
        self._tape.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        """Say what was found; to an exception of the step it is added as a note."""
        assert self._tape is not None
        self._tape.__exit__(kind, error, trace)
        self._eager.__exit__(None, None, None)
        if self._tape.passes:
            self._about = "the backward of the step"
            self._judge(self._tape, self._model, {})
        elif error is None:
            raise ValueError(
                "breaks: no backward ran inside the with block, so nothing can be said of gradients; put "
                "loss.backward() inside it"
            )
        if error is not None and self._found:
            error.add_note(str(self))

    def _known(self) -> tuple[Break, ...]:
        if self._found is None and self._tape is None:  # neither inputs nor a block: a model that takes none
            self._examine(())
        return super()._known()

    def _examine(self, inputs: tuple[Any, ...]) -> None:
        """Run the model on inputs; a second time with inputs that need a gradient, where nothing did."""
        if any(x.is_meta for x in tree_leaves(inputs) if isinstance(x, Tensor)):
            raise ValueError("breaks: inputs must have values, got a tensor on the meta device; give a real batch")
        try:
            model, loss = private_copy(partial(_step, self._model, self._loss), state=True).args  # type: ignore[attr-defined]
        except Exception:  # of the user's classes: what cannot be copied runs itself, and is put back
            model, loss = self._model, self._loss
        with _put_back(model):
            if not self._run(model, loss, inputs, False) and not self._run(model, loss, inputs, True):
                raise ValueError(
                    "breaks: nothing here needs a gradient, neither a parameter nor a floating input; requires_grad_() "
                    "makes one need it"
                )

    def _run(self, model: Any, loss: Any, inputs: tuple[Any, ...], all_need: bool) -> bool:
        """One step on copies; False if nothing in it needs a gradient."""
        given = tree_map(partial(_twin, all_need=all_need), inputs)
        flat = [x for x in tree_leaves(given) if isinstance(x, Tensor)]
        tape = Tape(model, flat, copies=True)
        device = flat[0].device if flat else torch.device("cpu")
        with seeded(master_seed(None), device), _eagerly(), torch.enable_grad(), tape:
            output = _called(model, given)
            value, self._about = _loss_of(output, loss)
            if value.requires_grad:
                value.backward()
        if not value.requires_grad:
            tape.passes.append(([tape.value_of(value)], Passing([], [])))
        if any(map(is_leaf, tape.roots)):
            self._judge(tape, model, {id(x): f"input {i}" for i, x in enumerate(flat) if x.requires_grad})
        return self._found is not None

    def _judge(self, tape: Tape, model: Any, leaves: dict[int, str]) -> None:
        modules: dict[int, str] = {}
        if isinstance(model, nn.Module):
            leaves |= {id(p): name for name, p in model.named_parameters() if p.requires_grad}
            modules = {id(module): name for name, module in model.named_modules()}
        else:
            seen = {id(x): f"leaf {i}, shape {tuple(x.shape)}" for i, x in enumerate(filter(is_leaf, tape.roots))}
            leaves = seen | leaves
        try:
            fill(self, Judge(tape, leaves), modules)
        finally:
            tape.close()


def _step(model: Any, loss: Any) -> None:
    """Hold both for one copy."""


def _twin(x: Any, all_need: bool) -> Any:
    if not isinstance(x, Tensor):
        return x
    return x.detach().clone().requires_grad_(x.requires_grad or (all_need and x.is_floating_point()))


def _called(model: Any, inputs: tuple[Any, ...]) -> Any:
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


def _loss_of(output: Any, loss: Any) -> tuple[Tensor, str]:
    """What to differentiate, and what that is in words."""
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
    parts = [(x - torch.randn(x.shape, device=x.device)).abs().square().sum() for x in tensors]
    return sum(parts[1:], parts[0]), "the squared distance of the outputs from random numbers; loss= takes your own"


def _tensors(output: Any) -> list[Tensor]:
    if is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in fields(output)]
    parts = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(parts, list | tuple):
        return [x for part in parts for x in _tensors(part)]
    return [parts] if isinstance(parts, Tensor) else []


@contextmanager
def _put_back(model: Any) -> Iterator[None]:
    """Give a model its gradients and buffers back afterwards."""
    own = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    kept = [(x, x.grad, None if x.requires_grad else x.detach().clone()) for x in own]
    for x in own:
        x.grad = None
    try:
        yield
    finally:
        for x, gradient, value in kept:
            x.grad = gradient
            if value is not None:
                x.data.copy_(value)


@contextmanager
def _eagerly() -> Iterator[None]:
    """Run what torch.compile made in eager code, where the calls can be seen; it is not imported for that."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

"""Where the gradient of a step ends, found on the user's own model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
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
from hardgrad.doctor.flow.running import called, eagerly, loss_of, put_back, twin_of
from hardgrad.doctor.flow.tape import Tape
from hardgrad.doctor.flow.values import is_leaf
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
        A sequence of ``Break``, with ``kind``, ``file``, ``line``, ``module``, ``call``, ``why``, ``lost`` and
        ``cure``; ``harmless`` and ``parameters`` say what else was seen, ``str`` is a table.

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
        >>> [(b.kind, b.call, b.lost, b.cure.partition(";")[0]) for b in found]
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
        self._eager: AbstractContextManager[None] | None = None

    def __enter__(self) -> Watching:
        """Begin to watch."""
        if self._found is not None:
            raise ValueError("breaks: the model has run already; for a with block around your own step give no inputs")
        self._eager, self._tape = eagerly(), Tape(self._model)
        self._eager.__enter__()
        self._tape.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        """Say what was found; to an exception of the step it is added as a note."""
        tape, eager = self._tape, self._eager
        assert tape is not None
        assert eager is not None
        tape.__exit__(kind, error, trace)
        eager.__exit__(None, None, None)
        if tape.passes:
            self._about = "the backward of the step"
            self._judge(tape, self._model, {})
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
            same = {id(x): x for x in tree_leaves(inputs)}  # a loss may refer to them
            twin: Any = private_copy(partial(_step, self._model, self._loss), same, state=True)
            model, loss = twin.args
        except Exception:  # of the user's classes: what cannot be copied runs itself, and is put back
            model, loss = self._model, self._loss
        with put_back(model, inputs):
            if not self._run(model, loss, inputs, False) and not self._run(model, loss, inputs, True):
                raise ValueError(
                    "breaks: nothing here needs a gradient, neither a parameter nor a floating input; requires_grad_() "
                    "makes one need it"
                )

    def _run(self, model: Any, loss: Any, inputs: tuple[Any, ...], all_need: bool) -> bool:
        """One step on copies; False if nothing in it needs a gradient."""
        given = tree_map(partial(twin_of, all_need=all_need), inputs)
        flat = [x for x in tree_leaves(given) if isinstance(x, Tensor)]
        tape = Tape(model, flat, copies=True)
        device = flat[0].device if flat else torch.device("cpu")
        with seeded(master_seed(None), device), eagerly(), torch.enable_grad(), tape:
            output = called(model, given)
            value, self._about = loss_of(output, loss)
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
            leaves = {
                id(x): f"leaf {i}, shape {tuple(x.shape)}" for i, x in enumerate(tape.roots) if is_leaf(x)
            } | leaves
            for module in {value.call.place.module for value in tape.values if value.call}:
                own = () if module is None else module.named_parameters(recurse=False)
                leaves |= {id(p): f"{type(module).__name__}.{name}" for name, p in own if id(p) in leaves}
        try:
            fill(self, Judge(tape, leaves), modules)
        finally:
            tape.close()
        self._model = self._loss = self._tape = self._eager = None  # an answer keeps no model alive


def _step(model: Any, loss: Any) -> None:
    """Hold both for one copy."""

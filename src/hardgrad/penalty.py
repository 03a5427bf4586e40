"""What estimators with weights of their own learn from.

An estimator that owns a network has a loss of its own, a penalty, which no user's loop knows of. Outside a
``penalties()`` scope the penalty trains that network by itself: it rides along the layer's path, and the user's own
``loss.backward()`` reaches it with a gradient of one, whatever the loss is scaled by. Inside a scope it is handed to
the user instead, as ``bag.total()``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import compiling, in_backward


class _Ride(torch.autograd.Function):
    """A path as it is; in backward the penalty gets a gradient of one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(path: Tensor, penalty: Tensor) -> Tensor:
        return path.view_as(path)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        # Nothing is saved for backward: an activation checkpoint counts what is saved, and its second run may come
        # after the scope of the first has closed.
        ctx.like = inputs[1].dtype, inputs[1].device

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dtype, device = ctx.like
        return grad, torch.ones((), dtype=dtype, device=device)


class _Open(threading.local):
    """The innermost open scope of each thread."""

    bag: Penalties | None = None
    muted: bool = False


_open = _Open()


class Penalties:
    """The penalties of one ``penalties()`` scope, by module name.

    Iterating gives ``(module name, penalty)``, one pair a module, its calls summed; ``dict(bag)`` works. The name is
    what the outermost module called has for the layer in its ``named_modules()``. Code compiled together with its
    caller does not tell it: pass the model to ``penalties``, or the layers are numbered.

    Args:
        model: where to look names up; found by itself where it can be.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._items: list[tuple[nn.Module, Tensor]] = []
        self._names: dict[nn.Module, str] = {}
        if model is not None:
            self._name_all_below(model)

    def total(self) -> Tensor:
        """Return the sum of all penalties collected so far, a tensor of shape (); zero if there are none."""
        if not self._items:
            return torch.zeros(())
        return torch.stack([penalty for _, penalty in self._items]).sum()

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        sums: dict[nn.Module, Tensor] = {}
        for module, penalty in self._items:
            sums[module] = sums[module] + penalty if module in sums else penalty
        for number, (module, penalty) in enumerate(sums.items()):
            yield self._names.get(module) or f"{type(module).__name__.lower()}_{number}", penalty

    def modules(self) -> list[nn.Module]:
        """Return the modules whose penalties these are, in the order they were first called."""
        return list(dict.fromkeys(module for module, _ in self._items))

    def __len__(self) -> int:
        return len({module for module, _ in self._items})

    def _add(self, module: nn.Module, penalty: Tensor) -> None:
        self._items.append((module, penalty))
        if not compiling() and module not in self._names:
            outermost = _outermost_call()
            # Not asked whether it is true: a compiled module passes the question on to a len() that may not be there.
            self._name_all_below(module if outermost is None else outermost)

    def _name_all_below(self, root: nn.Module) -> None:
        for path, child in root.named_modules():
            parts = (part for part in path.split(".") if part not in _WRAPPERS)
            self._names.setdefault(child, ".".join(parts))


# Names that torch.compile and DistributedDataParallel put before the model's own.
_WRAPPERS = ("_orig_mod", "module")


def _outermost_call() -> nn.Module | None:
    """The module whose call the running code is in: the user's model, in most loops.

    A module does not know its name, only the model that holds it does. A global forward hook would also find the
    model, but torch.compile cannot trace through one (torch 2.13).
    """
    frame: FrameType | None = sys._getframe()
    outermost: nn.Module | None = None
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__:
            outermost = frame.f_locals["self"]
        frame = frame.f_back
    return outermost


@contextmanager
def penalties(model: nn.Module | None = None) -> Iterator[Penalties]:
    r"""Collect the penalties of every layer called inside, instead of letting them train themselves.

    .. math:: \text{loss} = \text{task} + \sum_i \text{penalty}_i

    Without the scope each penalty trains its own network through the user's ``loss.backward()``. With it the user adds
    ``bag.total()`` to the loss, which is what fp16 loss scaling needs (a scaled loss must scale its penalties too), and
    may log each. Both train identically in fp32. Scopes nest; the innermost collects. Task and penalties share a graph:
    one backward for both, or ``retain_graph=True`` in the first of two. Open the scope outside compiled code; what it
    collects may come from inside.

    Args:
        model: where to look module names up; needed only if the call of the model is itself inside compiled code.

    Yields:
        A bag: ``bag.total()`` is the sum, iterating gives ``(module name, penalty)``.

    Example:
        >>> import torch, hardgrad as hg
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 4), hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4)))
        >>> with hg.penalties() as bag:
        ...     loss = model(torch.randn(8, 3)).sum() + bag.total()
        >>> loss.backward()
        >>> [name for name, penalty in bag]
        ['1']

    Source: the second term of equation 2 of Ramapuram and Webb 2020 (arXiv 1905.03658).
    """
    bag, outer = Penalties(model), _open.bag
    _open.bag = bag
    try:
        yield bag
    finally:
        _open.bag = outer


@contextmanager
def unheard() -> Iterator[None]:
    """Let no penalty of the code inside train or be collected: an extra look at layers whose call counts elsewhere.

    Other than ``penalties()`` it may be opened inside compiled code.
    """
    outer = _open.muted
    _open.muted = True
    try:
        yield
    finally:
        _open.muted = outer


def is_heard() -> bool:
    """Whether the running code is outside of every ``unheard`` scope."""
    return not _open.muted


def settle(module: nn.Module, path: Tensor, penalty: Tensor) -> Tensor:
    """Hand a penalty to the open scope, or let it ride on what lends the layer's gradient.

    Args:
        module: the layer that the penalty belongs to.
        path: what the layer's gradient flows through, any shape.
        penalty: shape ().

    Returns:
        ``path``, or a view of it that also carries the penalty where no scope is open. In an ``unheard`` scope the
        penalty is dropped.
    """
    if _open.muted:
        return path
    bag = _open.bag
    if bag is not None and not in_backward():
        bag._add(module, penalty)
        return path
    return cast(Tensor, _Ride.apply(path, penalty))

"""What estimators with weights of their own learn from, and how often it counts.

An estimator that owns a network has a loss of its own, a penalty, which no user's loop knows of. Outside a
``penalties()`` scope the penalty trains that network by itself: it rides along the layer's path, and the user's own
``loss.backward()`` reaches it with a gradient of one, whatever the loss is scaled by. Inside a scope it is handed to
the user instead, as ``bag.total()``.

**The penalty of one forward counts once.** Of all calls of ``backward`` through a layer's output the first that reaches
the network's weights brings the penalty, the others bring it zero: two losses with a backward each train as their sum
does. ``torch.autograd.grad`` trains nothing, so it takes nothing from a later ``backward``; of its calls the first that
asks for a weight is told the penalty's part. A pass that asks for neither, such as one for the gradient at the input,
is no count at all. Each forward counts for itself: several calls of a layer, accumulated batches. A reentrant
activation checkpoint builds its graph anew in each backward, and a function that ``torch.func.vjp`` or compiled code
gave remembers nothing: there each pass counts (``torch.compile`` itself refuses a second one, unless donated buffers
are off or the backend is "eager").

**Threads.** A scope belongs to the thread that opened it and to the threads started while it is open, as
``nn.DataParallel`` starts its own in each call, unless they open one themselves. A thread that was already running, a
worker of a pool say, is not in it: open the scope in the function that the pool runs. What else is open in a thread
(``unheard``) is handed on alike.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import compiling, has_outlived, in_backward, in_transform, pass_reaches, use_of_weight
from hardgrad._tracing import prepare_transform, whole_in_graph


class _Count:
    """What the penalty of one forward has reached already."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._trained = False
        self._asked: set[nn.Parameter | None] = set()

    def is_first(self, everywhere: Any, penalty: Any) -> bool:
        """Whether the pass that runs is the first to bring this penalty where it goes; notes that it did.

        Args:
            everywhere: a node that only a backward to all leaves reaches.
            penalty: the penalty's node.
        """
        if pass_reaches(everywhere):
            return self._trains_first()
        if not pass_reaches(penalty):
            return True  # nobody will see the answer
        uses = {weight: use_of_weight(weight) for weight in self._module.parameters()}
        if "trains" in uses.values():
            return self._trains_first()
        # None: what the penalty reaches is no weight of the module but its input, say.
        asked: set[nn.Parameter | None] = {weight for weight, use in uses.items() if use == "asks"}
        asked = asked or {None}
        first = self._asked.isdisjoint(asked)
        self._asked |= asked
        return first

    def _trains_first(self) -> bool:
        first, self._trained = not self._trained, True
        return first


# A leaf of every ride's graph that gets no gradient: only a backward to all leaves reaches it, which is told faster so
# than from the weights.
_EVERYWHERE = torch.zeros((), device="cpu", requires_grad=True)


@whole_in_graph
class _Ride(torch.autograd.Function):
    """A path as it is; in backward the penalty gets a gradient of one, once if there is a count."""

    generate_vmap_rule = True

    @staticmethod
    def forward(path: Tensor, penalty: Tensor, everywhere: Tensor | None, count: _Count | None) -> Tensor:
        return path.view_as(path)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        # Nothing is saved for backward: an activation checkpoint counts what is saved, and its second run may come
        # after the scope of the first has closed.
        ctx.like = inputs[1].dtype, inputs[1].device
        ctx.count = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dtype, device = ctx.like
        # Zero, not None: a hook that the user put on a weight or inside the network expects a tensor.
        counts = True
        if ctx.count is not None:
            _, (penalty, _), (everywhere, _), *_ = ctx.next_functions
            counts = ctx.count.is_first(everywhere, penalty)
        return grad, torch.full((), float(counts), dtype=dtype, device=device), None, None


_changing = threading.Lock()  # the scopes and what they hold; one for all, since a bag must travel and a lock cannot


class _Scope:
    """What one thread opened: its bag or its silence, and which threads ran already."""

    def __init__(self, bag: Penalties | None, muted: bool) -> None:
        self.bag = bag
        self.muted = muted
        self.owner = threading.current_thread()
        self.strangers = frozenset(threading.enumerate())
        self.is_open = True


class _Scopes:
    """The open scopes of all threads, in the order of opening."""

    def __init__(self) -> None:
        self._open: list[_Scope] = []

    @contextmanager
    def opened(self, bag: Penalties | None, muted: bool) -> Iterator[None]:
        scope = _Scope(bag, muted)
        with _changing:
            self._open.append(scope)
        try:
            yield
        finally:
            with _changing:
                self._open.remove(scope)
            scope.is_open = False

    def given_to(self, thread: threading.Thread) -> tuple[_Scope, ...]:
        with _changing:
            return tuple(scope for scope in self._open if thread not in scope.strangers)


_scopes = _Scopes()


class _Here(threading.local):
    """What is open in each thread: what it opened itself, else what it was started in."""

    def __init__(self) -> None:  # runs in each thread, at the first look
        self.bag: Penalties | None = None
        self.muted = False
        self.given = _scopes.given_to(threading.current_thread())


_here = _Here()


def _given() -> list[_Scope]:
    """The innermost scope of each thread that the running one was started in, if it is open still."""
    return list({scope.owner: scope for scope in _here.given if scope.is_open}.values())


def _bag_for(module: nn.Module) -> Penalties | None:
    if _here.bag is not None or not _here.given:
        return _here.bag
    bags = [scope.bag for scope in _given() if scope.bag is not None]
    if len(bags) > 1:
        bags = [bag for bag in bags if bag.holds(module)]
        if len(bags) != 1:
            raise RuntimeError(
                f"{type(module).__name__}: several threads have a penalties() scope open in which this thread was "
                "started; say whose layer this is by penalties(model), or open a scope in this thread"
            )
    return bags[0] if bags else None


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
        self._model = model
        if model is not None:
            self._name_all_below(model)

    def total(self) -> Tensor:
        """Return the sum of all penalties collected so far, a tensor of shape (); zero if there are none.

        It is on the first one's device, and of the widest of their dtypes, single precision at least.
        """
        penalties = [penalty for _, penalty in self._live()]
        if not penalties:
            return torch.zeros(())
        dtype = reduce(torch.promote_types, (penalty.dtype for penalty in penalties), torch.float32)
        return torch.stack([penalty.to(penalties[0].device, dtype) for penalty in penalties]).sum()

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        taken: set[str] = set()
        for number, (key, (module, penalty)) in enumerate(self._sums().items()):
            name = key if isinstance(key, str) else self._names.get(module)
            if not name or name in taken:  # two models may use one name
                name = f"{name or type(module).__name__.lower()}_{number}"
            taken.add(name)
            yield name, penalty

    def modules(self) -> list[nn.Module]:
        """Return the modules whose penalties these are, in the order they were first called."""
        return [module for module, _ in self._sums().values()]

    def __len__(self) -> int:
        return len(self._sums())

    def holds(self, module: nn.Module) -> bool:
        """Whether this is a module of the model that the scope was opened with."""
        return self._model is not None and module in self._names

    def _sums(self) -> dict[nn.Module | str, tuple[nn.Module, Tensor]]:
        """Each layer's penalty; the replicas of one layer, which ``nn.DataParallel`` makes, are one by their name."""
        sums: dict[nn.Module | str, tuple[nn.Module, Tensor]] = {}
        for module, penalty in self._live():
            key = (self._names.get(module) or module) if getattr(module, "_is_replica", False) else module
            if key in sums:
                module, before = sums[key]
                penalty = before + penalty.to(before.device)
            sums[key] = module, penalty
        return sums

    def _live(self) -> list[tuple[nn.Module, Tensor]]:
        items = list(self._items)
        if any(has_outlived(penalty) for _, penalty in items):
            raise RuntimeError(
                "penalties: a penalty belongs to the torch.func transform that its layer was called in, and that is "
                "over; open the scope inside the transformed function, and add bag.total() to the loss there"
            )
        return items

    def _add(self, module: nn.Module, penalty: Tensor) -> None:
        if compiling():
            self._items.append((module, penalty))
            return
        with _changing:
            self._items.append((module, penalty))
            if module not in self._names:
                outermost = _outermost_call()
                # Not asked whether it is true: a compiled module passes that on to a len() that may not be there.
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
    one backward for both, or ``retain_graph=True`` in the first of two. Without a scope the penalty of one forward
    counts once, however many backwards there are; in compiled code and in a reentrant activation checkpoint, which
    remember nothing, each backward counts it anew. Open the scope outside compiled code; what it collects may come from
    inside. Threads started inside belong to it; those that ran before do not.

    Args:
        model: where to look module names up; needed only if the call of the model is itself inside compiled code, or
            if scopes of several threads are open when they start threads of their own.

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
    bag, outer = Penalties(model), _here.bag
    _here.bag = bag
    try:
        with _scopes.opened(bag, _here.muted):
            yield bag
    finally:
        _here.bag = outer


@contextmanager
def unheard() -> Iterator[None]:
    """Let no penalty of the code inside train or be collected: an extra look at layers whose call counts elsewhere.

    Other than ``penalties()`` it may be opened inside compiled code.
    """
    outer = _here.muted
    _here.muted = True
    try:
        if compiling():  # which starts no threads
            yield
        else:
            with _scopes.opened(_here.bag, muted=True):
                yield
    finally:
        _here.muted = outer


def is_heard() -> bool:
    """Whether the running code is outside of every ``unheard`` scope."""
    if not _here.given:
        return not _here.muted
    return not (_here.muted or any(scope.muted for scope in _given()))


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
    if not is_heard():
        return path
    bag = _bag_for(module)
    if bag is not None and not in_backward():
        bag._add(module, penalty)
        return path
    prepare_transform()
    # What is traced or transformed has no memory from one backward to the next.
    if compiling() or in_transform():
        return cast(Tensor, _Ride.apply(path, penalty, None, None))
    return cast(Tensor, _Ride.apply(path, penalty, _EVERYWHERE, _Count(module)))

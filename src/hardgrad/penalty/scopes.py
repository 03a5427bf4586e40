"""Where penalties are collected, and where they are disabled: scopes, and the threads that they hold for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from hardgrad._torch_state import compiling
from hardgrad.penalty.bag import CHANGING, Penalties


class _Scope:
    """What one thread opened: its bag, or that penalties are disabled, and which threads ran already."""

    def __init__(self, bag: Penalties | None, disabled: bool) -> None:
        self.bag = bag
        self.disabled = disabled
        self.owner = threading.current_thread()
        self.strangers = frozenset(threading.enumerate())
        self.is_open = True


class _Scopes:
    """The open scopes of all threads, in the order of opening."""

    def __init__(self) -> None:
        self._open: list[_Scope] = []

    @contextmanager
    def opened(self, bag: Penalties | None, disabled: bool) -> Iterator[None]:
        scope = _Scope(bag, disabled)
        with CHANGING:
            self._open.append(scope)
        try:
            yield
        finally:
            with CHANGING:
                self._open.remove(scope)
            scope.is_open = False

    def given_to(self, thread: threading.Thread) -> tuple[_Scope, ...]:
        with CHANGING:
            return tuple(scope for scope in self._open if thread not in scope.strangers)


_scopes = _Scopes()


class _Here(threading.local):
    """What is open in each thread: what it opened itself, else what it was started in."""

    def __init__(self) -> None:  # runs in each thread, at the first look
        self.bag: Penalties | None = None
        self.disabled = False
        self.given = _scopes.given_to(threading.current_thread())


_here = _Here()


def _given() -> list[_Scope]:
    """The innermost scope of each thread that the running one was started in, if it is open still."""
    return list({scope.owner: scope for scope in _here.given if scope.is_open}.values())


def bag_for(module: nn.Module) -> Penalties | None:
    """Return the bag that collects a layer's penalty in the running thread, or None where no scope is open."""
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
        with _scopes.opened(bag, _here.disabled):
            yield bag
    finally:
        _here.bag = outer


@contextmanager
def penalties_disabled() -> Iterator[None]:
    """Let no penalty of the code inside train or be collected: an extra look at layers whose call counts elsewhere.

    Other than ``penalties()`` it may be opened inside compiled code.
    """
    outer = _here.disabled
    _here.disabled = True
    try:
        if compiling():  # which starts no threads
            yield
        else:
            with _scopes.opened(_here.bag, disabled=True):
                yield
    finally:
        _here.disabled = outer


def penalties_enabled() -> bool:
    """Whether the running code is outside of every ``penalties_disabled`` scope."""
    if not _here.given:
        return not _here.disabled
    return not (_here.disabled or any(scope.disabled for scope in _given()))

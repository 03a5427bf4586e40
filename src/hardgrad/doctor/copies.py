"""Candidates are run on copies: what they learn or count while they are examined is not the caller's."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from hardgrad.bridge import name_of

Candidate = Callable[..., Any]


class Shared(nn.Module):
    """The user's function inside copies of candidates: one for all, with a count of the rows it was given.

    A module, since it may stand where a module stood; but the function is no child of it, so that a candidate that is
    put in training mode does not take the function along.

    Args:
        function: what to call.
        original: what it stands for where a candidate refers to it.
    """

    def __init__(self, function: Callable[..., Any], original: Callable[..., Any]) -> None:
        super().__init__()
        self.__name__ = name_of(original)
        self._function, self._original = (function,), (original,)
        self.rows = 0

    def forward(self, x: Any) -> Any:
        self.rows += len(x)
        return self._function[0](x)

    def memo(self) -> dict[int, Any]:
        """Return what ``private_copy`` needs to put this in the original's place, and to copy it no more."""
        return {id(self._original[0]): self, id(self): self}


def private_copy(candidate: Candidate, memo: dict[int, Any] | None = None, *, train: bool = False) -> Candidate:
    """Return a callable whose modules and generators are its own.

    Modules are found where users put them: the callable itself, the arguments of a ``functools.partial``, and the
    variables that a function or a lambda refers to, enclosing or global.

    Args:
        candidate: any callable.
        memo: what stands for an object, by its ``id``, in place of a copy.
        train: put the copied modules in training mode; else they keep theirs.
    """
    twin: Candidate = _Copier(dict(memo or {}), train).copy(candidate)
    return twin


class _Copier:
    def __init__(self, memo: dict[int, Any], train: bool) -> None:
        self.memo = memo
        self.train = train

    def copy(self, thing: Any) -> Any:
        if id(thing) in self.memo:
            return self.memo[id(thing)]
        if isinstance(thing, nn.Module):
            twin = copy.deepcopy(thing, self.memo)
            return twin.train() if self.train else twin
        if isinstance(thing, torch.Generator):
            return copy.deepcopy(thing, self.memo)
        if isinstance(thing, partial):
            arguments = [self.copy(a) for a in thing.args]
            return partial(self.copy(thing.func), *arguments, **{k: self.copy(v) for k, v in thing.keywords.items()})
        if isinstance(thing, MethodType):
            return MethodType(thing.__func__, self.copy(thing.__self__))
        return self.function(thing) if isinstance(thing, FunctionType) else thing

    def function(self, function: FunctionType) -> FunctionType:
        self.memo[id(function)] = function  # one that refers to itself
        cells = [self.cell(cell) for cell in function.__closure__ or ()]
        defaults = [self.copy(value) for value in function.__defaults__ or ()]
        known = function.__globals__
        # Functions named globally are taken as they are: to look into those would be to look into every library.
        held = {n: known[n] for n in function.__code__.co_names if isinstance(known.get(n), _STATEFUL)}
        held = {name: self.copy(thing) for name, thing in held.items()}
        if not held and _same(cells, function.__closure__) and _same(defaults, function.__defaults__):
            return function
        twin = FunctionType(
            function.__code__, {**known, **held}, function.__name__, tuple(defaults) or None, tuple(cells) or None
        )
        twin.__kwdefaults__ = {k: self.copy(v) for k, v in (function.__kwdefaults__ or {}).items()}
        return twin

    def cell(self, cell: CellType) -> CellType:
        try:
            held = cell.cell_contents
        except ValueError:  # not assigned yet
            return cell
        twin = self.copy(held)
        return cell if twin is held else CellType(twin)


_STATEFUL = (nn.Module, torch.Generator, partial)


def _same(copies: list[Any], originals: tuple[Any, ...] | None) -> bool:
    return all(a is b for a, b in zip(copies, originals or (), strict=True))


def required_arguments(candidate: Candidate) -> int:
    """Return how many arguments a candidate must be given: one for a layer, two for a Monte Carlo estimator."""
    call = candidate.forward if isinstance(candidate, nn.Module) else candidate
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # torch.sign and its kin tell nothing
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in positional for p in parameters)

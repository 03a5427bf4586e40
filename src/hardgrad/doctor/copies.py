"""Candidates are run on copies: what they learn or count while they are examined is not the caller's.

A module is copied by ``deepcopy``. A function that refers to one, by an enclosing or a global variable, is built anew
with the copy in that variable's place. Rules that would do without were weighed, and each loses what is promised:

- *Copy modules and partials, run functions as they are.* ``lambda x: head(body(x))`` is how candidates are written:
  a batch norm in ``body`` would count the doctor's batches, and ``warm_up`` would train the user's own weights.
- *Run modules in place, and put their state back afterwards.* This takes the same search for them. Until then the
  user's weights are others, which whoever stops the doctor by hand, watches a training or uses the model in a thread
  would find. And the user's function inside a candidate has to become one that counts its rows (``Shared``): no state
  that is put back exchanges one object for another.
- *Fork a process for each candidate.* Not with CUDA, and not where processes are spawned, which pickles: no lambda.
- *Ask for a maker of candidates.* The doctor is asked about the bridge that the user has trained, not about a new one.

What copies reach is said in ``private_copy``; functions of libraries, named globally, are taken as they are.
"""

from __future__ import annotations

import copy
import dis
import inspect
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache, partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

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


def private_copy(
    candidate: Candidate, memo: dict[int, Any] | None = None, *, train: bool = False, state: bool = False
) -> Candidate:
    """Return a callable whose modules and generators are its own.

    They are found where users put them: the callable itself, the arguments of a ``functools.partial``, and the
    variables that a function or a lambda refers to, enclosing or global.

    Args:
        candidate: any callable.
        memo: what stands for an object, by its ``id``, in place of a copy.
        train: put the copied modules in training mode; else they keep theirs.
        state: copy what a candidate may keep without a module as well: a callable object and what it holds, small
            tensors, dicts and deques of enclosing functions, and enclosing variables that it assigns to. Lists of
            enclosing functions stay: they are where calls are written down.
    """
    twin: Candidate = _Copier(dict(memo or {}), train, state).copy(candidate)
    return twin


class _Copier:
    def __init__(self, memo: dict[int, Any], train: bool, state: bool) -> None:
        self.memo = memo
        self.train = train
        self.state = state
        self.kept: list[Any] = []  # what is known by its id must not be freed

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
        if isinstance(thing, FunctionType):
            return self.function(thing)
        return self.held(thing) if self.state else thing

    def held(self, thing: Any) -> Any:
        """A copy of what keeps state without being a module; the thing itself if it keeps none that is known."""
        if isinstance(thing, Tensor):
            twin = thing.clone() if not thing.requires_grad and thing.numel() <= _SMALL else thing
        elif type(thing) in (dict, OrderedDict, defaultdict, Counter, deque) and len(thing) <= _SMALL_TABLE:
            twin = copy.copy(thing)
            for key in twin if isinstance(twin, dict) else range(len(twin)):
                twin[key] = self.copy(twin[key])
        elif _is_users_object(thing):
            return self.object(thing)
        else:
            return thing
        return self.remember(thing, twin)

    def object(self, thing: Any) -> Any:
        try:
            twin = copy.copy(thing)
        except Exception:  # of the class's own: it cannot be copied, and runs as it is
            return thing
        self.remember(thing, twin)
        for name, value in vars(thing).items():
            short = type(value) is list and len(value) <= _SMALL_TABLE
            vars(twin)[name] = [self.copy(item) for item in value] if short else self.copy(value)
        return twin

    def remember(self, thing: Any, twin: Any) -> Any:
        self.memo[id(thing)] = twin
        self.kept.append(thing)
        return twin

    def function(self, function: FunctionType) -> FunctionType:
        self.memo[id(function)] = function  # one that refers to itself
        assigned = _assigned(function.__code__) if self.state else frozenset()
        names = function.__code__.co_freevars
        cells = [
            self.cell(cell, name in assigned) for name, cell in zip(names, function.__closure__ or (), strict=True)
        ]
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

    def cell(self, cell: CellType, assigned: bool) -> CellType:
        if id(cell) in self.memo:
            own: CellType = self.memo[id(cell)]
            return own
        try:
            held = cell.cell_contents
        except ValueError:  # not assigned yet
            return cell
        twin = self.copy(held)
        if twin is held and not assigned:
            return cell
        made: CellType = self.remember(cell, CellType(twin))
        return made


_STATEFUL = (nn.Module, torch.Generator, partial)
_SMALL = 2**16  # numbers of a tensor that is copied for each draw; larger ones are data
_SMALL_TABLE = 1024


@lru_cache(maxsize=256)
def _assigned(code: CodeType) -> frozenset[str]:
    """The enclosing variables that a function assigns to."""
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname == "STORE_DEREF")


def _is_users_object(thing: Any) -> bool:
    """Whether this is an object of a class of somebody's own, and no class, module or distribution."""
    kind = type(thing)
    home = kind.__module__.partition(".")[0]
    return hasattr(thing, "__dict__") and not isinstance(thing, type) and home not in _LIBRARIES


_LIBRARIES = frozenset(sys.stdlib_module_names - {"__main__"}) | {"torch", "numpy", "scipy", "jax", "tensorflow"}


def _same(copies: list[Any], originals: tuple[Any, ...] | None) -> bool:
    return all(a is b for a, b in zip(copies, originals or (), strict=True))


def required_arguments(candidate: Candidate) -> int:
    """Return how many arguments a candidate must be given: one for a layer, two for a Monte Carlo estimator."""
    candidate = getattr(candidate, "_orig_mod", candidate)  # what torch.compile made a module of
    call = candidate.forward if isinstance(candidate, nn.Module) else candidate
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # torch.sign and its kin tell nothing
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in positional for p in parameters)

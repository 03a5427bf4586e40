"""What code of ours tells ``torch.compile`` while it traces.

torch.compiler's own decorators import torch._dynamo, which takes 2 s: too long for ``import hardgrad``. So what they
are for is noted here, and torch is told while it traces, when that is loaded anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch._compile import _disable_dynamo

from hardgrad._torch_state import compiling, in_compiled_transform, in_export, in_graph

Anything = TypeVar("Anything")
P = ParamSpec("P")
R = TypeVar("R")

_whole: list[type[torch.autograd.Function]] = []
_outside: dict[Callable[..., Any], Callable[..., Any]] = {}


def constant_in_graph(function: Anything) -> Anything:
    """Let ``torch.compile`` call a function while it traces, and keep the answer: ``assume_constant_result``."""
    marked: Any = function
    marked._dynamo_marked_constant = True
    return function


@constant_in_graph
def has_autocast(kind: str) -> bool:
    """Whether a kind of device knows autocast; "meta", which does not, may not even be asked whether it is on."""
    return torch.amp.is_autocast_available(kind)  # which Dynamo cannot trace before torch 2.13


def whole_in_graph(function: type[Anything]) -> type[Anything]:
    """Let a compiled ``torch.func`` transform take an ``autograd.Function`` as it is; see ``prepare_transform``."""
    marked: Any = function
    _whole.append(marked)
    return function


def prepare_transform() -> None:
    """To be called before the ``apply`` of a Function that is ``whole_in_graph``.

    In a compiled ``torch.func`` transform Dynamo traces a Function's backward only if it believes that an argument
    requires a gradient, which it does not of the transform's own input, and it does not trace one under ``vmap`` at all
    (torch 2.13). Functions that are allowed in its graph whole work. Not for all graphs: torch keeps no compiled graph
    with such a Function on disk.
    """
    if in_compiled_transform():
        _allow_whole()


@constant_in_graph
def _allow_whole() -> bool:
    for function in _whole:
        torch.compiler.allow_in_graph(function)
    return True


def run_outside_graph(function: Callable[..., Anything], reason: str, *arguments: object) -> Anything:
    """Call a function that ``torch.compile`` must not look into.

    A graph that is traced breaks here, or with ``fullgraph`` says the reason. In eager code it is no different: after a
    break elsewhere torch may run a function in eager code, and compile the functions that this calls.
    """
    if compiling() or "torch._dynamo" in sys.modules:
        _disable_in_graph(function, reason)
        return cast("Anything", _outside[function](*arguments))
    return function(*arguments)


@constant_in_graph
def _disable_in_graph(function: Callable[..., Any], reason: str) -> bool:
    if function not in _outside:
        _outside[function] = torch.compiler.disable(function, reason=reason)
    return True


def outside_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that a compiled graph breaks off for, and that runs in eager code with all it calls.

    As ``torch.compiler.disable``, which would import the compiler with this library.
    """
    return cast(Callable[P, R], _disable_dynamo(function))


def eagerly(reason: str, function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in eager code, also where torch.compile traces and may break its graph; else raise the reason."""
    if not in_graph():
        return function(*args)
    if not compiling() or in_export():
        raise RuntimeError(reason)
    torch._dynamo.graph_break(msg=reason)  # where the graph must not break, the error has the reason
    return _outside_graphs(function, *args)


@outside_graphs
def _outside_graphs(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)

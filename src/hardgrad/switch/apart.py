"""What a module would return, found out without moving anything of it; and running a function outside of a graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad._torch_state import compiling, in_graph, in_transform
from hardgrad._tracing import outside_graphs


@torch.no_grad()
def shown(owner: str, name: str, module: nn.Module, x: Tensor, *more: Any) -> Any:
    """Return what a private copy of a module returns in evaluation mode.

    For the shape of an output of no rows. The module itself must not run: its statistics, its counters and the random
    numbers that it draws would move though no row went through it, and its hooks would fire.
    """
    try:
        twin = copy.deepcopy(module)
    except Exception as error:
        raise ValueError(
            f"{owner}: what {name} ({type(module).__name__}) returns for no rows is asked of a copy of it, and copying "
            f"failed with {error}; make it copyable, or leave empty batches out"
        ) from error
    for part in twin.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        return twin.eval()(x, *more)


def of_no_rows(y: Tensor) -> Tensor:
    """Return an output of no rows, marked so that ``backward()`` runs through it, where it can be."""
    learns = may_require_grad() and (y.is_floating_point() or y.is_complex())
    return y.requires_grad_() if learns else y


def may_require_grad() -> bool:
    """Whether an output of no rows can be marked, so that ``backward()`` runs; ``torch.func`` marks its own."""
    return torch.is_grad_enabled() and not in_transform()


def eagerly(reason: str, function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in eager code, also where torch.compile traces and may break its graph; else raise the reason."""
    if not in_graph():
        return function(*args)
    if not compiling() or torch.compiler.is_exporting():
        raise RuntimeError(reason)
    torch._dynamo.graph_break(msg=reason)  # where the graph must not break, the error has the reason
    return _outside(function, *args)


@outside_graphs
def _outside(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)

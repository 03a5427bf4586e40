"""Whether an approximator lends a gradient at all: one with a ``detach`` inside would be silence in a bridge."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from hardgrad._torch_state import hides_requires_grad
from hardgrad.two_track.plain import ApproximatorError

_seen: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def must_lend(module: nn.Module, x: Tensor, output: object) -> None:
    """Raise if no gradient can pass from an output to the input it was computed from, all else being frozen.

    Raises:
        ApproximatorError: if the output needs no gradient though the input does.
    """
    if lends_nothing(output, x):
        raise _nothing_from(module)


def must_reach(module: nn.Module, output: Tensor, place: GradientEdge) -> None:
    """The same for an output that weights give a gradient too: the graph must lead to a place, the input's.

    The graph is searched at a module's first call, since a recurrent network's is long.
    """
    if not output.is_floating_point() or module in _seen:
        return  # the one is refused by its dtype, the other was seen to reach it
    if not _leads_to(output.grad_fn, place.node):
        raise _nothing_from(module)
    _seen.add(module)


def lends_nothing(path: object, *inputs: Tensor) -> bool:
    """Whether a floating tensor needs no gradient though one of those that it was computed from does."""
    if not isinstance(path, Tensor) or not path.is_floating_point() or path.requires_grad:
        return False
    return any(x.requires_grad for x in inputs) and not hides_requires_grad()


def _nothing_from(module: nn.Module) -> ApproximatorError:
    return ApproximatorError(
        f"approximator must pass a gradient on to its input, got an output of {type(module).__name__} from which none "
        "reaches it, so the layers before would learn nothing; take out what detaches it, a detach() or no_grad() say"
    )


def _leads_to(start: Any, goal: Any) -> bool:
    seen, left = set(), [start]
    while left:
        node = left.pop()
        if node is goal:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            left += [parent for parent, _ in node.next_functions]
    return False

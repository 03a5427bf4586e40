"""Any module, run once: its graph is the penalty's, and the task differentiates that graph in its own backward.

The task's gradient must reach the input and no weight, at any order of derivative. ``_Reach`` is a node whose backward
asks autograd for the gradient at given places of another graph and hands it on to given tensors; if that gradient is to
be differentiated too, it becomes such a node itself. So weights are out of reach whoever holds them: registered, shared
with the model, or kept in a closure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from hardgrad.two_track.lends import must_reach
from hardgrad.two_track.plain import may_write, the_tensor


class _Entry(torch.autograd.Function):
    """The input of the run: a place to differentiate at that passes nothing on."""

    @staticmethod
    def forward(ctx: Any, leaf: Tensor, copy: bool) -> Tensor:
        return leaf.clone() if copy else leaf.view_as(leaf)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, None


@dataclass(frozen=True)
class _Graph:
    """A graph that stays: where its output is, and where its gradient is asked for.

    Places in the graph and not tensors: whoever holds a tensor of it may write into that, which puts it elsewhere.
    """

    output: GradientEdge
    places: tuple[GradientEdge, ...]

    def pull(self, cotangent: Tensor, given: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()
        own = cotangent.detach().requires_grad_() if again and cotangent.requires_grad else cotangent
        pulled = torch.autograd.grad(
            [self.output], self.places, [own], retain_graph=True, create_graph=again, allow_unused=True
        )
        places = self.places
        if own.requires_grad:
            places, given = (get_gradient_edge(own), *places), (cotangent, *given)
        return tuple(None if p is None else _reach(p, places, given) for p in pulled)


class _Reach(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(graph: _Graph, value: Tensor, *given: Tensor) -> Tensor:
        return value.data  # no view, so that the other holder of this memory may write into it

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        graph, _, *given = inputs
        ctx.graph = graph
        ctx.save_for_backward(*given)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        given = ctx.saved_tensors
        pulled = (None,) * len(given) if cotangent is None else ctx.graph.pull(cotangent, given)
        return None, None, *pulled


def _reach(output: Tensor, places: tuple[GradientEdge, ...], given: tuple[Tensor, ...]) -> Tensor:
    """Return an output as it is; its gradient at some places goes to the tensors given, and nowhere else."""
    if not output.requires_grad:
        return output
    reached: Tensor = cast(Any, _Reach).apply(_Graph(get_gradient_edge(output), places), output.detach(), *given)
    return reached


def one_run(module: nn.Module, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tracks through any module, called once, in eager code."""
    copy = may_write(module)
    if not task.requires_grad:
        output = the_tensor(module, module(learn.clone() if copy else learn))
        return output.detach(), output
    if learn.requires_grad:
        entry = learn.clone() if copy else learn.view_as(learn)
    else:
        entry = cast(Any, _Entry).apply(learn.detach().requires_grad_(), copy)
    place = get_gradient_edge(entry)  # before the call, which may write into the tensor
    output = the_tensor(module, module(entry))
    must_reach(module, output, place)
    return _reach(output, (place,), (task,)), output

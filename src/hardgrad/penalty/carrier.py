"""How a penalty gets its gradient: it is carried along a layer's path, and counts once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import compiling, in_transform, pass_reaches, use_of_weight
from hardgrad._tracing import prepare_transform, whole_in_graph


def carry(module: nn.Module, path: Tensor, penalty: Tensor) -> Tensor:
    """Return a view of ``path`` whose backward gives ``penalty``, of shape (), a gradient of one, once a forward."""
    prepare_transform()
    # What is traced or transformed has no memory from one backward to the next.
    forgets = compiling() or in_transform()
    own = (None, None) if forgets else (_EVERYWHERE, _Count(module))
    return cast(Tensor, cast(Any, _Carrier).apply(path, penalty, *own))


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


# A leaf of every carrier's graph that gets no gradient: only a backward to all leaves reaches it, which is seen faster
# so than from the weights.
_EVERYWHERE = torch.zeros((), device="cpu", requires_grad=True)


@whole_in_graph
class _Carrier(torch.autograd.Function):
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

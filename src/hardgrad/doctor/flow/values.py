"""What is written down of a step: calls, and what each tensor held at one time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from hardgrad.doctor.flow.places import Place


class Call:
    """One call: its plain name, what it does to a gradient, where it stands, and where gradients were off, if so."""

    __slots__ = ("kind", "name", "off", "place")

    def __init__(self, name: str, kind: str, place: Place, off: Place | None) -> None:
        self.name, self.kind, self.place, self.off = name, kind, place, off


class Value:
    """What one tensor held at one time; ``bit`` numbers those that no call on the tape made."""

    __slots__ = ("bit", "call", "inputs", "leaf", "node", "shape", "terms")

    def __init__(self, call: Call | None, inputs: tuple[Value, ...], tensor: Tensor | None, bit: int = -1) -> None:
        self.call, self.inputs, self.bit, self.leaf = call, inputs, bit, False
        self.node: Any = None if tensor is None else tensor.grad_fn
        self.shape: tuple[int, ...] = () if tensor is None else tuple(tensor.shape)
        self.terms: Any = ()


def tensors_of(model: Any) -> list[Tensor]:
    """Return a model's parameters and buffers, but for those that a lazy module has not made yet."""
    own = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    return [tensor for tensor in own if not nn.parameter.is_lazy(tensor)]


def is_leaf(tensor: Tensor) -> bool:
    """Whether a tensor may get a gradient in its ``grad``."""
    # A view that is made without gradients says of itself that it is a leaf which requires one.
    return tensor.requires_grad and tensor.is_leaf and not (tensor._is_view() and tensor._base.requires_grad)  # type: ignore[union-attr]


def unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor of autograd's behind one of vmap and its kin."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def tensors_in(result: Any) -> Iterable[Tensor]:
    """Yield the tensors that a call returned."""
    if isinstance(result, Tensor):
        yield unwrapped(result)
    elif isinstance(result, tuple | list):
        for item in result:
            yield from tensors_in(item)

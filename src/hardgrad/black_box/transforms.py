"""A box under ``torch.func`` and forward mode: rows that vmap brings are rows, a derivative is refused."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(box: Any, *inputs: Tensor) -> Tensor:
        return cast(Tensor, box._called(inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.box = inputs[0]

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], box: Any, *inputs: Tensor
    ) -> tuple[Tensor, int]:
        pairs = zip(inputs, in_dims[1:], strict=True)
        each = [x.expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0) for x, at in pairs]
        if box.batched:  # a program of whole batches need not be one of rows
            return torch.stack([called_apart(box, inputs) for inputs in zip(*each, strict=True)]), 0
        together = called_apart(box, tuple(x.flatten(0, 1) for x in each))
        return together.unflatten(0, each[0].shape[:2]), 0

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError(ctx.box._refusal())

    jvp = backward  # pyright: ignore[reportAssignmentType]


def called_apart(box: Any, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return ``box(*inputs)`` where a transform may ask for more than a value."""
    return cast(Tensor, cast(Any, _Apart).apply(box, *inputs))

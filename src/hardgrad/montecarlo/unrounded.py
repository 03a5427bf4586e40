"""State that counts over a whole training: a cast of the model leaves it in single precision."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def keep_dtype(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return what ``Module._apply`` is to do to tensors that keep their dtype: move them, never cast them."""

    def moved(tensor: Tensor) -> Tensor:
        result = fn(tensor)
        return result if result.dtype is tensor.dtype else tensor.to(result.device)

    return moved

"""Products of bfloat16 on a processor that has no instructions for them: the same numbers by way of float32."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
PRODUCTS = {
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
    _aten.convolution.default,
    _aten.convolution_backward.default,
}


def bf16_products(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a training step on ``device`` multiplies bfloat16."""
    known = device.type != "cpu" or onednn_knows_bf16()
    return nullcontext() if known else Float32Products()  # type: ignore[no-untyped-call]  # torch's has no types


def onednn_knows_bf16() -> bool:
    """Whether oneDNN multiplies bfloat16 on this processor.

    It does with AVX-512, or with Arm's instructions for bfloat16. On others torch falls back on a loop of its own.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Float32Products(TorchDispatchMode):
    """Inside, products of bfloat16 are computed in float32, and rounded once at the end.

    So do instructions for bfloat16: float32 holds a product of two such numbers exactly, and is what they sum in. Only
    the order of the sum differs, and with it now and then the last bit.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Return what ``func`` returns, by way of float32 if it is a product of bfloat16."""
        kwargs = kwargs or {}
        if func in PRODUCTS and any(map(_is_bf16, args)):
            result = func(*[each.float() if _is_bf16(each) else each for each in args], **kwargs)
            return tuple(map(_rounded, result)) if isinstance(result, tuple) else _rounded(result)
        return func(*args, **kwargs)


def _is_bf16(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _rounded(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.bfloat16()

"""What torch's functions do to a gradient, by their names."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMPARE = _words("gt ge lt le eq ne greater greater_equal less less_equal not_equal isclose")
FLAT = COMPARE | _words("sign sgn round floor ceil trunc fix heaviside floor_divide bucketize searchsorted logical_not")
SAMPLE = _words("multinomial bernoulli normal poisson binomial _sample_dirichlet")
COPY = _words("tensor as_tensor asarray new_tensor")  # a new tensor of old numbers
PROGRAM = _words("numpy __array__ __dlpack__")  # hand a whole value to a program
PYTHON = PROGRAM | _words(
    "item tolist __bool__ __float__ __int__ __index__ __complex__ equal allclose is_nonzero __contains__"
)
SHAPED = _words(  # of a tensor's shape, not of its values
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty new_full "
    "new new_empty_strided"
)
SUMS = _words("add sub rsub neg sum mean stack cat squeeze unsqueeze view reshape to float double flatten")
SCALES = _words("mul div")
DEAD = _words("relu leaky_relu relu6 threshold hardshrink softshrink")
SATURATES = _words(
    "clamp clip clamp_min clamp_max hardtanh hardsigmoid hardswish sigmoid tanh softmax log_softmax grid_sample "
    "minimum maximum logsigmoid gelu silu erf selu elu celu"
)
WRITES = _words("__setitem__ masked_fill fill zero copy index_fill index_put masked_scatter")
_ASKS = _words(
    "size dim shape device dtype requires_grad requires_grad_ is_leaf ndim ndimension numel nelement __len__ stride "
    "layout is_cuda is_cpu is_meta is_sparse is_quantized is_nested is_signed is_inference is_contiguous get_device "
    "is_floating_point is_complex element_size itemsize nbytes data_ptr storage_offset untyped_storage __hash__ name "
    "__repr__ names register_hook retain_grad grad_fn _version _base output_nr result_type can_cast is_same_size "
    "register_post_accumulate_grad_hook __dlpack_device__ __deepcopy__ __reduce_ex__ __format__"
)
_SIDED = _words("add mul div truediv floordiv pow and or xor sub mod matmul")
_OPERATORS = {"truediv": "div", "floordiv": "floor_divide", "and": "logical_and", "mod": "remainder"}


def name_of(function: Any) -> str:
    """Return the plain name of what a mode sees: "add" of ``x.add_`` and ``x += y``, an attribute's own, "=data"."""
    name: str = getattr(function, "__name__", "")
    if name in ("__get__", "__set__"):
        return ("=" if name == "__set__" else "") + getattr(function.__self__, "__name__", "shape")
    if name.startswith("__") and name not in PYTHON | _ASKS | WRITES:
        name = name[2:-2]
        short = name[1:] if name[:1] in "ri" and name[1:] in _SIDED else name
        return "rsub" if name == "rsub" else _OPERATORS.get(short, short)
    return name.rstrip("_") if name.endswith("_") and not name.startswith("_") and name not in _ASKS else name


def only_asks(name: str) -> bool:
    """Whether a call gives nothing that depends on a tensor's values, or is an optimizer's."""
    return name in _ASKS or (name.startswith(("_foreach", "_fused", "_amp", "=")) and name != "=data")


def writes(function: Any) -> bool:
    """Whether a call writes into its first argument."""
    name: str = getattr(function, "__name__", "")
    operator = name.startswith("__i") and name not in ("__index__", "__int__", "__invert__", "__iter__")
    return operator or name in ("__setitem__", "__set__") or (name.endswith("_") and not name.endswith("__"))


def kind_of(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    """Return "flat", "sample", "copy", "detach", "one" (what normalizes over one element), or "" for the rest."""
    if name in FLAT or (name == "div" and named.get("rounding_mode") is not None):
        return "flat"
    if name in ("detach", "data"):
        return "detach"
    kind = "sample" if name in SAMPLE else "copy" if name in COPY else ""
    return kind or ("one" if _over_one(name, arguments, named) else "")


def _over_one(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    x, second, *_ = *arguments, None, None
    x = named.get("input", x)
    if not isinstance(x, Tensor) or not x.ndim:
        return False
    if name in ("softmax", "log_softmax", "softmin", "gumbel_softmax"):
        dim = named.get("dim", -1 if name == "gumbel_softmax" else second)
        return isinstance(dim, int) and -x.ndim <= dim < x.ndim and x.shape[dim] == 1
    if name == "cross_entropy":
        return x.shape[min(1, x.ndim - 1)] == 1
    if name == "layer_norm":
        return math.prod(named.get("normalized_shape", second) or (0,)) == 1
    return name == "group_norm" and x.numel() == len(x) * int(named.get("num_groups", second) or 0)

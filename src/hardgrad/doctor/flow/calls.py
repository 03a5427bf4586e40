"""What torch's functions do to a gradient, by their names."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

_COMPARISONS = "gt ge lt le eq ne greater greater_equal less less_equal not_equal isclose logical_not logical_and"
FLAT = frozenset(
    f"sign sgn round floor ceil trunc fix heaviside floor_divide bucketize searchsorted {_COMPARISONS}".split()
)
SAMPLE = frozenset("multinomial bernoulli normal poisson binomial _sample_dirichlet".split())
CAST = frozenset("long int short char byte bool to type type_as".split())
COPY = frozenset("tensor as_tensor asarray new_tensor Parameter".split())  # what makes a tensor of numbers
DETACH = frozenset("detach data".split())
PYTHON = frozenset(
    "item tolist numpy __array__ __bool__ __float__ __int__ __index__ __complex__ __dlpack__ equal allclose "
    "is_nonzero __contains__ __format__".split()
)
PROGRAM = frozenset("numpy __array__ tolist __dlpack__ item".split())  # whole values, for another program
# Tensors of a shape, not of values.
SHAPED = frozenset(
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty "
    "new_full new new_empty_strided".split()
)
SUMS = frozenset("add sub rsub neg sum mean stack cat squeeze unsqueeze view reshape to float double flatten".split())
SCALES = frozenset("mul div true_divide multiply divide".split())
# Their derivative is zero over a range of inputs.
DEAD = frozenset("relu leaky_relu relu6 threshold hardshrink softshrink".split())
SATURATES = frozenset(
    "clamp clip clamp_min clamp_max hardtanh hardsigmoid hardswish sigmoid tanh softmax log_softmax grid_sample "
    "minimum maximum logsigmoid gelu silu erf selu elu celu".split()
)
WRITES = frozenset("__setitem__ masked_fill fill zero copy index_fill index_put masked_scatter".split())
_ASKS = frozenset(
    "size dim shape device dtype requires_grad is_leaf ndim ndimension numel nelement __len__ stride layout is_cuda "
    "is_sparse is_floating_point is_complex element_size data_ptr storage_offset is_contiguous __hash__ __repr__ "
    "register_hook retain_grad grad_fn names untyped_storage is_meta itemsize nbytes _version _base output_nr is_cpu "
    "is_quantized is_nested get_device requires_grad_ is_signed register_post_accumulate_grad_hook result_type grad "
    "is_inference __dlpack_device__ name is_same_size can_cast __deepcopy__ __reduce_ex__".split()
)
_DUNDER = {"truediv": "div", "rtruediv": "div", "itruediv": "div", "radd": "add", "iadd": "add", "isub": "sub"}
_DUNDER |= {"imul": "mul", "rmul": "mul", "floordiv": "floor_divide", "rfloordiv": "floor_divide"}
_DUNDER |= {"ifloordiv": "floor_divide", "rdiv": "div", "idiv": "div", "rsub": "rsub", "matmul": "matmul"}
_DUNDER |= {name: name for name in ("pow", "rpow", "mod", "neg", "invert", "and", "or", "xor", "abs")}
_DUNDER |= {name: name for name in ("gt", "ge", "lt", "le", "eq", "ne", "add", "sub", "mul", "div")}


def name_of(function: Any) -> str:
    """Return the plain name of what a mode sees: of an attribute its own, of ``x.add_`` and ``x + y`` both "add"."""
    name: str = getattr(function, "__name__", "")
    if name == "__get__":
        return getattr(function.__self__, "__name__", "") or "shape"
    if name == "__set__":
        return "=" + getattr(function.__self__, "__name__", "")
    if name.startswith("__"):
        return _DUNDER.get(name[2:-2], name)
    return name.rstrip("_") if name.endswith("_") else name


def asks_only(name: str) -> bool:
    """Whether a call asks about a tensor and gives nothing that depends on its values."""
    return name in _ASKS or name.startswith(("=grad", "=requires_grad", "_foreach", "_fused"))


def is_in_place(function: Any) -> bool:
    """Whether a call writes into its first argument."""
    name: str = getattr(function, "__name__", "")
    in_place_operator = name.startswith("__i") and name not in ("__index__", "__int__", "__invert__", "__iter__")
    return name == "__setitem__" or in_place_operator or (name.endswith("_") and not name.endswith("__"))


def kind_of(name: str, arguments: tuple[Any, ...], named: dict[str, Any], result: Any) -> str:
    """Return what a call does to a gradient.

    Returns:
        "flat", "sample", "copy", "detach", "one" (what normalizes over one element), "whole" (numbers without a fraction), or
        "" for the rest.
    """
    if name in FLAT or (name == "div" and named.get("rounding_mode") is not None):
        return "flat"
    if name in SAMPLE:
        return "sample"
    if name in COPY:
        return "copy"
    if name in DETACH:
        return "detach"
    if _over_one(name, arguments, named, result):
        return "one"
    if isinstance(result, Tensor) and not (result.is_floating_point() or result.is_complex()):
        return "whole"
    return ""


def _over_one(name: str, arguments: tuple[Any, ...], named: dict[str, Any], result: Any) -> bool:
    x = arguments[0] if arguments else named.get("input")
    if not (isinstance(x, Tensor) and x.ndim and isinstance(result, Tensor)):
        return False
    second = arguments[1] if len(arguments) > 1 else None
    if name in ("softmax", "log_softmax", "softmin", "gumbel_softmax"):
        dim = named.get("dim", second if name != "gumbel_softmax" else None)
        return isinstance(dim, int) and -x.ndim <= dim < x.ndim and x.shape[dim] == 1
    if name == "cross_entropy":
        return x.shape[min(1, x.ndim - 1)] == 1
    if name == "layer_norm":
        return math.prod(named.get("normalized_shape", second) or (0,)) == 1
    return name == "group_norm" and x.numel() == len(x) * int(named.get("num_groups", second) or 0)

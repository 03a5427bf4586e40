"""Which modules are certain to be what their class says, and the walk through those.

A graph that torch has compiled for one module it may run for another of the same class without a look at hooks or at a
replaced ``forward`` (``torch._dynamo.config.skip_nnmodule_hook_guards``): register hooks before the first call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import has_global_module_hooks, is_compiled_module
from hardgrad.two_track.linear import linear

# No weights, no buffers, no noise, and (without ``inplace``) nothing written: calling one twice is calling it once.
_SHAPES = (nn.Flatten, nn.Identity, nn.Unflatten)
_ACTIVATIONS = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.GLU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU),
    *(nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softmax, nn.Softmin),
    *(nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold),
)
# Their output is the input times a mask that does not depend on it.
_MASKS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_KNOWN: dict[type[nn.Module], object] = {
    kind: kind.forward for kind in (nn.Linear, nn.Sequential, *_SHAPES, *_ACTIVATIONS, *_MASKS)
}
# Of torch's own: the first two draw in evaluation too, the last takes no stand-ins for its weights.
_MAYBE_NOT = (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d, nn.DataParallel)
# The project's own, by where they live: rooms of one level do not import each other.
_OWN = "hardgrad.approximators.networks"
_OWN_SHAPES = ("Unsqueeze", "Squeeze", "Reshape", "Positions")
_OWN_SEQUENCE = ("hardgrad.approximators._suggest", "Suggested")  # an nn.Sequential that says why it was picked


def is_altered(module: nn.Module) -> bool:
    """Whether a call of the module is more, or something else, than the forward of its class."""
    return bool(
        "forward" in module.__dict__
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or is_compiled_module(module)
    )


def is_known(module: nn.Module) -> bool:
    """Whether the walk may go through a module and all inside it."""
    return not has_global_module_hooks() and _is_known(module)


def _is_known(module: nn.Module) -> bool:
    kind = _kind(module)
    if is_altered(module) or getattr(module, "inplace", False):
        return False
    if kind in _KNOWN:
        if kind.forward is not _KNOWN[kind]:  # replaced for all
            return False
        if kind is nn.Sequential:
            return all(_is_known(child) for child in _children(module))
        # Not a weight of a class of its own, such as a quantized one: it answers to more than a product.
        return kind is not nn.Linear or type(module.weight) in (Tensor, nn.Parameter)
    return kind.__name__ in _OWN_SHAPES and kind.__module__ == _OWN


def _kind(module: nn.Module) -> type[nn.Module]:
    """Return the class that a module's forward is of."""
    kind = type(module)
    own = (kind.__module__, kind.__name__) == _OWN_SEQUENCE and kind.forward is nn.Sequential.forward
    return nn.Sequential if own else kind


def walk_known(module: nn.Module, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tracks through a module of which ``is_known`` holds."""
    kind = _kind(module)
    if kind is nn.Sequential:
        for child in _children(module):
            task, learn = walk_known(child, task, learn)
        return task, learn
    if kind is nn.Linear:
        return linear(cast(nn.Linear, module), task, learn)
    if kind in _MASKS and module.training:
        mask = module(torch.ones_like(task))
        return task * mask, learn * mask
    return module(task), module(learn)


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Return what a known module runs, in order: itself, or all that a Sequential holds."""
    if _kind(module) is not nn.Sequential:
        return [module]
    return [part for child in _children(module) for part in parts_of(child)]


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that a Sequential calls, in order."""
    # Not ``_children()``, which gives a module that stands in two places once.
    return iter(cast("dict[str, nn.Module]", module._modules).values())


def has_compiled_part(module: nn.Module) -> bool:
    """Whether ``torch.compile`` was called on the module or one inside it."""
    return any(is_compiled_module(part) for part in module.modules())


def may_write(module: nn.Module) -> bool:
    """Whether a module, or one inside it, may change its input in place."""
    return any(getattr(part, "inplace", False) or not _is_torchs_or_own(part) for part in module.modules())


def _is_torchs_or_own(part: nn.Module) -> bool:
    known = type(part).__module__.startswith(("torch.nn.", "hardgrad.approximators."))
    return known and not (is_altered(part) or has_global_module_hooks())


def is_repeatable(part: nn.Module) -> bool:
    """Whether a module by itself, without those inside it, is known to compute the same when called again."""
    if not _is_torchs_or_own(part) or isinstance(part, _MAYBE_NOT):
        return False
    if not part.training:
        return True
    noise = getattr(part, "dropout", 0)  # a rate in recurrent and attention layers, a module in a transformer's
    is_noisy = type(part).__module__ == "torch.nn.modules.dropout" or isinstance(part, nn.RReLU)
    return not (is_noisy or (isinstance(noise, float) and noise > 0))


class ApproximatorError(ValueError):
    """What an approximator returned cannot stand for the function; whoever asked for it adds a name."""


def the_tensor(module: nn.Module, output: object) -> Tensor:
    """Return what an approximator gave.

    Raises:
        ApproximatorError: if it is no tensor.
    """
    if not isinstance(output, Tensor):
        raise ApproximatorError(
            f"approximator must return a tensor, got {type(output).__name__} from {type(module).__name__}; "
            "wrap it in a module that returns the tensor meant, a recurrent layer's first output say"
        )
    return output

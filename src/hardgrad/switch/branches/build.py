"""One branch for each range: clones of one module, or modules of their own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hardgrad.switch.conditions.condition import Router


def one_per_range(
    ranges: Router, branches: nn.Module | Sequence[nn.Module], init: str | None, owner: str = "Switch"
) -> list[nn.Module]:
    """Return the branches: clones of one module, with new weights of their own if asked for, or the ones given.

    Args:
        ranges: the condition.
        branches: one module, or one for each range.
        init: "identical", "independent", or None, which is "independent" and warns if that loses weights.
        owner: the layer, for messages.
    """
    if isinstance(branches, nn.Module) and not isinstance(branches, nn.ModuleList):
        copies = [clone(branches) for _ in range(ranges.branches)]
        if init != "identical":
            for branch in copies:
                redraw(branch)
            if init is None and copies:
                _warn_of_lost_weights(branches, copies[0], owner)
        return copies
    given = _listed(branches, owner)
    if len(given) != ranges.branches:
        names = ", ".join(ranges.label(i) for i in range(ranges.branches))
        raise ValueError(
            f"{owner}: branches must be one module, or one for each of the {ranges.branches} ranges ({names}), got "
            f"{len(given)}"
        )
    return given


def _listed(branches: nn.ModuleList | Sequence[nn.Module], owner: str) -> list[nn.Module]:
    given: list[Any] = list(branches) if isinstance(branches, Sequence | nn.ModuleList) else [branches]
    for i, branch in enumerate(given):
        if not isinstance(branch, nn.Module):
            raise ValueError(
                f"{owner}: branches must be a module or a list of modules, got {type(branch).__name__} at position "
                f"{i}; wrap a function in an nn.Module"
            )
    return given


def clone(module: nn.Module) -> nn.Module:
    """Return a deep copy, also where a part keeps a weight that it computed, as ``weight_norm`` does."""
    computed = [
        value
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})


def redraw(module: nn.Module) -> None:
    """Draw new initial weights for every part of a module, in place, or raise if a part cannot."""
    _draw(module, "")


def _draw(module: nn.Module, path: str) -> None:
    # Parts first, as when the module was built: a module's own reset has the last word on its parts' weights.
    for name, part in module.named_children():
        if not isinstance(part, parametrize.ParametrizationList) and name != "parametrizations":
            _draw(part, f"{path}.{name}" if path else name)
    if callable(_reset(module)):
        _draw_computed(module) if _computed(module) else _reset(module)()
    elif next(module.parameters(recurse=False), None) is not None or parametrize.is_parametrized(module):
        raise ValueError(
            f'Switch: init="independent" needs a reset_parameters() method in each part that has weights, and '
            f"{type(module).__name__} ({path or 'the branch itself'}) has none; add one, pass one module for each "
            'range, or use init="identical"'
        )


def _reset(module: nn.Module) -> Any:
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _computed(module: nn.Module) -> list[str]:
    """Names of weights that are computed from others: by a parametrization, weight_norm, spectral_norm or pruning."""
    old = {name.removesuffix(end) for name in module._parameters for end in ("_orig", "_g") if name.endswith(end)}
    new = module.parametrizations if parametrize.is_parametrized(module) else nn.ModuleDict()
    return [*cast(nn.ModuleDict, new), *(name for name in sorted(old) if isinstance(vars(module).get(name), Tensor))]


@torch.no_grad()
def _draw_computed(module: nn.Module) -> None:
    """Draw into plain weights, and set what they are computed from so that they come out as drawn."""
    plain = _without_parametrizations(module)
    drawn = {name: nn.Parameter(getattr(module, name).detach().clone()) for name in _computed(module)}
    for name in drawn:
        vars(plain).pop(name, None)
    plain._parameters = {**plain._parameters, **drawn}
    _reset(plain)()
    for name, weight in drawn.items():
        _set(module, name, weight.detach())


def _without_parametrizations(module: nn.Module) -> nn.Module:
    """The same module, sharing all its parts, of the class that it had before it was parametrized."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        kind = next(base for base in kind.__mro__[1:] if issubclass(base, nn.Module))
    plain = kind.__new__(kind)
    vars(plain).update(vars(module))
    return plain


def _set(module: nn.Module, name: str, weight: Tensor) -> None:
    if parametrize.is_parametrized(module, name):
        try:
            setattr(module, name, weight)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise ValueError(
                f'Switch: init="independent" needs parametrizations that can be given a weight, and that of {name} in '
                f"{type(module).__name__} cannot ({error}); give it a right_inverse, pass one module for each range, "
                'or use init="identical"'
            ) from error
    elif name + "_g" in module._parameters:
        magnitude = module.get_parameter(name + "_g")
        over = [i for i, extent in enumerate(magnitude.shape) if extent == 1] or None
        magnitude.copy_(torch.linalg.vector_norm(weight, dim=over).reshape(magnitude.shape))
        module.get_parameter(name + "_v").copy_(weight)
        setattr(module, name, weight)
    else:
        module.get_parameter(name + "_orig").copy_(weight)
        setattr(module, name, weight)


def _warn_of_lost_weights(given: nn.Module, drawn: nn.Module, owner: str) -> None:
    # Each write counts a parameter's version up. A copy that was just drawn has those of its reset alone, so a module
    # whose parameter was written to more often was trained, loaded or set by hand.
    for (name, old), new in zip(given.named_parameters(), drawn.parameters(), strict=True):
        lazy = nn.parameter.is_lazy(old) or nn.parameter.is_lazy(new)
        if lazy or old.is_inference() or new.is_inference() or "parametrizations." in name:
            continue  # of which no version is known, or one that a right_inverse made
        if old._version > new._version:
            warnings.warn(
                f"{owner}: the weights handed over are drawn anew for each range, though {name} was trained, loaded or "
                'set since it was first drawn; keep them with init="identical", or say init="independent" if new ones '
                "are meant",
                UserWarning,
                stacklevel=4,
            )
            return

"""One branch for each range: clones of one module, or modules of their own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from hardgrad.switch.routers.router import Router


def one_a_range(ranges: Router, branches: nn.Module | Sequence[nn.Module], init: str) -> list[nn.Module]:
    """Return the branches: clones of one module, with new weights of their own if asked for, or the ones given."""
    if isinstance(branches, nn.Module) and not isinstance(branches, nn.ModuleList):
        copies = [copy.deepcopy(branches) for _ in range(ranges.branches)]
        if init == "independent":
            for each in copies:
                draw_again(each)
        return copies
    given = list(branches)
    if len(given) != ranges.branches:
        names = ", ".join(ranges.label(i) for i in range(ranges.branches))
        raise ValueError(
            f"Switch: branches must be one module, or one for each of the {ranges.branches} ranges ({names}), got "
            f"{len(given)}"
        )
    return given


def draw_again(module: nn.Module) -> None:
    """Draw new initial weights for every part of a module, in place, or raise if a part cannot."""
    for name, part in module.named_modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise ValueError(
                f'Switch: init="independent" needs a reset_parameters() method in each part that has weights, and '
                f"{type(part).__name__} ({name or 'the branch itself'}) has none; add one, pass one module for each "
                'range, or use init="identical"'
            )

"""The name of a layer whose penalty was collected.

A module does not know its name, only the model that holds it does, and a layer is not told which model it is called in.
``penalties(model)`` says it. Where the user does not, the model is found as the outermost module whose call the running
code is in, by a walk up the stack at the first penalty of each layer: one for a scope, not one for a step. What was
tried instead: a forward hook on all modules, open while a scope is, sees the model too, but torch.compile cannot trace
through one (torch 2.13) and compiles anew for it, so a scope would cost compiled models their graph. A layer that is
registered at its first call still knows nothing of the model above it; the referrers that Python's collector can list
are the model's dict among others, a slower walk through what is less certain. Numbers in place of names would take
``dict(bag)`` its use in logs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType

from torch import nn

# Names that torch.compile and DistributedDataParallel put before the model's own.
_WRAPPERS = ("_orig_mod", "module")


def names_below(root: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield every module of a model with its name there."""
    for path, child in root.named_modules():
        yield child, ".".join(part for part in path.split(".") if part not in _WRAPPERS)


def outermost_call() -> nn.Module | None:
    """Return the module whose call the running code is in: the user's model, in most loops."""
    frame: FrameType | None = sys._getframe()
    outermost: nn.Module | None = None
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__:
            outermost = frame.f_locals["self"]
        frame = frame.f_back
    return outermost

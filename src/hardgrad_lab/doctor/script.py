"""A script that trains, run with the finder around it until its first backwards are done."""

from __future__ import annotations

import runpy
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

import hardgrad as hg


class _Enough(BaseException):
    """As many backwards as were asked for are done."""


class _Called(nn.Module):
    """The modules that a script calls by itself, under the names of their classes."""

    def see(self, module: nn.Module, _: Any) -> None:
        if all(module is not part for part in self.modules()):
            name = type(module).__name__.lower()
            self.add_module(f"{name}{len(self._modules)}" if name in self._modules else name, module)


def watch(line: str, steps: int) -> tuple[Any, nn.Module]:
    """Return what was found in the first ``steps`` backwards of a script, and the modules that it called.

    It is run as ``python line`` would, and ended after the last of these backwards.
    """
    words = shlex.split(line) if " " in line else [line]
    if not Path(words[0]).is_file():
        raise ValueError("breaks: there is no such file; give a script that trains, or module:name")
    called, left, backward = _Called(), steps, torch.autograd.backward

    def counted(*given: Any, **named: Any) -> None:
        nonlocal left
        backward(*given, **named)
        left -= 1
        if left <= 0:  # again, where the script has caught it
            raise _Enough

    with (
        register_module_forward_pre_hook(called.see),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "path", [str(Path(words[0]).resolve().parent), *sys.path]),
        mock.patch.object(torch.autograd, "backward", counted),  # Tensor.backward calls it too
        hg.doctor.breaks(called) as found,
        suppress(_Enough),
    ):
        runpy.run_path(words[0], run_name="__main__")
    return found, called

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


class Called(nn.Module):
    """The modules that a script calls by itself, under the names of their classes."""

    def __init__(self) -> None:
        super().__init__()
        self._inside: set[int] = set()

    def see(self, module: nn.Module, _: Any) -> None:
        """Note a module that is about to run, if it is no part of one that did."""
        if id(module) not in self._inside:
            name = type(module).__name__.lower()
            name += "" if name not in self._modules else str(len(self._modules))
            self.add_module(name, module)
            self._inside |= {id(part) for part in module.modules()}


def watch(line: str, steps: int) -> tuple[Any, nn.Module]:
    """Return what was found in the first steps of a script, and the modules that it called.

    Args:
        line: the script, and its arguments, which is run as ``python line`` would, up to the end of a backward.
        steps: how many backwards to let it do.

    Raises:
        ValueError: if there is no such file, it fails, or it calls no backward.
    """
    words = shlex.split(line) if " " in line else [line]
    if not Path(words[0]).is_file():
        raise ValueError("breaks: there is no such file; give a script that trains, or module:name")
    called, left, backward = Called(), steps, torch.autograd.backward

    def counted(*given: Any, **named: Any) -> None:
        nonlocal left
        backward(*given, **named)
        left -= 1
        if not left:
            raise _Enough

    folder = str(Path(words[0]).resolve().parent)
    with (
        register_module_forward_pre_hook(called.see),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "path", [folder, *sys.path]),
        mock.patch.object(torch.autograd, "backward", counted),  # Tensor.backward calls it too
        hg.doctor.breaks(called) as found,
        suppress(_Enough),
    ):
        runpy.run_path(words[0], run_name="__main__")
    return found, called

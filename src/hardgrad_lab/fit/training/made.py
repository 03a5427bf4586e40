"""Whether the branches that a user's factory made are what a switch can train: said before training, in a sentence."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hardgrad_lab.fit.training.branches import Factory

TRIED = 3  # rows that a branch is tried on


def call_factory(factory: Factory, in_features: int, out_features: int) -> nn.Module:
    """Return what a factory makes, or raise a ValueError if that is no module."""
    try:
        branch = factory(in_features, out_features)
    except Exception as error:
        raise ValueError(
            f"branch must make a module from ({in_features}, {out_features}), (in_features, out_features), got "
            f"{_said(error)} from the factory"
        ) from error
    if not isinstance(branch, nn.Module):
        raise ValueError(f"branch must make a torch.nn.Module, got {type(branch).__name__} from the factory")
    return branch


def check_made(branches: Sequence[nn.Module], in_features: int, out_features: int, dtype: torch.dtype) -> None:
    """Raise a ValueError if a factory's branches are one and the same, have no parameters, or return the wrong thing.

    Args:
        branches: one for each range.
        in_features: columns of what they get.
        out_features: columns of what they must return.
        dtype: that they will be trained in.
    """
    parameters = [[id(each) for each in branch.parameters()] for branch in branches]
    if any(a and set(a) == set(b) for i, a in enumerate(parameters) for b in parameters[:i]):
        raise ValueError(
            "branch must make a new module at each call, got the same parameters twice: ranges would share their "
            "weights; build the module inside the factory"
        )
    for branch, own in zip(branches, parameters, strict=True):
        if not own:
            raise ValueError(
                f"branch must make a module with parameters to train, got {type(branch).__name__} with none"
            )
        _check_output(_tried(branch, in_features, dtype), in_features, out_features)


def _tried(branch: nn.Module, in_features: int, dtype: torch.dtype) -> object:
    """Return what a copy makes of a few rows, whatever that is."""
    probe = copy.deepcopy(branch).to(dtype).eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        rows = torch.randn(TRIED, in_features).to(dtype)
        try:
            return probe(rows)
        except Exception as error:
            raise ValueError(
                f"branch must take rows (B, {in_features}) of {str(dtype).removeprefix('torch.')}, got "
                f"{_said(error)} from {type(branch).__name__}"
            ) from error


def _check_output(output: object, in_features: int, out_features: int) -> None:
    wanted = f"branch must map rows (B, {in_features}) to (B, {out_features})"
    if not isinstance(output, Tensor):
        raise ValueError(f"{wanted}, got a {type(output).__name__}; return the tensor alone")
    if output.shape != (TRIED, out_features):
        shape = ", ".join(["B", *map(str, output.shape[1:])]) if output.shape[:1] == (TRIED,) else output.shape
        raise ValueError(f"{wanted}, got ({shape}); end in a layer with out_features = {out_features}")
    if not output.is_floating_point():
        raise ValueError(f"{wanted} of floating-point numbers, got {str(output.dtype).removeprefix('torch.')}")


def _said(error: Exception) -> str:
    line = " ".join(str(error).split())
    return f"{type(error).__name__}: {line[:160]}" if line else type(error).__name__

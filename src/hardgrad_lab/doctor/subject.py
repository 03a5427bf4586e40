"""A model, a function or a program by name, and what it is run on: from a factory, drawn by shape, or from a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from hardgrad_lab.doctor.ask import on_device, read_shape
from hardgrad_lab.doctor.case import seeded
from hardgrad_lab.doctor.load import instance, load, read_file, said


class Subject(NamedTuple):
    """What is run, what it is called with, and the loss of its output, or None."""

    model: Callable[..., Any]
    inputs: tuple[Any, ...]
    loss: Callable[..., Any] | None


class ByName(nn.Module):
    """A model that is given all its inputs in one dict; its parts keep their names."""

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, given: dict[str, Any]) -> Any:
        return self.model(**given)

    def named_modules(self, *arguments: Any, **named: Any) -> Any:
        """Return the model's own."""
        own = self.model if isinstance(self.model, nn.Module) else nn.Identity()
        return own.named_modules(*arguments, **named)


def subject(place: str, shapes: tuple[str, ...], file: Path | None, loss: str | None, device: str) -> Subject:
    """Return what ``module:name`` names; inputs and a loss that are given go before those of a factory.

    Raises:
        ValueError: if something cannot be found or made, or there are no inputs.
    """
    on_device(torch.empty(0), device)
    model, inputs, own_loss = _made(place)
    if file is not None or shapes:
        drawings = (_within(model, k, drawn(shape, k)) for k, shape in enumerate(shapes))
        inputs = tuple(drawings) if file is None else read_file(file)
    if inputs is None:
        raise ValueError(
            f"{place} comes without inputs; give the shape of each with --input 8,32, the batch first, a file with "
            "--inputs, or let a function without arguments return (model, inputs)"
        )
    placed = tree_map_only(Tensor, lambda x: on_device(x, device), inputs)
    placed = placed if isinstance(placed, tuple | dict) else (placed,)
    model = model.to(device) if isinstance(model, nn.Module) else model
    if isinstance(placed, dict) or not placed:
        model, placed = ByName(model), (dict(placed),)
    return Subject(model, placed, own_loss if loss is None else instance(load(loss, "--loss"), f"--loss {loss}"))


def drawn(text: str, seed: int) -> Tensor:
    """Return standard normal numbers for ``8,32``, and whole numbers below 1000, such as labels, for ``8,32:1000``."""
    shape, colon, below = text.partition(":")
    if not colon:
        return torch.randn(read_shape(shape, "--input"), generator=seeded(seed))
    if not (below.isdecimal() and int(below)):
        raise ValueError(f"--input 8,32:1000 draws whole numbers below 1000; {text!r} must end in one of at least 1")
    return torch.randint(int(below), read_shape(shape, "--input"), generator=seeded(seed))


def _within(model: Any, which: int, x: Tensor) -> Tensor:
    """Return normal numbers as uniform ones between the bounds of a box that has any."""
    ends = [getattr(model, name, None) for name in ("low", "high")]
    low, high = (end[which] if isinstance(end, tuple) and which < len(end) else end for end in ends)
    if not (isinstance(low, Tensor) and isinstance(high, Tensor) and x.is_floating_point()):
        return x
    return torch.lerp(low, high, torch.special.ndtr(x.double())).to(x)


def _made(place: str) -> tuple[Any, Any, Any]:
    """The model, inputs and loss of a name; what can be called without arguments is a factory, and is called."""
    made = instance(load(place, "the model"), f"the model {place}")
    try:
        inspect.signature(made).bind()
    except (TypeError, ValueError):  # what is built in has no signature
        return made, None, None
    try:
        made = made if isinstance(made, nn.Module) else made()
    except (Exception, SystemExit) as error:  # of the user's factory, hence of any kind
        raise ValueError(f"the factory {place} raises {said(error)}") from error
    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not all(callable(part) for part in (parts[0], *parts[2:])):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise ValueError(f"{place} must return a model, (model, inputs) or (model, inputs, loss), got {kinds}")
    model, inputs, loss = [*parts, None, None][:3]
    return model, inputs, loss

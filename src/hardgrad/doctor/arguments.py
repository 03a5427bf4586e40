"""What ``diagnose`` and ``Watch`` may be told: each mistake names its argument, the rule, what it got and the cure."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad._torch_state import compiling, in_transform
from hardgrad.bridge import name_of
from hardgrad.doctor.copies import Candidate


def is_number(value: object) -> bool:
    """Whether this is a number, which True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_whole(who: str, name: str, value: object, least: int, cure: str) -> None:
    """Raise ValueError if a number is not whole or too small."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{who}: {name} must be a whole number of at least {least}, got {value!r}; {cure}")


def check_generator(who: str, generator: object) -> None:
    """Raise ValueError if this is neither None nor a generator."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"{who}: generator must be a torch.Generator or None, got {type(generator).__name__}; "
            "torch.Generator().manual_seed(0) makes one"
        )


def check_callable(who: str, name: str, value: object) -> None:
    """Raise ValueError if this cannot be called."""
    if not callable(value):
        raise ValueError(f"{who}: {name} must be callable, got {type(value).__name__}; hand over the function itself")


def check_place(who: str, inputs: Tensor | Distribution) -> None:
    """Raise ValueError where nothing can be measured: no numbers, or torch rewriting the code."""
    if compiling() or in_transform():
        raise ValueError(
            f"{who}: it must be called in eager code, got a call inside torch.compile or a torch.func transform; call "
            "it outside, on the function itself"
        )
    if device_of(inputs).type == "meta":
        raise ValueError(
            f"{who}: inputs must hold numbers, got a tensor on the meta device; make them on the CPU or an accelerator"
        )


def device_of(inputs: Tensor | Distribution) -> torch.device:
    """Return where a tensor is, or the parameters of a distribution."""
    thing: object = inputs
    while isinstance(thing, torch.distributions.Independent):
        thing = thing.base_dist
    held = [thing, *vars(thing).values()] if hasattr(thing, "__dict__") else [thing]
    # A OneHotCategorical keeps its parameters in a Categorical inside.
    held += [
        value for one in held if isinstance(one, Distribution) and one is not thing for value in vars(one).values()
    ]
    return next((one.device for one in held if isinstance(one, Tensor)), torch.device("cpu"))


def named(estimators: Mapping[str, Candidate] | Candidate) -> Mapping[str, Candidate]:
    """Return candidates by name.

    Raises:
        ValueError: if it is neither a callable nor a mapping of names to callables.
    """
    if callable(estimators):
        return {name_of(estimators): estimators}
    if not isinstance(estimators, Mapping) or not estimators or not all(map(callable, estimators.values())):
        raise ValueError(
            "diagnose: estimators must be a callable, or a mapping of at least one name to a callable, got "
            f"{estimators!r:.200}; hardgrad.doctor.candidates(function, inputs) returns some"
        )
    if wrong := [name for name in estimators if not isinstance(name, str)]:
        raise ValueError(
            f"diagnose: the names of estimators must be strings, got {wrong[0]!r} ({type(wrong[0]).__name__}); name it "
            f"{str(wrong[0])!r}"
        )
    return estimators

"""The rules of the doctor's own arguments; what is general is in ``hardgrad._check``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad._torch_state import compiling, in_transform
from hardgrad.bridge import name_of
from hardgrad.doctor.copies import Candidate
from hardgrad.doctor.smoothed import NOISES


def check_positive(who: str, name: str, value: object, cure: str) -> None:
    """Raise if this is neither None nor a finite number above 0."""
    if value is not None:
        _check.number(who, name, value, above=0, cure=cure)


def check_sigma(who: str, sigma: object) -> None:
    """Raise if this is neither None nor a scale."""
    check_positive(who, "sigma", sigma, "None takes half the inputs' spread")


def check_noise(who: str, noise: object) -> None:
    """Raise if this is no kind of noise."""
    _check.one_of(who, "noise", noise, ("auto", *NOISES), "'auto' fits any function")


def check_callable(who: str, name: str, value: object) -> None:
    """Raise ValueError if this cannot be called."""
    if not callable(value):
        raise ValueError(f"{who}: {name} must be callable, got {type(value).__name__}; hand over the function itself")
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        raise ValueError(
            f"{who}: {name} must be a module, got the class {value.__name__}; make one: {value.__name__}()"
        )


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


def check_batch(who: str, x: object) -> None:
    """Raise ValueError if this is no batch of inputs to a hard function."""
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{who}: inputs must be a tensor or a torch distribution, got {type(x).__name__}; torch.as_tensor makes a "
            "tensor of a list or an array"
        )
    if x.ndim < 1 or x.numel() == 0 or not x.is_floating_point():
        raise ValueError(
            f"{who}: inputs must be a floating batch of shape (B, ...) with at least one row, got shape "
            f"{tuple(x.shape)} and {x.dtype}; add a batch dimension, or cast it"
        )
    if not bool(x.isfinite().all()):
        raise ValueError(f"{who}: inputs must be finite, got NaN or infinity; mask them before")


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

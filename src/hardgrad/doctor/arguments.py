"""What ``diagnose`` and ``Watch`` may be told: each mistake names its argument, the rule, what it got and the cure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad._torch_state import compiling, in_transform
from hardgrad.bridge import name_of
from hardgrad.doctor.copies import Candidate
from hardgrad.doctor.smoothed import NOISES


def check_whole(who: str, name: str, value: object, least: int, cure: str) -> None:
    """Raise ValueError if a number is not whole or too small."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{who}: {name} must be a whole number, at least {least}, got {value!r}; {cure}")
    if value < least:
        raise ValueError(f"{who}: {name} must be at least {least}, got {value}; {cure}")


def check_sigma(who: str, sigma: object) -> None:
    """Raise ValueError if this is neither None nor a scale."""
    if sigma is not None and (
        isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < math.inf
    ):
        raise ValueError(f"{who}: sigma must be above 0 and finite, got {sigma!r}; None takes half the inputs' spread")


def check_seconds(who: str, seconds: object) -> None:
    """Raise ValueError if this is neither None nor a length of time."""
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf
    ):
        raise ValueError(f"{who}: seconds must be above 0 and finite, got {seconds!r}; None takes as long as it takes")


def check_progress(who: str, progress: object) -> None:
    """Raise ValueError if this is neither None nor something that can be called."""
    if progress is not None and not callable(progress):
        raise ValueError(f"{who}: progress must be callable or None, got {type(progress).__name__}; print will do")


def check_noise(who: str, noise: object) -> None:
    """Raise ValueError if this is no kind of noise."""
    if not isinstance(noise, str) or noise not in ("auto", *NOISES):
        raise ValueError(
            f"{who}: noise must be 'auto', 'gaussian', 'logistic' or 'gumbel', got {noise!r}; 'auto' fits any function"
        )


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

"""From what the command line was given to a case: inputs, distribution, and the user's function, each tried once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

from hardgrad_lab.doctor.case import Case, seeded
from hardgrad_lab.doctor.load import FUNCTION, instance, load, said, try_once

Kind = Literal["bernoulli", "one-hot"]
DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was given.

    Args:
        function: ``module:name``.
        inputs: the batch, read or drawn.
        source: where it comes from, in words.
        objective: ``module:name`` of what the outputs are judged by, or None.
        distribution: of samples that the function judges, with the inputs as logits; None for a hard function.
        warm_up: steps that candidates which learn train for.
        budget: evaluations of each row to spend on the truth; None for what the library takes.
    """

    function: str
    inputs: Tensor
    source: str
    objective: str | None
    distribution: Kind | None
    warm_up: int
    budget: int | None


def drawn(shape: tuple[int, ...], dtype: str, seed: int) -> Tensor:
    """Return a batch of standard normal numbers."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(DTYPES[dtype])


def on_device(x: Tensor, device: str) -> Tensor:
    """Return inputs on a device.

    Raises:
        ValueError: if there is none of that name here.
    """
    try:
        return x.to(device)
    except (RuntimeError, AssertionError) as error:  # torch has both for a device that is not there
        why = str(error).splitlines()[0]
        raise ValueError(f"--device must name a device of this machine, such as cpu, got {device!r} ({why})") from None


def case_of(given: Given) -> Case:
    """Return the case, after one call of everything that the user wrote.

    Raises:
        ValueError: if something cannot be found, fails, or returns what it must not.
    """
    what = FUNCTION if given.distribution is None else "the objective"
    function = instance(load(given.function, what), f"{what} {given.function}")
    if given.distribution is not None:
        if given.objective is not None:
            raise ValueError("--objective is for a hard function; with --distribution the function is the objective")
        q = as_distribution(given.inputs, given.distribution)
        _try_objective(function, q.sample((2,)), q.batch_shape, given.function)
        return _case(given, function, q, None, f"The mean of {given.function} over {given.distribution} samples.")
    y = try_once(function, given.inputs, given.function)
    objective = None
    judged = "half the squared distance to the outputs of another row"
    if given.objective is not None:
        objective, judged = instance(load(given.objective, "--objective"), "--objective"), given.objective
        y = y if y.is_floating_point() else y.to(given.inputs.dtype)
        _try_objective(objective, torch.stack([y, y]), torch.Size([len(y)]), given.objective)
    return _case(given, function, given.inputs, objective, f"{given.function}, its outputs judged by {judged}.")


def as_distribution(logits: Tensor, kind: Kind) -> Distribution:
    """Return the distribution of one sample a row.

    Raises:
        ValueError: if there are no outcomes to choose from.
    """
    if kind == "bernoulli":
        return Independent(Bernoulli(logits=logits), logits.ndim - 1)
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise ValueError(
            f"--distribution one-hot needs inputs of shape (B, ..., n), n at least 2, got {tuple(logits.shape)}"
        )
    return Independent(OneHotCategorical(logits=logits), logits.ndim - 2)


def _case(
    given: Given,
    function: Callable[[Tensor], Tensor],
    inputs: Tensor | Distribution,
    objective: Callable[[Tensor], Tensor] | None,
    about: str,
) -> Case:
    return Case(
        name="doctor",
        title=given.function,
        about=about,
        function=function,
        inputs=inputs,
        objective=objective,
        source=given.source,
        warm_up=given.warm_up,
        budget=given.budget,
    )


def _try_objective(objective: Callable[[Tensor], Tensor], several: Tensor, rows: torch.Size, place: str) -> None:
    """Call an objective as the doctor will: with a leading dimension before the batch."""
    wanted = (len(several), *rows)
    shape = f"{len(several)} samples at once, shape {tuple(several.shape)}"
    try:
        with torch.no_grad():
            value = objective(several.clone())
    except Exception as error:  # whatever the user's code may raise
        raise ValueError(f"the objective {place} raises for {shape}: {said(error)}") from error
    if not isinstance(value, Tensor) or value.shape != wanted:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"the objective {place} must return one number per sample, shape {wanted} for {shape}, got {got}; sum over "
            "the last dimensions only, so that it broadcasts over leading ones"
        )


def read_shape(text: str, option: str = "--shape") -> tuple[int, ...]:
    """Return a shape from ``8,32``.

    Raises:
        ValueError: if it is none.
    """
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(f"{option} must be whole numbers of at least 1, the batch first, such as 8,32, got {text!r}")
    return shape


def place_of(path: Path) -> str:
    """Return how a file of inputs is named in a report: without the folders that lead to it."""
    return f"read from {path.name}"

"""Whether a function is one that can be examined at all: its outputs' form, its rows apart, its values finite."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from hardgrad.doctor.function import shown
from hardgrad.doctor.pace import CallTime
from hardgrad.doctor.recognize import Hard
from hardgrad.doctor.smoothed import Smoothed

_PROBES = 8
_SHOWN = 8  # outputs named in a sentence


def check_outputs(y: object, z: Tensor, who: str = "diagnose") -> None:
    """Raise ValueError if what a hard function returned for ``z`` is no batch of outputs."""
    if not isinstance(y, Tensor):
        cure = "return the one that is to be judged" if isinstance(y, tuple | dict) else "end it with torch.as_tensor"
        raise ValueError(f"{who}: function must return a tensor, got {type(y).__name__}; {cure}")
    if y.ndim == 0 or y.shape[0] != z.shape[0]:
        raise ValueError(
            f"{who}: function must keep the batch (first) dimension, got input {tuple(z.shape)} and output "
            f"{tuple(y.shape)}; apply it per row"
        )
    if y.is_complex() or y.layout != torch.strided:
        rule, cure = ("real numbers", ".real or .abs()") if y.is_complex() else ("a dense tensor", ".to_dense()")
        raise ValueError(f"{who}: function must return {rule}, got {y.dtype}, {y.layout}; take {cure}")
    if y.device != z.device:
        raise ValueError(f"{who}: function must stay on {z.device}, got an output on {y.device}; move it back")


@torch.no_grad()
def check_rows_apart(hard: Hard, x: Tensor) -> None:
    """Raise ValueError if a hard function mixes rows.

    Copies of a batch are stacked, and every row's gradient is taken from its own number.
    """
    rows = x.shape[0]
    together, again = hard(x.clone()), hard(x.clone())
    if not torch.equal(together.nan_to_num(), again.nan_to_num()):
        return  # a sampler: its rows cannot be told apart this way
    # A running sum leaves the first row alone, and its mirror image the last.
    for row in dict.fromkeys((0, rows // 2, rows - 1)):
        alone = hard(x[row : row + 1].clone())
        if not torch.allclose(together[row : row + 1].nan_to_num(), alone.nan_to_num(), rtol=1e-4, atol=1e-5):
            if not torch.equal(together.nan_to_num(), hard(x.clone()).nan_to_num()):
                return  # as above: it is not the same function any more
            which = "first" if row == 0 else f"{row + 1}."
            raise ValueError(
                f"diagnose: function must treat each row of the batch by itself, got another output for the {which} "
                "row alone than within the batch; put it in eval(), or hand over the batch as one row with an outer "
                "dimension"
            )


@torch.no_grad()
def check_domain(smoothed: Smoothed, generator: torch.Generator) -> Smoothed:
    """Return the objective with the scale of its values, seen at the inputs and around them.

    Args:
        smoothed: the objective.
        generator: on the CPU; source of the noise.

    Raises:
        ValueError: if a value is NaN or infinite, and how many are.
    """
    own = torch.Generator(smoothed.x.device).manual_seed(int(torch.randint(2**40, (), generator=generator)))
    places = (smoothed.x.unsqueeze(0), smoothed.x + smoothed.noise(_PROBES, own))
    values, seconds = [], []
    for z in places:
        start = time.perf_counter()
        values.append(smoothed.values(smoothed.sample(z), check=False).double())
        seconds.append(time.perf_counter() - start)
    if not all(bool(value.isfinite().all()) for value in values):
        raise ValueError(_not_finite(smoothed, places, values))
    taken = CallTime.of(seconds[0], seconds[1], _PROBES)
    return replace(smoothed, scale=max(float(value.abs().max()) for value in values), call_time=taken)


def _not_finite(smoothed: Smoothed, places: tuple[Tensor, Tensor], values: list[Tensor]) -> str:
    """Where a function is not finite: at how many inputs, in which outputs, and an example."""
    hard, who, which = smoothed.hard, "function", ""
    seen = [value.flatten(1, -1).unsqueeze(-1) if value.ndim > 1 else value.view(-1, 1, 1) for value in values]
    if hard is not None:
        outputs = [hard(z.flatten(0, 1)).unflatten(0, z.shape[:2]).flatten(2) for z in places]
        if all(bool(y.isfinite().all()) for y in outputs):
            who = "objective"
        else:
            seen = [y if y.ndim == 3 else y.unsqueeze(-1) for y in outputs]
            which = f", in {_outputs(seen)}"
    bad = [(~one.isfinite()).any(-1) for one in seen]
    name = "NaN" if any(bool(one.isnan().any()) for one in seen) else "infinity"
    share = [f"{int(one.sum())} of {one.numel()}" for one in bad]
    return (
        f"diagnose: {who} must return finite numbers, got {name} at {share[0]} inputs, and at {share[1]} with noise "
        f"added{which}{_example(smoothed, places, bad)}: an average with {name} in it has no gradient; clamp inputs to "
        "its domain inside it, hand over inputs of its domain, take a smaller sigma if only noise leads out, or let it "
        "return a large finite number there"
    )


def _outputs(seen: list[Tensor]) -> str:
    """Which of the outputs are not finite somewhere."""
    places = torch.stack([(~one.isfinite()).flatten(0, 1).any(0) for one in seen]).any(0)
    wrong = places.nonzero().flatten().tolist()
    if len(wrong) == len(places):
        return "all outputs" if len(wrong) > 1 else "its output"
    return f"outputs {', '.join(map(str, wrong[:_SHOWN]))}{', ...' if len(wrong) > _SHOWN else ''}"


def _example(smoothed: Smoothed, places: tuple[Tensor, Tensor], bad: list[Tensor]) -> str:
    if smoothed.hard is None:
        return ""
    place = 0 if bool(bad[0].any()) else 1
    return f", such as x = {shown(places[place].flatten(0, 1)[bad[place].flatten()][0])}"

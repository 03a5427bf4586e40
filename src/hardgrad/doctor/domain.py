"""Whether a function is one that can be examined at all: its outputs' form, its rows apart, its values finite."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hardgrad.doctor.recognise import Hard
from hardgrad.doctor.smoothed import Smoothed

_PROBES = 8


def check_outputs(y: object, z: Tensor) -> None:
    """Raise ValueError if what a hard function returned for ``z`` is no batch of outputs."""
    if not isinstance(y, Tensor):
        raise ValueError(
            f"diagnose: function must return a tensor, got {type(y).__name__}; end it with torch.as_tensor"
        )
    if y.ndim == 0 or y.shape[0] != z.shape[0]:
        raise ValueError(
            f"diagnose: function must keep the batch (first) dimension, got input {tuple(z.shape)} and output "
            f"{tuple(y.shape)}; apply it per row"
        )


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
    values = [smoothed.values(smoothed.sample(z), check=False).double() for z in places]
    bad = [int((~value.isfinite()).sum()) for value in values]
    if any(bad):
        raise ValueError(
            f"diagnose: function must return finite numbers, got NaN or infinity at {bad[0]} of {values[0].numel()} "
            f"inputs, and at {bad[1]} of {values[1].numel()} with noise added; clamp inputs to its domain inside it, "
            "take a smaller sigma if only noise leads out, or let it return a large finite number there"
        )
    return replace(smoothed, scale=max(float(value.abs().max()) for value in values))

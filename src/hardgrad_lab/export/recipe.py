"""How a kind of device becomes C: the numbers of a set of parameters, the state, and the lines of one sample.

In these lines ``x`` is the sample, ``y`` what comes out, ``b`` the parameters that the knob takes, ``s`` the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hardgrad_lab.export.plan import Layer
from hardgrad_lab.fit.rows import Array


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind.

    Args:
        arrays: numbers by name, the sets of parameters in dimension 0.
        layers: of a network, in the same table.
        state: fields of the struct, by name and length.
        begin: what fields begin at, where that is not 0.
        step: the lines of one sample.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    state: dict[str, int] = field(default_factory=dict)
    begin: dict[str, str] = field(default_factory=dict)
    step: str


def pole(ms: Array, rate: float) -> Array:
    """Return the coefficient of a time constant; 0 ms is at once."""
    with np.errstate(divide="ignore"):
        found: Array = -np.expm1(-1000.0 / (ms * rate))
    return found


def ring(taps: int) -> str:
    """Return the lines that keep samples twice in a ring, so that the last ones are always a row, the newest first."""
    return f"""\
    s->at[0] = s->at[0] > 0 ? s->at[0] - 1 : {taps - 1};
    past = s->past + (int)s->at[0];
    past[0] = past[{taps}] = x;
"""

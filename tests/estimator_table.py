"""The page docs/evidence/estimators.md, from what the comparison with enumeration saw."""

from __future__ import annotations

import torch
from torch import Tensor

from enumeration import Problem, standard_error
from mc_bank import CASES, VARIABLES
from mc_cases import ESTIMATORS, Estimator

ROWS = 10_000
_OBJECTIVES = [*(case.name for case in CASES), "two layers"]
Found = dict[tuple[str, str, str], tuple[str, str, str, str]]

_HEAD = """# Estimators against enumeration

What `pytest tests/test_enumeration.py` saw with torch {version}: every Monte Carlo estimator over a bank of
distributions and objectives, small enough that a plain loop over all outcomes gives the true gradient. Each number is
the mean of {rows:,} calls' gradients (a batch of equal rows), seed 0, double precision. The bank is
`tests/mc_bank.py`, how each estimator is called `tests/mc_cases.py`.

Objectives of a sample x, a one-hot sample taken as its 0s and 1s, with weights w that have no pattern: *linear* w x;
*quadratic* the sum of w (x - 0.3)^2; *exponential* exp(2 w x); *sine* the sum of w sin(5 x), whose slopes at 0 and
1 mostly point the other way than it changes; *cross terms* every pair, and the product of all; *parameters of f* a
softplus of a weighed sum whose weights learn; *black box* rounds in numpy; *two layers* hands x to a second
distribution of the same kind, by the same estimator.

## Unbiased

The farthest that any coordinate of any gradient (q's parameter, f's own, the second layer's) or the value was from the
truth, over all objectives, in standard errors. The tests demand less than 4.5, and on simpler objectives, with more
calls, that 1.05 times the gradient would be twice as far off.

"""

_BIASED = """
## Biased

Cosine between the mean gradient with respect to q's parameter and the true one, then the relative bias: the norm of
their difference over that of the true gradient. **Bold** points uphill: a step along it makes the objective worse.
The norm of the standard errors, over that of the true gradient, is {middle:.3f} in the middle and {most:.3f} at the
most. With one parameter the cosine can only be 1 or -1. The means are those of each method's published formula, to 4.5
standard errors; that of two layers has none.

Temperatures: `gumbel, soft` 0.5; `gumbel, hard` 1; annealed, and `gumbel_rao` and `gapped` (by 1), 0.5; two, 0.3 and
in the gradient 0.8; `reinmax` 1. The `bridge` has an
approximator that has learned to imitate sampling, so that it comes near `straight-through`.
"""


def entry(estimator: Estimator, problem: Problem, worst: float, found: Tensor, expected: Tensor) -> str:
    """One line of what a test saw."""
    mean, error, expected = found.mean(0).flatten(), standard_error(found).norm(), expected.flatten()
    cosine = torch.nn.functional.cosine_similarity(mean, expected, 0)
    bias, noise = (mean - expected).norm() / expected.norm(), error / expected.norm()
    numbers = f"{worst:.1f}|{cosine:.2f}|{bias:.2f}|{noise:.4f}"
    return f"{problem.variable.name}|{problem.name}|{estimator.name}|{numbers}"


def wanted() -> list[tuple[str, str, str]]:
    return [
        (variable.name, case.name if case else "two layers", estimator.name)
        for variable in VARIABLES
        for case in [*CASES, None]
        for estimator in ESTIMATORS
        if estimator.takes(variable, case)
    ]


def is_complete(found: Found) -> bool:
    return all(key in found for key in wanted())


def page(found: Found) -> str:
    parts = [_HEAD.format(version=torch.__version__.split("+")[0], rows=ROWS), _unbiased(found)]
    names = [e.name for e in ESTIMATORS if not e.unbiased]
    noises = sorted(float(found[key][3]) for key in found if key[2] in names)
    parts.append(_BIASED.format(middle=noises[len(noises) // 2], most=noises[-1]))
    for variable in VARIABLES:
        lines = [_biased(found, variable.name, objective, names) for objective in _OBJECTIVES]
        if any(lines):
            parts += [f"\n### {variable.name}\n", *_heading("objective", names), *filter(None, lines)]
    return "\n".join(parts) + "\n"


def _heading(first: str, names: list[str]) -> list[str]:
    return [f"| {first} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]


def _unbiased(found: Found) -> str:
    lines = _heading("estimator", [variable.name for variable in VARIABLES])
    for estimator in (e for e in ESTIMATORS if e.unbiased):
        cells = []
        for variable in VARIABLES:
            seen = [found[key][0] for key in found if key[0] == variable.name and key[2] == estimator.name]
            cells.append(max(seen, key=float, default="-"))
        lines.append(f"| {estimator.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _biased(found: Found, variable: str, objective: str, names: list[str]) -> str:
    cells = []
    for name in names:
        _, cosine, bias, _ = found.get((variable, objective, name), ("", "", "", ""))
        text = f"{cosine}, {bias}".replace("-0.00", "0.00") if bias else "-"
        cells.append(f"**{text}**" if bias and float(cosine) < 0 else text)
    return f"| {objective} | {' | '.join(cells)} |" if any(cell != "-" for cell in cells) else ""

"""The page docs/evidence/pass-matrix.md, from what the laws found."""

from __future__ import annotations

import torch

import mc_laws
from cases import CASES
from distributed import LAW as DISTRIBUTED
from laws import LAWS
from mc_cases import ESTIMATORS

MONTE_CARLO = "Monte Carlo"
COLUMNS = [*LAWS, DISTRIBUTED]

_HEAD = """# Pass-matrix

Every surrogate over every hard function it admits, and every Monte Carlo estimator, against every law; then every layer
of the library in [every pair of modes](#pairs-of-modes). The tests write this page: it is what they saw with torch
{version}. What each law asks is in `tests/laws.py`, one function a column; `DDP` is `tests/distributed.py`.

What does not hold, and what you get instead:

- **Forward mode** (`torch.func.jvp`, `jacfwd`): an error from torch that the function has no `jvp`. A Function that
  defines one cannot be traced by `torch.compile` (torch 2.13); reverse mode serves (`jacrev`).
- **Second derivatives** of `perturb` raise a sentence: f was asked at a few points, and nothing there knows how its
  slope changes. The law asks for that. The rows "two points" move every number in turn, so that nothing is random.
- **torch.func per sample**: keep a batch dimension of one inside `vmap` (`row.unsqueeze(0)`), as for every layer whose
  loss averages over a batch; the first dimension is the batch here too.
- **Reentrant activation checkpoint inside `penalties()`**: its first run records nothing, so the bridge trains itself
  and is not in the bag. `use_reentrant=False` hands the penalty over.
- **Compiled code** may be called inside `penalties()`, not open it; names need `penalties(model)` if the call of the
  model is compiled too; `fidelity()` then knows the error, not the norm of the gradient.
- **A compiled layer in `eval()`** warns in its backward, as an eager one does, once for all layers that read alike; a
  compiled `torch.func` derivative warns while it is traced. Exported programs say nothing.
- **An exported hard function** that is not known to write nowhere carries one copy of its input.
- **ONNX of the samplers** is tested where probabilities are 0 or 1, where a sample has one value; elsewhere a runtime
  draws its own noise.
"""

_MONTE_CARLO = """
## Monte Carlo

Every estimator of `hardgrad.montecarlo`, over each kind of distribution that it takes, against every law of
`tests/mc_laws.py`. Whether the mean is the gradient is [another page](estimators.md). A dash: the law asks about
modules that an estimator owns, or about noise, and this one has none.

What does not hold, and what you get instead:

- **Second derivatives** are right for `exact`, `score_function` and the soft `gumbel` (of its relaxed expectation);
  the others raise, naming `score_function`. The law asks for one or the other.
- **A compiled `torch.func` derivative**: another derivative of what an estimator lent raises inside it; an ordinary
  `backward()` through its result cannot be seen from inside, and gives NaN.
- **A moving average inside an activation checkpoint** raises: the second run would compare each draw with an average
  that has seen it.
- **torch's own checks**: `OneHotCategorical` validates its logits even with `validate_args=False` (torch 2.13), which
  fails under `vmap`, on "meta" and for an empty batch, before an estimator sees it.
  `torch.distributions.Distribution.set_default_validate_args(False)` helps; the laws run under it.
- **A `generator`** is for eager code: compiled code follows torch's global seed.
- **A learned temperature** (`RebarControl`, `RelaxControl`) needs f's second derivative, which an f that is itself an
  estimate has not: hold the temperature in the outer of two layers.
"""


def is_complete(found: dict[tuple[str, str, str], str]) -> bool:
    surrogates = all((case.surrogate, case.hard, law) in found for case in CASES for law in COLUMNS)
    return surrogates and all((MONTE_CARLO, estimator.name, law) in found for estimator, law in _wanted())


def _wanted() -> list[tuple[mc_laws.Estimator, str]]:
    return [(estimator, law) for estimator in ESTIMATORS for law in mc_laws.LAWS if mc_laws.applies(law, estimator)]


def page(found: dict[tuple[str, str, str], str]) -> str:
    parts = [_HEAD.format(version=torch.__version__.split("+")[0])]
    for surrogate in dict.fromkeys(case.surrogate for case in CASES):
        parts += [f"\n## {surrogate.capitalize()}\n", f"| hard function | {' | '.join(COLUMNS)} |"]
        parts.append("|---" * (len(COLUMNS) + 1) + "|")
        for case in CASES:
            if case.surrogate == surrogate:
                cells = " | ".join(found[surrogate, case.hard, law] for law in COLUMNS)
                parts.append(f"| {case.hard} | {cells} |")
    parts += [_MONTE_CARLO, f"| estimator | {' | '.join(mc_laws.LAWS)} |", "|---" * (len(mc_laws.LAWS) + 1) + "|"]
    for estimator in ESTIMATORS:
        cells = " | ".join(found.get((MONTE_CARLO, estimator.name, law), "-") for law in mc_laws.LAWS)
        parts.append(f"| {estimator.name} | {cells} |")
    return "\n".join(parts) + "\n"

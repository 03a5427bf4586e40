"""The page docs/pass-matrix.md, from what the laws found."""

from __future__ import annotations

import torch

from cases import CASES
from distributed import LAW as DISTRIBUTED
from laws import LAWS

COLUMNS = [*LAWS, DISTRIBUTED]

_HEAD = """# Pass-matrix

Every surrogate over every hard function it admits, against every law. The test suite writes this page: it is what
`pytest tests` saw with torch {version}. What each law asks is in `tests/laws.py`, one function a column; `DDP` is
`tests/distributed.py`.

What does not hold, and what you get instead:

- **Forward mode** (`torch.func.jvp`, `jacfwd`): an error from torch that the function has no `jvp`. A Function that
  defines one cannot be traced by `torch.compile` (torch 2.13); reverse mode serves (`jacrev`).
- **torch.func per sample**: keep a batch dimension of one inside `vmap` (`row.unsqueeze(0)`), as for every layer whose
  loss averages over a batch; the first dimension is the batch here too.
- **Reentrant activation checkpoint inside `penalties()`**: its first run records nothing, so the bridge trains itself
  and is not in the bag. `use_reentrant=False` hands the penalty over.
- **Compiled code** may be called inside `penalties()`, not open it; names need `penalties(model)` if the call of the
  model is compiled too; `fidelity()` then knows the error, not the norm of the gradient.
- **ONNX of the samplers** is tested where probabilities are 0 or 1, where a sample has one value; elsewhere a runtime
  draws its own noise.
"""


def is_complete(found: dict[tuple[str, str, str], str]) -> bool:
    return all((case.surrogate, case.hard, law) in found for case in CASES for law in COLUMNS)


def page(found: dict[tuple[str, str, str], str]) -> str:
    parts = [_HEAD.format(version=torch.__version__.split("+")[0])]
    for surrogate in dict.fromkeys(case.surrogate for case in CASES):
        parts += [f"\n## {surrogate.capitalize()}\n", f"| hard function | {' | '.join(COLUMNS)} |"]
        parts.append("|---" * (len(COLUMNS) + 1) + "|")
        for case in CASES:
            if case.surrogate == surrogate:
                cells = " | ".join(found[surrogate, case.hard, law] for law in COLUMNS)
                parts.append(f"| {case.hard} | {cells} |")
    return "\n".join(parts) + "\n"

"""A C header as a user has it: in a file, compiled by gcc with every warning an error, called block by block."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O3"]
CALLS = """\
#include "{name}.h"
static {name}_state {name}_one;
void start_{name}(void) {{ {name}_init(&{name}_one); }}
void again_{name}(void) {{ {name}_reset(&{name}_one); }}
void run_{name}(float* x, int n) {{ {name}_process(&{name}_one, x, n); }}
"""
KNOB = "void turn_{name}(float k) {{ {name}_set_knob(&{name}_one, k); }}\n"


def compiled(headers: Sequence[Path], turned: Sequence[str] = ()) -> ctypes.CDLL:
    """Return a library of ``start_``, ``again_``, ``run_`` and ``turn_NAME`` for each header; all lie in one folder."""
    folder = headers[0].parent
    calls = [CALLS.format(name=path.stem) for path in headers] + [KNOB.format(name=name) for name in turned]
    (folder / "calls.c").write_text("".join(calls))
    words = ["gcc", *FLAGS, "-shared", "-fPIC", "calls.c", "-o", "calls.so", "-lm"]
    subprocess.run(words, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "calls.so"))


def played(library: ctypes.CDLL, name: str, x: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Return what a header makes of a sound, handed over in chunks of these lengths in turn."""
    y, at, turn = x.astype(np.float32).copy(), 0, 0
    while at < len(y):
        n = min(lengths[turn % len(lengths)], len(y) - at)
        library[f"run_{name}"](y[at:].ctypes.data_as(ctypes.c_void_p), n)
        at, turn = at + n, turn + 1
    return y

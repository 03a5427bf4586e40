"""A header of C99, which C++ reads, too: its frame, how it says how to be called, and its numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from hardgrad_lab.fit.rows import Array

USE = """\
{name}_state s;              one for each channel, made where you like: nothing here allocates
{name}_init(&s);             once
{name}_process(&s, x, n);    in place, n samples of any number: chunks are the whole
{name}_reset(&s);            as after init"""
# GCC takes short loops apart before it sees that outputs next to each other can be computed at once; KEEP forbids it.
HELPERS = {
    "": """\
#if defined(__GNUC__) && !defined(__clang__)
#define @KEEP _Pragma("GCC unroll 1")
#else
#define @KEEP
#endif
""",
    "@dot(": """\
static inline @real @dot(const @real* w, const @real* x, int n) {
  int i, j;
  @real s[8] = {0};
  for (i = 0; i + 8 <= n; i += 8)
    @KEEP for (j = 0; j < 8; j++) s[j] += w[i + j] * x[i + j];
  for (; i < n; i++) s[0] += w[i] * x[i];
  return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}
""",
    "@sigmoid(": """\
static inline @real @sigmoid(@real x) { return 1 / (1 + @exp(-x)); }
static inline @real @tanh(@real x) { return 1 - 2 / (1 + @exp(2 * x)); }
""",
}  # by what code has that calls them


def name_of(stem: str) -> str:
    """Return the prefix of all names in a header, from the name of its file."""
    name = re.sub(r"\W+", "_", stem.lower(), flags=re.ASCII).strip("_")
    return f"m{name}" if not name or name[0].isdigit() else name


def number(value: float, *, double: bool) -> str:
    """Return a number that C reads back bit for bit."""
    if np.isinf(value):
        return "HUGE_VAL" if value > 0 else "-HUGE_VAL"
    said = repr(float(value)) if double else f"{float(np.float32(value)):.9g}"
    said = said if re.search("[.e]", said) else f"{said}.0"
    return said if double else f"{said}f"


def table(arrays: Mapping[str, Array], *, double: bool) -> str:
    """Return ``@branches``, an array of one struct for each range, of what arrays (ranges, ...) hold for it."""
    fields = "".join(f"  @real {name}{''.join(f'[{n}]' for n in each.shape[1:])};\n" for name, each in arrays.items())
    rows = [",\n ".join(_braces(part, double=double) for part in row) for row in zip(*arrays.values(), strict=True)]
    values = ",\n".join(f"{{{row}}}" for row in rows)
    return f"typedef struct {{\n{fields}}} @branch;\nstatic const @branch @branches[{len(rows)}] = {{\n{values}}};\n"


def _braces(array: Array, *, double: bool) -> str:
    if np.ndim(array) == 0:
        return number(float(array), double=double)
    return "{" + (", " if array.ndim == 1 else ",\n ").join(_braces(part, double=double) for part in array) + "}"


def header(name: str, code: str, about: Sequence[str], *, double: bool) -> str:
    """Return a header: C99, and C++; nothing but <math.h>.

    Args:
        name: the prefix of all names.
        code: with ``@`` for that prefix.
        about: lines that say what the model is.
        double: the precision it computes in.
    """
    use = USE + ("\n{name}_set_knob(&s, k);     at any time between two calls" if "@set_knob" in code else "")
    said = "\n   ".join([*about, "", *use.format(name=name).splitlines()])
    said = said.replace("*/", "* /").replace("/*", "/ *")  # of a file's name, which must not end the comment
    text = f"""\
/* {said} */
#ifndef {name.upper()}_H
#define {name.upper()}_H
#include <math.h>
typedef {"double" if double else "float"} @real;
{"".join(helper for mark, helper in HELPERS.items() if mark in code)}{code}
#endif
"""
    return text.replace("@exp(", "exp(" if double else "expf(").replace("@", f"{name}_")

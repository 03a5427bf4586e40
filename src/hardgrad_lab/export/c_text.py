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


def values(array: Array, *, double: bool) -> str:
    """Return an array as C's braces, rows on lines of their own."""
    if array.ndim == 0:
        return number(float(array), double=double)
    inner = [values(part, double=double) for part in array]
    return "{" + (", " if array.ndim == 1 else ",\n ").join(inner) + "}"


def fields(arrays: Mapping[str, Array]) -> str:
    """Return the fields of a struct that holds one range's part of arrays (N, ...)."""
    return "".join(f"  @real {name}{''.join(f'[{n}]' for n in each.shape[1:])};\n" for name, each in arrays.items())


def table(arrays: Mapping[str, Array], *, double: bool) -> str:
    """Return the values of an array of such structs, one for each range."""
    ranges = len(next(iter(arrays.values())))
    rows = [",\n ".join(values(each[r], double=double) for each in arrays.values()) for r in range(ranges)]
    return ",\n".join(f"{{{row}}}" for row in rows)


def comment(lines: Sequence[str]) -> str:
    """Return lines as one comment; what a file's name could end it with is taken out."""
    safe = [line.replace("*/", "* /").replace("/*", "/ *") for line in lines]
    return "/* " + "\n   ".join(safe) + " */\n"


def header(name: str, code: str, about: Sequence[str], *, double: bool, knob: bool) -> str:
    """Return a header: C99, and C++; nothing but <math.h>.

    Args:
        name: the prefix of all names.
        code: with ``@`` for that prefix.
        about: lines that say what the model is.
        double: the precision it computes in.
        knob: whether ``code`` has a knob.
    """
    use = USE.format(name=name).splitlines()
    if knob:
        use.append(f"{name}_set_knob(&s, k);     at any time between two calls")
    real = "double" if double else "float"
    said = comment([*about, "", *use])
    text = f"""\
{said}#ifndef {name.upper()}_H
#define {name.upper()}_H
#include <math.h>
typedef {real} @real;
{code}
#endif
"""
    return text.replace("@exp(", "exp(" if double else "expf(").replace("@", f"{name}_")

"""The C header of a model of sounds, with how to call it."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.export.c_text import comment

USE = """\
{name}_state s;              one for each channel, made where you like: nothing here allocates
{name}_init(&s);             once
{name}_process(&s, x, n);    in place, n samples of any number: chunks are the whole
{name}_reset(&s);            as after init"""


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

"""The look-up of a range and the state as C, and the lines that run networks on a block or a window of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hardgrad_lab.export.c_layers import cell, convolution, dense
from hardgrad_lab.export.c_text import number
from hardgrad_lab.export.plan import Layer


def look_up(points: Sequence[float]) -> str:
    """Return the function from a key to its range: those below the first point or above the last take the nearest.

    A key in single precision is at or above a point just when it is at or above the next number that single precision
    has, so that nothing is computed in double precision. A sum of comparisons has no branch to mispredict.
    """
    reached = " + ".join(f"(key >= {number(_above(point), double=False)})" for point in points[1:-1])
    return f"static inline int @range(float key) {{ return {reached or '0 * (key > 0)'}; }}\n"


def _above(point: float) -> float:
    near = np.float32(point)
    return float(near if float(near) >= point else np.nextafter(near, np.float32(np.inf)))


def frame(points: Sequence[float] | None, state: Mapping[str, int], begin: Mapping[str, str]) -> str:
    """Return struct, reset, init and, for the points of a knob, set_knob.

    Args:
        points: of the knob's ranges, or None.
        state: fields of the struct, by name and length.
        begin: what fields begin at, where that is not 0.
    """
    fields = "".join(f"  @real {name}[{length}];\n" for name, length in state.items())
    clear = [
        f"  for (j = 0; j < {length}; j++) s->{name}[j] = {begin.get(name, 0)};\n" for name, length in state.items()
    ]
    knob = "static inline void @set_knob(@state* s, float knob) { s->range = @range(knob); }\n"
    return f"""\
{look_up(points) if points else ""}
typedef struct {{
{fields}  int range;
}} @state;

static inline void @reset(@state* s) {{
  int j = 0;
{"".join(clear)}  (void)j; (void)s;
}}
static inline void @init(@state* s) {{ s->range = 0; @reset(s); }}
{knob if points else ""}"""


def dense_block(layers: Sequence[Layer], block: int, first: str, newest: str) -> str:
    """Return the lines that bring ``m`` samples from layer to layer, a layer at a time.

    Args:
        layers: dense ones.
        block: the most samples.
        first: the input of sample ``t``, an array.
        newest: its last number, where that does not lie there.
    """
    sizes = "".join(f"  @real y{i}[{block}][{layer.width}];\n" for i, layer in enumerate(layers))
    lines = ""
    for i, layer in enumerate(layers):
        run = dense(layer, i, f"y{i - 1}[t]" if i else first, f"y{i}[t]", "" if i else newest)
        lines += f"  for (t = 0; t < m; t++) {{\n    const @branch* b = @branches + ranges[t];\n{run}  }}\n"
    return f"{sizes}{lines}  for (t = 0; t < m; t++) buffer[t] = (float)y{len(layers) - 1}[t][0];\n"


def window_function(layers: Sequence[Layer], window: int) -> str:
    """Return ``@network(branch, in)`` of convolutions or cells along a window, for one sample."""
    *inner, last = layers
    lines, top = _convolutions(inner, window) if inner[0].kind == "conv1d" else _cells(inner, window)
    return f"""\
static inline @real @network(const @branch* b, const @real* in) {{
  int i, j, l;
  @real out[1];
{lines}{dense(last, len(inner), top, "out")}  return out[0];
}}
"""


def _convolutions(inner: Sequence[Layer], window: int) -> tuple[str, str]:
    counts, span = [1], 0  # steps of each one's input that the last step of the last is made of, the newest first
    for layer in reversed(inner):
        span += (layer.arrays["weight"].shape[-1] - 1) * layer.dilation
        counts.insert(0, min(span, window - 1) // layer.dilation + 1)
    sizes = "".join(f", a{i + 1}[{counts[i + 1]}][{layer.width}]" for i, layer in enumerate(inner))
    lines = f"  int k;\n  @real a0[{counts[0]}][1]{sizes};\n"
    lines += f"    for (l = 0; l < {counts[0]}; l++) a0[l][0] = in[{window - 1} - l];\n"
    lines += "".join(convolution(layer, i, counts[i + 1], counts[i]) for i, layer in enumerate(inner))
    return lines, f"a{len(inner)}[0]"


def _cells(inner: Sequence[Layer], window: int) -> tuple[str, str]:
    n, gates = inner[0].width, inner[0].arrays["weight_ih"].shape[1]
    lines = f"""\
  @real g[{gates}], u[{gates}], h[{len(inner)}][{n}], c[{len(inner)}][{n}];
  for (i = 0; i < {len(inner)}; i++)
    for (j = 0; j < {n}; j++) c[i][j] = h[i][j] = 0;
  for (l = 0; l < {window}; l++) {{
    const @real* x = in + l;
"""
    lines += "".join(cell(layer, i, f"h[{i - 1}]" if i else "x", f"h[{i}]", f"c[{i}]") for i, layer in enumerate(inner))
    return lines + "  }\n  (void)c;\n", f"h[{len(inner) - 1}]"

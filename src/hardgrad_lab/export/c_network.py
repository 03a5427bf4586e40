"""A switch's networks as C: the table of all ranges, the look-up, and the lines that run a block of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardgrad_lab.export.c_layers import KEEP, arrays_of, cell, convolution, dense, steps_read
from hardgrad_lab.export.c_text import fields, number, table
from hardgrad_lab.export.plan import Layer
from hardgrad_lab.fit.rows import Array

CELLS = """\
static inline @real @sigmoid(@real x) { return 1 / (1 + @exp(-x)); }
static inline @real @tanh(@real x) { return 1 - 2 / (1 + @exp(2 * x)); }
"""


def look_up(points: Sequence[float]) -> str:
    """Return the function from a key to its range: those below the first point or above the last take the nearest.

    A key in single precision is at or above a point just when it is at or above the next number that single precision
    has, so that nothing is computed in double precision.
    """
    inner = [number(_above(point), double=False) for point in points[1:-1]]
    if len(inner) <= 16:
        sum_of = " + ".join(f"(key >= {point})" for point in inner) or "0 * (key > 0)"
        return f"static inline int @range(float key) {{ return {sum_of}; }}\n"
    return f"""\
static const float @points[{len(inner)}] = {{{", ".join(inner)}}};
static inline int @range(float key) {{
  int low = 0, high = {len(inner)}, middle;
  while (low < high) {{
    middle = (low + high) / 2;
    if (key >= @points[middle]) low = middle + 1; else high = middle;
  }}
  return low;
}}
"""


def _above(point: float) -> float:
    """Return the least number of single precision that is not below a point."""
    near = np.float32(point)
    return float(near if float(near) >= point else np.nextafter(near, np.float32(np.inf)))


def weights(layers: Sequence[Layer], *, double: bool, more: dict[str, Array] | None = None) -> str:
    """Return the table ``@branches``, one struct a range, of layers and further numbers."""
    arrays = dict(more or {})
    for i, layer in enumerate(layers):
        arrays |= arrays_of(layer, i)
    count = len(next(iter(arrays.values())))
    cells = CELLS if layers and layers[0].kind in ("gru", "lstm") else ""
    return f"""\
{KEEP}{cells}typedef struct {{
{fields(arrays)}}} @branch;
static const @branch @branches[{count}] = {{
{table(arrays, double=double)}}};
"""


def dense_block(layers: Sequence[Layer], block: int, first: str, newest: str) -> str:
    """Return the lines that bring a block of samples from layer to layer, a layer at a time.

    Args:
        layers: dense ones.
        block: samples of a block.
        first: the input of sample ``t``, an array.
        newest: its last number, where that does not lie there.
    """
    sizes = "".join(f"  @real y{i}[{block}][{layer.width}];\n" for i, layer in enumerate(layers))
    lines = ""
    for i, layer in enumerate(layers):
        run = dense(layer, i, first, "y0[t]", newest) if i == 0 else dense(layer, i, f"y{i - 1}[t]", f"y{i}[t]")
        lines += f"  for (t = 0; t < m; t++) {{\n    const @branch* b = @branches + ranges[t];\n{run}  }}\n"
    return f"{sizes}{lines}  for (t = 0; t < m; t++) buffer[t] = (float)y{len(layers) - 1}[t][0];\n"


def window_function(layers: Sequence[Layer], window: int, columns: int) -> str:
    """Return ``@network(branch, in)`` of convolutions or cells along a window, for one sample."""
    *inner, last = layers
    lines = _convolutions(inner, window, columns) if inner[0].kind == "conv1d" else _cells(inner, window, columns)
    top = f"a{len(inner)}[0]" if inner[0].kind == "conv1d" else f"h[{len(inner) - 1}]"
    return f"""\
static inline @real @network(const @branch* b, const @real* in) {{
  int i, j;
  @real sums[8], out[1];
  (void)sums;
{lines}{dense(last, len(inner), top, "out")}  return out[0];
}}
"""


def _convolutions(inner: Sequence[Layer], window: int, columns: int) -> str:
    counts = steps_read(list(inner), window)
    sizes = "".join(f", a{i + 1}[{counts[i + 1]}][{layer.width}]" for i, layer in enumerate(inner))
    lines = f"""\
  int k, l;
  @real a0[{counts[0]}][{columns}]{sizes};
    for (l = 0; l < {counts[0]}; l++)
      for (j = 0; j < {columns}; j++) a0[l][j] = in[({window - 1} - l) * {columns} + j];
"""
    for i, layer in enumerate(inner):
        lines += convolution(layer, i, f"a{i}", f"a{i + 1}", counts[i + 1], counts[i])
    return lines


def _cells(inner: Sequence[Layer], window: int, columns: int) -> str:
    n, gates = inner[0].width, inner[0].arrays["weight_ih"].shape[1]
    second = f", u[{gates}]" if inner[0].kind == "gru" else f", c[{len(inner)}][{n}]"
    clear = "" if inner[0].kind == "gru" else "c[i][j] = "
    lines = f"""\
  int l;
  @real g[{gates}], h[{len(inner)}][{n}]{second};
  for (i = 0; i < {len(inner)}; i++)
    for (j = 0; j < {n}; j++) {clear}h[i][j] = 0;
  for (l = 0; l < {window}; l++) {{
    const @real* x = in + l * {columns};
"""
    for i, layer in enumerate(inner):
        lines += cell(layer, i, "x" if i == 0 else f"h[{i - 1}]", f"h[{i}]", f"c[{i}]")
    return lines + "  }\n"

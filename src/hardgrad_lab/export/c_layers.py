"""Each layer as C: what its range's struct ``b`` holds, and the lines that run it.

Weights lie with the outputs next to each other, so that a compiler computes several outputs at once; ``KEEP`` keeps it
from taking these loops apart before it sees that.
"""

from __future__ import annotations

from hardgrad_lab.export.plan import Layer
from hardgrad_lab.fit.rows import Array

KEEP = """\
#if defined(__GNUC__) && !defined(__clang__)
#define @KEEP _Pragma("GCC unroll 1")
#else
#define @KEEP
#endif
"""
LANES = 8  # partial sums of a scalar product


def each(width: int, line: str) -> str:
    """Return a line for each of ``width`` numbers ``j`` next to each other."""
    return f"    @KEEP for (j = 0; j < {width}; j++) {line}\n"


def arrays_of(layer: Layer, i: int) -> dict[str, Array]:
    """Return the arrays of layer i, by their names in the struct, the ranges in dimension 0."""
    a = layer.arrays
    if layer.kind == "dense":
        return {f"w{i}": a["weight"].swapaxes(1, 2), f"b{i}": a["bias"]}
    if layer.kind == "conv1d":
        return {f"w{i}": a["weight"].transpose(0, 3, 2, 1)[:, ::-1], f"b{i}": a["bias"]}
    w, u = (a[f"weight_{part}"].swapaxes(1, 2) for part in ("ih", "hh"))
    if layer.kind == "lstm":
        return {f"w{i}": w, f"u{i}": u, f"b{i}": a["bias_ih"] + a["bias_hh"]}
    return {f"w{i}": w, f"u{i}": u, f"b{i}": a["bias_ih"], f"c{i}": a["bias_hh"]}


def dense(layer: Layer, i: int, x: str, y: str, newest: str = "") -> str:
    """Return the lines from array ``x`` to array ``y``; ``newest`` is the last input where it does not lie in ``x``."""
    outputs, inputs = layer.arrays["weight"].shape[1:]
    there = inputs - bool(newest)
    if outputs == 1 and there >= 2 * LANES:
        lines = _scalar(there, i, x, y)
    else:
        lines = each(outputs, f"{y}[j] = b->b{i}[j];")
        if there:
            lines += f"    for (i = 0; i < {there}; i++)\n  "
            lines += each(outputs, f"{y}[j] += b->w{i}[i][j] * {x}[i];")
    if newest:
        lines += each(outputs, f"{y}[j] += b->w{i}[{there}][j] * {newest};")
    return lines + (each(outputs, _relu(f"{y}[j]")) if layer.relu else "")


def _scalar(inputs: int, i: int, x: str, y: str) -> str:
    whole = inputs - inputs % LANES
    return f"""\
{each(LANES, "sums[j] = 0;")}    for (i = 0; i < {whole}; i += {LANES})
  {each(LANES, f"sums[j] += b->w{i}[i + j][0] * {x}[i + j];")}    for (i = {whole}; i < {inputs}; i++)
      sums[0] += b->w{i}[i][0] * {x}[i];
    {y}[0] = b->b{i}[0] + sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
"""


def _relu(y: str) -> str:  # written so that a NaN stays one
    return f"{y} = {y} < 0 ? 0 : {y};"


def convolution(layer: Layer, i: int, x: str, y: str, count: int, before: int) -> str:
    """Return the lines from the ``before`` newest steps of ``x`` to the ``count`` of ``y`` that later layers read.

    Both are newest first, and a step of ``y`` is two of ``x``; before the window there are zeros.
    """
    outputs, inputs, kernel = layer.arrays["weight"].shape[1:]
    return f"""\
    for (l = 0; l < {count}; l++) {{
{each(outputs, f"{y}[l][j] = b->b{i}[j];")}    for (k = 0; k < {kernel} && 2 * l + k < {before}; k++)
      for (i = 0; i < {inputs}; i++)
    {each(outputs, f"{y}[l][j] += b->w{i}[k][i][j] * {x}[2 * l + k][i];")}{each(outputs, _relu(f"{y}[l][j]"))}    }}
"""


def steps_read(layers: list[Layer], window: int) -> list[int]:
    """Return how many steps of its input each convolution needs for the last step of the last, and 1 at the end."""
    counts, span = [1], 0
    for layer in reversed(layers):
        span += (layer.arrays["weight"].shape[-1] - 1) * layer.dilation
        counts.append(min(span, window - 1) // layer.dilation + 1)
    return counts[::-1]


def cell(layer: Layer, i: int, x: str, h: str, c: str) -> str:
    """Return the lines of one step of a GRU or LSTM on the input ``x``, which move the states ``h`` and ``c``."""
    gates, inputs = layer.arrays["weight_ih"].shape[1:]
    n, lstm = layer.width, layer.kind == "lstm"
    lines = each(gates, f"g[j] = b->b{i}[j];") + ("" if lstm else each(gates, f"u[j] = b->c{i}[j];"))
    lines += f"    for (i = 0; i < {inputs}; i++)\n  " + each(gates, f"g[j] += b->w{i}[i][j] * {x}[i];")
    lines += f"    for (i = 0; i < {n}; i++)\n  "
    lines += each(gates, f"{'g' if lstm else 'u'}[j] += b->u{i}[i][j] * {h}[i];")
    return lines + (_lstm(n, h, c) if lstm else _gru(n, h))


def _gru(n: int, h: str) -> str:
    return (
        each(2 * n, "g[j] = @sigmoid(g[j] + u[j]);")
        + each(n, f"g[{2 * n} + j] = @tanh(g[{2 * n} + j] + g[j] * u[{2 * n} + j]);")
        + each(n, f"{h}[j] = g[{2 * n} + j] + g[{n} + j] * ({h}[j] - g[{2 * n} + j]);")
    )


def _lstm(n: int, h: str, c: str) -> str:
    return (
        each(2 * n, "g[j] = @sigmoid(g[j]);")
        + each(n, f"g[{2 * n} + j] = @tanh(g[{2 * n} + j]);")
        + each(n, f"g[{3 * n} + j] = @sigmoid(g[{3 * n} + j]);")
        + each(n, f"{c}[j] = g[{n} + j] * {c}[j] + g[j] * g[{2 * n} + j];")
        + each(n, f"{h}[j] = g[{3 * n} + j] * @tanh({c}[j]);")
    )

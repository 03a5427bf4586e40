"""Each layer as C: what its range's struct ``b`` holds, and the lines that run it.

Weights lie with the outputs next to each other, so that a compiler computes several outputs at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.export.plan import Layer
from hardgrad_lab.fit.rows import Array

DOT = 16  # inputs from which one output is a scalar product of partial sums


def each(width: int, line: str) -> str:
    """Return a line for each of ``width`` numbers ``j`` next to each other."""
    return f"    @KEEP for (j = 0; j < {width}; j++) {line}\n"


def arrays_of(layers: Sequence[Layer]) -> dict[str, Array]:
    """Return the arrays of layers by their names in the struct, the ranges in dimension 0."""
    found: dict[str, Array] = {}
    for i, layer in enumerate(layers):
        a = layer.arrays
        if layer.kind == "dense":
            found |= {f"w{i}": a["weight"].swapaxes(1, 2), f"b{i}": a["bias"]}
        elif layer.kind == "conv1d":
            found |= {f"w{i}": a["weight"].transpose(0, 3, 2, 1)[:, ::-1], f"b{i}": a["bias"]}
        else:
            found |= {f"w{i}": a["weight_ih"].swapaxes(1, 2), f"u{i}": a["weight_hh"].swapaxes(1, 2)}
            found |= {f"b{i}": a["bias_ih"], f"c{i}": a["bias_hh"]}
    return found


def dense(layer: Layer, i: int, x: str, y: str, newest: str = "") -> str:
    """Return the lines from array ``x`` to array ``y``; ``newest`` is the last input where it does not lie in ``x``."""
    outputs, inputs = layer.arrays["weight"].shape[1:]
    there = inputs - bool(newest)
    if outputs == 1 and there >= DOT:
        lines = f"    {y}[0] = b->b{i}[0] + @dot(b->w{i}[0], {x}, {there});\n"
    else:
        lines = each(outputs, f"{y}[j] = b->b{i}[j];") + (_products(outputs, f"b->w{i}", x, y, there) if there else "")
    if newest:
        lines += each(outputs, f"{y}[j] += b->w{i}[{there}][j] * {newest};")
    return lines + (each(outputs, _relu(f"{y}[j]")) if layer.relu else "")


def _products(outputs: int, weight: str, x: str, y: str, inputs: int) -> str:
    return f"    for (i = 0; i < {inputs}; i++)\n  " + each(outputs, f"{y}[j] += {weight}[i][j] * {x}[i];")


def _relu(y: str) -> str:  # written so that a NaN stays one
    return f"{y} = {y} < 0 ? 0 : {y};"


def convolution(layer: Layer, i: int, count: int, before: int) -> str:
    """Return the lines from the ``before`` newest steps of ``a{i}`` to the ``count`` of the next that are read later.

    Both are newest first, and a step of the next is two of this; before the window there are zeros.
    """
    outputs, inputs, kernel = layer.arrays["weight"].shape[1:]
    x, y = f"a{i}[2 * l + k]", f"a{i + 1}[l]"
    return f"""\
    for (l = 0; l < {count}; l++) {{
{each(outputs, f"{y}[j] = b->b{i}[j];")}    for (k = 0; k < {kernel} && 2 * l + k < {before}; k++)
  {_products(outputs, f"b->w{i}[k]", x, y, inputs)}{each(outputs, _relu(f"{y}[j]"))}    }}
"""


def cell(layer: Layer, i: int, x: str, h: str, c: str) -> str:
    """Return the lines of one step of a GRU or LSTM on the input ``x``, which move the states ``h`` and ``c``."""
    gates, inputs = layer.arrays["weight_ih"].shape[1:]
    n = layer.width
    lines = each(gates, f"g[j] = b->b{i}[j];") + each(gates, f"u[j] = b->c{i}[j];")
    lines += _products(gates, f"b->w{i}", x, "g", inputs) + _products(gates, f"b->u{i}", h, "u", n)
    return lines + (_lstm(n, h, c) if layer.kind == "lstm" else _gru(n, h))


def _gru(n: int, h: str) -> str:
    return (
        each(2 * n, "g[j] = @sigmoid(g[j] + u[j]);")
        + each(n, f"g[{2 * n} + j] = @tanh(g[{2 * n} + j] + g[j] * u[{2 * n} + j]);")
        + each(n, f"{h}[j] = g[{2 * n} + j] + g[{n} + j] * ({h}[j] - g[{2 * n} + j]);")
    )


def _lstm(n: int, h: str, c: str) -> str:
    return (
        each(4 * n, f"g[j] = j / {n} == 2 ? @tanh(g[j] + u[j]) : @sigmoid(g[j] + u[j]);")
        + each(n, f"{c}[j] = g[{n} + j] * {c}[j] + g[j] * g[{2 * n} + j];")
        + each(n, f"{h}[j] = g[{3 * n} + j] * @tanh({c}[j]);")
    )

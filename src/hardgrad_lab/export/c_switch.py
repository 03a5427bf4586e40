"""A switch fitted to sounds as C: the window is the state, and a block of samples goes from layer to layer."""

from __future__ import annotations

import numpy as np

from hardgrad_lab.export.c_layers import arrays_of
from hardgrad_lab.export.c_network import dense_block, frame, look_up, window_function
from hardgrad_lab.export.c_text import number, table
from hardgrad_lab.export.plan import Plan
from hardgrad_lab.fit.rows import Array

BLOCK = 64  # samples at a time: what lies between two layers stays in the nearest cache


def switch_code(plan: Plan) -> str:
    """Return the C of a switch of one column of sound: struct, init, reset, process."""
    past, dense = plan.window - 1, plan.layers[0].kind == "dense"
    layers = [*plan.layers[:-1], plan.layers[-1].times(plan.out_scale, plan.out_shift)]
    newest = "" if plan.raw is None else "newest[t]"
    run = dense_block(layers, BLOCK, "(s->past + t)", newest) if dense else _one_by_one(plan)
    state = {"past": past + BLOCK, "begun": 1}  # scaled samples: the window before a block, and the block
    return f"""\
{table(_centers(plan) | arrays_of(layers), double=plan.double)}{"" if dense else window_function(layers, plan.window)}\
{"" if plan.by_knob else look_up(plan.points)}{frame(plan.points if plan.by_knob else None, state, {})}
static inline void @block(@state* s, float* buffer, int m) {{
  int i, j, t, ranges[{BLOCK}];
  @real newest[{BLOCK}];
  (void)i; (void)j; (void)newest;
  for (t = 0; t < m; t++) ranges[t] = {"s->range" if plan.by_knob else "@range(buffer[t])"};
{_scale_samples(plan)}{run}  for (i = 0; i < {past}; i++) s->past[i] = s->past[m + i];
}}

static inline void @process(@state* s, float* buffer, int n) {{
  for (; n > {BLOCK}; buffer += {BLOCK}, n -= {BLOCK}) @block(s, buffer, {BLOCK});
  if (n > 0) @block(s, buffer, n);
}}
"""


def _centers(plan: Plan) -> dict[str, Array]:
    """Return what maps a range to [-1, 1]; its center in two parts, so that single precision loses nothing of it."""
    if plan.raw is None:
        return {}
    center = plan.shift[:, plan.raw]
    coarse = center if plan.double else center.astype(np.float32).astype(np.float64)
    return {"center": coarse, "rest": center - coarse, "inverse": 1 / plan.scale[:, plan.raw]}


def _scale_samples(plan: Plan) -> str:
    past, raw = plan.window - 1, plan.raw is not None
    lines = ""
    if past or not raw:
        mean, scale = (number(float(each[0, 0]), double=True) for each in (plan.shift, plan.scale))
        lines = f"""\
  for (t = 0; t < m; t++) s->past[{past} + t] = (@real)((buffer[t] - {mean}) / {scale});
  for (i = s->begun[0] ? {past} : 0; i < {past}; i++) s->past[i] = s->past[{past}]; /* as if it had stood still */
  s->begun[0] = 1;
"""
    if raw:
        lines += """\
  for (t = 0; t < m; t++) {
    const @branch* b = @branches + ranges[t];
    newest[t] = ((buffer[t] - b->center) - b->rest) * b->inverse;
  }
"""
    return lines


def _one_by_one(plan: Plan) -> str:
    newest = "" if plan.raw is None else f"    in[{plan.raw}] = newest[t];\n"
    return f"""\
  for (t = 0; t < m; t++) {{
    @real in[{plan.window}];
    for (i = 0; i < {plan.window}; i++) in[i] = s->past[t + i];
{newest}    buffer[t] = (float)@network(@branches + ranges[t], in);
  }}
"""

"""A device as C: the frame that all kinds share."""

from __future__ import annotations

from hardgrad_lab.devices.device import Device
from hardgrad_lab.export.c_network import look_up
from hardgrad_lab.export.c_recipes import RECIPES
from hardgrad_lab.export.c_switch import SET_KNOB
from hardgrad_lab.export.c_text import table
from hardgrad_lab.export.plan import ExportError
from hardgrad_lab.fit.sounds.knob import Knob


def device_code(device: Device) -> str:
    """Return the C of a device: struct, init, reset, set_knob, process.

    Raises:
        ExportError: for a kind without a recipe.
    """
    if device.kind not in RECIPES:
        raise ExportError(f"a device of kind {device.kind!r} has no form in C; these have: {', '.join(RECIPES)}")
    recipe = RECIPES[device.kind](device)
    state = "".join(f"  @real {name}[{length}];\n" for name, length in recipe.state.items())
    clear = "".join(
        f"  for (j = 0; j < {length}; j++) s->{name}[j] = {recipe.begin.get(name, '0')};\n"
        for name, length in recipe.state.items()
    )
    knob = Knob(name="knob", values=tuple(device.knob)).points() if device.knob else None
    return f"""\
{table(recipe.arrays, double=True)}{look_up(knob) if knob else ""}
typedef struct {{
{state}  int range;
}} @state;

static inline void @reset(@state* s) {{
  int j = 0;
{clear}  (void)j; (void)s;
}}
static inline void @init(@state* s) {{ s->range = 0; @reset(s); }}
{SET_KNOB if knob else ""}
static inline void @process(@state* s, float* buffer, int n) {{
  int i = 0, j = 0, t;
  const @branch* b = @branches + s->range;
  for (t = 0; t < n; t++) {{
    @real x = buffer[t], y = 0;
{recipe.step}    buffer[t] = (float)y;
  }}
  (void)i; (void)j; (void)b;
}}
"""

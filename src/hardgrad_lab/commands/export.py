"""``hardgrad export``: a model folder in; a C header, JSON, ONNX or a torch program out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

app = App(name="export", help="Write a fitted model as C, JSON, ONNX or a torch program.")
Flag = Parameter(negative="")


@app.default
def export(
    model: Path,
    /,
    *,
    to: Literal["c", "json", "onnx", "torch"],
    out: Path | None = None,
    force: Annotated[bool, Flag] = False,
    trust: Annotated[bool, Flag] = False,
) -> int:
    """Write a fitted model in the form that a plug-in or another runtime takes.

    Parameters
    ----------
    model
        The folder that ``hardgrad fit`` made.
    to
        c: one C99 header that needs nothing but math.h. json: the layers of each range as RTNeural reads them, with
        the points. onnx, of a window or columns: a graph for onnxruntime; torch: a program for torch.export.load.
    out
        The file to write; its name is the prefix in C. By default the model's name, with .h, .json, .onnx or .pt2.
    force
        Replace what is there.
    trust
        Import and run the code that the model names, if its branches are made by a ``module:factory``.
    """
    from hardgrad_lab.export.write import ENDINGS
    from hardgrad_lab.export.write import export as write
    from hardgrad_lab.fit.folder import load_any, read_description

    out = out or Path(model.resolve().name + ENDINGS[to])
    if out.exists() and (out.is_dir() or not force):
        raise ValueError(f"{out} is there already; choose another --out" + ("" if out.is_dir() else ", or add --force"))
    described = read_description(model)
    lines = write(load_any(model, trust=trust), described, to, out)
    console = Console(emoji=False)
    for line in [f"{model} as {to}: {out}", *lines]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0

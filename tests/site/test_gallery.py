"""The gallery's scripts, each alone, as a reader runs it: python -m pytest tests/site/test_gallery.py

No part of the plain test command: they take some minutes together.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

HERE = Path(__file__).parent
GALLERY = HERE.parent.parent / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.rglob("*.py"))
SECONDS = 20
# What runs in the other process: the script, and then a look at what it drew.
RUN = f"""
import runpy, sys, time
runpy.run_path(sys.argv[1], run_name="__main__")
assert time.process_time() < {SECONDS}, f"takes {{time.process_time():.0f}} s of the processor"
import matplotlib.pyplot as plt
assert plt.get_fignums(), "draws nothing"
for figure in map(plt.figure, plt.get_fignums()):
    assert any(axes.get_title(place) for axes in figure.axes for place in ("left", "center")), "no title to read out"
    assert any(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes), "no axis has a name"
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 > -0.05 and box.y0 > -0.05 and box.x1 < width + 0.05 and box.y1 < height + 0.05, f"clipped: {{box}}"
"""


def name(script: Path) -> str:
    return script.relative_to(GALLERY).with_suffix("").as_posix()


every_script = pytest.mark.parametrize("script", SCRIPTS, ids=name)


def test_there_are_enough() -> None:
    assert len(SCRIPTS) >= 18


@every_script
def test_runs_alone_without_a_warning(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive", "-c", RUN, str(script)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())  # it leaves no file behind


@every_script
def test_says_what_it_shows_and_holds_itself_to_it(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    title, underline, *rest = (ast.get_docstring(tree) or "").split("\n")
    assert set(underline) == {"="}
    assert len(underline) == len(title)
    assert "".join(rest)
    assert text.count("# %%\n") >= 2
    assert sum(bool(line.strip()) for line in text.splitlines()) < 140


@every_script
def test_needs_nothing_but_torch_hardgrad_and_matplotlib(script: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr == "__init__", f"{node.attr} is no public name"
    assert imported - sys.stdlib_module_names <= {"torch", "hardgrad", "matplotlib", "numpy"}


def test_the_order_names_every_script_once() -> None:
    tree = ast.parse((GALLERY.parent.parent / "docs" / "scripts" / "gallery.py").read_text(encoding="utf-8"))
    (order,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "ORDER")
    assert sorted(ast.literal_eval(order)) == sorted(map(name, SCRIPTS))


def test_nothing_is_black_in_a_dark_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(GALLERY.parent.parent / "docs" / "scripts")
    look = importlib.import_module("gallery")
    matplotlib.use("agg")
    look.reset({}, "")
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], "o-", label="line")
    axes.plot([0, 1], [1, 0], "k:")
    axes.bar([0, 1], [1, 2], color="C1", alpha=0.5)
    axes.scatter([0, 1], [2, 2], color=["C2", "black"])
    axes.eventplot([[0.2], [0.7]], colors=["black", "C0"])
    axes.set(title="title", xlabel="name", ylabel="name")
    axes.legend()
    assert dark_pixels(figure) > 100
    look.darken(figure)
    assert dark_pixels(figure) == 0
    plt.close(figure)


def dark_pixels(figure: Figure) -> int:
    figure.set_facecolor("none")
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    return int(((pixels[..., :3].max(-1) < 60) & (pixels[..., 3] > 200)).sum())


def test_every_folder_has_a_heading() -> None:
    for folder in {script.parent for script in SCRIPTS}:
        title, underline, *_ = (folder / "README.rst").read_text(encoding="utf-8").splitlines()
        assert set(underline) == {"-"}
        assert len(underline) == len(title)

"""The recipes run, each in a process of its own, and each has a page that shows it. Needs the ``examples`` extra."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples" / "recipes").glob("*.py"))
PAGES = ROOT / "docs" / "recipes"
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def page_of(script: Path) -> Path:
    return PAGES / f"{script.stem.replace('_', '-')}.md"


def test_there_are_recipes() -> None:
    assert len(SCRIPTS) >= 15


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_recipe_runs(script: Path, tmp_path: Path) -> None:
    """What it claims holds: a script ends with its assertions."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HOME": str(tmp_path),  # libraries keep their caches there
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_recipe_has_its_page(script: Path) -> None:
    page, index = page_of(script), (PAGES / "index.md").read_text()
    assert page.is_file(), f"{script.name} needs a page {page.relative_to(ROOT)}"
    text = page.read_text()
    assert f"{{literalinclude}} ../../examples/recipes/{script.name}\n" in text
    assert f"(../../examples/recipes/{script.name})" in text, "a link, for readers on the forge"
    assert "**The one rule:**" in text
    assert len(FENCE.sub("", text).split()) <= 400
    assert f"({page.name})" in index, "a row of the table"
    assert re.search(rf"^{re.escape(page.stem)}$", index, re.MULTILINE), "an entry of the toctree"


def test_pages_show_what_exists() -> None:
    shown = {page.stem for page in PAGES.glob("*.md")} - {"index"}
    assert shown == {page_of(script).stem for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_recipe_can_be_copied(script: Path) -> None:
    """It is short, says its rule, asserts something, and its name hides no library from the script beside it."""
    text = script.read_text()
    tree = ast.parse(text)
    assert 30 <= len(text.splitlines()) <= 120
    assert "The one rule: " in (ast.get_docstring(tree) or "").replace("\n", " ")
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert importlib.util.find_spec(script.stem) is None, "python puts the script's folder first on its path"

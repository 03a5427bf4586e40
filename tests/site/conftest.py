"""The site, built once without the gallery's pictures, and a browser to open it in.

Not collected by the plain test command; ``python -m pytest tests/site`` needs the ``docs`` extra and a Chromium, on the
PATH or named by HARDGRAD_BROWSER. HARDGRAD_SITE names a folder where the site has been built already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


LONG = ("test_runs_alone_without_a_warning", "test_recipe_runs")  # a process for each script: minutes, all together


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the first test time to build the site; of the scripts run those of HARDGRAD_PART alone, 0/4 to 3/4."""
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.timeout(1200))
    part, _, parts = os.environ.get("HARDGRAD_PART", "0/1").partition("/")
    scripts = [item for item in mine if getattr(item, "originalname", "") in LONG]
    others = [item for number, item in enumerate(scripts) if number % int(parts) != int(part)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site; a warning of the build is an error."""
    if built := os.environ.get("HARDGRAD_SITE"):
        return Path(built)
    out = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-D", "plot_gallery=0", "-b", "html", "-d", str(out / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(out / "html")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return out / "html"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a running Chromium, or fail: without one nobody has looked at the site."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("HARDGRAD_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.fail(f"no browser: set HARDGRAD_BROWSER, or put one of {', '.join(BROWSERS)} on the PATH")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """Return axe-core's program, which a package for Python brings along."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__path__[0]) / "axe.min.js").read_text(encoding="utf-8")

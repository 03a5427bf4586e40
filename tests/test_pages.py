"""The blocks of the documentation run, whichever process has which."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = """```python
first = open("count", "a").write("1")
```
```python
second = first + 1
```
```python
assert first + second == 3
```
"""


def test_a_block_has_the_names_of_those_before_it_wherever_it_runs(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(PAGE)
    shutil.copy(ROOT / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "docs"]
    alone = [part for line in (1, 4) for part in ("--deselect", f"docs/page.md::line:{line},column:1")]
    for options, passed in (([], "3 passed"), (alone, "1 passed, 2 deselected")):
        run = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert passed in run.stdout, run.stdout + run.stderr
        assert (tmp_path / "count").read_text() == "1"  # once
        (tmp_path / "count").unlink()

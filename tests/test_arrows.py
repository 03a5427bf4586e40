"""Imports point down: the rooms of docs/design.md, enforced, and shown to be enforceable."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# Each room, and the rooms it may import. A room is the longest prefix that matches a module's name.
BELOW = ["hardgrad._torch_state", "hardgrad._tracing", "hardgrad._check"]
LEVEL_0 = [
    *BELOW,
    *("hardgrad.hard", "hardgrad.graft", "hardgrad.penalty", "hardgrad.two_track", "hardgrad.approximators"),
    *("hardgrad.user_code", "hardgrad.no_gradient", "hardgrad.fidelity"),
]
LAYER = ["hardgrad.hard_layer", "hardgrad.strip"]
# The rooms within tabular; what lies beside them puts them together.
TABULAR = "hardgrad_lab.tabular"
PARTS = [f"{TABULAR}.{part}" for part in ("options", "rows", "reading", "fitting", "models", "rivals", "sounds")]
MAY_IMPORT: dict[str, list[str]] = {
    "hardgrad._torch_state": [],
    "hardgrad._tracing": ["hardgrad._torch_state"],
    "hardgrad._check": [],
    "hardgrad.hard": BELOW,
    "hardgrad.graft": BELOW,
    "hardgrad.penalty": BELOW,
    "hardgrad.two_track": [*BELOW, "hardgrad.penalty"],
    "hardgrad.approximators": BELOW,
    "hardgrad.user_code": BELOW,
    "hardgrad.no_gradient": BELOW,
    "hardgrad.fidelity": BELOW,
    "hardgrad.hard_layer": LEVEL_0,
    "hardgrad.strip": [],
    "hardgrad.bridge": [*LEVEL_0, *LAYER],
    "hardgrad.surrogate": [*LEVEL_0, *LAYER],
    "hardgrad.switch": LEVEL_0,
    "hardgrad.montecarlo": LEVEL_0,
    "hardgrad.doctor": [*LEVEL_0, "hardgrad.bridge", "hardgrad.surrogate", "hardgrad.montecarlo"],
    "hardgrad": [
        *(*LEVEL_0, *LAYER),
        *("hardgrad.bridge", "hardgrad.surrogate", "hardgrad.switch", "hardgrad.montecarlo", "hardgrad.doctor"),
    ],
    "hardgrad_lab": [TABULAR],
    "hardgrad_lab.runs": ["hardgrad", "hardgrad.penalty"],
    "hardgrad_lab.data": ["hardgrad", "hardgrad_lab.runs"],
    "hardgrad_lab.baselines": ["hardgrad"],
    "hardgrad_lab.bench": ["hardgrad"],
    "hardgrad_lab.search": ["hardgrad"],
    "hardgrad_lab.doctor": ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.data"],
    "hardgrad_lab.dab": ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.data"],
    "hardgrad_lab.lactose": ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.baselines"],
    "hardgrad_lab.toys": ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.data"],
    f"{TABULAR}.options": [],
    f"{TABULAR}.rows": [],
    f"{TABULAR}.reading": [f"{TABULAR}.rows"],
    f"{TABULAR}.fitting": [
        "hardgrad",
        "hardgrad_lab.runs",
        "hardgrad_lab.baselines",
        f"{TABULAR}.options",
        f"{TABULAR}.rows",
    ],
    f"{TABULAR}.models": ["hardgrad", "hardgrad_lab.runs", *PARTS[:2], f"{TABULAR}.fitting"],
    f"{TABULAR}.rivals": ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.baselines", *PARTS[:2], f"{TABULAR}.fitting"],
    f"{TABULAR}.sounds": ["hardgrad_lab.runs", TABULAR, *PARTS],
    TABULAR: ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.baselines", *PARTS],
    "hardgrad_lab.report": [
        "hardgrad_lab.runs",
        "hardgrad_lab.doctor",
        "hardgrad_lab.dab",
        "hardgrad_lab.lactose",
        "hardgrad_lab.toys",
        *(TABULAR, *PARTS),
    ],
    "hardgrad_lab.plan": [
        "hardgrad_lab.runs",
        "hardgrad_lab.data",
        "hardgrad_lab.dab",
        "hardgrad_lab.lactose",
        "hardgrad_lab.toys",
    ],
    "hardgrad_lab.commands": [
        "hardgrad_lab.plan",
        "hardgrad_lab.runs",
        "hardgrad_lab.data",
        "hardgrad_lab.bench",
        "hardgrad_lab.doctor",
        "hardgrad_lab.dab",
        "hardgrad_lab.lactose",
        "hardgrad_lab.toys",
        *(TABULAR, *PARTS),
        "hardgrad_lab.report",
    ],
    "hardgrad_lab.app": ["hardgrad_lab.commands"],
    "hardgrad_lab.cli": ["hardgrad_lab.app"],
}


def room_of(module: str) -> str | None:
    return max((room for room in MAY_IMPORT if module == room or module.startswith(room + ".")), key=len, default=None)


def wrong_arrows(source: Path) -> list[str]:
    """Every import that points up or sideways, and every import of the core that is neither torch nor standard."""
    wrong = []
    for path in sorted(source.rglob("*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        room = room_of(module)
        for target in _imports(ast.parse(path.read_text())):
            other = room_of(target)
            if other is not None and other != room and other not in MAY_IMPORT[room or ""]:
                wrong.append(f"{module} imports {target}")
            root = target.split(".")[0]
            if (
                module.split(".")[0] == "hardgrad"
                and root != "hardgrad_lab"
                and root not in {"hardgrad", "torch", *sys.stdlib_module_names}
            ):
                wrong.append(f"{module} imports {target}")
    return wrong


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their room"
            # `from hardgrad import hard` names a room, `from hardgrad.bridge import Bridge` does not
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MAY_IMPORT else str(node.module) for name in named]
    return found


def test_arrows_point_down() -> None:
    assert wrong_arrows(SOURCE) == []


def test_every_module_is_in_a_room() -> None:
    packages = [p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()]
    assert sorted(packages) == ["hardgrad", "hardgrad_lab"]


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("hardgrad/graft.py", "from hardgrad.bridge import Bridge", "hardgrad.graft imports hardgrad.bridge"),
        ("hardgrad/hard.py", "from hardgrad import graft", "hardgrad.hard imports hardgrad.graft"),
        ("hardgrad/bridge.py", "import hardgrad_lab.runs", "hardgrad.bridge imports hardgrad_lab.runs"),
        ("hardgrad/surrogate/spsa.py", "import numpy as np", "hardgrad.surrogate.spsa imports numpy"),
        ("hardgrad_lab/runs/loop.py", "def f():\n    from hardgrad_lab import cli", "imports hardgrad_lab.cli"),
        ("hardgrad_lab/dab/x.py", "from hardgrad_lab.drawing.page import draw", "imports hardgrad_lab.drawing.page"),
    ],
)
def test_the_guard_can_fail(tmp_path: Path, module: str, line: str, complaint: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(parents=True)
    path.write_text(line)
    found = wrong_arrows(tmp_path)
    assert len(found) == 1
    assert complaint in found[0]


def test_importing_the_core_loads_torch_alone() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import hardgrad;"
        "print({m.split('.')[0] for m in set(sys.modules) - before})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*ast.literal_eval(run.stdout)} - {"torch", *sys.stdlib_module_names} == {"hardgrad"}

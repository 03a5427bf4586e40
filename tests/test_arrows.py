"""Imports point down: between the rooms of docs/design.md, and between files, where no circle may be."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# Each room, and the rooms it may import. A room is the longest prefix that matches a module's name.
BELOW = ["hardgrad._torch_state", "hardgrad._tracing", "hardgrad._check", "hardgrad._shown"]
LEVEL_0 = [
    *BELOW,
    *("hardgrad.hard", "hardgrad._graft", "hardgrad.penalty", "hardgrad.two_track", "hardgrad.approximators"),
    *("hardgrad.user_code", "hardgrad.no_gradient", "hardgrad.fidelity"),
]
LAYER = ["hardgrad.hard_layer", "hardgrad._strip"]
LEVEL_1 = [
    *("hardgrad.bridge", "hardgrad.surrogate", "hardgrad.montecarlo", "hardgrad.black_box", "hardgrad.switch"),
    *("hardgrad.soft", "hardgrad.subset", "hardgrad.solvers", "hardgrad.codebook", "hardgrad.low_bit"),
]
LEVEL_2 = ["hardgrad.losses", "hardgrad.segments", "hardgrad.devices"]
LAB = ["hardgrad", "hardgrad_lab.runs", "hardgrad_lab.data", "hardgrad_lab.baselines", "hardgrad_lab.drawing"]
# The rooms within fit; what lies beside them puts them together.
FIT = "hardgrad_lab.fit"
PARTS = [f"{FIT}.{part}" for part in ("options", "rows", "reading", "training", "models", "rivals", "sounds", "page")]
MAY_IMPORT: dict[str, list[str]] = {
    "hardgrad._torch_state": [],
    "hardgrad._tracing": ["hardgrad._torch_state"],
    "hardgrad._check": [],
    "hardgrad._shown": [],
    "hardgrad.hard": BELOW,
    "hardgrad._graft": BELOW,
    "hardgrad.penalty": BELOW,
    "hardgrad.two_track": [*BELOW, "hardgrad.penalty"],
    "hardgrad.approximators": BELOW,
    "hardgrad.user_code": BELOW,
    "hardgrad.no_gradient": BELOW,
    "hardgrad.fidelity": BELOW,
    "hardgrad.hard_layer": LEVEL_0,
    "hardgrad._strip": [],
    "hardgrad.bridge": [*LEVEL_0, *LAYER],
    "hardgrad.surrogate": [*LEVEL_0, *LAYER, "hardgrad.black_box"],
    "hardgrad.black_box": LEVEL_0,
    "hardgrad.switch": LEVEL_0,
    "hardgrad.soft": LEVEL_0,
    "hardgrad.subset": LEVEL_0,
    "hardgrad.solvers": [*LEVEL_0, *LAYER, "hardgrad.black_box"],
    "hardgrad.codebook": [*LEVEL_0, *LAYER],
    "hardgrad.low_bit": [*LEVEL_0, *LAYER],
    "hardgrad.montecarlo": [*LEVEL_0, "hardgrad.subset", "hardgrad.soft"],
    "hardgrad.losses": [*LEVEL_0, "hardgrad.soft"],
    "hardgrad.segments": [*LEVEL_0, "hardgrad.switch"],
    "hardgrad.devices": [*LEVEL_0, "hardgrad.switch"],
    "hardgrad.doctor": [
        *LEVEL_0,
        *("hardgrad.bridge", "hardgrad.surrogate", "hardgrad.montecarlo", "hardgrad.black_box"),
        *("hardgrad.soft", "hardgrad.subset", "hardgrad.solvers", "hardgrad.codebook", "hardgrad.low_bit"),
        "hardgrad.devices",
    ],
    "hardgrad": [*LEVEL_0, *LAYER, *LEVEL_1, *LEVEL_2, "hardgrad.doctor"],
    "hardgrad_lab": [FIT],
    "hardgrad_lab.runs": ["hardgrad", "hardgrad.penalty"],
    "hardgrad_lab.data": ["hardgrad", "hardgrad_lab.runs"],
    "hardgrad_lab.baselines": ["hardgrad"],
    "hardgrad_lab.drawing": ["hardgrad_lab.runs"],
    "hardgrad_lab.audio": ["hardgrad", "hardgrad._check"],
    "hardgrad_lab.devices": LAB,
    "hardgrad_lab.export": [*LAB, "hardgrad_lab.devices", FIT, *PARTS],
    "hardgrad_lab.bench": [
        *LAB,
        *("hardgrad_lab", "hardgrad_lab.devices", "hardgrad_lab.experiments", "hardgrad_lab.export", FIT, *PARTS),
    ],
    "hardgrad_lab.doctor": LAB,
    "hardgrad_lab.experiments": [*LAB, "hardgrad_lab.audio", "hardgrad_lab.devices"],
    f"{FIT}.options": [],
    f"{FIT}.rows": [],
    f"{FIT}.reading": [f"{FIT}.rows"],
    f"{FIT}.training": [*LAB, f"{FIT}.options", f"{FIT}.rows"],
    f"{FIT}.models": [*LAB, f"{FIT}.options", f"{FIT}.rows", f"{FIT}.training"],
    f"{FIT}.rivals": [*LAB, f"{FIT}.options", f"{FIT}.rows", f"{FIT}.training"],
    f"{FIT}.sounds": [*LAB, FIT, *PARTS, "hardgrad_lab.devices"],
    f"{FIT}.page": [*LAB, FIT, *PARTS, "hardgrad_lab.devices"],
    FIT: [*LAB, *PARTS, "hardgrad_lab.devices"],
    "hardgrad_lab.report": [*LAB, "hardgrad_lab.experiments"],
    "hardgrad_lab.plan": [*LAB, "hardgrad_lab.experiments"],
    "hardgrad_lab.commands": [
        *(*LAB, FIT, *PARTS),
        *(f"hardgrad_lab.{room}" for room in ("bench", "devices", "doctor", "experiments", "export", "plan", "report")),
    ],
    "hardgrad_lab.app": ["hardgrad_lab.commands"],
    "hardgrad_lab.cli": ["hardgrad_lab.app"],
    "hardgrad_lab.__main__": ["hardgrad_lab.cli"],
}


def modules_in(source: Path) -> dict[str, list[str]]:
    """Every file as a module, and what it imports: the file of ours that is meant, where it is one."""
    paths = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(source.rglob("*.py"))
    }
    return {module: list(_imports(ast.parse(path.read_text()), paths)) for module, path in paths.items()}


def _imports(tree: ast.Module, modules: dict[str, Path]) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their room"
            # `from hardgrad import hard` names a room, `from hardgrad.bridge import Bridge` does not
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in MAY_IMPORT or name in modules else str(node.module) for name in full]
    return names


def room_of(module: str) -> str | None:
    return max((room for room in MAY_IMPORT if module == room or module.startswith(room + ".")), key=len, default=None)


def wrong_arrows(source: Path) -> list[str]:
    """Every import that points up or sideways, and every import of the core that is neither torch nor standard."""
    wrong = []
    for module, targets in modules_in(source).items():
        room = room_of(module)
        for target in targets:
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


def circle(source: Path) -> list[str]:
    """Files that import each other in a circle, imports for a type checker included; empty if there are none."""
    modules = modules_in(source)
    graph = {module: {t for t in targets if t in modules and t != module} for module, targets in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_arrows_point_down() -> None:
    assert wrong_arrows(SOURCE) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(SOURCE) == []


def test_every_module_is_in_a_room() -> None:
    packages = [p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()]
    assert sorted(packages) == ["hardgrad", "hardgrad_lab"]


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("hardgrad/_graft.py", "from hardgrad.bridge import Bridge", "hardgrad._graft imports hardgrad.bridge"),
        ("hardgrad/hard.py", "from hardgrad import _graft", "hardgrad.hard imports hardgrad._graft"),
        ("hardgrad/bridge.py", "import hardgrad_lab.runs", "hardgrad.bridge imports hardgrad_lab.runs"),
        ("hardgrad/surrogate/spsa.py", "import numpy as np", "hardgrad.surrogate.spsa imports numpy"),
        ("hardgrad/switch/x.py", "from hardgrad.segments.rows import f", "imports hardgrad.segments.rows"),
        ("hardgrad_lab/runs/loop.py", "def f():\n    from hardgrad_lab import cli", "imports hardgrad_lab.cli"),
        ("hardgrad_lab/experiments/x.py", "from hardgrad_lab.report.page import f", "imports hardgrad_lab.report.page"),
    ],
)
def test_the_guard_can_fail(tmp_path: Path, module: str, line: str, complaint: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(parents=True)
    path.write_text(line)
    wrong = wrong_arrows(tmp_path)
    assert len(wrong) == 1
    assert complaint in wrong[0]


@pytest.mark.parametrize(
    "closing",
    [
        "from hardgrad.switch.switch import Switch",
        "from hardgrad.switch import switch",
        "if TYPE_CHECKING:\n    from hardgrad.switch.switch import Switch",
        "def f():\n    import hardgrad.switch.switch",
    ],
)
def test_a_circle_of_files_in_one_room_is_seen(tmp_path: Path, closing: str) -> None:
    room = tmp_path / "hardgrad" / "switch"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text("from hardgrad.switch.switch import Switch as Switch")
    (room / "switch.py").write_text("from hardgrad.switch.points import Points")
    (room / "points.py").write_text("import torch")
    assert circle(tmp_path) == []
    (room / "points.py").write_text(closing)
    assert {"hardgrad.switch.switch", "hardgrad.switch.points"} <= set(circle(tmp_path))


def test_importing_the_core_loads_torch_alone() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import hardgrad;"
        "print({m.split('.')[0] for m in set(sys.modules) - before})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*ast.literal_eval(run.stdout)} - {"torch", *sys.stdlib_module_names} == {"hardgrad"}

"""What a file from a stranger can do: be refused in a line. Nothing it names is run unless the user says so."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from hardgrad_lab import SwitchRegressor, cli, load_model, save_model
from hardgrad_lab.commands.show import show_report
from hardgrad_lab.experiments import experiment
from hardgrad_lab.fit.training.factories import load_factory, origin
from hardgrad_lab.fit.models.description import FolderError
from lab.hostile_files import ALL, CANARY
from lab.hostile_trials import try_all

FACTORY = "open('ran', 'w').close()\nimport torch\ndef go(i, o):\n    return torch.nn.Linear(i, o)\n"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_hostile_files_are_refused_in_a_line_and_nothing_else_happens(tmp_path: Path) -> None:
    """A quarter of the 2,000, seeded; ``HARDGRAD_FUZZ=1`` tries all, as ``hostile_trials.py`` does."""
    (tmp_path / "root").mkdir()
    trials = try_all(tmp_path / "root", share=int(os.environ.get("HARDGRAD_FUZZ", "4")))
    assert trials.broken == []
    assert trials.refused > 0.7 * trials.tried, "the others read as they are: damage that JSON or CSV cannot tell"


def test_there_are_two_thousand_of_them() -> None:
    assert ALL == 2000


# ------------------------------------------------------------------------------------------------------- models


def saved(**said: Any) -> dict[str, Any]:
    """Save a small model as ``m``, change what its description says of the architecture, and return the description."""
    x = np.linspace(-1, 1, 60)[:, None]
    save_model(SwitchRegressor([-1, 0, 1], hidden=(4,), epochs=1, random_state=0).fit(x, x[:, 0]), "m", force=True)
    description: dict[str, Any] = json.loads(Path("m/model.json").read_text())
    for name, value in said.items():
        for part in ("architecture", "options"):
            if name in description[part]:
                description[part][name] = value
    Path("m/model.json").write_text(json.dumps(description))
    return description


def test_code_that_a_folder_names_is_not_run_and_the_refusal_says_how_to_trust(
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved(branch=f"{CANARY}:go")
    Path(f"{CANARY}.py").write_text(FACTORY)
    Path("data.csv").write_text("x\n0.5\n")
    assert cli.main(["predict", "m", "data.csv"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"'{CANARY}:go', whose module comes from {Path.cwd() / f'{CANARY}.py'}" in said
    assert "--trust" in said
    assert "load_model(path, trust=True)" in said
    assert not Path("ran").exists()
    assert CANARY not in sys.modules


def test_a_package_is_not_imported_to_find_the_module_in_it() -> None:
    Path("pack").mkdir()
    Path("pack/__init__.py").write_text("open('ran', 'w').close()\n")
    saved(branch="pack.inside:go")
    with pytest.raises(FolderError, match=r"pack/__init__\.py; if you trust"):
        load_model("m")
    assert not Path("ran").exists()


def test_an_option_cannot_name_code_for_the_next_fit_either() -> None:
    description = saved()
    description["options"]["branch"] = f"{CANARY}:go"
    Path("m/model.json").write_text(json.dumps(description))
    with pytest.raises(FolderError, match=r"options\.branch must be 'mlp', got"):
        load_model("m")


def test_whoever_says_so_gets_the_code_run() -> None:
    Path("own_branches.py").write_text(FACTORY)
    x = np.linspace(-1, 1, 60)[:, None]
    model = SwitchRegressor([-1, 0, 1], branch="own_branches:go", epochs=1, random_state=0).fit(x, x[:, 0])
    save_model(model, "m")
    with pytest.raises(FolderError, match="names code to import"):
        load_model("m")
    assert (load_model("m", trust=True).predict(x) == model.predict(x)).all()


def test_the_working_folder_is_searched_last() -> None:
    """A stranger's ``sndhdr.py`` or ``json.py`` beside the data must not take the place of what Python needs."""
    Path("json.py").write_text("raise SystemExit('the wrong json')\n")
    Path("my_own.py").write_text(FACTORY)
    load_factory("my_own:go")
    assert sys.path[-1] == str(Path.cwd())
    assert "json.py" not in origin("json:go").replace(str(Path(json.__file__).parent), "")


@pytest.mark.parametrize(
    ("code", "place", "fault"),
    [
        ("raise SystemExit(3)", "own_a:go", "cannot be imported: SystemExit: 3"),
        ("1 / 0", "own_b:go", "cannot be imported: ZeroDivisionError"),
        ("go = 5", "own_c:go", "which is none"),
        ("", "own_d:go", "has no 'go'"),
        ("", "own e:go", "must name a module and a function"),
        ("def go(i, o): raise KeyError('x')", "own_f:go", r"fails for \(2, 1\): KeyError"),
    ],
)
def test_own_code_that_fails_is_said(code: str, place: str, fault: str) -> None:
    Path(f"{place.partition(':')[0]}.py").write_text(code)
    with pytest.raises(ValueError, match=fault):
        load_factory(place)(2, 1)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"hidden": [10**9, 10**9]}, r"architecture\.hidden must be at most 64 widths from 1 to 65536, got \[10000"),
        ({"hidden": [65536, 65536]}, r"weights\.safetensors does not fit model\.json"),
        ({"window": 10**9}, r"architecture\.window must be a whole number from 1 to 131072, got 1000000000"),
        ({"points": [1, 0, -1]}, r"architecture\.points must be at least two numbers that rise"),
        ({"points": [-1, 0.5, 1]}, r"does not fit model\.json \(.*points"),
        ({"branch": "eval"}, r"architecture\.branch must be one of mlp"),
        ({"raw": 7}, r"architecture\.raw must be 0, got 7"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_model_is_refused_before_it_is_built(changed: dict[str, Any], fault: str) -> None:
    saved(**changed)
    with pytest.raises(FolderError, match=fault):
        load_model("m")


def test_weights_that_are_no_numbers_are_refused() -> None:
    import hashlib

    from safetensors.torch import load_file, save_file

    description = saved()
    weights = load_file("m/weights.safetensors")
    weights["branches.0.0.weight"][0] = float("nan")
    save_file(weights, "m/weights.safetensors")
    description["weights_sha256"] = hashlib.sha256(Path("m/weights.safetensors").read_bytes()).hexdigest()
    Path("m/model.json").write_text(json.dumps(description))
    with pytest.raises(FolderError, match=r"branches\.0\.0\.weight holds what is no finite number"):
        load_model("m")


def test_ranges_without_an_end_come_back() -> None:
    """Plain JSON knows no infinity: such a fit used to train to its end and die when it was written."""
    x = np.linspace(-1, 1, 60)[:, None]
    model = SwitchRegressor([-np.inf, 0, np.inf], hidden=(4,), epochs=1, random_state=0).fit(x, x[:, 0])
    save_model(model, "m", {"score": float("nan")})
    assert load_model("m").points_ == (-np.inf, 0, np.inf)
    assert (load_model("m").predict(x) == model.predict(x)).all()
    assert json.loads(Path("m/model.json").read_text())["score"] is None


def test_a_terminal_shows_the_words_of_a_stranger_as_letters(capsys: pytest.CaptureFixture[str]) -> None:
    saved(branch="\x1b]0;mine\x07\x1b[2J")
    Path("data.csv").write_text("x\n0.5\n")
    assert cli.main(["predict", "m", "data.csv"]) == 1
    assert capsys.readouterr().err.replace("\n", "").isprintable()


# ------------------------------------------------------------------------------------------------------ records


def test_no_picture_is_drawn_where_a_record_says(tmp_path: Path) -> None:
    """Files of a report are named after what a record says: a budget of ``../..`` was drawn outside of its folder."""
    from hardgrad_lab.experiments.toys import TOYS
    from hardgrad_lab.runs.execute import How

    arms = [(task, name) for task, name in TOYS.pairs("smoke") if task == "arms"]
    for number, (task, name) in enumerate(arms[:2]):
        run = TOYS.run(TOYS.configure("smoke", task, name, {}), 0)
        path = TOYS.reproduce(run, None, How(results=Path("in/records")), Console(quiet=True)).path
        record = json.loads(path.read_text())
        record["config"]["budget"] = "../../../escaped"
        if number:
            path.write_text(json.dumps(record))
    show_report(TOYS, Path("in/records"), Path("in/report"), Console(quiet=True))
    assert list(tmp_path.rglob("*escaped*")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize("value", [[], {}, None, [[1]]])
def test_a_record_of_another_shape_is_a_line_in_the_report_or_its_end(value: Any, tmp_path: Path) -> None:
    from hardgrad_lab.experiments.bridges.sorting.config import configure
    from hardgrad_lab.runs.execute import How
    from lab.sorting_runs import reproduce

    small = {"samples": 64, "batch": 32, "width": 8, "test_rows": 20, "curve_rows": 10, "evaluations": 2}
    config = configure("fast", "signum-dense", 3, small)
    path = reproduce(config, 0, How(results=tmp_path / "r"), Console(quiet=True)).path
    for name in ("setting", "system", "lr", "length"):
        record = json.loads(path.read_text())
        record["config"][name] = value
        path.with_name("other.json").write_text(json.dumps(record))
        with contextlib.suppress(ValueError):
            show_report(experiment("sorting"), tmp_path / "r", tmp_path / "out", Console(quiet=True))

"""Adding an experiment touches its folder and one line of the list: command, plan, record and report follow."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hardgrad_lab import cli
from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.plan.file import read
from hardgrad_lab.runs.record import Record

FOLDER = {
    "__init__.py": '''
from dataclasses import dataclass

from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.published import Claim, Metric, Published


@dataclass(frozen=True, kw_only=True)
class Coin:
    """One way to toss a coin.

    Args:
        task: which coin.
        contestant: who tosses.
        budget: the preset the other values started from.
        tosses: how often.
        center: what is taken from the share.
    """

    task: str
    contestant: str
    budget: str
    tosses: int
    center: float = 0.0


COINS = Experiment(
    name="coins",
    about="Toss a coin.",
    source="A paper, table 9",
    config=Coin,
    program="made_up_coins.run",
    tasks={"penny": {}},
    contestants={"hand": {}, "cup": {}},
    budgets={"smoke": {"tosses": 4}, "small": {"tosses": 40}, "paper": {"tosses": 400}},
    seeds={"smoke": 2, "small": 3, "paper": 5},
    keys={"center": "centre"},
    metrics=[Metric(name="heads", title="heads", form=".1%")],
    published={("penny", "hand"): {"heads": Published(value=0.5, source="table 9")}},
    claims=[Claim(says="a cup is better", source="page 1", task="penny", metric="heads", better="cup", worse="hand")],
    figures="made_up_coins.figures:draw",
)
''',
    "run.py": """
from hardgrad_lab.runs.whole import Result, run_whole


def reproduce(run, config, seed, root, how, console):
    share = (0.9 if config.contestant == "cup" else 0.5) + 0.01 * seed - config.center
    return run_whole(run, lambda: Result(metrics={"heads": share}, samples=config.tosses), how, console)
""",
    "figures.py": """
from hardgrad_lab.drawing.figures import new_figure
from hardgrad_lab.drawing.section import Drawing


def draw(groups, results):
    figure, (panel,) = new_figure(1)
    panel.plot([group.mean("heads") for group in groups])
    return [Drawing(name="coins-heads", title="Heads", caption="Of all tosses.", figure=figure)]
""",
}


@pytest.fixture(autouse=True)
def coins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "made_up_coins"
    folder.mkdir()
    for name, text in FOLDER.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("hardgrad_lab.commands.reproduce", "hardgrad_lab.commands.report"):
        _ = import_module(name).app  # a list that was read before this experiment was in it
    monkeypatch.delitem(sys.modules, "made_up_coins", raising=False)
    monkeypatch.setitem(LIST, "coins", "made_up_coins:COINS")


def test_an_experiment_is_its_folder_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "coins", "--help"]) in (0, None)
    text = capsys.readouterr().out
    assert "Toss a coin." in text
    assert "--tosses" in text
    assert "How often." in text
    assert cli.main(["reproduce", "coins", "--budget", "smoke", "--out", "out", "--center", "0.25"]) == 0
    records = [Record.load(path) for path in sorted(Path("out").glob("coins-penny-*-smoke-s*.json"))]
    assert [record.config["contestant"] for record in records] == ["cup", "cup", "hand", "hand"]
    assert {record.config["centre"] for record in records} == {0.25}, "the key that records have"
    assert all("center" not in record.config for record in records)
    assert "small" not in (page := Path("out/report/coins.md").read_text())
    assert "| penny | hand | smoke, center 0.25 | 25.5% ± 0.7% | 50.0% | 2 | 4 |" in page
    assert "a cup is better" in page
    assert "| holds |" in page
    assert Path("out/report/coins-heads.svg").exists()


def test_it_is_in_plans_and_on_the_page_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "all", "--budget", "smoke", "--only", "coins", "--list", "--out", "out"]) == 0
    assert "coins-penny-cup-smoke-s1-" in capsys.readouterr().out
    Path("plan.toml").write_text(
        '[[run]]\nexperiment = "coins"\nseeds = [7]\ncore_minutes = 0.1\noptions.tosses = [5, 6]\n', encoding="utf-8"
    )
    (group,) = read(Path("plan.toml"))
    assert [run.config["tosses"] for run in group.runs] == [5, 6, 5, 6]
    assert cli.main(["reproduce", "coins", "--budget", "smoke", "--out", "out"]) == 0
    assert cli.main(["report", "--results", "out", "--out", "pages"]) == 0
    assert '<section id="coins">' in Path("pages/all.html").read_text()
    assert cli.main(["report", "coins", "--results", "out", "--out", "pages"]) == 0


def test_a_word_loads_that_word_alone() -> None:
    """The folder of an experiment is imported by its own command, and by no other."""
    program = (
        "import sys\n"
        "from hardgrad_lab.cli import main\n"
        "import contextlib, io\n"
        "def words(*asked):\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        main([*asked, '--help'])\n"
        "    return {name for name in sys.modules if name.startswith('hardgrad_lab.experiments.')}\n"
        "assert not words(), 'the first page'\n"
        "assert not words('fit'), 'fit'\n"
        "found = words('reproduce', 'density')\n"
        "assert 'hardgrad_lab.experiments.bridges.density' in found\n"
        "others = {name for name in found if 'density' not in name} - {'hardgrad_lab.experiments.bridges'}\n"
        "assert not others, others\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_names_of_runs_do_not_depend_on_the_list() -> None:
    one = experiment("coins")
    run = one.run(one.configure("smoke", "penny", "cup", {"tosses": 9}), 1)
    assert run.name.startswith("coins-penny-cup-smoke-s1-")
    assert one.run(one.rebuilt(run.config), 1) == run

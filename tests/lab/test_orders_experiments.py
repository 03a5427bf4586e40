"""Training through orders, paths and choices: the solver by enumeration, the rows, runs that learn, the records."""

from __future__ import annotations

import itertools
import json
import math
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hardgrad_lab.data import mnist
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges import drawn
from hardgrad_lab.experiments.bridges.digits import DIGITS, METHODS
from hardgrad_lab.experiments.bridges.digits.problem import numbers
from hardgrad_lab.experiments.bridges.explain import EXPLAIN
from hardgrad_lab.experiments.bridges.explain.problem import LABELS, rows
from hardgrad_lab.experiments.bridges.paths import PATHS
from hardgrad_lab.experiments.bridges.paths.grid import STEPS, cheapest
from hardgrad_lab.experiments.bridges.paths.problem import squares
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

RECORDS = Path(__file__).parents[2] / "results"
ALL = (DIGITS, PATHS, EXPLAIN)


def walks(h: int, w: int) -> list[torch.Tensor]:
    """Every path over a grid, as ones among zeros, by trying every choice of steps."""
    found = []
    for count in range(max(h, w) - 1, h + w - 1):
        for steps in itertools.product(STEPS, repeat=count):
            cells = [(0, 0)]
            for down, right in steps:
                cells.append((cells[-1][0] + down, cells[-1][1] + right))
            if cells[-1] == (h - 1, w - 1) and all(i < h and j < w for i, j in cells):
                path = torch.zeros(h, w)
                path[tuple(zip(*cells, strict=True))] = 1
                found.append(path)
    return found


@pytest.mark.parametrize(("h", "w", "number"), [(1, 1, 1), (1, 4, 1), (3, 4, 25), (4, 4, 63)])
def test_a_cheapest_path_is_the_cheapest_of_all_walks(h: int, w: int, number: int) -> None:
    every = torch.stack(walks(h, w))
    assert len(every) == number, "Delannoy's numbers"
    cost = torch.randn(50, h, w)  # below zero, too
    paths = cheapest(cost)
    assert all((every == path).flatten(1).all(1).any() for path in paths), "each is a walk"
    torch.testing.assert_close((paths * cost).sum((1, 2)), torch.einsum("bij,pij->bp", cost, every).amin(1))


def test_of_equal_paths_the_one_with_the_fewest_cells_from_the_left_is_taken() -> None:
    assert torch.equal(cheapest(torch.ones(1, 4, 4))[0], torch.eye(4))
    assert torch.equal(cheapest(torch.zeros(2, 3, 3)), torch.eye(3).expand(2, 3, 3))


def test_a_number_is_its_digits_side_by_side(samples: Path) -> None:
    images = mnist.load(Root(folder=samples), "train")
    x, y = numbers(images, 3, torch.Generator().manual_seed(1), 2)
    chosen = torch.randint(len(images), (2, 3, 4), generator=torch.Generator().manual_seed(1))
    assert x.shape == (2, 3, 1, 28, 112)
    for row, place, digit in itertools.product(range(2), range(3), range(4)):
        part = x[row, place, :, :, 28 * digit : 28 * digit + 28]
        assert torch.equal(part, images.x[chosen[row, place, digit]] / 255)
    assert y[1, 2] == int("".join(str(int(images.y[i])) for i in chosen[1, 2]))


def test_a_square_costs_its_digits_and_one(samples: Path) -> None:
    images = mnist.load(Root(folder=samples), "train")
    x, y = squares(images, 3, torch.Generator().manual_seed(1), 2)
    chosen = torch.randint(len(images), (2, 3, 3), generator=torch.Generator().manual_seed(1))
    assert torch.equal(y, 1.0 + images.y[chosen])
    tile = torch.nn.functional.avg_pool2d(images.x[chosen[1, 2, 0]] / 255, 2)
    assert torch.equal(x[1, :, 28:42, :14], tile)


@pytest.mark.parametrize("task", EXPLAIN.tasks)
def test_a_label_depends_on_what_it_was_made_of_and_on_nothing_else(task: str) -> None:
    x, y, made_of = rows(task, torch.Generator().manual_seed(2), 400)
    assert (made_of.sum(1) == EXPLAIN.tasks[task]["size"]).all()
    assert ((y >= 0) & (y <= 1)).all()
    label = LABELS["orange-skin" if task == "switch" else task]
    first = (x[:, -1] > 0) if task == "switch" else torch.ones(400, dtype=torch.bool)
    others = torch.where(made_of.bool(), x, torch.randn(400, 10))
    surely = first & made_of[:, 0].bool()
    torch.testing.assert_close(label(others)[surely].sigmoid(), y[surely])
    if task == "switch":
        second = made_of[:, 4].bool()
        torch.testing.assert_close(LABELS["additive"](others[:, 4:])[second].sigmoid(), y[second])
        assert 150 < second.sum() < 250, "half of 400, within 5 deviations of 10"


@pytest.mark.parametrize("experiment", ALL, ids=lambda one: one.name)
def test_every_contestant_leaves_a_record_of_its_metrics(experiment: Any, samples: Path, tmp_path: Path) -> None:
    how, quiet = How(results=tmp_path, device="cpu"), Console(quiet=True)
    for task, contestant in experiment.pairs("smoke"):
        run = experiment.run(experiment.configure("smoke", task, contestant, {}), 3)
        record = experiment.reproduce(run, Root(folder=samples), how, quiet).record
        assert set(record.metrics) >= {metric.name for metric in experiment.metrics}
        assert all(math.isfinite(value) for value in record.metrics.values()), contestant


STATEFUL = [(DIGITS, "5", "bridge"), (PATHS, "6", "imle"), (EXPLAIN, "switch", "score")]


@pytest.mark.parametrize(("experiment", "task", "contestant"), STATEFUL, ids=lambda one: getattr(one, "name", str(one)))
def test_a_run_stopped_half_way_and_resumed_leaves_the_same_to_the_bit(
    experiment: Any, task: str, contestant: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment.run(experiment.configure("smoke", task, contestant, {}), 5)

    def reproduced(folder: str, **given: Any) -> Record:
        how = How(results=tmp_path / folder, device="cpu", **given)
        record: Record = experiment.reproduce(run, Root(folder=samples), how, Console(quiet=True)).record
        return record

    whole, step = reproduced("whole"), Training.step

    def stopped(self: Training, *given: Any) -> None:
        if self.steps == 2:
            raise KeyboardInterrupt
        step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            reproduced("halves", checkpoint_every=1)
    assert reproduced("halves", resume=True).metrics == whole.metrics


@pytest.mark.parametrize(
    ("experiment", "task", "contestant", "given", "metric", "chance"),
    [
        (EXPLAIN, "orange-skin", "l2x", {"steps": 100, "batch": 200, "lr": 0.003}, "precision", 0.4),
        (PATHS, "6", "fenchel-young", {"steps": 40, "batch": 16, "test_rows": 200}, "optimal", 0.02),
        (DIGITS, "3", "laplace", {"steps": 60, "batch": 16, "test_rows": 300, "size": 3}, "exact", 1 / 6),
    ],
    ids=["explain", "paths", "digits"],
)
def test_training_ends_better_than_chance(
    experiment: Any, task: str, contestant: str, given: dict[str, Any], metric: str, chance: float, samples: Path
) -> None:
    # Seed 4: 0.6, 0.3 and 0.42; a quarter above chance leaves room for another machine.
    trial = experiment.configure("smoke", task, contestant, given)
    torch.manual_seed(4)
    problem = __import__(f"hardgrad_lab.experiments.bridges.{experiment.name}.problem", fromlist=["problem"]).problem
    training, plan = drawn.begin(problem(trial, Root(folder=samples)), trial, 4, torch.device("cpu"))
    for _ in range(plan.steps):
        training.step(training.loss, 0.0)
    training.add_point(last=True)
    assert training.curve[-1][metric] > 1.25 * chance


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"softness": 0.0}, "softness must be greater than 0, got 0.0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"lr": -1.0}, "lr must be greater than 0, got -1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        DIGITS.configure("smoke", "5", METHODS[0], given)


# ------------------------------------------------------------------------------------------------- what is committed


@pytest.mark.parametrize("experiment", ALL, ids=lambda one: one.name)
def test_the_committed_records_are_runs_of_the_experiment_as_it_is(experiment: Any) -> None:
    for path in sorted((RECORDS / experiment.name).glob("*.json")):
        record = Record.load(path)
        config = experiment.rebuilt(record.config)
        assert path.name == experiment.run(config, record.seed).record_path(path.parent).name
        assert "commit" in json.loads(path.read_text(encoding="utf-8"))["environment"]


def test_the_guide_holds_the_numbers_on_record_and_its_pictures() -> None:
    page = RECORDS.parent / "docs" / "guides" / "orders.md"
    text, made = page.read_text(encoding="utf-8"), runpy.run_path(str(page.parents[1] / "scripts" / "tables.py"))
    for experiment in ALL:
        block = f"<!-- {experiment.name} -->\n{made['table'](experiment.name)}\n<!-- end -->"
        assert block in text, "write it again with: python docs/scripts/tables.py"
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 2
    assert all((page.parent / name).is_file() for name in pictures)

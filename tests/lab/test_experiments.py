"""What every experiment of the registry must do: run at its smoke budget on samples, and describe itself truly."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from rich.console import Console

from hardgrad_lab.app import run
from hardgrad_lab.commands.experiment import _helps
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments import experiments
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.experiment import BUDGETS, NAMES, Budget, Experiment
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

# Those without a shape of their own; of those in brief, each has tests of its own.
EXPERIMENTS = {one.name: one for one in experiments() if not one.sections and not one.brief}

every = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS.keys())


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HARDGRAD_DATA", raising=False)


def configured(experiment: Experiment, budget: Budget) -> Iterator[tuple[str, str, Any]]:
    """Task, contestant and configuration of all that a budget can have, whether it plans them or not."""
    for task in experiment.tasks:
        for contestant in experiment.contestants:
            if (task, contestant) not in experiment.without:
                yield task, contestant, experiment.configure(budget, task, contestant, {})


def planned(experiment: Experiment, budget: Budget) -> set[str]:
    """The names of the runs that the command should make."""
    tasks = experiment.ask.usual.get("task", experiment.planned_tasks(budget))
    names = experiment.ask.usual.get("contestant", list(experiment.contestants))
    configs = [config for task, name, config in configured(experiment, budget) if task in tasks and name in names]
    seeds = range(experiment.ask.seeds or experiment.seeds[budget])
    return {experiment.run(config, seed).name for config in configs for seed in seeds}


# ---------------------------------------------------------------------------------------------------- the smoke runs


@every
def test_the_smoke_command_leaves_a_record_of_each_planned_run_and_a_report(
    experiment: Experiment, samples: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["reproduce", experiment.name, "--budget", "smoke", "--data", str(samples), "--out", "mine"]
    assert run(words) == 0, capsys.readouterr().err
    paths = {path.stem: path for path in Path("mine").glob("*.json")}
    assert set(paths) == planned(experiment, "smoke")
    records = [Record.load(path) for path in paths.values()]
    for record in records:
        assert experiment.kept_budgets or record.config["budget"] == "smoke"
        assert record.samples > 0
        assert math.isfinite(record.metrics[experiment.metrics[0].name]), "what decides must be there, and a number"
        assert not any("@" in name for name in record.metrics)
    for metric in experiment.metrics:
        assert any(metric.name in record.metrics for record in records), f"no record has a value for {metric.name}"
    assert (Path("mine/report") / f"{experiment.name}.html").stat().st_size > 1000

    monkeypatch.setattr(Training, "step", lambda *given: pytest.fail("trained again"))
    written = {name: path.stat().st_mtime_ns for name, path in paths.items()}
    capsys.readouterr()
    assert run(words) == 0
    assert capsys.readouterr().out.count("nothing was trained") == len(paths)
    assert {path.stem: path.stat().st_mtime_ns for path in Path("mine").glob("*.json")} == written


SHORTER = {"epochs": 1, "rows": 80, "test_rows": 20, "curve_rows": 20, "draws": 1}
EACH = [(experiment, name) for experiment in EXPERIMENTS.values() for name in experiment.contestants]


@pytest.mark.parametrize(("experiment", "contestant"), EACH, ids=[f"{each.name}-{name}" for each, name in EACH])
def test_a_run_stopped_half_way_and_resumed_leaves_the_same_to_the_bit(
    experiment: Experiment, contestant: str, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = next(task for task in experiment.planned_tasks("smoke") if (task, contestant) not in experiment.without)
    given = {name: value for name, value in SHORTER.items() if name in experiment.options()}
    config = experiment.configure("smoke", task, contestant, given)
    identity, program = experiment.run(config, 5), import_module(experiment.program)

    def reproduce(folder: str, **how: Any) -> Record:
        everything = How(results=Path(folder), device="cpu", **how)
        record: Record = program.reproduce(
            identity, config, 5, Root(folder=samples), everything, Console(quiet=True)
        ).record
        return record

    whole = reproduce("whole")
    assert identity.checkpoint_path(Path("whole")).is_file(), (
        "without brief=True a run must leave a checkpoint, as runs.execute does and runs.whole does not"
    )
    state = checkpoint.load(identity.checkpoint_path(Path("whole")), identity)
    half, step = state["steps"] // 2, Training.step

    def stopped(self: Training, *given: Any) -> None:
        if self.steps == half:
            raise KeyboardInterrupt
        step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            reproduce("halves", checkpoint_every=1)
    assert checkpoint.load(identity.checkpoint_path(Path("halves")), identity)["steps"] == half >= 1
    halves = reproduce("halves", resume=True)
    assert halves.metrics == whole.metrics
    assert without_seconds(halves.curve) == without_seconds(whole.curve)
    again = checkpoint.load(identity.checkpoint_path(Path("halves")), identity)
    for name, weights in state["model"].items():
        assert torch.equal(again["model"][name], weights), name
    for path in (*Path("whole").glob("curves/*"), *Path("whole").glob("pictures/*")):
        assert (Path("halves") / path.relative_to("whole")).read_bytes() == path.read_bytes()


def without_seconds(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in point.items() if name != "seconds"} for point in curve]


# ------------------------------------------------------------------------------------------------- the command line


@every
def test_help_names_every_option_and_says_what_it_is(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", experiment.name, "--help"]) == 0
    shown = re.sub(r"[\s│╭╮╰╯─]+", " ", capsys.readouterr().out)
    said = _helps(experiment.config)
    assert set(said) == {each.name for each in fields(experiment.config)}, "the docstring explains every field"
    for name in experiment.options():
        assert re.search(rf"--{name.replace('_', '-')}\b", shown)
        assert " ".join(said[name].split()[:3]) in shown
    asked = [experiment.ask.options.get(name, name) for name in ("task", "contestant")]
    for name in ("budget", *asked, "seed", "seeds", "data", "download", "out", "resume", "force"):
        assert f"--{name} " in shown
    for word in (*experiment.tasks, *experiment.contestants):
        assert word in shown


def test_an_option_that_no_contestant_takes_up_is_refused(capsys: pytest.CaptureFixture[str], samples: Path) -> None:
    words = f"reproduce density --budget smoke --task mnist-static --data {samples} --temperature 0.3 --contestant"
    assert run([*words.split(), "gumbel"]) == 1
    assert "--temperature must be 1.0, which is gumbel's own, got 0.3" in capsys.readouterr().err
    assert run([*words.split(), "rebar"]) == 0  # which leaves it open


@every
def test_an_unknown_word_or_value_is_refused_before_anything_runs(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    hints, asked = get_type_hints(experiment.config), experiment.ask.options
    numbers = [name for name in experiment.options() if hints[name] in (int, float)]
    task, contestant = asked.get("task", "task"), asked.get("contestant", "contestant")
    wrong = {
        f"--{task} nonsense": rf"--{task} must be {re.escape(experiment.known_tasks())}, got nonsense",
        f"--{contestant} nonsense": f"--{contestant} must be one of .*, got nonsense",
        "--budget nonsense": r'Invalid value "nonsense" for --budget\. Choose from: "smoke", "small", "paper"',
        "--seeds -1": r'Invalid value "-1" for --seeds\. Must be >= 0',
        "--seed -1": r'Invalid value "-1" for --seed\. Must be >= 0',
        "--nonsense 3": "Unknown option: --nonsense",
    }
    wrong |= {f"--{name.replace('_', '-')} five": 'unable to convert "five"' for name in numbers}
    for words, message in wrong.items():
        assert run(["reproduce", experiment.name, *words.split()]) == 1
        assert re.search(message, capsys.readouterr().err), words
    assert not Path("runs").exists()


@every
def test_given_values_take_the_place_of_the_budget_s_and_senseless_ones_are_refused(experiment: Experiment) -> None:
    task = experiment.planned_tasks("smoke")[0]
    for name in experiment.options():
        contestant, before, again = next(given_its_own(experiment, task, name))
        value = getattr(before, name)
        assert again == before
        if type(value) is int and name not in experiment.contestants[contestant]:  # a number of something
            with pytest.raises(OptionError, match=f"^{name} must be "):
                experiment.configure("smoke", task, contestant, {name: -7})
    with pytest.raises(OptionError, match="nonsense must be left out: there is no such option"):
        experiment.configure("smoke", task, contestant, {"nonsense": 1})


def given_its_own(experiment: Experiment, task: str, name: str) -> Iterator[tuple[str, Any, Any]]:
    """The contestants that have an option, their configuration, and the same with the option's own value given."""
    for contestant in experiment.contestants:
        if (task, contestant) not in experiment.without:
            before = experiment.configure("smoke", task, contestant, {})
            with suppress(OptionError):
                yield contestant, before, experiment.configure("smoke", task, contestant, {name: getattr(before, name)})


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A configuration.

    Args:
        task: what.
        contestant: who.
        budget: how much.
        value: where it
            came from.
    """

    task: str
    contestant: str
    budget: str
    value: str


def test_a_later_layer_goes_before_an_earlier_one() -> None:
    toy = replace(
        EXPERIMENTS["figure3"],
        config=Toy,
        common={"value": "common"},
        tasks={"plain": {}, "own": {"value": "task"}, "other": {}},
        contestants={"one": {}, "strict": {"value": "contestant"}},
        budgets={"smoke": {}, "small": {"value": "budget"}, "paper": {}},
        special={("small", "other"): {"value": "special"}},
        without=[("other", "strict")],
    )

    def value(budget: Budget, task: str, contestant: str, **given: str) -> str:
        return str(toy.configure(budget, task, contestant, given).value)

    assert value("smoke", "plain", "one") == "common"
    assert value("smoke", "own", "one") == "task"
    assert value("small", "own", "one") == "budget"
    assert value("small", "other", "one") == "special"
    assert value("small", "other", "one", value="user") == "user"
    assert value("small", "plain", "strict", value="user") == "contestant"
    with pytest.raises(OptionError, match="contestant must be one that other has, got 'strict'"):
        value("small", "other", "strict")
    assert _helps(Toy)["value"] == "Where it came from."


# ----------------------------------------------------------------------------------------- what an experiment says


@every
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_budget_can_be_configured_and_names_its_runs_apart(experiment: Experiment, budget: Budget) -> None:
    configs = list(configured(experiment, budget))
    assert set(experiment.planned_tasks(budget)) <= set(experiment.tasks)
    assert experiment.seeds[budget] >= 1
    names = [experiment.run(config, seed).name for _, _, config in configs for seed in (0, 1)]
    assert len(set(names)) == len(names)
    for task, contestant, config in configs:
        again = experiment.configure(budget, task, contestant, {})
        one, other = experiment.run(config, 3), experiment.run(again, 3)
        assert one == other
        assert experiment.named(one.config)[:2] == (task, contestant)
        assert experiment.rebuilt(one.config) == config
        # As a record or a checkpoint gives it back.
        assert json.loads(json.dumps(one.config)) == one.config
        assert replace(one, config=json.loads(json.dumps(one.config))).name == one.name


@every
def test_published_numbers_and_claims_are_of_known_tasks_contestants_and_metrics(experiment: Experiment) -> None:
    metrics = {metric.name for metric in experiment.metrics}
    assert len(metrics) == len(experiment.metrics)
    for metric in experiment.metrics:
        assert format(0.5, metric.form)
    for (task, contestant), numbers in experiment.published.items():
        assert task in experiment.tasks
        assert contestant in experiment.contestants
        assert (task, contestant) not in experiment.without
        assert set(numbers) <= metrics
        for published in numbers.values():
            assert published.source
            assert published.spread is None or published.spread >= 0
            assert published.replications is None or published.replications >= 1
    for claim in experiment.claims:
        assert claim.task in experiment.tasks
        assert {claim.better, claim.worse, *claim.alternatives} <= set(experiment.contestants)
        assert set(claim.aside) <= set(experiment.options())
        assert claim.metric in metrics
        assert next(metric for metric in experiment.metrics if metric.name == claim.metric).better, claim.says


@every
def test_layers_name_nothing_that_the_configuration_lacks(experiment: Experiment) -> None:
    known = set(experiment.options())
    layers = [experiment.common, *experiment.tasks.values(), *experiment.contestants.values()]
    layers += [*experiment.budgets.values(), *experiment.special.values()]
    for layer in layers:
        assert set(layer) <= known
    assert set(experiment.seeds) == set(BUDGETS)
    assert {task for _, task in experiment.special} | {task for task, _ in experiment.without} <= set(experiment.tasks)
    if experiment.maker is None:
        assert set(experiment.budgets) == set(BUDGETS)
        assert set(NAMES) <= {each.name for each in fields(experiment.config)}


@every
def test_the_guide_has_a_row_for_each_experiment_with_its_tasks_and_contestants(experiment: Experiment) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "commands" / "experiments.md").read_text(encoding="utf-8")
    rows = [line for line in guide.splitlines() if line.startswith(f"| `{experiment.name}` | ")]
    assert len(rows) == 1, (
        f"the table of docs/commands/experiments.md needs one row of {experiment.name}, or brief=True"
    )
    (row,) = rows
    words = set(re.findall(r"[\w-]+", row.partition(" | ")[2]))
    assert set(experiment.contestants) <= words
    assert {re.sub(r"-0\.\d+$", "", task) for task in experiment.tasks} <= words  # bits per pixel are a range there

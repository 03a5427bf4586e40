"""The spiking network: its steps by hand, runs that learn, records, and the page that shows them."""

from __future__ import annotations

import json
import re
import runpy
import statistics
from pathlib import Path

import pytest
import torch
from rich.console import Console

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges import drawn
from hardgrad_lab.experiments.bridges.spikes import SPIKES
from hardgrad_lab.experiments.bridges.spikes.problem import SHAPES, Spiking, problem
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.record import Record

RECORDS = Path(__file__).parents[2] / "results" / "spikes"
QUIET = Console(quiet=True)


def test_the_network_is_the_two_layers_that_it_says() -> None:
    torch.manual_seed(2)
    net = Spiking(SPIKES.configure("smoke", "mnist", "triangle", {"size": 5, "width": 8})).double()
    with torch.no_grad():
        net.into.bias.add_(0.5)
        net.between.weight.mul_(3)
    x = torch.rand(6, 784, dtype=torch.float64)
    weights = {name: value.detach() for name, value in net.named_parameters()}
    expected, spikes = torch.zeros(6, 10, dtype=torch.float64), 0.0
    for row, drive in enumerate(x @ weights["into.weight"].T + weights["into.bias"]):
        one, two, out = [0.0] * 8, [0.0] * 8, torch.zeros(10, dtype=torch.float64)
        sent, fired = [0.0] * 8, [0.0] * 8
        for _ in range(5):
            one = [0.9 * v + c.item() - s for v, c, s in zip(one, drive, sent, strict=True)]
            sent = [float(v >= 1) for v in one]
            into = weights["between.weight"] @ torch.tensor(sent, dtype=torch.float64) + weights["between.bias"]
            two = [0.9 * v + c.item() - s for v, c, s in zip(two, into, fired, strict=True)]
            fired = [float(v >= 1) for v in two]
            out = 0.9 * out + weights["out.weight"] @ torch.tensor(fired, dtype=torch.float64) + weights["out.bias"]
            expected[row] += out / 5
            spikes += (sum(sent) + sum(fired)) / (6 * 5 * 16)
    said = net(x)
    torch.testing.assert_close(said[:, :-1], expected)
    assert said[:, -1].mean().item() == pytest.approx(spikes)
    assert spikes > 0.05


@pytest.mark.parametrize("contestant", SPIKES.contestants)
def test_all_layers_learn_but_where_spikes_lend_nothing(contestant: str) -> None:
    net = Spiking(SPIKES.configure("smoke", "mnist", contestant, {}))
    with hg.penalties():
        net(torch.rand(8, 784))[:, :-1].square().sum().backward()
    learns = [layer.weight.grad is not None and bool(layer.weight.grad.any()) for layer in (net.into, net.between)]
    assert learns == [contestant != "none"] * 2
    assert net.out.weight.grad is not None


@pytest.mark.parametrize("name", SHAPES)
def test_softness_makes_a_twin_as_many_times_wider(name: str) -> None:
    """Where the derivative has its value at x, that of a twin three times wider has it at 3 x, or a third of it."""
    x = torch.tensor([-1.0, -0.3, -0.1, 0.0, 0.1, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    narrow, wide = (
        torch.autograd.grad(SHAPES[name](softness)(softness * x).sum(), x)[0] / softness for softness in (1.0, 3.0)
    )
    if name == "leaky":
        assert torch.equal(wide[:4], 3 * narrow[:4])
        assert torch.equal(wide[4:], narrow[4:])
        return
    torch.testing.assert_close(wide, narrow / (1 if name == "fast-sigmoid" else 3))


def test_a_run_leaves_a_record_of_its_metrics(samples: Path, tmp_path: Path) -> None:
    run = SPIKES.run(SPIKES.configure("smoke", "fashion-mnist", "bridge", {}), 3)
    record = SPIKES.reproduce(run, Root(folder=samples), How(results=tmp_path, device="cpu"), QUIET).record
    assert 0 <= record.metrics["accuracy"] <= 1
    assert 0 < record.metrics["rate"] < 1
    assert record.metrics["penalty"] > 0


def test_training_ends_better_than_chance(samples: Path) -> None:
    # Seed 4: 0.71 of 100 pictures; chance is 0.1.
    trial = SPIKES.configure("smoke", "fashion-mnist", "triangle", {"steps": 60, "batch": 32, "lr": 0.01, "size": 8})
    torch.manual_seed(4)
    training, plan = drawn.begin(problem(trial, Root(folder=samples)), trial, 4, torch.device("cpu"))
    for _ in range(plan.steps):
        training.step(training.loss, 0.0)
    training.add_point(last=True)
    assert training.curve[-1]["accuracy"] > 0.4


def test_the_page_has_the_means_of_narrower_and_wider_derivatives() -> None:
    text = (RECORDS.parents[1] / "docs" / "guides" / "spiking.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| times as wide .*?\n\n", text, re.DOTALL)
    head, _, *rows = (line.strip("| ").split(" | ") for line in table.strip().splitlines())
    records = [Record.load(path) for path in RECORDS.glob("*.json")]
    for contestant, *cells in rows:
        for wide, cell in zip(head[1:], cells, strict=True):
            asked = SPIKES.configure("small", "fashion-mnist", contestant, {"softness": float(wide)})
            config = SPIKES.run(asked, 0).config
            seen = [record.metrics["accuracy"] for record in records if record.config == config]
            assert cell == f"{statistics.fmean(seen):.1%}", (contestant, wide)


def test_the_committed_records_are_runs_of_the_experiment_as_it_is_and_stand_on_the_page() -> None:
    for path in sorted(RECORDS.glob("*.json")):
        record = Record.load(path)
        config = SPIKES.rebuilt(record.config)
        assert path.name == SPIKES.run(config, record.seed).record_path(path.parent).name
        assert "commit" in json.loads(path.read_text(encoding="utf-8"))["environment"]
    page = RECORDS.parents[1] / "docs"
    table = runpy.run_path(str(page / "scripts" / "tables.py"))["table"]("spikes")
    block = f"<!-- spikes -->\n{table}\n<!-- end -->"
    assert block in (page / "guides" / "spiking.md").read_text(encoding="utf-8"), (
        "write it again: python docs/scripts/tables.py"
    )

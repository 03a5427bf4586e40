"""Networks trained through real boxes: what the boxes are, equal calls, that training works, and the records."""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import hardgrad as hg
from hardgrad_lab import cli
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.boxes import BEST, BOXES, GRADIENTS, RATES, SCALES, TASKS
from hardgrad_lab.experiments.bridges.boxes.problem import KNOBS, Approximator, Controller, Filter, rows_of
from hardgrad_lab.experiments.bridges.boxes.programs import box_of, gate
from hardgrad_lab.experiments.bridges.boxes.run import BATCH, COST, trained
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
PAIRS = BOXES.pairs("smoke")


def gate_by_loop(row: np.ndarray) -> list[float]:
    """The gate as its docstring says it, sample by sample."""
    out, opened = [], False
    for i in range(len(row)):
        peak = max(abs(float(value)) for value in row[max(i - 63, 0) : i + 1])
        opened = peak > 0.25 or (opened and peak >= 0.1)
        out.append(float(row[i]) * (1.0 if opened else 0.1))
    return out


def test_the_gate_is_the_loop_of_its_docstring() -> None:
    random = np.random.default_rng(0)
    loud = 0.5 * (1 + np.sin(np.arange(900) / 70)) * random.uniform(-0.4, 0.4, (3, 900))
    out = gate(loud)
    for row, got in zip(loud, out, strict=True):
        np.testing.assert_allclose(got, gate_by_loop(row), rtol=1e-12)
    shares = np.isclose(out, loud).mean()
    assert 0.1 < shares < 0.9, "it opens and closes"
    assert ((np.abs(loud) < 0.1) & np.isclose(out, loud) & (loud != 0)).any(), (
        "what is open stays so below the other edge"
    )


def test_a_filter_is_a_causal_convolution_and_begins_as_the_identity() -> None:
    torch.manual_seed(0)
    x, taps, net = torch.randn(3, 100), torch.randn(3, 32), Filter()
    assert torch.equal(net(x), x)
    for row in range(3):
        want = np.convolve(x[row].numpy(), taps[row].numpy())[:100]
        np.testing.assert_allclose(net(x, taps)[row].detach().numpy(), want, atol=1e-5)


@pytest.mark.parametrize("knobs", [0, KNOBS])
def test_an_approximator_begins_as_the_sound_and_looks_back_alone(knobs: int) -> None:
    torch.manual_seed(0)
    net, x = Approximator(knobs), torch.rand(2, knobs + 600)
    assert torch.equal(net(x), x[:, knobs:])
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    later = x.clone()
    later[:, -100:] = 0
    assert torch.equal(net(later)[:, :-100], net(x)[:, :-100])
    other = x.clone()
    other[:, :knobs] = 1 - other[:, :knobs]
    assert torch.equal(net(other), net(x)) == (knobs == 0)


def test_every_box_keeps_rows_apart_counts_them_and_refuses_a_gradient() -> None:
    torch.manual_seed(0)
    for task in TASKS:
        box, x = box_of(task), torch.rand(3, 512) - 0.5
        x = Controller()(x).detach() if task == "knobs" else x
        whole = box(x)
        assert whole.shape == (3, 512)
        assert torch.equal(whole[1:2], box(x[1:2])), task
        assert box.calls == 4
        assert not torch.allclose(whole, x[:, -512:], atol=1e-3), "it does something"
        with pytest.raises(RuntimeError, match=r"hardgrad\.perturb"):
            box(x.requires_grad_())


def test_each_of_the_ten_knobs_does_something() -> None:
    box, x = box_of("knobs"), 0.5 * torch.sin(torch.arange(1024) ** 1.3 / 20).expand(11, -1)
    knobs = torch.full((11, KNOBS), 0.4) + torch.cat([torch.zeros(1, KNOBS), 0.3 * torch.eye(KNOBS)])
    moved = (box(torch.cat([knobs, x], 1))[1:] - box(torch.cat([knobs, x], 1))[:1]).abs().amax(1)
    assert (moved > 1e-3).all(), moved


@pytest.mark.parametrize(("task", "contestant"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_a_run_spends_the_calls_it_may_and_leaves_a_record(task: str, contestant: str, tmp_path: Path) -> None:
    config = BOXES.configure("smoke", task, contestant, {})
    how, quiet = How(results=tmp_path), Console(quiet=True)
    record = BOXES.reproduce(BOXES.run(config, 3), Root(), how, quiet).record
    spent, step = record.metrics["box_calls"], BATCH * COST.get(contestant, 1)
    assert config.calls - step < spent <= config.calls
    assert record.curve[-1]["calls"] == spent
    assert record.curve[-1]["esr"] == record.metrics["esr"]
    assert all(math.isfinite(value) for value in record.metrics.values())
    straight = trained(BOXES.configure("smoke", task, "score-function", {}), 3, Root())
    for name in ("esr_none", "esr_gain"):  # all gradients of a box begin at one place, towards one target
        assert record.metrics[name] == straight.metrics[name]
    assert record.metrics["esr_gain"] <= record.metrics["esr_none"]
    assert Record.load(BOXES.run(config, 3).record_path(tmp_path)).metrics == record.metrics


@pytest.mark.parametrize(
    ("task", "contestant"),
    [
        ("compressor", "straight-through"),
        ("gate", "bridge-frozen"),
        ("gate", "bridge-online"),
        ("crush", "two-point-weights"),
        ("knobs", "two-point"),
        ("knobs", "score-function"),
    ],
)
def test_training_brings_a_network_nearer_to_its_target(task: str, contestant: str) -> None:
    # Seed 4, 600 calls, drawn tones: all end below 0.4 of what they begin at; 0.7 leaves room for another machine.
    result = trained(BOXES.configure("smoke", task, contestant, {"calls": 600, "lr": 0.01}), 4, Root())
    assert result.metrics["esr"] < 0.7 * result.metrics["esr_none"], result.metrics


def test_a_run_is_the_same_twice() -> None:
    config = BOXES.configure("smoke", "compressor", "bridge-online", {})
    assert trained(config, 2, Root()) == trained(config, 2, Root())


def test_the_command_of_the_docs_trains_through_a_real_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "reproduce boxes --box compressor --gradient two-point --budget smoke --out mine"
    assert cli.main(words.split()) == 0
    shown = capsys.readouterr().out
    assert re.search(r"ESR \S+ -> \S+ in 96 calls of compressor", shown)
    assert Path("mine/report/boxes.html").stat().st_size > 1000
    assert "two-point" in Path("mine/report/boxes.md").read_text(encoding="utf-8")
    assert Path("mine/report/boxes-along.svg").exists()
    assert cli.main(words.split()) == 0
    assert "nothing was trained" in capsys.readouterr().out
    assert cli.main(["report", "--results", "mine", "--out", "pages"]) == 0
    assert '<section id="boxes">' in Path("pages/all.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"calls": 0}, "calls must be at least 1, got 0"),
        ({"length": 8}, "length must be at least 64, got 8"),
        ({"lr": 0.0}, "lr must be greater than 0, got 0.0"),
        ({"share": 1.0}, "share must be between 0 and 1, got 1.0"),
        ({"scale": (0.1, 0.2)}, r"scale must be one or ten positive numbers, got \(0.1, 0.2\)"),
        ({"source": "tape"}, "source must be one of recordings, drawn, got 'tape'"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        BOXES.configure("smoke", "fold", "two-point", given)


def test_the_folder_without_its_recordings_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recording; looked for"):
        rows_of(BOXES.configure("small", "fold", "two-point", {}), Root(folder=tmp_path), 0)


def test_the_scales_are_those_of_the_doctor() -> None:
    torch.manual_seed(0)
    dry = rows_of(BOXES.configure("smoke", "fold", "two-point", {}), Root(), 0)[0][:8]
    for task in ("fold", "crush"):  # by formula, so nearly the same on drawn tones as on recordings
        found = hg.doctor.examine(box_of(task), dry).scale
        assert isinstance(found, torch.Tensor)
        assert found.mean().item() == pytest.approx(SCALES[task][0], rel=0.25)


# ------------------------------------------------------------------------------------------------- what is committed


@pytest.fixture(scope="module")
def records() -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for path in sorted((ROOT / "results" / "boxes").glob("*.json")):
        record = Record.load(path)
        found.setdefault((record.config["task"], record.config["contestant"]), []).append(record)
    return found


def test_the_committed_records_are_whole_and_at_equal_calls(records: dict[tuple[str, str], list[Record]]) -> None:
    assert set(records) == set(BOXES.pairs("small"))
    for (task, contestant), runs in records.items():
        preset = BOXES.configure("small", task, contestant, {})
        for run in runs:
            assert run.config == json.loads(json.dumps(BOXES.run(preset, run.seed).config)), (task, contestant)
            assert preset.calls - BATCH * COST.get(contestant, 1) < run.metrics["box_calls"] <= preset.calls
            assert not run.environment["dirty"]
        assert sorted(run.seed for run in runs) == [0, 1, 2], "and not 100, on which rates were chosen"
    assert {rate for rates in BEST.values() for rate in rates} <= set(RATES)
    assert all(len(rates) == len(GRADIENTS) for rates in BEST.values())


def test_the_table_of_the_docs_is_that_of_the_records(records: dict[tuple[str, str], list[Record]]) -> None:
    text = (ROOT / "docs" / "guides" / "black-boxes.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    for gradient in GRADIENTS:
        for task, cell in zip(TASKS, rows[gradient], strict=True):
            runs = records.get((task, gradient), [])
            assert cell.strip().strip("*") == (middle(runs, "esr") if runs else "-"), (task, gradient)
    for name, metric in (("untrained", "esr_none"), ("best gain", "esr_gain")):
        want = [middle(records[task, "score-function"], metric) for task in TASKS]
        assert [cell.strip() for cell in rows[name]] == want


def middle(runs: list[Record], metric: str) -> str:
    return f"{statistics.median(run.metrics[metric] for run in runs):.2g}"

"""Two bits on CIFAR-10: which weights and inputs have levels, what learns, the records and the page's table."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
from rich.console import Console

import hardgrad as hg
from hardgrad_lab.data.cifar10 import load
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges import drawn
from hardgrad_lab.experiments.bridges.low_bit import LOW_BIT
from hardgrad_lab.experiments.bridges.low_bit.problem import network, pictures, problem, scaled
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
NAMES = list(LOW_BIT.contestants)


@pytest.mark.parametrize("contestant", NAMES)
def test_six_weights_and_their_inputs_have_four_levels_at_most(contestant: str) -> None:
    torch.manual_seed(0)
    model = network(LOW_BIT.configure("smoke", "2", contestant, {}))
    seen: dict[torch.nn.Module, int] = {}
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    for each in convolutions:
        each.register_forward_pre_hook(lambda layer, given: seen.update({layer: len(given[0].unique())}))
    model(torch.randn(4, 3, 32, 32))
    weights = [len(each.weight.unique()) for each in convolutions]
    few = 0 if contestant == "full" else 6
    assert sum(count <= 4 for count in weights) == few
    assert sum(seen[each] <= 4 for each in convolutions) == few
    steps = [p.requires_grad for name, p in model.named_parameters() if name.endswith(("scale", "hard.scale"))]
    assert steps == [contestant in ("lsq", "pact")] * 2 * few
    assert sum(isinstance(m, hg.Bridge) for m in model.modules()) == (12 if contestant == "bridge" else 0)


def test_every_contestant_leaves_a_record_of_its_metrics(samples: Path, tmp_path: Path) -> None:
    how, quiet = How(results=tmp_path, device="cpu"), Console(quiet=True)
    for contestant in NAMES:
        run = LOW_BIT.run(LOW_BIT.configure("smoke", "2", contestant, {"steps": 2}), 3)
        record = LOW_BIT.reproduce(run, Root(folder=samples), how, quiet).record
        assert set(record.metrics) >= {"accuracy", "loss"}
        assert all(math.isfinite(value) for value in record.metrics.values()), contestant


def test_training_learns_a_batch_by_heart(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = LOW_BIT.configure("smoke", "2", "lsq", {"steps": 30, "batch": 16})
    torch.manual_seed(4)
    training, plan = drawn.begin(problem(trial, Root(folder=samples)), trial, 4, torch.device("cpu"))
    rows = training.stream.batch()
    monkeypatch.setattr(training.stream, "batch", lambda: rows)
    first = training.loss(*rows).item()
    for _ in range(plan.steps):
        training.step(training.loss, 0.0)
    assert training.loss(*rows).item() < 0.8 * first  # 0.69 on this seed


def test_pictures_are_those_of_the_set_mirrored_and_shifted(samples: Path) -> None:
    images = load(Root(folder=samples), "train")
    x, y = pictures(images, torch.Generator().manual_seed(1), 40)
    random = torch.Generator().manual_seed(1)
    chosen, mirrored = torch.randint(len(images), (40,), generator=random), torch.rand(40, generator=random) < 0.5
    down, right = (torch.randint(9, (2,), generator=random) - 4).tolist()
    assert torch.equal(y, images.y[chosen])
    plain = scaled(images.x[chosen])
    row, column = slice(max(0, -down), 32 - max(0, down)), slice(max(0, -right), 32 - max(0, right))
    for each, source, flip in zip(x, plain, mirrored.tolist(), strict=True):
        source = source.flip(-1) if flip else source
        shifted = source.roll((-down, -right), (-2, -1))
        assert torch.equal(each[:, row, column], shifted[:, row, column])
    assert 10 < mirrored.sum() < 30  # half of 40, within 3 deviations of 3.2


def test_the_committed_records_are_runs_of_the_experiment_as_it_is_and_the_page_has_them() -> None:
    for path in sorted((ROOT / "results" / "low_bit").glob("*.json")):
        record = Record.load(path)
        assert path.name == LOW_BIT.run(LOW_BIT.rebuilt(record.config), record.seed).record_path(path.parent).name
    table = runpy.run_path(str(ROOT / "docs" / "scripts" / "tables.py"))["table"]("low_bit")
    page = (ROOT / "docs" / "guides" / "low-bit.md").read_text(encoding="utf-8")
    assert f"<!-- low_bit -->\n{table}\n<!-- end -->" in page, "write it again with: python docs/scripts/tables.py"

"""Pictures through codes: what is measured, by hand; runs that learn and leave records; a peer that may be absent."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges import drawn
from hardgrad_lab.experiments.bridges.codebooks import CODEBOOKS, OURS, PEERS
from hardgrad_lab.experiments.bridges.codebooks.peer import Peer
from hardgrad_lab.experiments.bridges.codebooks.problem import problem
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

RECORDS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("contestant", OURS)
def test_every_contestant_leaves_a_record_of_its_metrics(contestant: str, samples: Path, tmp_path: Path) -> None:
    how, quiet = How(results=tmp_path, device="cpu"), Console(quiet=True)
    task = "cifar10" if contestant == "copy" else "fashion-mnist"
    run = CODEBOOKS.run(CODEBOOKS.configure("smoke", task, contestant, {"steps": 2}), 3)
    record = CODEBOOKS.reproduce(run, Root(folder=samples), how, quiet).record
    assert set(record.metrics) >= {metric.name for metric in CODEBOOKS.metrics}
    assert all(math.isfinite(value) for value in record.metrics.values())


class Given(nn.Module):
    """A layer of known codes: every picture takes the first codes of each stage in turn."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.arange(49).view(1, 7, 7, 1).expand(len(x), 7, 7, 2).clone()
        index[..., 1] //= 25  # the second stage: 25 times code 0, 24 times code 1
        return x.detach() * 0, index


def test_error_codes_in_use_and_perplexity_are_as_by_hand(samples: Path) -> None:
    trial = CODEBOOKS.configure("smoke", "fashion-mnist", "copy", {})
    made = problem(trial, Root(folder=samples))
    made.model.layer = Given()
    with torch.no_grad():
        made.model.decoder[-1].weight.zero_()
        made.model.decoder[-1].bias.fill_(0.25)
        found = made.measure(made.model(made.test), 32)
    assert found["error"] == pytest.approx((made.test - 0.25).square().mean().item(), rel=1e-5)
    assert found["used"] == pytest.approx((49 + 2) / 1024)
    second = math.exp(-(25 / 49) * math.log(25 / 49) - (24 / 49) * math.log(24 / 49))
    assert found["perplexity"] == pytest.approx((49 + second) / 2)


def test_training_ends_better_than_the_mean_picture_and_with_most_codes(samples: Path) -> None:
    trial = CODEBOOKS.configure("smoke", "fashion-mnist", "rotation", {"steps": 60, "width": 8, "test_rows": 200})
    torch.manual_seed(4)
    training, plan = drawn.begin(problem(trial, Root(folder=samples)), trial, 4, torch.device("cpu"))
    for _ in range(plan.steps):
        training.step(training.loss, 0.0)
    training.add_point(last=True)
    # Seed 4: 0.038 of a variance of 0.12, and 0.75 of the codes.
    assert training.curve[-1]["error"] < 0.06
    assert training.curve[-1]["used"] > 0.5


def test_a_peer_that_is_not_installed_is_asked_for_in_one_sentence(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardgrad_lab.experiments.bridges.codebooks.peer.find_spec", lambda name: None)
    for name in PEERS:
        with pytest.raises(OptionError, match="pip install vector-quantize-pytorch"):
            problem(CODEBOOKS.configure("smoke", "fashion-mnist", name, {}), Root(folder=samples))
    assert not any(name in PEERS for _, name in CODEBOOKS.pairs("small")), "only where they are asked for"


def test_the_loss_that_a_peer_returns_is_added(samples: Path) -> None:
    made = problem(CODEBOOKS.configure("smoke", "fashion-mnist", "copy", {}), Root(folder=samples))
    x, y = made.make(torch.Generator().manual_seed(0), 16)
    plain = nn.Conv2d(4, 4, 1)  # as wide as a code

    class Theirs(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return plain(x), torch.zeros(len(x), 7, 7, dtype=torch.long), torch.full((1,), 3.0)

    made.model.layer = Peer(Theirs())
    variance = (made.model(x)[:, 0].mean() / (made.loss(x, y) - 3)).item()
    assert 0.05 < variance < 0.2, "of the pictures"


def test_the_committed_records_are_runs_of_the_experiment_as_it_is() -> None:
    for path in sorted((RECORDS / "codebooks").glob("*.json")):
        record = Record.load(path)
        assert path.name == CODEBOOKS.run(CODEBOOKS.rebuilt(record.config), record.seed).record_path(path.parent).name
        assert "commit" in json.loads(path.read_text(encoding="utf-8"))["environment"]


def test_the_page_holds_the_numbers_on_record() -> None:
    page = RECORDS.parent / "docs" / "guides" / "codebooks.md"
    made = runpy.run_path(str(page.parents[1] / "scripts" / "tables.py"))
    for name in made["PAGES"]["guides/codebooks"]:
        block = f"<!-- {name} -->\n{made['table'](name)}\n<!-- end -->"
        assert block in page.read_text(encoding="utf-8"), "write it again with: python docs/scripts/tables.py"

"""The benchmark measures ways that mean the same, and prints what it measured."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import hardgrad
from hardgrad_lab.app import run
from hardgrad_lab.bench import boxes, codebook, devices, estimators, needs, orders, recurrent, search, tariff
from hardgrad_lab.bench.race import Contender, medians, race
from hardgrad_lab.bench.switch import PEERS, network


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_computes_what_the_branches_do(name: str) -> None:
    torch.manual_seed(0)
    ranges, rows = (2, 1) if name == "cond" else (5, 12)
    branches = [network((4, 6, 3)) for _ in range(ranges)]
    parameters, peer = PEERS[name](branches)
    x, index = torch.randn(rows, 4), torch.randint(ranges, (rows,))
    expected = torch.cat([branches[i](row[None]) for i, row in zip(index.tolist(), x, strict=True)])
    torch.testing.assert_close(peer(x, index), expected)
    peer(x, index).sum().backward()
    assert any(p.grad is not None for p in parameters)


def test_a_race_calls_all_alike_and_takes_the_fast_calls() -> None:
    calls = {"a": 0, "b": 0, "before": 0}

    def one(name: str) -> None:
        calls[name] += 1

    contenders = {name: Contender(partial(one, name), before=partial(one, "before")) for name in "ab"}
    taken = race(contenders, seconds=0, least=7)
    assert calls == {"a": 8, "b": 8, "before": 14}
    assert set(taken) == {"a", "b"}


def test_the_command_prints_and_writes_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grid.json"
    words = ["bench", "switch", "--rows", "1,8", "--ranges", "3", "--widths", "4,5,1", "--seconds", "0"]
    assert run([*words, "--adam", "--skewed", "--out", str(out)]) == 0
    cells = json.loads(out.read_text())["cells"]
    assert [(cell["ranges"], cell["rows"]) for cell in cells] == [(3, 1), (3, 8)]
    assert all(cell["ratios"]["plain"] == 1 and cell["ratios"]["switch, bank"] > 0 for cell in cells)
    assert "processor time" in capsys.readouterr().out


@pytest.mark.parametrize("kind", needs.KINDS)
@pytest.mark.parametrize("objective", needs.OBJECTIVES)
def test_every_estimator_and_what_it_needs_reach_what_they_train(kind: str, objective: str) -> None:
    torch.manual_seed(0)
    case = needs.Case(kind, objective, 3)
    assert case.f(case.draws(1)).shape == (3,)
    assert case.f(case.draws(5)).shape == (5, 3)
    b, z = case.scored()
    assert torch.equal(b > 0, z > 0 if kind == "bernoulli" else z == z.amax(-1, keepdim=True))
    for name, entry in estimators.entries(case).items():
        entry.needs.before()
        entry.needs.call()
        assert all(p.grad is not None for p in case.parameters), name
        case.forget()
        torch.manual_seed(1)
        entry.call(case.q(), case.f).mean().backward()
        assert case.logits.grad is not None, name
        assert case.logits.grad.abs().sum() > 0, name
        assert all(p.grad is not None for p in case.parameters), name
        if entry.learns is not None:
            assert all(p.grad is not None for p in entry.learns.parameters()), name


@pytest.mark.parametrize("kind", needs.KINDS)
def test_the_peers_of_the_estimators_pass_a_gradient_on(kind: str) -> None:
    case = needs.Case(kind, "cheap", 3)
    for name, peer in estimators.peers(case).items():
        peer.before()
        assert case.logits.grad is None
        peer.call()
        assert (case.logits.grad is None) == (name == "torch, making q alone"), name


def test_the_command_prints_and_writes_what_estimators_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "costs.json"
    words = ["--batches", "2", "--kind", "bernoulli", "--objective", "cheap", "--seconds", "0", "--out", str(out)]
    assert run(["bench", "estimators", *words]) == 0
    (cell,) = json.loads(out.read_text())["cells"]
    assert (cell["kind"], cell["objective"], cell["batch"]) == ("bernoulli", "cheap", 2)
    assert cell["costs"]["disarm"]["evaluations"] == 2
    assert all(cost["over_one"] > 0 for cost in cell["costs"].values())
    assert cell["costs"]["torch, RelaxedBernoulli"]["over_needs"] is None
    assert "one evaluation takes" in capsys.readouterr().out


def test_medians_take_turns_and_are_of_each() -> None:
    order: list[str] = []
    calls = {name: partial(order.append, name) for name in "ab"}
    assert set(medians(calls, rounds=3, warm=1)) == {"a", "b"}
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_the_bank_of_another_checkout_stands_beside_ours(tmp_path: Path) -> None:
    words = ["bench", "switch", "--rows", "2", "--ranges", "3", "--widths", "4,5,1", "--seconds", "0", "--no-peers"]
    out, ours = tmp_path / "grid.json", sys.modules["hardgrad.switch"]
    assert run([*words, "--other", str(Path(hardgrad.__file__).parents[1]), "--out", str(out)]) == 0
    (cell,) = json.loads(out.read_text())["cells"]
    assert set(cell["ratios"]) == {"plain", "switch, bank", "switch", "other bank"}
    assert sys.modules["hardgrad.switch"] is ours


def test_another_checkout_without_the_package_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "switch", "--rows", "2", "--ranges", "3", "--seconds", "0", "--other", str(tmp_path)]) == 1
    assert "--other must be a folder that holds the package hardgrad" in capsys.readouterr().err


def test_a_tariff_is_fitted_and_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tariff, "MODELS", {"tree of ridge lines": tariff.MODELS["tree of ridge lines"]})
    assert run(["bench", "tariff", "--rows", "400", "--rounds", "1"]) == 0
    name, rows, error, _, ratio = re.split(r"  +", capsys.readouterr().out.splitlines()[-1])
    assert (name, rows, ratio) == ("tree of ridge lines", "400", "1.0")
    assert 0.9 < float(error) < 1.5


def test_boxes_are_raced_against_what_they_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "resnet_18", lambda *_, features: nn.Sequential(nn.Flatten(), nn.Linear(3072, features)))
    monkeypatch.setattr(boxes, "LENGTH", 8)
    assert run(["bench", "boxes", "--seconds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["box"] * 2 + ["perturb"] * 6 + ["breaks"] * 2
    assert all(float(line.rsplit(" ", 1)[1]) > 0 for line in lines[2:8])
    assert all(line.endswith("0 found") for line in lines[8:])


def test_devices_are_raced_and_grow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    core, package = ModuleType("torchcomp.core"), ModuleType("torchcomp")
    package.__spec__ = ModuleSpec("torchcomp", None)
    core.compressor_core = lambda x, start, up, down: x * up[:, None] + down[:, None]  # type: ignore[attr-defined]
    for each in (package, core):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.setattr(devices, "SAMPLES", 64)
    monkeypatch.setattr(devices, "ROW_COUNTS", (1, 2))
    monkeypatch.setattr(devices, "LENGTHS", (1, 2))
    assert run(["bench", "devices", "--seconds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    names = [line.split()[3] for line in lines if "forward + backward" in line]
    assert names == ["Ballistics", "Compressor", "Gate", "EnvelopeKey", "torchcomp"]
    sizes = [line.split("ns")[0].split()[1:4:2] for line in lines if "ns a sample" in line]
    assert sizes == [["1", "64"], ["2", "64"], ["8", "1"], ["8", "2"]]
    assert all(float(line.split()[-1]) > 0 < float(line.split()[-3]) for line in lines if "ns a sample" in line)


def test_orders_are_raced_against_a_sort_and_other_packages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("torchsort")
    package.__spec__ = ModuleSpec("torchsort", None)
    package.soft_sort = lambda x, regularization_strength: x.sort(-1).values * regularization_strength  # type: ignore[attr-defined]
    package.soft_rank = lambda x, regularization_strength: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchsort", package)
    monkeypatch.setattr(orders, "SIZES", ((3, 8),))
    monkeypatch.setattr(orders, "METHODS", ("laplace", "network"))
    monkeypatch.setattr(orders, "PACKAGES", {"torchsort": orders.PACKAGES["torchsort"]})
    monkeypatch.setattr(orders, "_memory", lambda: None)
    assert run(["bench", "orders", "--seconds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    ways = ["laplace", "network", "torchsort, l2"]
    found = [(line[:10].strip(), line[22:48].strip()) for line in lines[:8]]
    assert found == [(name, way) for name in orders.OPERATIONS for way in ways[: 2 if name == "top-k mask" else 3]]
    assert "fails: ZeroDivisionError" in lines[4]
    assert all(float(line.split()[-3]) > 0 for i, line in enumerate(lines[:8]) if i != 4)
    assert lines[8].startswith("straight-through sort   3 x    8   no_grad ")
    assert [line.split("10,000, ")[1].split("  ")[0] for line in lines[9:]] == ["log_prob of a draw", "marginals"]


class OtherQuantizer(nn.Module):
    """Of another package: it returns its loss, and learns by itself."""

    def __init__(self, dim: int, codebook_size: int, **options: object) -> None:
        super().__init__()
        assert options.keys() == {
            "decay", "commitment_weight", "kmeans_init", "threshold_ema_dead_code", "rotation_trick"
        }  # fmt: skip
        self.codes = nn.Parameter(torch.randn(codebook_size, dim))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return x + self.codes.mean(), x.argmax(-1), self.codes.square().mean().unsqueeze(0)


def test_quantizers_are_raced_against_a_product_and_another_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType(codebook.PEER)
    package.__spec__ = ModuleSpec(codebook.PEER, None)
    package.VectorQuantize = OtherQuantizer  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, codebook.PEER, package)
    monkeypatch.setattr(codebook, "LOOK_UP", (300, 4, 16))
    monkeypatch.setattr(codebook, "SIZES", ((16, 4, 3),))
    monkeypatch.setattr(codebook, "WEIGHTS", (6, 8))
    monkeypatch.setattr(codebook, "_memory", lambda: None)
    assert run(["bench", "codebook", "--seconds", "0"]) == 0
    lines = [line.split(": ") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [name for name, _ in lines] == [
        "300 x 4 against 16, nearest_code",
        *(f"16 x 4 against 3, {way}, Codebook" for way in ("copy", "rotation", "eval")),
        "6 x 8, LearnedScale", "6 x 8, LearnedScale, one a channel",
    ]  # fmt: skip
    assert all(float(number) > 0 for _, said in lines for number in re.findall(r"[0-9.]+", said))
    assert [said.split(" of ")[1] for _, said in lines[1:4]] == [codebook.PEER] * 3


def test_a_quantizers_step_is_a_backward_into_its_input_and_its_terms() -> None:
    x = torch.randn(5, 4, requires_grad=True)
    layer = OtherQuantizer(4, 3, **dict.fromkeys(
        ("decay", "commitment_weight", "kmeans_init", "threshold_ema_dead_code", "rotation_trick")
    ))  # fmt: skip
    seen = []
    x.register_hook(seen.append)
    codebook.step(layer, x)()
    torch.testing.assert_close(seen[0], torch.linspace(-1, 1, 4).expand(5, 4))
    # 5 rows x 4 weights that sum to 0, and the mean square: 2 c / 12 each.
    torch.testing.assert_close(layer.codes.grad, layer.codes.detach() / 6)
    for rotation in (False, True):
        ours = codebook.quantizers(4, 3, rotation=rotation)["Codebook"]
        codebook.step(ours, x)()
        assert (ours.gradient == "rotation") == rotation
    assert len(seen) == 3


def test_the_product_in_pieces_is_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook, "_AT_ONCE", 4)
    x, codes = torch.randn(12, 3), torch.randn(5, 3)
    torch.testing.assert_close(codebook.product(x, codes), x[-4:] @ codes.mT)


def test_every_relaxed_operator_of_the_bench_is_near_the_hard_one_it_is_named_for() -> None:
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)) * 9
    hard = {
        "top-k mask": partial(hardgrad.hard.top_k_mask, k=3),
        "rank": hardgrad.hard.rank,
        "sort": hardgrad.hard.sort,
    }
    for operation, wanted in hard.items():
        for method in orders.METHODS:
            y = orders.ours(operation, 3, method)(x)
            assert torch.corrcoef(torch.stack([y.flatten(), wanted(x).flatten()]))[0, 1] > 0.9, (operation, method)


def test_a_sequence_is_raced_against_one_fused_gru(capsys: pytest.CaptureFixture[str]) -> None:
    recurrent._compare(2, 5, hidden=3, ranges=2, hold=2, rounds=1)
    assert re.search(r"shared .* per_branch .* reset .* loop", capsys.readouterr().out)


def test_a_search_finds_what_was_planted() -> None:
    rows = search._problem(2_000, 2, 0)
    assert search._off_by(search._search(rows, "dynamic_programming", "bic"), rows[1]) == 0


def test_numbers_that_are_none_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "switch", "--rows", "1,x"]) == 1
    assert "--rows must be whole numbers of at least 1" in capsys.readouterr().err

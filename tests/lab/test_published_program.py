"""The published program: every quirk of it, and what it is without them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import hardgrad as hg
from hardgrad_lab import cli
from hardgrad_lab.experiments.switches.branches import published
from hardgrad_lab.experiments.switches.program import BATCHED, VARIANTS
from hardgrad_lab.experiments.switches.program.program import NAMES, NONE, PublishedSwitch, Quirks


def published_switch(**off: bool) -> PublishedSwitch:
    torch.manual_seed(0)
    return PublishedSwitch([-1.0, -0.5, 0.5, 1.0], quirks=Quirks().without(*(name for name in off)))


def weights(switch: PublishedSwitch, branch: int) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in switch.networks[branch].parameters()]


KEYS = [-1.0, -0.7, 0.0, 0.2, 0.9, 1.0]


def test_only_the_range_of_a_row_learns_from_it() -> None:
    switch = published_switch()
    before = [weights(switch, i) for i in range(3)]
    switch.train([[0.3]], [0.3], [0.9])
    after = [weights(switch, i) for i in range(3)]
    same = [all(torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)]
    assert same == [True, False, True]


def test_one_optimizer_state_for_all_ranges_and_each_its_own() -> None:
    # RMSprop's step is lr * g / sqrt(v). With a state of one's own, v of a first step is (1 - 0.9) g^2, so that every
    # weight with a gradient moves by lr / sqrt(0.1). With the state of others it moves by less, if theirs was larger.
    moved = {}
    for name, off in (("shared", {}), ("own", {"shared_optimizer": True})):
        switch = published_switch(shared_memory=True, **off)
        switch.train([[-0.9]] * 20, [-0.9] * 20, [1.0] * 20)
        before = weights(switch, 1)[-1]
        switch.train([[0.3]], [0.3], [0.05])
        moved[name] = float((weights(switch, 1)[-1] - before).abs())
    assert moved["own"] == pytest.approx(1e-3 / math.sqrt(0.1), rel=1e-3)
    assert moved["shared"] < 0.5 * moved["own"]


def test_ranges_begin_alike_only_as_published() -> None:
    alike = published_switch()
    assert all(torch.equal(a, b) for a, b in zip(weights(alike, 0), weights(alike, 2), strict=True))
    apart = published_switch(identical_start=True)
    assert not torch.equal(weights(apart, 0)[0], weights(apart, 2)[0])


def test_the_boundary_rule_is_half_open_and_closed_at_the_end() -> None:
    switch = published_switch()
    assert [switch.branch_of(key) for key in (-1.0, -0.6, -0.5, 0.49, 0.5, 1.0)] == [0, 0, 1, 1, 2, 2]
    for key in (-1.01, 1.01):
        with pytest.raises(ValueError, match=r"key must be within \[-1, 1\], got"):
            switch.branch_of(key)
    assert [published_switch(raises_outside=True).branch_of(key) for key in (-3.0, 3.0)] == [0, 2]


def test_losses_are_filed_one_range_too_far() -> None:
    switch = published_switch()
    switch.train([[key] for key in KEYS], KEYS, [0.1] * 6)
    # -1 and 1 under the first; -0.7 of the first under the second; 0 and 0.2 under the last; 0.9 nowhere.
    assert [len(losses) for losses in switch.history] == [2, 1, 2]
    right = published_switch(shifted_history=True)
    right.train([[key] for key in KEYS], KEYS, [0.1] * 6)
    assert [len(losses) for losses in right.history] == [2, 2, 2]


def test_the_last_range_is_not_saved() -> None:
    assert list(published_switch().saved()) == [0, 1]
    assert list(published_switch(unsaved_last=True).saved()) == [0, 1, 2]


def test_memory_is_carried_across_ranges_and_never_reset() -> None:
    for off, remembers in (({}, True), ({"shared_memory": True}, False), ({"shared_optimizer": True}, True)):
        switch = published_switch(**off)
        nn.init.normal_(next(p for p in switch.networks[1].parameters() if p.ndim == 2), std=3.0)
        first = float(switch.predict([[0.3]], [0.3]))
        switch.predict([[-0.9]], [-0.9])
        second = float(switch.predict([[0.3]], [0.3]))
        assert (first != second) == remembers


@pytest.mark.parametrize("own", [False, True])
def test_one_memory_for_all_ranges(own: bool) -> None:
    said = []
    for before in ([], [-0.9]):
        switch = published_switch(**({"shared_optimizer": True} if own else {}))
        for network in switch.networks:
            nn.init.constant_(network[1].weight, 3.0)  # type: ignore[index]
        switch.predict([[key] for key in [*before, 0.3]], [*before, 0.3])
        said.append(float(switch.predict([[0.3]], [0.3])))
    assert said[0] != said[1], "a row of the first range is remembered in the second"


def test_the_output_ends_in_a_gelu_only_as_published() -> None:
    for off, bounded in (({}, True), ({"gelu_output": True}, False)):
        switch = published_switch(**off)
        for network in switch.networks:
            last = [layer for layer in network if isinstance(layer, nn.Linear)][-1]
            nn.init.constant_(last.bias, -1.0)
        said = switch.predict([[key] for key in KEYS], KEYS)
        assert (float(said.min()) > -0.171) == bounded


def test_without_quirks_it_is_a_switch_trained_row_by_row() -> None:
    torch.manual_seed(0)
    switch = PublishedSwitch([-1.0, -0.5, 0.5, 1.0], quirks=NONE)
    # The core's switch with the same weights and an optimiser for all of it: ranges without a row get no gradient.
    twin = hg.Switch(hg.Ranges([-1.0, -0.5, 0.5, 1.0]), published("bcg-1")(1, 1.0))
    for branch, network in zip(twin.branches, switch.networks, strict=True):
        branch.load_state_dict(network.state_dict())
    optimizer = torch.optim.RMSprop(twin.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    generator = torch.Generator().manual_seed(1)
    keys = (2 * torch.rand(40, generator=generator) - 1).tolist()
    switch.train([[key] for key in keys], keys, [key**2 for key in keys])
    for key in keys:
        optimizer.zero_grad()
        (twin(torch.tensor([[key]]), torch.tensor([key]))[0, 0] - key**2).square().backward()
        optimizer.step()
    for branch, network in zip(twin.branches, switch.networks, strict=True):
        for a, b in zip(branch.parameters(), network.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_variants_turn_off_quirks_that_exist() -> None:
    assert all(set(off) <= set(NAMES) for off in VARIANTS.values())
    assert set(VARIANTS["switch-row-by-row"]) == set(VARIANTS[BATCHED]) == set(NAMES)


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("in_an_empty_folder")
def test_reproduce_trains_once_and_reports(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--variant", "as-published", "--variant", "switch-batched"]
    command = ["reproduce", "published", "--budget", "smoke", "--seeds", "1", "--data", str(recordings), *words]
    assert cli.main(command) == 0
    first = capsys.readouterr().out
    assert len(re.findall(r"record +runs/published-\S+-s0-\w{8}\.json", first)) == 2
    assert re.search(r"page +runs/report/published\.html", first)
    assert "constant" in first, "what needs no training stands beside"
    assert cli.main(command) == 0
    assert capsys.readouterr().out.count("done already, nothing was trained") == 2
    page = Path("runs/report/published.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|<script|<link|<img|file:", page)
    lines = Path("runs/report/published.md").read_text(encoding="utf-8")
    assert lines.startswith("Rows: your own runs (runs).\n\n| ")


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("published --variant best", "--variant must be one of as-published"),
        ("published --budget smoke --data nowhere", "there is no folder nowhere; point --data or HARDGRAD_DATA at"),
    ],
)
def test_a_wrong_option_is_named(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", *words.split()]) == 1
    captured = capsys.readouterr()
    assert re.search(message, captured.err.replace("\n", ""))
    assert "Traceback" not in captured.err
    assert not list(Path("runs").glob("*.json"))


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_report_without_records_says_how_to_make_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "published"]) == 1
    assert "hardgrad reproduce published" in capsys.readouterr().err.replace("\n", " ")

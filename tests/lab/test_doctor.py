"""``hardgrad doctor`` as its users meet it: a module of their own in, a table, a picture, a record and a page out."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hardgrad_lab import cli
from hardgrad_lab.doctor.record import Diagnosis, Examination

MODULE = """
import torch

def threshold(x):
    return (x > 0).to(x.dtype)

def distance(y):
    return (y - 1).square().sum(-1)

def rugged(b):
    # Best at the last outcome; the slope at every outcome points away from it.
    place = (b * torch.tensor([0.0, 1.0, 2.0, 3.0])).sum(-1)
    return -place + 2 * torch.sin(2 * torch.pi * place) / torch.pi

def lengths(x):
    return torch.tensor([[float(len(str(round(v)))) for v in row] for row in x.tolist()])

def one_size_only(x):
    return x.reshape(8, 3).sign()

def identity(x):
    return x

def both(b):
    return b.prod(-1)

class Zero(torch.nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
"""
FAST = ["--draws", "40", "--warm-up", "0", "--budget", "400"]


@pytest.fixture(autouse=True)
def in_a_folder_with_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("HARDGRAD_DATA", raising=False)
    monkeypatch.delitem(sys.modules, "their_module", raising=False)
    Path("their_module.py").write_text(MODULE)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out where a test is not about them: they take longer than all the rest."""
    monkeypatch.setattr("hardgrad_lab.doctor.page.examination.write_examination", lambda *_: [])


def run(*words: str) -> int:
    return cli.main(["doctor", *words])


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return " ".join(error.split())


# -------------------------------------------------------------------------------- all goes well


def test_a_function_of_theirs_in_and_everything_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("their_module:threshold", "--shape", "8,3", *FAST) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for said in ("truth by enumeration", "autograd", "bridge", "reinmax", "relax", "advice: "):
        assert said in out
    assert "note: autograd gives no gradient" in out
    assert out.count("their_module:threshold: ") == len(Diagnosis.from_json(diagnosis_text()).rows) + 2
    assert sorted(path.name for path in Path("doctor").iterdir()) == [
        "doctor-budget.png", "doctor-budget.svg", "doctor.html", "doctor.json", "doctor.md", "doctor.png", "doctor.svg",
    ]  # fmt: skip
    assert Path("doctor/doctor.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def diagnosis_text(path: str = "doctor/doctor.json") -> str:
    return json.dumps(json.loads(Path(path).read_text())["diagnosis"])


@pytest.mark.usefixtures("undrawn")
def test_the_record_is_whole_and_reads_back() -> None:
    assert run("their_module:threshold", "--shape", "4,2", "--estimators", "exact,disarm", "--seed", "3", *FAST) == 0
    found = Examination.load(Path("doctor/doctor.json"))
    assert [row.name for row in found.diagnosis.rows] == ["exact", "disarm"]
    assert found.diagnosis.shape == (4, 2)
    assert found.options["seed"] == 3
    assert found.options["dtype"] == "float32"
    assert found.source == "drawn, standard normal"
    assert set(found.environment["versions"]) == {"python", "torch", "hardgrad"}
    found.save(Path("again.json"))
    assert Examination.load(Path("again.json")) == found


@pytest.mark.usefixtures("undrawn")
def test_a_seed_gives_the_same_numbers_again() -> None:
    words = ["their_module:threshold", "--shape", "4,2", "--estimators", "score_function,relax", *FAST]
    costs = {"seconds": None, "bytes_kept": None}
    rows = []
    for out in ("one", "two"):
        assert run(*words, "--out", out) == 0
        diagnosis = Diagnosis.from_json(diagnosis_text(f"{out}/doctor.json"))
        rows.append([dataclasses.replace(row, **costs) for row in diagnosis.rows])  # type: ignore[arg-type]
    assert rows[0] == rows[1]


@pytest.mark.usefixtures("undrawn")
def test_an_estimator_that_points_uphill_is_loud(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["their_module:rugged", "--shape", "8,4", "--distribution", "one-hot", "--warm-up", "0", "--draws", "400"]
    assert run(*words, "--estimators", "exact,reinmax,straight_through_estimator") == 0
    out = capsys.readouterr().out
    assert re.search(r"reinmax +-\d\.\d\d.* UPHILL", out)
    assert "WARNING: reinmax points uphill" in out
    assert "advice: use exact" in out


@pytest.mark.usefixtures("undrawn")
def test_their_own_estimators_stand_beside_ours(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["their_module:threshold", "--shape", "8,3", "--objective", "their_module:distance", *FAST]
    assert run(*words, "--estimators", "straight_through,their_module:identity,their_module:Zero") == 0
    diagnosis = Diagnosis.from_json(diagnosis_text())
    assert [row.name for row in diagnosis.rows] == [
        "straight_through", "straight_through, clipped", "their_module:identity", "their_module:Zero",
    ]  # fmt: skip
    assert diagnosis["their_module:Zero"].flat
    assert "given objective" in diagnosis.about
    # Both copy the gradient of the objective: of 0 and 1 the one, of x the other.
    assert diagnosis["their_module:identity"].bias != diagnosis["straight_through"].bias


@pytest.mark.usefixtures("undrawn")
def test_a_black_box_is_examined_and_who_needs_a_derivative_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("their_module:lengths", "--shape", "4,3", "--sigma", "4", *FAST) == 0
    rows = {row.name: row for row in Diagnosis.from_json(diagnosis_text()).rows}
    assert rows["score_function"].error is None
    assert rows["bridge"].error is None
    assert rows["autograd"].flat or rows["autograd"].error


@pytest.mark.usefixtures("undrawn")
def test_inputs_from_a_file_and_another_dtype() -> None:
    np.save("x.npy", np.linspace(-1, 1, 12).reshape(4, 3))
    assert run("their_module:threshold", "--inputs", "x.npy", "--estimators", "exact", *FAST) == 0
    found = Examination.load(Path("doctor/doctor.json"))
    assert found.source == "read from x.npy"
    assert found.options["dtype"] == "float64"
    words = ["--inputs", "x.npy", "--dtype", "float32", "--out", "two"]
    assert run("their_module:threshold", *words, "--estimators", "exact", *FAST) == 0
    assert Examination.load(Path("two/doctor.json")).options["dtype"] == "float32"


@pytest.mark.usefixtures("undrawn")
def test_bernoulli_samples_of_an_objective() -> None:
    words = ["their_module:both", "--shape", "5,2", "--distribution", "bernoulli", "--estimators", "exact,arms"]
    assert run(*words, *FAST) == 0
    diagnosis = Diagnosis.from_json(diagnosis_text())
    # The mean of the product is the product of the probabilities.
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    p = logits.sigmoid()
    torch.testing.assert_close(
        torch.tensor(diagnosis.truth.gradient), (p * (1 - p) * p.flip(-1)).flatten(), rtol=1e-5, atol=1e-6
    )


# -------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["their_module:threshold"], "needs either --shape 8,32, to draw inputs, or --inputs"),
        (["their_module:threshold", "--shape", "8,x"], "--shape must be whole numbers of at least 1"),
        (["their_module:threshold", "--shape", "8,3", "--inputs", "x.npy"], "either --shape"),
        (["no_such_module:f", "--shape", "8,3"], "there is no module 'no_such_module'"),
        (["their_module:nothing", "--shape", "8,3"], "their_module has no 'nothing'"),
        (["their_module:threshold", "--shape", "8,3", "--estimators", "magic"], "no 'magic' here; there are autograd"),
        (["their_module:threshold", "--shape", "8,3", "--objective", "their_module:identity"], "one number per sample"),
        (["their_module:identity", "--shape", "8,3", "--distribution", "bernoulli"], "one number per sample"),
        (["their_module:distance", "--shape", "8", "--distribution", "one-hot"], r"shape (B, ..., n)"),
        (
            ["their_module:distance", "--shape", "8,2", "--distribution", "bernoulli", "--objective", "a:b"],
            "the function is the objective",
        ),
        (
            ["their_module:one_size_only", "--shape", "8,3", "--draws", "40"],
            "one_size_only raises, for x of shape (1, 3) (it must take any number of rows): RuntimeError",
        ),
        (["their_module:one_size_only", "--shape", "4,3"], "RuntimeError: shape '[8, 3]' is invalid"),
        (["their_module:lengths", "--shape", "4,3", "--noise", "gumbel"], "needs the one-hot vector"),
        (["their_module:threshold", "--shape", "4,3", "--sigma", "0"], "Must be > 0"),
        (["their_module:threshold", "--shape", "4,3", "--draws", "3"], "Must be >= 20"),
        (["bank", "--only", "nothing"], "--only must name entries of the bank, got nothing"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    heard = complaint(capsys, *words)
    assert said in heard or said.replace("got nothing", "got 'nothing'") in heard
    assert not Path("doctor").exists()

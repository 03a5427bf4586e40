"""``hardgrad doctor breaks`` as its users meet it: files, scripts, mistakes, terminals and pipes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import hardgrad as hg
from hardgrad_lab import cli
from hardgrad_lab.commands.show_breaks import show_breaks
from hardgrad_lab.doctor.subject import drawn, subject

MODULE = """
import torch
from torch import nn

class Router(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        scores = self.gate(x)
        chosen = scores.argmax(-1)
        return self.head(nn.functional.one_hot(chosen, 3).float())

net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))

def rounds(x):
    return x.round()

def factory():
    return Router(), torch.randn(8, 4)

class Coins(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self):
        return torch.sigmoid(self.logits).sum()

def coins():
    return Coins(), ()

def with_loss():
    print("building")
    return net, {"input": torch.randn(8, 4)}, lambda y: y.square().mean()

def plain():
    return net

def three():
    return 3

def fails():
    return {}["weights"]

def leaves():
    raise SystemExit("usage: train FILE")

def squared(y):
    return y.square().mean()

class Sized(nn.Module):
    def __init__(self, size):
        super().__init__()
"""


@pytest.fixture(autouse=True)
def in_a_folder_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    Path("nets.py").write_text(MODULE)


def run(name: str, *words: str) -> int:
    return cli.main(["doctor", "breaks", f"nets.py:{name}", *words])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("absent", [], "the model nets.py:absent: nets has no 'absent'; it has Coins, Router, Sized, coins"),
        ("fails", [], "the factory nets.py:fails raises KeyError: 'weights' (line "),
        ("leaves", [], "the factory nets.py:leaves raises SystemExit: usage: train FILE (line "),
        ("three", [], "must return a model, (model, inputs) or (model, inputs, loss), got int"),
        ("Sized", [], "is the class Sized, which cannot be made without arguments (TypeError"),
        ("net", [], "comes without inputs; give the shape of each with --input 8,32, the batch first"),
        ("plain", [], "comes without inputs"),
        ("net", ["--input", "8;4"], "--input must be whole numbers of at least 1, the batch first, such as 8,32, got"),
        ("net", ["--input", "8,4:x"], "'8,4:x' must end in one of at least 1"),
        (
            "net",
            ["--input", "8,5"],
            "nets.py:net: the model raises in its module '0' (Linear): RuntimeError",
        ),
        ("net", ["--inputs", "none.pt"], "--inputs: there is no file none.pt"),
        ("net", ["--input", "8,4", "--loss", "nets.py:lost"], "--loss nets.py:lost: nets has no 'lost'"),
        ("net", ["--input", "8,4", "--device", "nowhere"], "--device must name a device of this machine"),
        ("coins", ["--device", "nowhere"], "--device must name a device of this machine"),
        ("factory", ["--fail-on", "cut,cuts"], "--fail-on must name kinds of breaks, got 'cuts'; there are flat, cut,"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    name: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, *words) == 1
    out, error = capsys.readouterr()
    assert said in flat(error)
    assert error.count("\n") == 1
    assert "Traceback" not in out + error
    assert "tape.py" not in error, "the line named is the user's"


def test_files_that_cannot_be_read_as_python(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.py").write_text("def f(:\n")
    assert cli.main(["doctor", "breaks", "bad.py:f"]) == 1
    assert "running bad.py raises SyntaxError: invalid syntax (bad.py, line 1)" in flat(capsys.readouterr().err)
    assert cli.main(["doctor", "breaks", "absent:f"]) == 1
    assert "there is no module 'absent'" in flat(capsys.readouterr().err)


def test_inputs_are_drawn_by_shape_read_from_a_file_or_the_factorys_own() -> None:
    x = torch.randn(2, 4)
    torch.save({"x": x, "rest": (x, 3)}, "batch.pt")
    torch.save(torch.tensor([[1, 2]]), "whole.pt")
    (read,) = subject("nets.py:net", (), Path("batch.pt"), None, "cpu").inputs
    torch.testing.assert_close(read["x"], x, rtol=0, atol=0)
    assert read["rest"][1] == 3
    (whole,) = subject("nets.py:net", (), Path("whole.pt"), None, "cpu").inputs
    assert not whole.is_floating_point()
    shapes = subject("nets.py:factory", ("3,4", "3,2:5"), None, "nets.py:squared", "cpu")
    assert [each.shape for each in shapes.inputs] == [(3, 4), (3, 2)]
    assert not torch.equal(*subject("nets.py:net", ("3,4", "3,4"), None, None, "cpu").inputs)
    assert shapes.loss is not None
    assert shapes.loss(torch.ones(2) * 3) == 9
    own = subject("nets.py:with_loss", (), None, None, "cpu")
    assert own.loss is not None
    assert own.loss(torch.ones(2) * 2) == 4
    assert own.model(*own.inputs).shape == (8, 1)
    assert isinstance(own.model, torch.nn.Module)
    assert [name for name, _ in own.model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_whole_numbers_are_drawn_below_the_one_given() -> None:
    assert set(drawn("50,4:7", 0).unique().tolist()) == set(range(7))
    assert drawn("5,4", 0).is_floating_point()


def test_the_report_says_what_is_lost_where_and_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("factory") == 0
    out = capsys.readouterr().out
    assert out.startswith("1 place where the gradient ends; 2 of 4 parameters learn nothing\n")
    line = MODULE.splitlines().index("        return self.head(nn.functional.one_hot(chosen, 3).float())") + 1
    found = hg.doctor.breaks(*subject("nets.py:factory", (), None, None, "cpu")[0:1], torch.randn(8, 4))
    assert [each.kind for each in found] == ["cut"]
    assert f"nets.py:{found[0].line}" in out
    assert found[0].line in (line - 1, line)
    assert f"    {MODULE.splitlines()[found[0].line - 1].strip()}\n" in out
    assert "lost  gate.weight, gate.bias" in flat(out) or "lost gate.weight, gate.bias" in flat(out)
    assert found[0].cure in flat(out)
    assert str(Path.cwd()) not in out


def test_a_sound_model_and_one_with_a_loss_and_inputs_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("net", "--input", "8,4") == 0
    assert "No place where the gradient ends; 4 parameters in all, and each learns\n" in capsys.readouterr().out
    assert run("with_loss") == 0
    out = flat(capsys.readouterr().out)
    assert "No place where the gradient ends; 4 parameters in all, and each learns " in out
    assert "differentiated: the loss given" in out
    assert "note: the function printed 1 line, which are left out here; the first: building" in out


def test_a_model_without_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("coins") == 0
    assert "; 1 parameter in all, and each learns\ndifferentiated: the output\n" in capsys.readouterr().out


def test_a_function_has_inputs_in_place_of_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rounds", "--input", "4,3") == 0
    out = capsys.readouterr().out
    assert "1 place where the gradient is flat; 1 input without a gradient\n" in out
    assert "return x.round()" in out
    assert cli.main(["doctor", "breaks", "torch:sign", "--input", "4,3"]) == 0
    out = capsys.readouterr().out
    assert "sign\n    why" in out, "it is called by no line of the user's"
    assert ".py" not in out


@pytest.mark.parametrize(
    ("kinds", "status", "said"),
    [
        ("cut", 1, "--fail-on cut: 1 found, exit status 1"),
        ("flat,dead", 0, "--fail-on flat,dead: none found, exit status 0"),
        ("flat, cut", 1, "--fail-on flat, cut: 1 found, exit status 1"),
    ],
)
def test_the_exit_status_is_for_ci(kinds: str, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("factory", "--fail-on", kinds, "--json", "found.json") == status
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert [each["kind"] for each in json.loads(Path("found.json").read_text())["breaks"]] == ["cut"]


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_colors_are_for_terminals_and_lines_for_any_width(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = hg.doctor.breaks(subject("nets.py:factory", (), None, None, "cpu").model, torch.randn(8, 4))
    said = {}
    for name, given in (("terminal", {}), ("plain", {"no_color": True}), ("pipe", {"force_terminal": False})):
        stream = io.StringIO()
        settings: dict[str, Any] = {"file": stream, "force_terminal": True, "width": int(width), **given}
        show_breaks(found, 4, Console(**settings), every=True)
        said[name] = stream.getvalue()
    assert "\x1b[1;31mcut" in said["terminal"]
    assert "31m" not in said["plain"]
    assert "\x1b" not in said["pipe"]
    # What may be copied, a place and a source line, is never broken; all else fits.
    assert max(len(line.rstrip()) for line in said["pipe"].splitlines() if "nets.py" not in line) <= max(int(width), 73)


SIGNED = """
import torch
from torch import nn

class Signed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(9)])

    def forward(self, x):
        y = self.net(x)
{asks}        return torch.sign(y)

def signs():
    return Signed(), torch.randn(3, 4)
"""


def test_names_and_harmless_places_are_cut_short_unless_all_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nets.py").write_text(SIGNED.format(asks="".join(f"        y.gt({k})\n" for k in range(10))))
    assert run("signs") == 0
    out = flat(capsys.readouterr().out)
    assert "net.3.bias and 10 more" in out
    assert "and 2 more harmless places, with --all" in out
    assert out.count("harmless: nets.py:") == 8
    assert run("signs", "--all") == 0
    every = flat(capsys.readouterr().out)
    assert "net.8.bias" in every
    assert every.count("harmless: nets.py:") == 10


SCRIPT = """
import sys, torch
from torch import nn
import beside

class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(8))
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(x * (x > self.threshold))

net = Gated()
optimizer = torch.optim.Adam(net.parameters())
if __name__ == "__main__":
    for step in range(3):
        print("step", step, sys.argv[1:])
        optimizer.zero_grad()
        net(torch.randn(16, 8)).square().mean().backward()
        optimizer.step()
    open("trained", "w").close()
"""


def test_a_script_is_run_up_to_its_first_backward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("code").mkdir()
    Path("code/train.py").write_text(SCRIPT)
    Path("code/beside.py").write_text("")
    before, forward = (list(sys.argv), list(sys.path)), torch.autograd.backward
    assert cli.main(["doctor", "breaks", "code/train.py --lr 3", "--fail-on", "flat"]) == 1
    out = capsys.readouterr().out
    assert "1 place where the gradient is flat; 1 of 3 parameters learn nothing" in out
    assert f"code/train.py:{SCRIPT.splitlines().index('        return self.head(x * (x > self.threshold))') + 1}" in out
    assert "no gradient  gated.threshold" in out
    assert "printed 1 line, which are left out here; the first: step 0 ['--lr', '3']" in out
    assert not Path("trained").exists()
    assert (sys.argv, sys.path) == before
    assert torch.autograd.backward is forward


def test_more_backwards_of_a_script_are_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text(SCRIPT.replace("import beside", ""))
    assert cli.main(["doctor", "breaks", "train.py", "--steps", "3"]) == 0
    assert "printed 3 lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (None, [], "train.py: there is no such file; give a script that trains, or module:name"),
        ("import sys\nsys.exit('usage: train FILE')\n", [], "train.py raises SystemExit: usage: train FILE (line 2"),
        ("def f(:\n", [], "train.py raises SyntaxError: invalid syntax (train.py, line 1)"),
        ("x = 1\n", [], "train.py: no backward ran inside the with block"),
        (
            "x = 1\n",
            ["--input", "8,3"],
            "train.py is a script, with inputs and a loss of its own; leave out --input, --inputs, --loss",
        ),
    ],
)
def test_a_script_that_cannot_be_watched_is_one_sentence(
    text: str | None, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        Path("train.py").write_text(text)
    assert cli.main(["doctor", "breaks", "train.py", *words]) == 1
    error = capsys.readouterr().err
    assert said in flat(error)
    assert error.count("\n") == 1

"""The ``hardgrad`` command as its users meet it."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from hardgrad_lab import cli
from hardgrad_lab.experiments.bridges.sorting import SORTING

ROOT = Path(__file__).parents[2]
SMALL = ["--samples", "640", "--batch", "32", "--width", "16", "--test-rows", "200", "--curve-rows", "100"]
SMALL += ["--evaluations", "4", "--threads", "1"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def hardgrad(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hardgrad_lab.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def test_help_imports_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys; from hardgrad_lab.cli import main\n"
        "for words in ('--help', 'reproduce --help', 'reproduce sorting --help', 'report --help', 'doctor --help'):\n"
        "    assert main(words.split()) == 0\n"
        "heavy = {'torch', 'matplotlib', 'numpy', 'hardgrad', 'jinja2'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert ran.returncode == 0, ran.stderr
    for word in ("reproduce", "report", "--version", "--system", "signum-dense", "--resume"):
        assert word in ran.stdout


def test_every_value_of_a_configuration_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "sorting", "--help"]) == 0
    given = set(re.findall(r"--([\w-]+)", capsys.readouterr().out))
    assert given >= {field.name.replace("_", "-") for field in fields(SORTING.config)}


def test_reproduce_trains_then_finds_it_done(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "sorting", "--length", "3", *SMALL]
    assert cli.main(words) == 0
    first = capsys.readouterr().out
    assert "25.0%  samples 160" in first
    assert re.search(r"100\.0%  samples 640  loss \d+\.\d+  penalty \d+\.\d+  accuracy \d+\.\d+%", first)
    assert re.search(r"record +runs/sorting-signum-dense-t3-fast-s0-\w{8}\.json\n", first)
    assert "picture  runs/report/sorting.png\n" in first
    assert "page     runs/report/sorting.html\n" in first
    assert Path("runs/report/sorting.html").exists()
    assert Path("runs/report/sorting.png").exists()
    # What a user runs never lands among the committed records, and the report says whose rows it shows.
    assert not Path("results").exists()
    assert "Rows: your own runs (runs).\n" in first
    assert "Rows: your own runs (runs)." in Path("runs/report/sorting.html").read_text(encoding="utf-8")

    assert cli.main(words) == 0
    second = capsys.readouterr().out
    assert "done already, nothing was trained" in second
    assert "samples 160" not in second
    assert re.search(r"3 +signum-dense +small", second), "the table is shown all the same"


def test_options_reach_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    words = "reproduce sorting --system signum-rnn --setting published --length 4 --seed 7 --seeds 2 --ponder 2"
    words += " --surrogate straight-through --fixed-rows 64 --no-drop-last --center-inputs --lr 0.5 --out elsewhere"
    assert cli.main([*words.split(), *SMALL]) == 0
    assert "straight-through" in capsys.readouterr().out
    records = [json.loads(path.read_text()) for path in sorted(Path("elsewhere").glob("*.json"))]
    assert [record["seed"] for record in records] == [7, 8]
    config = records[0]["config"]
    expected = {"system": "signum-rnn", "setting": "published", "length": 4, "ponder": 2, "lr": 0.5, "clip": 5.0}
    expected |= {"surrogate": "straight-through", "fixed_rows": 64, "drop_last": False, "centre_inputs": True}
    assert expected.items() <= config.items()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--system bogosort", "--system must be one of signum-dense, tanh-dense, .*, got bogosort"),
        ("--length 1", "--length must be at least 2, got 1"),
        ("--length five", "--length must be a whole number, such as 5, 10, 15, got five"),
        ("--samples -3", "--samples must be at least 1, got -3"),
        ("--lr 0", r"--lr must be greater than 0, got 0\.0"),
        ("--test-rows 0", "--test-rows must be at least 1, got 0"),
        ("--ponder 3", "--ponder must be left out: it is for signum-rnn, not for signum-dense, got 3"),
        ("--surrogate magic", r'Invalid value "magic" for --surrogate\. Choose from: "bridge", "straight-through"'),
        ("--seeds -1", r'Invalid value "-1" for --seeds\. Must be >= 0'),
        ("--threads -1", r'Invalid value "-1" for --threads\. Must be >= 1'),
        ("--lenght 5", r"Unknown option: --lenght\. Did you mean --length\?"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert cli.main(["reproduce", "sorting", *words.split()]) == 1
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert "Traceback" not in captured.err
    assert not Path("runs").exists()


def test_a_wrong_command_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "sortign"]) == 1
    assert "sortign" in capsys.readouterr().err


def test_the_exit_status_reaches_the_shell() -> None:
    ran = hardgrad("reproduce", "sorting", "--length", "1")
    assert ran.returncode == 1
    assert ran.stderr == "hardgrad: --length must be at least 2, got 1\n"
    assert ran.stdout == ""


def test_names_with_colons_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """rich makes an emoji of a word between colons, in markup or not."""
    assert cli.main(["predict", "a:fire:b", "c:fire:d"]) == 1
    assert "a:fire:b" in capsys.readouterr().err
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Console":
                assert "emoji" in [keyword.arg for keyword in node.keywords], f"{path}:{node.lineno}"


def test_a_report_without_records_says_how_to_make_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "sorting"]) == 1
    assert "no records of sorting in runs. Make one with: hardgrad reproduce sorting" in capsys.readouterr().err


def test_the_report_goes_where_it_is_told_and_names_damaged_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "sorting", "--length", "3", *SMALL, "--out", "mine"]) == 0
    Path("mine/broken.json").write_text("{")
    capsys.readouterr()
    assert cli.main(["report", "sorting", "--results", "mine", "--out", "pages"]) == 0
    assert "skipped: mine/broken.json is not readable JSON" in capsys.readouterr().out
    assert {path.name for path in Path("pages").iterdir()} == {
        "index.html", "sorting.html", "sorting.md", "sorting.png", "sorting.svg",
    }  # fmt: skip


def test_ctrl_c_saves_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    long = {"640": "320000", "4": "10000"}  # samples and evaluations: the first line comes after 400 steps
    words = ["reproduce", "sorting", "--length", "3", *(long.get(word, word) for word in SMALL)]
    command = [sys.executable, "-u", "-m", "hardgrad_lab.cli", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment()) as process:
        assert process.stdout is not None
        while "samples" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    checkpoint = next(Path("runs/checkpoints").glob("*.pt"))
    said = " ".join(errors.split())
    assert said == (
        f"hardgrad: stopped by SIGINT; the run is saved in {checkpoint}; continue with: "
        f"hardgrad {' '.join(words)} --resume"
    )
    assert cli.main(words) == 1
    assert "begun before and not finished" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "sorting", "--length", "3", *SMALL]
    assert cli.main(words) == 0
    next(Path("runs").glob("*.json")).unlink()
    checkpoint = next(Path("runs/checkpoints").glob("*.pt"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    capsys.readouterr()
    assert cli.main([*words, "--resume"]) == 1
    assert re.search(rf"hardgrad: checkpoint {checkpoint} cannot be read: .*--force", capsys.readouterr().err)
    assert cli.main([*words, "--force"]) == 0


def test_a_missing_dependency_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "NEEDS", ("cyclopts", "no_such_package"))
    assert cli.main(["--help"]) == 1
    assert capsys.readouterr().err == (
        "hardgrad: the command line needs no_such_package; install with: pip install 'hardgrad[lab]'\n"
    )

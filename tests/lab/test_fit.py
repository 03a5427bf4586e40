"""``hardgrad fit`` and ``hardgrad predict`` as their users meet them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from hardgrad_lab import cli
from hardgrad_lab.fit.folder import FolderError, load_model, save_model
from hardgrad_lab.fit.page import page as fit_report

ROOT = Path(__file__).parents[2]
QUICK = ["--hidden", "4", "--epochs", "2"]
POINTS = ["--points", "-1,0.25,1"]
TABLE = ["fit", "data.csv", "--target", "y", "--key", "k", *POINTS, *QUICK]


@pytest.fixture(autouse=True)
def in_a_folder_with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    table().to_csv("data.csv", index=False)


def table(n: int = 200, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    k, b = random.uniform(-1, 1, n), random.normal(size=n)
    return pd.DataFrame({"k": k, "b": b, "y": np.where(k < 0.25, 3 * b + 1, -2 * b)})


def run(*words: str) -> int:
    return cli.main([str(word) for word in words])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return " ".join(error.split())


# -------------------------------------------------------------------------------------------------------- all goes well


def test_a_table_in_a_model_and_a_report_out_and_predictions_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TABLE) == 0
    out = capsys.readouterr().out
    assert re.search(r"switch +epoch +1/2 +loss [\d.e-]+ +held out [\d.e-]+ +\d+ s left", out)
    assert re.search(r"\[-1, 0\.25\) and below +\d+ +\d+ +[\d.]+", out)
    trained, solved = ["plain-total", "plain-active", "condition-input"], ["ridge-tree", "boosting", "ridge"]
    for name in (*trained, *solved, "constant", "best-gain"):
        assert name in out
    assert sorted(os.listdir("model")) == ["model.json", "report.html", "weights.safetensors"]
    assert not Path("model.checkpoint.pt").exists()

    table(50, seed=1).to_csv("fresh.csv", index=False)
    assert run("predict", "model", "fresh.csv") == 0
    predictions, fresh = pd.read_csv("predictions.csv"), pd.read_csv("fresh.csv")
    model = load_model("model")
    assert np.allclose(predictions["y_predicted"], model.predict(fresh[["k", "b"]]), rtol=1e-12)
    assert predictions["range"].tolist() == (fresh["k"] >= 0.25).astype(int).tolist()
    assert set(zip(predictions["range"], predictions["range_label"], strict=True)) == {
        (0, "[-1, 0.25)"),
        (1, "[0.25, 1]"),
    }
    assert re.search(r"range 0 +\[-1, 0\.25\) +\d+ rows", capsys.readouterr().out)


def test_the_description_says_what_was_fitted_and_how_good_it_is() -> None:
    assert run(*TABLE) == 0
    described = json.loads(Path("model/model.json").read_text())
    assert described["format"] == "hardgrad-model-1"
    assert described["columns"] == ["k", "b"]
    assert described["points"] == [-1, 0.25, 1]
    assert described["target"] == "y"
    assert described["scores"][0]["name"] == "switch"
    updates = {score["updates"] for score in described["scores"]}
    assert len(updates - {0}) == 1, "all that train take as many updates"
    assert sum(row["training_rows"] for row in described["ranges"]) == described["training"]["rows"][0]
    # 200 rows: 20 to test, 18 of the other 180 to choose the weights.
    assert described["training"]["rows"] == [162, 18]
    assert sum(row["test_rows"] for row in described["ranges"]) == 20


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.headings: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "xlink:href") and not str(value).startswith(("#", "data:")):
                self.outside.append(str(value))

    def handle_data(self, data: str) -> None:
        if self._in in ("h1", "h2") and data.strip():
            self.headings.append(data.strip())


def test_the_page_needs_nothing_outside_itself() -> None:
    assert run(*TABLE, "--no-baselines") == 0
    text = Path("model/report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.outside == []
    assert len(page.ids) == len(set(page.ids))
    assert "url(http" not in text
    for heading in ("y by k", "Ranges", "Transfer curve", "Loss and visits by range", "Prediction against truth"):
        assert heading in page.headings


def test_figures_on_the_page_are_those_of_the_predictions() -> None:
    assert run(*TABLE, "--test", "0", "--no-baselines") == 0
    data = table()
    predicted = load_model("model").predict(data[["k", "b"]])
    rmse = float(np.sqrt(np.mean((data["y"] - predicted) ** 2)))
    (score,) = json.loads(Path("model/model.json").read_text())["scores"]
    assert score["rmse"] == pytest.approx(rmse, rel=1e-9)
    right = (data["k"] >= 0.25).to_numpy()
    one = float(np.sqrt(np.mean((data["y"] - predicted)[right] ** 2)))
    assert score["ranges"][1] == pytest.approx(one, rel=1e-9)
    assert f"{rmse:.4g}" in Path("model/report.html").read_text()


def test_training_is_drawn_where_it_has_a_curve_and_not_where_it_is_solved_at_once() -> None:
    trained = ["--hidden", "4", "--epochs", "2"]
    for how, is_drawn in (trained, True), (["--hidden", "4", "--epochs", "1"], False), (["--branch", "linear"], False):
        assert run(*TABLE[:-4], *how, "--no-baselines", "--force") == 0
        assert ("<h2>Training</h2>" in Path("model/report.html").read_text()) == is_drawn


def test_a_pair_of_sounds_in_and_a_sound_out() -> None:
    rate, x = 8000, np.random.default_rng(0).uniform(-0.9, 0.9, 4000)
    soundfile.write("dry.wav", np.stack([x, x], axis=1), rate, subtype="FLOAT")
    soundfile.write("wet.wav", np.where(x < 0, -x, 0.5 * x), rate, subtype="FLOAT")
    assert run("fit", "dry.wav", "--target", "wet.wav", "--points", "-1,0,1", "--branch", "linear", "--lr", "0.05",
               "--epochs", "15", "--out", "folded", "--no-baselines") == 0  # fmt: skip
    assert run("predict", "folded", "dry.wav", "--out", "again.wav") == 0
    heard, again = soundfile.read("again.wav")
    assert again == rate
    assert np.abs(heard - np.where(x < 0, -x, 0.5 * x)[:, None]).max() < 0.02
    assert "Truth and prediction over time" in Path("folded/report.html").read_text()


def test_files_of_one_column_without_a_header_make_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    data = table()
    data["k"].to_csv("in.csv", index=False, header=False)
    data["y"].to_csv("out.csv", index=False, header=False)
    assert run("fit", "in.csv", "--target", "out.csv", *POINTS, *QUICK, "--no-baselines") == 0
    assert run("predict", "model", "in.csv") == 0
    assert len(pd.read_csv("predictions.csv")) == 200
    capsys.readouterr()
    assert run("fit", "in.csv", "--target", "y", "--out", "other") == 1
    assert "in.csv has no header: its first line is" in said(capsys)


def test_recordings_stay_apart_and_parquet_is_read() -> None:
    table(80, 1).to_parquet("a.parquet")
    table(90, 2).to_csv("b.csv", index=False, sep=";")
    words = ["fit", "a.parquet", "b.csv", "--target", "y", "--key", "k", *POINTS, *QUICK, "--window", "3"]
    assert run(*words, "--no-baselines", "--out", "both") == 0
    assert run("predict", "both", "a.parquet", "b.csv", "--out", "p.parquet") == 0
    together = pd.read_parquet("p.parquet")
    assert together["file"].tolist() == ["a.parquet"] * 80 + ["b.csv"] * 90
    assert run("predict", "both", "b.csv", "--out", "alone.csv") == 0
    alone = pd.read_csv("alone.csv")["y_predicted"]
    assert np.allclose(together["y_predicted"][80:], alone, rtol=0, atol=1e-12)


def test_rows_without_a_value_are_left_out_on_request_and_windows_stop_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = table()
    data.loc[[7, 8], "b"] = np.nan
    data.to_csv("gaps.csv", index=False)
    words = ["fit", "gaps.csv", "--target", "y", "--key", "k", *POINTS, *QUICK, "--window", "3", "--no-baselines"]
    assert run(*words) == 1
    assert "gaps.csv: 2 of 200 rows lack a value: line 9 (b), line 10 (b); fill them" in said(capsys)
    assert run(*words, "--drop-missing") == 0
    assert "left out 2 of 200 rows" in capsys.readouterr().out
    assert run("predict", "model", "gaps.csv", "--drop-missing") == 0
    predictions = pd.read_csv("predictions.csv")
    assert predictions["row"].tolist() == [*range(7), *range(9, 200)]
    data.iloc[9:].to_csv("rest.csv", index=False)
    assert run("predict", "model", "rest.csv", "--out", "rest-predicted.csv") == 0
    assert np.allclose(predictions["y_predicted"][7:], pd.read_csv("rest-predicted.csv")["y_predicted"], atol=1e-12)


def test_a_branch_of_ones_own_is_found_again_when_predicting() -> None:
    Path("mine_of_fit.py").write_text("import torch\n\ndef make(i, o):\n    return torch.nn.Linear(i, o)\n")
    assert run(*TABLE, "--branch", "mine_of_fit:make") == 0
    assert run("predict", "model", "data.csv", "--trust") == 0
    names = [score["name"] for score in json.loads(Path("model/model.json").read_text())["scores"]]
    assert "plain-active" in names
    assert "plain-total" not in names, "a factory has no width to change"


# ---------------------------------------------------------------------------------------------------- stop and resume


def hardgrad(*words: str) -> list[str]:
    return [sys.executable, "-m", "hardgrad_lab.cli", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def test_a_fit_killed_and_resumed_gives_the_same_weights_bit_for_bit(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "data.csv", "--target", "y", "--key", "k", *POINTS, "--hidden", "4", "--epochs", "30"]
    assert run(*words, "--out", "whole") == 0
    with subprocess.Popen(
        hardgrad(*words, "--checkpoint-steps", "1"), env=environment(), stdout=subprocess.DEVNULL
    ) as job:
        while not Path("model.checkpoint.pt").exists():
            assert job.poll() is None
            time.sleep(0.005)
        job.send_signal(signal.SIGKILL)
    assert not Path("model").exists()
    capsys.readouterr()
    assert run(*words) == 1
    assert "this fit was begun before and not finished (model.checkpoint.pt); add --resume" in said(capsys)
    assert run(*words, "--lr", "0.1", "--resume") == 1
    assert "belongs to another run (lr 0.005 there, 0.1 here)" in said(capsys)
    assert run(*words, "--resume") == 0
    assert Path("model/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()
    scores = [json.loads(Path(folder, "model.json").read_text())["scores"] for folder in ("model", "whole")]
    assert [score["rmse"] for score in scores[0]] == [score["rmse"] for score in scores[1]]
    assert not Path("model.checkpoint.pt").exists()
    assert run(*words, "--resume") == 0
    assert "this fit is done already, nothing was trained: model" in capsys.readouterr().out


def test_a_fit_whose_report_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(story: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(fit_report, "fit_page", broken)
    assert run(*TABLE, "--no-baselines") == 1
    assert not Path("model").exists()


def test_a_folder_is_replaced_only_when_told_and_only_if_it_is_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TABLE, "--no-baselines") == 0
    before = Path("model/weights.safetensors").read_bytes()
    assert run(*TABLE, "--no-baselines", "--seed", "1") == 1
    assert "model holds a model already; choose another --out, or replace it with --force" in said(capsys)
    assert Path("model/weights.safetensors").read_bytes() == before
    assert run(*TABLE, "--no-baselines", "--seed", "1", "--force") == 0
    assert Path("model/weights.safetensors").read_bytes() != before
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []
    Path("mine").mkdir()
    Path("mine/letter.txt").touch()
    capsys.readouterr()
    assert run(*TABLE, "--out", "mine", "--force") == 1
    assert "mine is there and is no model folder; choose another --out" in said(capsys)


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.csv", "--target", "y"], "none.csv is not there"),
        (["data.csv", "--target", "z", "--key", "k"], "data.csv has no column 'z' (--target); it has k, b, y"),
        (["data.csv", "--target", "y", "--key", "z"], "data.csv has no column 'z' (--key); it has k, b, y"),
        (["data.csv", "--target", "y"], "--key must name the column that decides; data.csv has k, b"),
        (["data.csv", "--target", "y", "--key", "y"], "--key must not be the target, got 'y' for both"),
        (["data.csv", "--target", "y", "--key", "k", "--inputs", "b,y"], "--inputs must not hold the target"),
        (["data.csv", "--target", "y", "--key", "k", "--points", "1,0"], "--points must increase, got 0 after 1"),
        (
            ["data.csv", "--target", "y", "--key", "k", "--points", "0,x"],
            "--points must be numbers with commas between",
        ),
        (
            ["data.csv", "--target", "y", "--key", "k", "--points", "-1,0,3,4"],
            "no row has a key in range 2, [3, 4]: the data's keys run from -0.9",
        ),
        (
            ["data.csv", "--target", "y", "--key", "k", "--columns", "a,b"],
            "data.csv has 3 columns, and --columns names 2",
        ),
        (["data.csv", "--target", "y", "--key", "k", "--test", "2"], "--test must be a share from 0 to below 1, got 2"),
        (["data.csv", "--target", "y", "--key", "k", "--branch", "gur"], "branch must be one of mlp, linear"),
        (["--target", "y"], "fit needs at least one file"),
    ],
)
def test_a_fault_is_one_message_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run("fit", *words) == 1
    assert message in said(capsys)
    assert os.listdir() == ["data.csv"], "nothing half-written"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"k,y\n1,2\nx,3\n4,5\n", "data.csv: column 'k', line 3: 'x' is no number; mend it, leave the line out"),
        (
            b"k,y\n1,cat\n2,dog\n",
            "column 'y' holds 2 different words in 2 rows (cat, dog), which are too many for classes; choose another",
        ),
        (b"k,y\n1,2\n1,2,3\n", "data.csv cannot be read as CSV: Expected 2 fields in line 3, saw 3"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "data.csv cannot be read as CSV: it is not text"),
        (b"k\0y,\0\n", "data.csv cannot be read as CSV: it is not text"),
        (b"", "data.csv cannot be read as CSV: its first line, which should name the columns, is empty"),
        (b"k,y\n", "data.csv has no rows below its header"),
        (b"1,2\n3,4\n", "data.csv has no header: its first line is '1,2'; name its 2 columns with --columns a,b"),
        (b"k,y\n1,2\n\n3,4\n", "data.csv: 1 of 3 rows lack a value: line 3 (k, y); fill them"),
        (b"k,y\n1,2\n3,4\n\n\n", "a fit needs at least 10 rows, got 2"),
    ],
)
def test_a_file_that_is_no_table_is_said_with_its_line(
    capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    Path("data.csv").write_bytes(content)
    assert run("fit", "data.csv", "--target", "y", "--key", "k") == 1
    assert message in said(capsys)


def test_a_pair_must_have_one_rate_and_one_length(capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write("a.wav", np.zeros(8000), 8000)
    soundfile.write("b.wav", np.zeros(8000), 16000)
    soundfile.write("c.wav", np.zeros(4000), 8000)
    Path("d.wav").write_bytes(b"RIFF of no kind")
    for other, message in [
        ("b.wav", "all files must have one sample rate, got a.wav 8000 Hz, b.wav 16000 Hz; resample them first"),
        ("c.wav", "a.wav and c.wav must be equally long, got 8,000 and 4,000 values; cut them"),
        ("d.wav", "d.wav cannot be read as sound"),
        ("e.wav", "e.wav is not there"),
    ]:
        assert run("fit", "a.wav", "--target", other) == 1
        assert message in said(capsys)


def test_a_folder_cut_short_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TABLE, "--no-baselines") == 0
    weights, description = Path("model/weights.safetensors"), Path("model/model.json")
    whole, text = weights.read_bytes(), description.read_text()
    for content, message in [
        (whole[:100], "model/weights.safetensors is cut short or damaged"),
        (whole[:-4], "model/weights.safetensors is cut short or damaged"),
        (whole[:-1] + b"\x7f", "model/weights.safetensors is not the file that model.json was written with"),
    ]:
        weights.write_bytes(content)
        assert run("predict", "model", "data.csv") == 1
        assert message in said(capsys)
    weights.write_bytes(whole)
    for changed, message in [
        (text[:200], "model/model.json is cut short or damaged"),
        (text.replace("hardgrad-model-1", "hardgrad-model-9"), "must have the format 'hardgrad-model-1'"),
        (text.replace('"inputs"', '"outputs"'), "model/model.json lacks or garbles 'inputs'"),
    ]:
        description.write_text(changed)
        assert run("predict", "model", "data.csv") == 1
        assert message in said(capsys)
    weights.unlink()
    assert run("predict", "model", "data.csv") == 1
    assert "model is no whole model folder: it lacks weights.safetensors" in said(capsys)
    assert not Path("predictions.csv").exists()


def test_predict_says_what_it_lacks_and_replaces_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TABLE, "--no-baselines") == 0
    table()[["k", "y"]].to_csv("less.csv", index=False)
    Path("there.csv").write_text("mine")
    capsys.readouterr()
    for words, message in [
        (["less.csv"], "less.csv has no column 'b' (--inputs); it has k, y"),
        (["data.csv", "--out", "there.csv"], "there.csv is there already; choose another --out"),
        (["data.csv", "--out", "x.wav"], "--out must end in .csv, .parquet, .pq here, got 'x.wav'"),
        (["x.wav"], "model was fitted to columns, not to sounds"),
        ([], "predict needs at least one file"),
    ]:
        assert run("predict", "model", *words) == 1
        assert message in said(capsys)
    assert Path("there.csv").read_text() == "mine"


def test_a_model_with_a_function_for_a_branch_cannot_be_saved() -> None:
    import torch

    from hardgrad_lab import SwitchRegressor

    data = table()
    model = SwitchRegressor([-1, 1], branch=lambda i, o: torch.nn.Linear(i, o), epochs=1).fit(
        data[["k", "b"]], data["y"]
    )
    with pytest.raises(FolderError, match="branch must go by name or module:factory"):
        save_model(model, "model")
    assert not Path("model").exists()


def test_help_of_fit_and_predict_imports_nothing_heavy() -> None:
    program = (
        "import sys; from hardgrad_lab.cli import main\n"
        "assert main(['fit', '--help']) == 0 and main(['predict', '--help']) == 0\n"
        "heavy = {'torch', 'matplotlib', 'numpy', 'hardgrad', 'pandas', 'sklearn'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert ran.returncode == 0, ran.stderr

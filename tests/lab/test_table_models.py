"""``fit`` and ``predict`` on tables as people have them: what a model folder remembers, and what predictions say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from hardgrad_lab import cli
from hardgrad_lab.fit.folder import load_model

QUICK = ["--hidden", "4", "--epochs", "2", "--no-baselines"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def run(*words: str) -> int:
    return cli.main([str(word) for word in words])


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def said(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return " ".join(error.split())


def tariff(n: int = 120, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    kwh = random.uniform(0, 8000, n).round(1)
    plan = random.choice(["basic", "flex", "pro"], n)
    fee = np.select([plan == "basic", plan == "flex"], [0.0, 300.0], -500.0)
    cost = np.where(kwh < 3000, 0.2 * kwh, 0.5 * kwh - 900) + fee
    start = pd.to_datetime("2024-01-01") + pd.to_timedelta(random.integers(0, 300, n), unit="D")
    return pd.DataFrame({"kwh": kwh, "plan": plan, "start": start, "green": random.random(n) < 0.5, "cost": cost})


def european(data: pd.DataFrame, path: str) -> None:
    data.to_csv(path, sep=";", decimal=",", index=False, encoding="cp1252")


def test_a_model_reads_other_files_as_those_that_it_was_fitted_to(capsys: pytest.CaptureFixture[str]) -> None:
    data = tariff()
    european(data, "t.csv")
    assert run("fit", "t.csv", "--target", "cost", "--key", "kwh", "--search", "2", *QUICK) == 0
    assert "t.csv: read with semicolons between columns, commas as decimal points" in out(capsys)
    held = json.loads(Path("model/model.json").read_text())["table"]
    assert [column["kind"] for column in held["columns"]] == ["number", "category", "date", "boolean"]
    assert held["columns"][1]["categories"] == ["basic", "flex", "pro"]
    assert run("predict", "model", "t.csv", "--out", "a.csv") == 0
    first = pd.read_csv("a.csv")["cost_predicted"]
    # The same rows as another program writes them, one plan alone, without the target and in another order.
    some = data[data["plan"] == "flex"]
    some[["green", "plan", "start", "kwh"]].to_parquet("p.parquet")
    assert run("predict", "model", "p.parquet", "--out", "b.csv") == 0
    assert np.allclose(pd.read_csv("b.csv")["cost_predicted"], first[some.index], rtol=1e-12)
    assert "there, too" not in out(capsys).split("predictions of cost: a.csv")[1]


def test_predictions_are_compared_with_a_target_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    data = tariff()
    data.to_csv("t.csv", index=False)
    assert run("fit", "t.csv", "--target", "cost", "--key", "kwh", "--search", "2", *QUICK) == 0
    data.loc[[3, 9], "cost"] = np.nan
    data.to_csv("u.csv", index=False)
    capsys.readouterr()
    assert run("predict", "model", "u.csv") == 0
    predicted = pd.read_csv("predictions.csv")["cost_predicted"]
    rmse = float(np.sqrt(np.nanmean((predicted - data["cost"]) ** 2)))
    assert f"cost is there, too: RMSE {rmse:.4g}, R2 " in (printed := out(capsys))
    assert "on the 118 rows whose cost is known" in printed
    assert len(predicted) == 120, "a target that is missing leaves no row out"


def test_a_category_that_was_never_seen_is_none_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    tariff().to_csv("t.csv", index=False)
    assert run("fit", "t.csv", "--target", "cost", "--key", "kwh", "--search", "2", *QUICK) == 0
    data = tariff(12)
    data.loc[[2, 5], "plan"] = ["gold", "silver"]
    data.to_csv("u.csv", index=False)
    capsys.readouterr()
    assert run("predict", "model", "u.csv") == 0
    told = "u.csv: 2 rows have a value of plan that was not there in the fit, and is taken as none of its categories: "
    assert told + "'gold' in line 4, 'silver' in line 7" in out(capsys)
    model = load_model("model")
    row = {"kwh": data["kwh"][2], "plan=basic": 0.0, "plan=flex": 0.0, "plan=pro": 0.0,
           "start": (data["start"][2] - pd.Timestamp("1970-01-01")).days, "green": float(data["green"][2])}  # fmt: skip
    wanted = model.predict(pd.DataFrame([row])[list(model.feature_names_in_)])
    assert np.allclose(pd.read_csv("predictions.csv")["cost_predicted"][2], wanted, rtol=1e-12)


def test_a_key_of_categories_has_a_branch_for_each_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    data = tariff()
    data.to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "cost", "--key", "plan", *QUICK]
    assert run(*words) == 0
    described = json.loads(Path("model/model.json").read_text())
    assert [part["label"] for part in described["ranges"]] == ["basic", "flex", "pro"]
    assert "The points are one for each category of plan" in Path("model/report.html").read_text()
    assert run("predict", "model", "t.csv") == 0
    predictions = pd.read_csv("predictions.csv")
    assert predictions["plan"].tolist() == predictions["range_label"].tolist() == data["plan"].tolist()
    data.loc[4, "plan"] = "gold"
    data.to_csv("u.csv", index=False)
    capsys.readouterr()
    assert run("predict", "model", "u.csv", "--force") == 1
    told = "u.csv: column 'plan', the key, has values in 1 rows that the model knows no branch for: 'gold' in line 6"
    assert told in said(capsys)
    assert run(*words, "--points", "0,1,2", "--force") == 1
    assert "--points is for a key of numbers; plan has a branch for each of its categories" in said(capsys)


@pytest.mark.parametrize("key", ["range", "row", "y_predicted"])
def test_no_column_of_ours_takes_the_name_of_one_of_the_users(capsys: pytest.CaptureFixture[str], key: str) -> None:
    random = np.random.default_rng(0)
    names = ["range", "row", "range_label", "y_predicted", "hardgrad_range", "file"]
    data = pd.DataFrame({name: random.uniform(-1, 1, 40) for name in names}).assign(y=np.arange(40.0))
    for path in ("t.csv", "u.csv"):
        data.to_csv(path, index=False)
    assert run("fit", "t.csv", "u.csv", "--target", "y", "--key", key, "--points=-1,0,1", *QUICK) == 0
    capsys.readouterr()
    assert run("predict", "model", "t.csv", "u.csv") == 0
    predictions = pd.read_csv("predictions.csv")
    assert np.allclose(predictions[key], [*data[key]] * 2, rtol=0, atol=0)
    assert not (set(predictions.columns) - {key}) & set(data.columns)
    told = "the column range of the predictions is called hardgrad_hardgrad_range, as the files have a column range"
    assert told in out(capsys)


def test_words_for_missing_are_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    data = tariff().astype({"kwh": object})
    data.loc[[1, 2], "kwh"] = "-"
    data.to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "cost", "--key", "kwh", "--points", "0,3000,8000", *QUICK]
    assert run(*words) == 1
    assert "column 'kwh', line 3: '-' is no number, nor in 1 more rows; " in said(capsys)
    assert run(*words, "--missing", "-", "--drop-missing") == 0
    assert "t.csv: left out 2 of 120 rows, which lack a value: kwh 2" in out(capsys)
    assert run("predict", "model", "t.csv", "--drop-missing") == 0
    assert len(pd.read_csv("predictions.csv")) == 118


def test_a_folder_of_old_without_settings_is_read_as_numbers() -> None:
    data = tariff()[["kwh", "cost"]]
    data.to_csv("t.csv", index=False)
    assert run("fit", "t.csv", "--target", "cost", "--points", "0,3000,8000", *QUICK) == 0
    assert run("predict", "model", "t.csv", "--out", "a.csv") == 0
    place = Path("model/model.json")
    described = json.loads(place.read_text())
    del described["table"]
    place.write_text(json.dumps(described))
    assert run("predict", "model", "t.csv", "--out", "b.csv") == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()


@pytest.mark.parametrize(
    "garbled",
    [
        [],
        {"columns": 7, "target": None, "missing": []},
        {"columns": [{"name": "kwh", "kind": "spell", "categories": []}], "target": None, "missing": []},
        {"columns": [{"name": "other", "kind": "number", "categories": []}], "target": None, "missing": []},
    ],
)
def test_settings_that_are_garbled_are_said(capsys: pytest.CaptureFixture[str], garbled: Any) -> None:
    tariff()[["kwh", "cost"]].to_csv("t.csv", index=False)
    assert run("fit", "t.csv", "--target", "cost", "--points", "0,3000,8000", *QUICK) == 0
    place = Path("model/model.json")
    place.write_text(json.dumps({**json.loads(place.read_text()), "table": garbled}))
    capsys.readouterr()
    assert run("predict", "model", "t.csv") == 1
    assert "model.json garbles what its columns hold" in said(capsys)


# -------------------------------------------------------------------------------------------------------------- classes


def colored(n: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    k, b = random.uniform(-1, 1, n), random.normal(size=n)
    return pd.DataFrame({"k": k, "b": b, "color": np.where(k < 0.2, np.where(b > 0, "red", "blue"), "green")})


def test_words_to_predict_make_a_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    data = colored()
    data.to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "color", "--key", "k", "--points=-1,0.2,1", "--hidden", "8", "--epochs", "30"]
    assert run(*words) == 0
    printed = out(capsys)
    assert "color is taken as 3 classes: blue, green, red" in printed
    for name in ("plain-total", "plain-active", "condition-input", "boosting", "logistic", "shares"):
        assert name in printed
    described = json.loads(Path("model/model.json").read_text())
    assert described["kind"] == "SwitchClassifier"
    scores = {score["name"]: score for score in described["scores"]}
    # 300 rows, 30 of them set aside: what is said of them is what scikit-learn says of the model's probabilities.
    model = load_model("model")
    assert scores["switch"]["accuracy"] > 0.9
    assert f"names the right color in {scores['switch']['accuracy']:.2%} of unseen rows (log loss " in printed
    assert f"{scores['switch']['accuracy']:.2%}" in (page := Path("model/report.html").read_text())
    for heading in ("Classes by key", "Which class is taken for which"):
        assert heading in page
    assert "R²" not in page
    assert run("predict", "model", "t.csv") == 0
    predictions = pd.read_csv("predictions.csv")
    shares = predictions[[f"color={name}" for name in ("blue", "green", "red")]].to_numpy()
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.allclose(shares, model.predict_proba(data[["k", "b"]]), atol=1e-12)
    assert predictions["color_predicted"].tolist() == [("blue", "green", "red")[i] for i in shares.argmax(axis=1)]
    right = float((predictions["color_predicted"] == data["color"]).mean())
    assert f"color is there, too: the predicted class is right in {right:.2%} of the rows" in out(capsys)


def test_the_scores_of_classes_are_those_of_scikit_learn() -> None:
    data = colored()
    data.to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "color", "--key", "k", "--points=-1,0.2,1", "--test", "0", *QUICK]
    assert run(*words) == 0
    (score,) = json.loads(Path("model/model.json").read_text())["scores"]
    model = load_model("model")
    shares = model.predict_proba(data[["k", "b"]])
    assert score["log_loss"] == pytest.approx(log_loss(data["color"], shares, labels=model.classes_), rel=1e-9)
    left = (data["k"] < 0.2).to_numpy()
    one = log_loss(data["color"][left], shares[left], labels=model.classes_)
    assert score["ranges"][0] == pytest.approx(one, rel=1e-9)
    assert score["accuracy"] == pytest.approx(float((model.predict(data[["k", "b"]]) == data["color"]).mean()))


@pytest.mark.parametrize(("kind", "words"), [("bool", []), ("int", ["--classify"])])
def test_true_and_false_and_numbers_on_request_are_classes(kind: str, words: list[str]) -> None:
    data = colored()
    data = data.assign(color=(data["color"] == "red").astype(kind))
    data.to_csv("t.csv", index=False)
    assert run("fit", "t.csv", "--target", "color", "--key", "k", "--points=-1,0.2,1", *QUICK, *words) == 0
    classes = json.loads(Path("model/model.json").read_text())["classes"]
    assert classes == (["false", "true"] if kind == "bool" else ["0", "1"])
    assert run("predict", "model", "t.csv") == 0
    assert len(pd.read_csv("predictions.csv")) == 300


def test_a_fit_of_classes_stopped_and_resumed_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from hardgrad_lab.fit import job

    colored().to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "color", "--key", "k", "--points=-1,0.2,1", "--hidden", "4", "--epochs", "3"]
    assert run(*words, "--out", "whole") == 0
    with monkeypatch.context() as broken:

        def stop(*_: object, **__: object) -> None:
            raise OSError("pulled out")

        broken.setattr(job, "solve_rival", stop)
        assert run(*words, "--checkpoint-steps", "1") == 1
    assert run(*words, "--resume") == 0
    assert Path("model/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()
    scores = [json.loads(Path(folder, "model.json").read_text())["scores"] for folder in ("model", "whole")]
    assert [score["log_loss"] for score in scores[0]] == [score["log_loss"] for score in scores[1]]

"""The C header of a model of sounds: compiled, run in chunks, and equal to the model within 1e-6."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hardgrad_lab import SwitchRegressor, cli
from hardgrad_lab.bench import callback
from hardgrad_lab.export.c_network import look_up
from hardgrad_lab.export.c_text import name_of, number
from hardgrad_lab.fit.folder import save_model
from hardgrad_lab.fit.tables import INPUT
from lab.compiled import compiled, played

CHUNKS = (1, 7, 64, 65, 512, 1, 1, 200)
NOTES = {"rate": 44_100, "target": "wet */ x", "files": ["dry.wav"]}
BRANCHES: dict[str, dict[str, Any]] = {
    "line": {"branch": "linear", "window": 40},
    "curve": {"branch": "mlp", "hidden": (4, 4), "points": [-1, -0.3, 0.2, 1]},
    "wide": {"branch": "mlp", "hidden": (6, 4), "window": 20, "points": [-0.5 + k / 20 for k in range(21)]},
    "gru": {"branch": "gru", "hidden": (6, 6), "window": 12},
    "lstm": {"branch": "lstm", "hidden": (5,), "window": 12},
    "conv": {"branch": "conv", "hidden": (4, 4), "window": 32},
    "short": {"branch": "conv", "hidden": (4, 4), "window": 6, "normalize": True},
}


def plucked(n: int = 4000) -> NDArray[np.float32]:
    """A string of three partials that dies away, with hiss, after silence; above full scale at first."""
    time = np.arange(n) / 44_100
    tone = sum(np.sin(2 * np.pi * 196 * k * time) / k for k in (1, 2, 3)) * np.exp(-30 * time)
    hiss = 1e-3 * np.random.default_rng(0).normal(size=n)
    return np.concatenate([np.zeros(50), 0.9 * tone + hiss]).astype(np.float32)


def fitted(**given: Any) -> SwitchRegressor:
    x = plucked(500).astype(np.float64)
    y = np.tanh(3 * x) + 0.3 * np.concatenate([[0.0], x[:-1]])
    settings = {"points": [-1, 0, 1], "epochs": 1, "random_state": 0, **given}
    return SwitchRegressor(**settings).fit(pd.DataFrame({INPUT: x}), y)


def sound(x: NDArray[np.float32], **columns: float) -> pd.DataFrame:
    return pd.DataFrame({INPUT: x.astype(np.float64), **columns})


def turned() -> SwitchRegressor:
    """A model of a knob at 0 and 1, as ``hardgrad fit --knob`` fits it."""
    x = np.tile(plucked(300), 2)
    rows = sound(x).assign(gain=np.repeat([0.0, 1.0], len(x) // 2))
    settings = {"key": "gain", "key_only": True, "branch": "mlp", "hidden": (4,), "window": 3, "epochs": 1}
    model = SwitchRegressor([0, 0.5, 1], random_state=0, **settings)
    return model.fit(rows, np.tanh(x * (1 + 5 * rows.gain)), groups=rows.gain)


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.filterwarnings("ignore")
def test_compiled_c_equals_the_model_chunk_by_chunk(tmp_path: Path) -> None:
    x = plucked()
    models = {name: fitted(**given) for name, given in BRANCHES.items()} | {"knob": turned()}
    for name, model in models.items():
        notes = NOTES | ({"knob": {"name": "gain", "values": [0, 1]}} if name == "knob" else {})
        save_model(model, tmp_path / f"{name}_model", notes)
        assert run("export", tmp_path / f"{name}_model", "--to", "c", "--out", tmp_path / f"{name}.h") == 0
    library = compiled([tmp_path / f"{name}.h" for name in models], ["knob"])
    knobs = models.pop("knob")
    library["turn_knob"](ctypes.c_float(0.6))  # nearer to 1 than to 0
    assert np.abs(played(library, "knob", x, CHUNKS) - knobs.predict(sound(x, gain=0.6))).max() < 1e-6
    for name, model in models.items():
        expected = model.predict(sound(x))
        library[f"start_{name}"]()
        first = played(library, name, x, CHUNKS)
        assert np.abs(first - expected).max() < 1e-6, name
        library[f"again_{name}"]()
        assert (played(library, name, x, [len(x)]) == first).all(), name  # reset, and one chunk: bit for bit
    broken = x.copy()
    broken[100] = np.nan  # is heard as long as the window sees it, and not a sample longer
    library["again_wide"]()
    assert np.isnan(played(library, "wide", broken, CHUNKS)).nonzero()[0].tolist() == list(range(100, 120))
    plus = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", "calls.c"]
    subprocess.run(plus, cwd=tmp_path, check=True)


def test_the_benchmark_of_the_talk_reports_both(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "FLAGS", (["-O1"],))
    assert run("bench", "callback", "--rounds", 3, "--rows", 2000, "--epochs", 1) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"ESR \S+ after 57 steps, float", said)) == 2
    assert len(re.findall(r"switch [\d,]+ times real time, 8x8 [\d,]+, [\d.]+ times as fast", said)) == 1


def test_a_look_up_in_single_precision_is_that_of_the_points(tmp_path: Path) -> None:
    points = [-1.0, -0.1, 0.0, 0.1, 1 / 3, 0.7, 1.0]
    near = np.array(points, dtype=np.float32)
    keys = np.concatenate([near, np.nextafter(near, np.float32(-2)), np.nextafter(near, np.float32(2))])
    for name, inner in (("few", points), ("many", [-1.0, *np.linspace(-0.9, 0.9, 21), *points[1:]])):
        edges = sorted(inner)
        text = look_up(edges).replace("@", f"{name}_").replace("static inline ", "")
        (tmp_path / f"{name}.c").write_text(text)
        words = ["gcc", "-std=c99", "-shared", "-fPIC", f"{name}.c", "-o", f"{name}.so"]
        subprocess.run(words, cwd=tmp_path, check=True)
        find = ctypes.CDLL(str(tmp_path / f"{name}.so"))[f"{name}_range"]
        expected = np.searchsorted(edges[1:-1], keys.astype(np.float64), side="right")
        assert [find(ctypes.c_float(key)) for key in keys] == expected.tolist()


@pytest.mark.parametrize(("stem", "name"), [("My Amp-2", "my_amp_2"), ("3rd", "m3rd"), ("é*/", "m")])
def test_any_file_name_makes_a_prefix(stem: str, name: str) -> None:
    assert name_of(stem) == name


def test_numbers_come_back_bit_for_bit() -> None:
    random = np.random.default_rng(0)
    for value in [*random.normal(size=50), 1e-40, 5e-324, 3.0, -0.0, 1e30]:
        assert float(number(value, double=True)) == value
        assert np.float32(number(value, double=False)[:-1]) == np.float32(value)

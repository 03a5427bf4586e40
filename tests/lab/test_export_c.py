"""The C header of a model of sounds: compiled, run in chunks, and equal to the model within 1e-6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hardgrad_lab import SwitchRegressor, cli
from hardgrad_lab.fit.folder import save_model
from hardgrad_lab.fit.tables import INPUT
from lab.compiled import compiled, played

CHUNKS = (1, 7, 64, 65, 512, 1, 1, 200)
NOTES = {"rate": 44_100, "target": "wet */ x", "files": ["dry.wav"]}
BRANCHES: dict[str, dict[str, Any]] = {
    "line": {"branch": "linear", "window": 40},
    "curve": {"branch": "mlp", "hidden": (4, 4), "points": [-1, -0.3, 0.2, 1]},
    "wide": {"branch": "mlp", "hidden": (16, 8), "window": 20, "points": [-0.5 + k / 20 for k in range(21)]},
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


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.filterwarnings("ignore")
def test_compiled_c_equals_the_model_chunk_by_chunk(tmp_path: Path) -> None:
    x = plucked()
    models = {name: fitted(**given) for name, given in BRANCHES.items()}
    for name, model in models.items():
        save_model(model, tmp_path / f"{name}_model", NOTES)
        assert run("export", tmp_path / f"{name}_model", "--to", "c", "--out", tmp_path / f"{name}.h") == 0
    library = compiled([tmp_path / f"{name}.h" for name in models])
    for name, model in models.items():
        expected = model.predict(pd.DataFrame({INPUT: x.astype(np.float64)}))
        library[f"start_{name}"]()
        first = played(library, name, x, CHUNKS)
        assert np.abs(first - expected).max() < 1e-6, name
        library[f"again_{name}"]()
        assert (played(library, name, x, [len(x)]) == first).all(), name  # reset, and one chunk: bit for bit

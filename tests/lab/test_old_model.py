"""A model folder that an older version wrote loads, and predicts what it predicted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from hardgrad_lab.fit.folder import load_model

# Written by `hardgrad fit t.csv --target y --points=-1,0.2,1 --branch linear --hidden 4` in commit 8a08ad8, on 300 rows
# of y = x below 0.2 and 1 - 2 x above, rounded to four digits.
FOLDER = Path(__file__).parent.parent / "samples" / "old_model"


def test_an_older_folder_loads_and_predicts_what_it_did() -> None:
    model = load_model(FOLDER)
    assert model.normalize == "auto"
    then = [-0.5, 0.10000000000000014, 0.5999989394686752, -0.8000019495546775]
    assert model.predict(pd.DataFrame({"x": [-0.5, 0.1, 0.2, 0.9]})) == pytest.approx(then, rel=1e-12)

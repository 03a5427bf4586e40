"""The products that a prediction is made of, against the network itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardgrad_lab.fit.estimator import SwitchRegressor
from hardgrad_lab.fit.training.forward import forward
from hardgrad_lab.fit.training.stacks import stacks_of

POINTS = [-1.0, -0.3, 0.5, 1.0]
X = np.random.default_rng(0).uniform(-1.2, 1.2, (900, 2))  # some outside
Y = np.where(X[:, 0] < -0.3, X[:, 1], X[:, 0] * X[:, 1])


def fitted(**options: object) -> SwitchRegressor:
    return SwitchRegressor(POINTS, epochs=1, random_state=0, **options).fit(X, Y, np.zeros(900))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:no point was moved")
@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (4, 4)},
        {"branch": "linear", "window": 3},
        {"hidden": (), "key": 1},
        {"hidden": (6,), "window": 4, "normalize": False},
        {"hidden": (6,), "key_only": True, "learn_points": True},
    ],
    ids=str,
)
def test_they_compute_what_the_network_does(options: dict[str, object]) -> None:
    model = fitted(**options)
    stacks = stacks_of(model.network_)
    assert stacks is not None
    rows, chosen = model.as_rows(X, np.zeros(900)), torch.arange(5, 890, 3)
    outputs, sizes = stacks.run(rows, chosen)
    with torch.no_grad():
        assert torch.allclose(outputs, model.network_(*rows.take(chosen)), rtol=0, atol=1e-12)
    index = model.route(X)[chosen.numpy()]
    assert np.array_equal(stacks.index(rows.key[chosen].numpy())[0], index)
    assert sizes == np.bincount(index, minlength=3).tolist()
    visits = model.network_.ranges.visits.clone()
    forward(model.network_, rows, chosen)
    assert torch.equal(model.network_.ranges.visits, visits)


def test_one_row_and_a_range_without_rows() -> None:
    model = fitted(hidden=(4,))
    alone = [model.predict(X[i : i + 1])[0] for i in range(40)]
    assert np.allclose(alone, model.predict(X)[:40], rtol=0, atol=1e-12)


def test_weights_are_read_where_they_lie() -> None:
    model = fitted(hidden=(4,))
    before = model.predict(X)
    with torch.no_grad():
        model.network_.branch(1)[2].bias += 1.0
    assert np.allclose(model.predict(X) - before, np.where(model.route(X) == 1, model.target_scaling_.scale[0], 0))


def test_a_network_that_does_more_than_its_layers_runs_itself() -> None:
    model = fitted(hidden=(4,))
    asked = model.network_.branch(0).register_forward_hook(lambda module, x, y: y + 1)
    assert stacks_of(model.network_) is None
    asked.remove()
    assert stacks_of(model.network_) is not None
    assert stacks_of(model.network_.float()) is None, "a training's own precision"
    assert stacks_of(model.network_.double().train()) is None
    assert stacks_of(fitted(branch="gru", hidden=(3,), window=3).network_) is None


def test_a_key_that_is_no_number_is_refused() -> None:
    stacks = stacks_of(fitted(hidden=(4,)).network_)
    assert stacks is not None
    with pytest.raises(ValueError, match="a key must be a number, got NaN in row 1"):
        stacks.index(np.array([0.0, np.nan]))
    index, sizes = stacks.index(np.array([-np.inf, np.inf, 0.5]))
    assert (index.tolist(), sizes) == ([0, 2, 2], [1, 0, 2])

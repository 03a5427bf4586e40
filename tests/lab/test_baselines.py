"""Fair baselines: equal sizes, what the key tells each, and closed forms against numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.baselines import NAMES, SOLVED, TRAINED, build, counts, describe

POINTS = [-1.0, -0.6, -0.25, 0.0, 0.25, 0.75, 1.0]
EQUAL_TOTAL = [name for name in TRAINED if name not in ("switch", "plain-active")]


def rows(n: int = 40, features: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(n, features, generator=generator) - 1
    return x, x[:, -1].clone(), torch.rand(n, 2, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_every_rival_is_called_as_the_switch_is(name: str) -> None:
    x, key, y = rows()
    model = build(name, 3, 2, ranges=POINTS, hidden=(8, 8), key_columns=[-1])
    if name in SOLVED:
        model.solve(x, key, y)  # type: ignore[operator]
    assert model(x, key).shape == (40, 2)
    assert describe(name)
    trains = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert bool(trains) == (name in TRAINED)


@pytest.mark.parametrize("name", EQUAL_TOTAL)
@pytest.mark.parametrize(
    ("hidden", "branches", "features", "within"),
    # The narrower the network, the more one unit weighs.
    [((4, 4), 5, 1, 0.2), ((32, 32), 6, 80, 0.05), ((20,), 2, 3, 0.1)],
)
def test_rivals_are_as_large_as_the_switch_as_near_as_widths_allow(
    name: str, hidden: tuple[int, ...], branches: int, features: int, within: float
) -> None:
    points = torch.linspace(-1, 1, branches + 1).tolist()
    made = {kind: build(kind, features, 1, ranges=points, hidden=hidden) for kind in ("switch", name)}
    wanted, got = counts(made["switch"]).total, counts(made[name]).total
    # One unit more in each hidden layer must not come nearer: brute force over all widths for the plain network.
    if name == "plain-total":
        ratio = [width / max(hidden) for width in hidden]
        sizes = []
        for widest in np.arange(0.5, 400, 0.5):
            widths = [features, *(max(1, round(widest * share)) for share in ratio), 1]
            sizes.append(sum((a + 1) * b for a, b in itertools.pairwise(widths)))
        assert abs(got - wanted) == min(abs(size - wanted) for size in sizes)
    assert got == pytest.approx(wanted, rel=within), f"{name} has {got}, the switch {wanted}"


def test_counts_by_hand() -> None:
    # 1 -> 4 -> 4 -> 1 has 2*4 + 5*4 + 5 = 33 parameters.
    assert counts(build("switch", 1, 1, ranges=POINTS, hidden=(4, 4))).total == 6 * 33
    assert counts(build("switch", 1, 1, ranges=POINTS, hidden=(4, 4))).active == 33
    assert counts(build("plain-active", 1, 1, ranges=POINTS, hidden=(4, 4))).total == 33
    assert counts(build("table", 1, 1, ranges=POINTS, hidden=(4, 4))).active == 2
    assert counts(build("linear", 80, 1, ranges=POINTS)).total == 81


@pytest.mark.parametrize("name", ["condition-input", "film", "soft-gate", "switch", "table"])
def test_the_key_reaches_the_output(name: str) -> None:
    torch.manual_seed(3)
    model = build(name, 2, 1, ranges=POINTS, hidden=(8, 8))
    if name == "table":
        nn.init.normal_(model.values)  # type: ignore[arg-type]
    x = torch.ones(2, 2)
    first, second = model(x, torch.tensor([-0.9, 0.9])).tolist()
    assert first != second


@pytest.mark.parametrize("name", ["plain-total", "plain-active"])
def test_a_plain_network_does_not_look_at_the_key(name: str) -> None:
    model = build(name, 2, 1, ranges=POINTS)
    x = torch.rand(5, 2)
    assert torch.equal(model(x, torch.full((5,), -0.9)), model(x, torch.full((5,), 0.9)))


def test_key_columns_are_mapped_by_the_outer_points_alone() -> None:
    model = build("plain-active", 2, 1, ranges=[100.0, 110.0, 300.0], key_columns=[1], hidden=(4,))
    raw = build("plain-active", 2, 1, ranges=[100.0, 110.0, 300.0], key_columns=[1], hidden=(4,), normalize=False)
    raw.load_state_dict(model.state_dict())
    x = torch.tensor([[7.0, 100.0], [7.0, 200.0], [7.0, 300.0]])
    mapped = torch.tensor([[7.0, -1.0], [7.0, 0.0], [7.0, 1.0]])
    assert torch.allclose(model(x, x[:, 1]), raw(mapped, x[:, 1]))


def test_the_table_is_linear_interpolation() -> None:
    model = build("table", 1, 1, ranges=[0.0, 1.0, 3.0], hidden=(2,))
    values: Any = model.values
    with torch.no_grad():
        values.copy_(torch.randn(values.shape))
    key = torch.linspace(-0.5, 3.5, 101)
    knots = np.linspace(0, 3, len(values))
    expected = np.interp(key.numpy(), knots, values[:, 0].detach().numpy())
    assert model(key[:, None], key)[:, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_film_with_nothing_to_say_is_its_network() -> None:
    model = build("film", 3, 1, ranges=POINTS, hidden=(8, 8))
    read: Any = model.read
    nn.init.zeros_(read[2].weight)
    nn.init.zeros_(read[2].bias)
    x, key, _ = rows()
    network: Any = model.network
    assert torch.equal(model(x, key), network(x))


def test_the_gate_mixes_all_experts() -> None:
    model = build("soft-gate", 3, 1, ranges=POINTS, hidden=(8, 8))
    gate: Any = model.gate
    nn.init.zeros_(gate[2].weight)
    nn.init.zeros_(gate[2].bias)
    x, key, _ = rows()
    experts: Any = model.experts
    expected = sum(expert(x) for expert in experts) / len(POINTS[1:])
    assert torch.allclose(model(x, key), expected, atol=1e-6)


def test_solved_baselines_against_numpy() -> None:
    x, key, y = rows(200)
    designs = {
        "constant": np.ones((200, 1)),
        "best-gain": key.numpy()[:, None],
        "linear": np.concatenate([x.numpy(), np.ones((200, 1))], axis=1),
    }
    for name, design in designs.items():
        model: Any = build(name, 3, 2, ranges=POINTS)
        model.solve(x, key, y)
        expected = design @ np.linalg.lstsq(design, y.numpy(), rcond=None)[0]
        assert np.allclose(model(x, key).numpy(), expected, atol=1e-5)


def test_a_branch_of_ones_own_is_scaled_and_modulated() -> None:
    def branch(in_features: int, factor: float) -> nn.Module:
        width = max(1, round(6 * factor))
        return nn.Sequential(nn.Linear(in_features, width), nn.GELU(), nn.Linear(width, 1))

    for name in EQUAL_TOTAL:
        model = build(name, 3, 1, ranges=POINTS, branch=branch)
        x, key, _ = rows()
        assert model(x, key).shape == (40, 1)
    with pytest.raises(ValueError, match=r"film needs a branch that is an nn\.Sequential, got Bilinear"):
        build("film", 3, 1, ranges=POINTS, branch=lambda i, f: nn.Bilinear(i, i, max(1, round(4 * f))))


@pytest.mark.parametrize("name", ["plain-total", "condition-input"])
def test_a_branch_without_widths_is_refused_and_not_searched_for_ever(name: str) -> None:
    with pytest.raises(ValueError, match=r"branch must have widths that can be changed .* any width; compare with"):
        build(name, 3, 1, ranges=POINTS, branch=lambda i, factor: nn.Linear(i, 1))


def test_the_ranges_given_are_not_counted_on() -> None:
    ranges = hg.Ranges(POINTS)
    x, key, _ = rows()
    for name in TRAINED:
        build(name, 3, 1, ranges=ranges, key_columns=[-1])(x, key)
    assert ranges.visits.sum() == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "mlp"}, "name must be one of switch, plain-total"),
        ({"activation": "softplus"}, "activation must be one of relu, tanh"),
        ({"key_columns": [3]}, "key_columns must be columns of x, -3 to 2, got 3"),
    ],
)
def test_mistakes_are_named(given: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"name": "switch", "ranges": POINTS, **given}
    with pytest.raises(ValueError, match=message):
        build(arguments.pop("name"), 3, 1, **arguments)

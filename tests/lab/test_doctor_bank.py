"""The bank's functions against programs written here, and the user's function found and tried."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.distributions import Distribution

import hardgrad as hg
from hardgrad_lab.doctor import codes
from hardgrad_lab.doctor.bank import NAMES, find
from hardgrad_lab.doctor.five import coded_bits, mask_of_largest
from hardgrad_lab.doctor.images import codec, pictures
from hardgrad_lab.doctor.load import load, read_inputs, try_once
from hardgrad_lab.doctor.samples import edits


@pytest.fixture(autouse=True)
def in_a_folder_with_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARDGRAD_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))


def write(name: str, text: str) -> str:
    Path(f"{name}.py").write_text(text)
    return name


# ------------------------------------------------------------------------------------------------------------- the bank


@pytest.mark.parametrize("name", NAMES)
def test_every_case_gives_one_number_a_row_whatever_stands_before_the_batch(name: str) -> None:
    case = find(name, None)
    if isinstance(case.inputs, Distribution):
        drawn = case.inputs.sample((3,))
        values, alone = case.function(drawn), case.function(drawn[1])
    else:
        assert case.objective is not None
        y = case.function(case.inputs)
        values, alone = case.objective(torch.stack([0 * y, y, y])), case.objective(y)
    assert values.shape == (3, *alone.shape)
    torch.testing.assert_close(values[1], alone)
    assert alone.isfinite().all()
    assert alone.std() > 0, "rows that are all alike show nothing"


def test_the_mask_keeps_the_three_largest() -> None:
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    for row, mask in zip(x.tolist(), mask_of_largest(x).tolist(), strict=True):
        assert {i for i in range(6) if mask[i]} == set(sorted(range(6), key=lambda i: -row[i])[:3])


def test_coded_bits_by_hand() -> None:
    # Runs: 0 three times, -2 twice, 1 once. A level n costs 2 digits(|n| + 1), a run of r costs 2 digits(r) - 1:
    # 2 * 1 + 2 * 2 - 1 = 5;  2 * 2 + 2 * 2 - 1 = 7;  2 * 2 + 2 * 1 - 1 = 5.
    x = torch.tensor([[0.2, -0.3, 0.4, -1.9, -2.2, 1.1]])
    torch.testing.assert_close(coded_bits(x), torch.tensor([[17 / 6]]))
    torch.testing.assert_close(coded_bits(x[:, :3]), torch.tensor([[5 / 3]]))


def test_the_solvers_find_what_other_programs_find() -> None:
    case = find("assignment", None)
    for cost, solution in zip(case.inputs, case.function(case.inputs), strict=True):
        rows, columns = linear_sum_assignment(cost.numpy())
        assert solution.nonzero().tolist() == [list(pair) for pair in zip(rows, columns, strict=True)]
    case = find("grid-path", None)
    for cost, path in zip(case.inputs.double(), case.function(case.inputs), strict=True):
        best = cost.clone()  # the cheapest way to each cell, row by row
        for i, j in itertools.product(range(4), range(4)):
            ways = [best[i - 1, j]] * (i > 0) + [best[i, j - 1]] * (j > 0)
            best[i, j] += min(ways) if ways else 0
        assert path[0, 0] == path[3, 3] == 1
        assert path.sum() == 7
        assert float((cost * path).sum()) == pytest.approx(float(best[3, 3]))
    case = find("knapsack", None)
    taken = case.function(case.inputs)
    for value, mine in zip(case.inputs, taken, strict=True):
        rivals = [other for other in taken if bool((value * other).sum() > (value * mine).sum() + 1e-6)]
        assert rivals == []
    assert find("matching", None).function(find("matching", None).inputs).sum((-1, -2)).tolist() == [4.0] * 16


def test_a_chain_of_codes_by_a_loop() -> None:
    tables = [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)).double() for i in range(3)]
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(9)).double()
    for row, y in zip(x, codes.chained(x, tables), strict=True):
        left = row.numpy().copy()
        for table in tables:
            left -= table.numpy()[np.argmin(((table.numpy() - left) ** 2).sum(1))]
        np.testing.assert_allclose((row - y).numpy(), left, atol=1e-12)


def test_the_rotation_without_guards_is_the_turn_in_the_plane_of_both() -> None:
    """Against the matrix exponential of the angle between them, far codes and near ones."""
    x, code = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).double()
    for row, e in zip(x, code, strict=True):
        a = row / row.norm()
        b = e - (e @ a) * a
        b = b / b.norm()
        angle = torch.acos((e @ a) / e.norm())
        turn = torch.linalg.matrix_exp(angle * (torch.outer(b, a) - torch.outer(a, b))) * e.norm() / row.norm()
        torch.testing.assert_close(turn @ row, e)
        found = torch.autograd.functional.jacobian(partial(codes.unguarded, hard=lambda _, e=e: e), row)
        torch.testing.assert_close(found, turn)


def test_a_commitment_alone_is_the_slope_of_half_the_squared_distance() -> None:
    case = find("picture-codes", None)
    x, code = case.inputs.clone().requires_grad_(), case.function(case.inputs)
    (found,) = torch.autograd.grad(case.extra["commitment alone"](x).square().sum(), x)
    torch.testing.assert_close(found, torch.autograd.grad((x - code).square().sum() / 2, x)[0])


def test_weights_of_two_bits_and_the_gradients_of_their_scale_by_hand() -> None:
    # s = 1/2: -3 is clipped to -2 steps, 0.3 is 0.6 of a step, 0.1 is 0.2, 2 is clipped to one.
    row = torch.tensor([[-3.0, 0.3, 0.1, 2.0, math.log(0.5)]], dtype=torch.float64)
    case = find("learned-scale", None)
    torch.testing.assert_close(case.function(row), torch.tensor([[-1.0, 0.5, 0.0, 0.5]]).double())
    slopes = torch.tensor([-2, 1 - 0.6, 0 - 0.2, 1]).double()  # of y in s; in log s half of that
    for name, factor in (("straight_through, scale too", 1), ("straight_through, scale fixed", 0),
                         ("LearnedScale", 1 / math.sqrt(4 * 1))):  # fmt: skip
        given = row.clone().requires_grad_()
        y = case.extra[name](given)
        assert torch.equal(y, case.function(row)), name
        (y * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
        assert given.grad is not None
        expected = [0, 2, 3, 0, factor * 0.5 * float(slopes @ torch.tensor([1.0, 2.0, 3.0, 4.0]).double())]
        torch.testing.assert_close(given.grad, torch.tensor([expected]).double(), msg=name)


def test_what_a_threshold_gets_is_minus_what_its_potentials_get() -> None:
    case = find("learned-threshold", None)
    for name, layer in case.extra.items():
        row = case.inputs[:3].clone().requires_grad_()
        y = layer(row)
        assert torch.equal(y, case.function(row.detach())), name
        y.sum().backward()
        assert row.grad is not None
        torch.testing.assert_close(row.grad[:, -1], -row.grad[:, :-1].sum(-1), msg=name)
        assert row.grad.abs().max() > 0, name


def test_a_chain_has_the_value_of_its_layers_and_one_gradient_or_one_a_stage() -> None:
    case = find("residual-codes", None)
    x, value = case.inputs, case.function(case.inputs)
    for name, layer in case.extra.items():
        y = layer(x)
        torch.testing.assert_close(y[0] if isinstance(y, tuple) else y, value, msg=name)
    # A copy in each of three stages is three times a copy.
    stages = case.extra["rotation, each stage"].keywords["stages"]
    for stage in stages:
        stage.gradient = "copy"
    given = x.clone().requires_grad_()
    with hg.penalties():
        (slope,) = torch.autograd.grad(case.extra["rotation, each stage"](given).sum(), given)
    assert torch.equal(slope, torch.full_like(x, 3.0))


def test_losses_of_a_ranking_by_their_definitions() -> None:
    case = find("ndcg", None)
    gain = torch.randint(0, 4, (16, 8), generator=torch.Generator().manual_seed(24))  # as the case draws them
    for row, scores, loss in zip(
        gain.tolist(), case.inputs.tolist(), case.objective(case.function(case.inputs)), strict=True
    ):
        order = sorted(range(8), key=lambda i: -scores[i])
        found, best = (
            sum((2 ** row[i] - 1) / math.log2(place + 2) for place, i in enumerate(each))
            for each in (order, sorted(range(8), key=lambda i: -row[i]))
        )
        assert float(loss) == pytest.approx(1 - found / best, abs=1e-5)
    case = find("average-precision", None)
    label = torch.rand(16, 8, 1, generator=torch.Generator().manual_seed(25)).squeeze(-1) < 0.4
    label[:, 0] = True
    for row, scores, loss in zip(
        label.tolist(), case.inputs.tolist(), case.objective(case.function(case.inputs)), strict=True
    ):
        order = sorted(range(8), key=lambda i: -scores[i])
        hits = [place for place, i in enumerate(order) if row[i]]
        assert float(loss) == pytest.approx(
            1 - sum((n + 1) / (place + 1) for n, place in enumerate(hits)) / len(hits), abs=1e-5
        )


def test_edits_are_the_fewest_found_by_trying_all() -> None:
    def reached(word: str) -> set[str]:
        places = range(len(word) + 1)
        out = {word[:i] + word[i + 1 :] for i in places}
        return out | {word[:i] + c + word[i + cut :] for i in places for c in "ab" for cut in (0, 1)}

    words = ["".join(w) for n in range(4) for w in itertools.product("ab", repeat=n)]
    for start in words[::3]:
        known, edge, steps = {start: 0}, {start}, 0
        while not set(words) <= known.keys():
            steps += 1
            edge = {w for e in edge for w in reached(e) if w not in known and len(w) < 7}
            known |= dict.fromkeys(edge, steps)
        assert [edits(start, word) for word in words] == [known[word] for word in words]


def test_pictures_are_drawn_without_a_folder_and_read_from_one(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = pictures(None)
    assert "drawn" in drawn.source
    assert drawn.rows.shape == (2000, 196)
    real = pictures(samples)
    assert "MNIST, a sample" in real.source
    with np.load(samples / "samples.npz") as content:
        squares = content["MNIST test x"].reshape(-1, 14, 2, 14, 2) / 255
    np.testing.assert_allclose(real.rows.numpy(), squares.mean((2, 4)).reshape(-1, 196), atol=1e-6)
    monkeypatch.setenv("HARDGRAD_DATA", str(samples))
    assert pictures(None).source == real.source


def test_a_folder_without_digits_is_an_error_and_not_a_silent_stand_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no MNIST file t10k-images"):
        pictures(tmp_path)


def test_the_decoder_is_the_least_squares_answer() -> None:
    coded = codec(pictures(None).rows, units=4)
    signs = coded.codes.sign()
    best = torch.linalg.lstsq(torch.cat([signs, torch.ones(len(signs), 1)], 1).double(), coded.rows.double()).solution
    torch.testing.assert_close(coded.decode(signs).double(), signs.double() @ best[:4] + best[4], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(coded.codes.std(0), torch.ones(4), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------------------------------------------- the user, named


def test_a_function_in_the_working_folder_is_found_and_tried() -> None:
    write("found_mine", "import torch\nclass Box:\n    @staticmethod\n    def f(x):\n        return torch.sign(x)\n")
    function = load("found_mine:Box.f", "the hard function")
    assert try_once(function, torch.tensor([[-2.0, 3.0]]), "found_mine:Box.f").tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("", "alone_mine", "must be given as module:name"),
        ("", "no.such:f", "there is no module 'no'"),
        ("import nowhere_to_be_found", "needs_mine:f", "needs the module 'nowhere_to_be_found'"),
        ("1 / 0", "fails_mine:f", r"importing fails_mine raises ZeroDivisionError: .*line 1 of fails_mine.py"),
        ("def g(x): return x", "other_mine:f", "other_mine has no 'f'; it has g"),
        ("f = 3", "number_mine:f", "must be callable, got int"),
    ],
)
def test_what_cannot_be_loaded_is_named(text: str, place: str, complaint: str) -> None:
    write(place.split(":")[0].replace("no.such", "unused_mine"), text)
    with pytest.raises(ValueError, match=complaint):
        load(place, "the hard function")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("raise KeyError('price')", r"raises for x of shape \(4, 3\): KeyError: 'price' \(line 3 of tried_mine"),
        ("return x[:, 9]", r"IndexError: .*line 3 of tried_mine"),
        ("return x.numpy()", "must return a tensor, got ndarray .*torch.as_tensor"),
        ("return 'yes'", "must return a tensor, got str"),
        ("return x.sum()", r"must keep the batch \(first\) dimension, .* output of shape \(\)"),
        ("return x[:2]", r"output of shape \(2, 3\)"),
    ],
)
def test_a_function_that_fails_its_first_call_is_told_why(
    body: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "tried_mine", raising=False)
    write("tried_mine", f"# the user's\ndef f(x):\n    {body}\n")
    function = load("tried_mine:f", "the hard function")
    with pytest.raises(ValueError, match=complaint):
        try_once(function, torch.ones(4, 3), "tried_mine:f")


def test_inputs_are_read_from_either_kind_of_file(tmp_path: Path) -> None:
    np.save("x.npy", np.arange(6).reshape(2, 3))
    torch.save(torch.ones(4, 5, dtype=torch.float64), "x.pt")
    assert read_inputs(Path("x.npy")).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert read_inputs(Path("x.pt")).shape == (4, 5)
    assert read_inputs(Path("x.pt")).dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: None, "there is no file"),
        (lambda: Path("x.pt").write_bytes(b"not a tensor"), "cannot be read"),
        (lambda: torch.save({"x": torch.ones(2, 2)}, "x.pt"), r"one tensor of shape \(B, ...\) .*got dict"),
        (lambda: torch.save(torch.ones(2), "x.pt"), r"got shape \(2,\)"),
        (lambda: torch.save(print, "x.pt"), "cannot be read"),
    ],
)
def test_inputs_that_are_none_are_named(make: object, complaint: str) -> None:
    make()  # type: ignore[operator]
    with pytest.raises(ValueError, match=complaint):
        read_inputs(Path("x.pt"))

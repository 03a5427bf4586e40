"""Solver layers and losses: what the solver gets and how often, real solvers, modes of torch, and words of mistakes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import permutations, product
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

import hardgrad as hg
import programs

DOUBLE = torch.float64
COST = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
V = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)


def cheapest(cost: Tensor) -> Tensor:
    return hg.hard.one_hot_argmax(-cost)


class Seen:
    """A solver that notes the rows that it was given."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def __call__(self, cost: Tensor) -> Tensor:
        self.rows += cost.clone()
        return cheapest(cost)


LAYERS: dict[str, Callable[..., Any]] = {
    "interpolated": partial(hg.interpolated, strength=3.0),
    "perturbed": partial(hg.perturbed, scale=1.0, samples=4),
    "imle": partial(hg.imle, samples=4),
}
LOSSES: dict[str, Callable[..., Tensor]] = {
    "fenchel_young": partial(hg.fenchel_young, target=cheapest(V), scale=1.0, samples=4),
    "spo_plus": partial(hg.spo_plus, true_cost=V),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def gradient(layer: Any, cost: Tensor = COST, v: Tensor = V, seed: int = 5) -> Tensor:
    torch.manual_seed(seed)
    leaf = cost.clone().requires_grad_()
    (found,) = torch.autograd.grad((layer(leaf) * v).sum(), leaf)
    return found


# -------------------------------------------------------------------------------------------- what the solver is asked


@pytest.mark.parametrize(
    ("layer", "forward", "backward"),
    [
        (partial(hg.interpolated, strength=3.0), 1, 1),
        (partial(hg.interpolated, strength=3.0, two_sided=True), 1, 2),
        (partial(hg.perturbed, scale=1.0, samples=3), 4, 0),
        (partial(hg.perturbed, scale=1.0, samples=3, value="mean"), 3, 0),
        (partial(hg.perturbed, scale=1.0, value="mean"), 2, 0),
        (partial(hg.imle, samples=3), 4, 3),
        (partial(hg.imle, samples=3, two_sided=True), 4, 6),
        (partial(hg.imle, samples=3, value="mean"), 3, 3),
        (partial(hg.imle, scale=0.0), 1, 1),
    ],
    ids=str,
)
def test_solves_are_counted(layer: Any, forward: int, backward: int) -> None:
    """In evaluation one, without noise; with "mean" in training noise is what was asked for."""
    seen = Seen()
    made = layer(seen)
    y = made(COST.clone().requires_grad_())
    assert len(seen.rows) == 4 * forward
    y.sum().backward()
    assert len(seen.rows) == 4 * (forward + backward)
    if made.__dict__.get("value") != "mean":
        assert torch.equal(y, cheapest(COST))
        for quiet in (lambda: made(COST), torch.no_grad()(lambda: made(COST.clone().requires_grad_()))):
            seen.rows.clear()
            assert torch.equal(quiet(), y)
            assert torch.equal(torch.stack(seen.rows), COST)
    seen.rows.clear()
    assert torch.equal(made.eval()(COST.clone().requires_grad_()), cheapest(COST))
    assert torch.equal(torch.stack(seen.rows), COST)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@every_layer
def test_the_value_is_the_solvers_in_every_dtype(name: str, dtype: torch.dtype) -> None:
    cost = (COST * 3).to(dtype)
    seen = Seen()
    layer = LAYERS[name](seen)
    found = gradient(layer, cost, V.to(dtype))
    assert torch.equal(layer(cost), cheapest(cost))
    assert layer(cost).dtype == found.dtype == dtype
    assert seen.rows[0].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wide = gradient(LAYERS[name](cheapest), cost.float(), V.to(dtype).float())
    if dtype != torch.float64:
        assert torch.equal(found, wide.to(dtype))  # computed in single precision, rounded once
    for kind in (Tensor.tolist, Tensor.numpy, lambda c: c.numpy()[::-1][::-1], torch.unbind):
        whole = hg.perturbed(lambda c, kind=kind: kind(c > 0), 1.0)(cost)
        assert torch.equal(whole, (cost > 0).to(dtype))


@pytest.mark.parametrize("name", [*LAYERS, *LOSSES])
def test_a_solver_may_write_where_it_likes(name: str) -> None:
    kept = torch.zeros(16, 3, dtype=DOUBLE)

    def writes(cost: Tensor) -> Tensor:
        buffer = kept[: len(cost)]
        buffer.copy_(cheapest(cost))
        cost.numpy()[:] = math.nan
        return buffer

    cost = COST.clone()
    if name in LAYERS:
        assert torch.equal(gradient(LAYERS[name](writes), cost), gradient(LAYERS[name](cheapest)))
        y = LAYERS[name](writes)(cost)
        y.zero_()
        assert kept.any()
    else:
        torch.manual_seed(3)
        found = LOSSES[name](writes, cost)
        torch.manual_seed(3)
        assert torch.equal(found, LOSSES[name](cheapest, COST))
    assert torch.equal(cost, COST)


@pytest.mark.parametrize("name", [*LAYERS, *LOSSES])
def test_rows_boxes_and_batches_are_one(name: str) -> None:
    box = hg.BlackBox(programs.cheapest, cache=50)

    def one(row: Tensor) -> Any:
        assert row.shape == (3,)
        return programs.cheapest(row.numpy())

    if name in LAYERS:
        want = gradient(LAYERS[name](cheapest))
        assert torch.equal(gradient(LAYERS[name](one, rows=True)), want)
        assert torch.equal(gradient(LAYERS[name](box)), want)
    else:
        values = []
        for options in ({"solver": cheapest}, {"solver": one, "rows": True}, {"solver": box}):
            torch.manual_seed(3)
            values.append(LOSSES[name](cost=COST, **options))
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])
    assert box.calls > 0


def test_processes_solve_and_name_a_problem_without_a_solution() -> None:
    with hg.BlackBox(programs.cheapest, workers=2) as box:
        assert torch.equal(gradient(LAYERS["perturbed"](box)), gradient(LAYERS["perturbed"](cheapest)))
        cost = COST.clone()
        cost[2, 0] = 99
        with pytest.raises(hg.BoxError, match=r"row 2: the program raised ValueError: infeasible") as failed:
            hg.interpolated(box, 1.0)(cost)
        assert failed.value.row == 2


def test_the_cache_keeps_exact_rows_alone() -> None:
    seen = Seen()
    layer = hg.interpolated(seen, 3.0, cache=3).eval()
    twice = torch.cat([COST[:2], COST[:1]])
    assert torch.equal(layer(twice), cheapest(twice))
    assert len(seen.rows) == 2  # equal rows are solved once
    assert torch.equal(layer(COST[:3]), cheapest(COST[:3]))
    assert len(seen.rows) == 3
    layer(COST[:1] + 1e-16 * COST[:1].abs().max() + 1e-15)
    assert len(seen.rows) == 4  # and the row asked for longest ago, COST[0] or [1], is gone
    layer(COST)
    assert 5 <= len(seen.rows) <= 7
    y = layer(COST[3:])
    y.zero_()
    assert torch.equal(layer(COST[3:]), cheapest(COST[3:]))
    copied = copy.deepcopy(layer)
    before = len(seen.rows)
    copied(COST[3:])
    assert len(seen.rows) == before
    assert len(copied.hard.solver.rows) == before + 1  # a copy begins with nothing kept
    rows = hg.interpolated(lambda row: row * math.nan if row[0] == 7 else row, 1.0, rows=True, cache=4)
    rows(torch.tensor([[1.0], [2.0]]))
    with pytest.raises(hg.BoxError, match="row 1: solver returned NaN"):
        rows(torch.tensor([[1.0], [7.0]]))


# -------------------------------------------------------------------------------------------------------- real solvers


def _matched(cost: Any) -> Any:
    from scipy.optimize import linear_sum_assignment

    chosen = numpy.zeros_like(cost)
    chosen[linear_sum_assignment(cost)] = 1
    return chosen


def _packed(value: Any) -> Any:
    from scipy.optimize import Bounds, LinearConstraint, milp

    carried = LinearConstraint(numpy.array([[3.0, 4.0, 5.0, 2.0]]), ub=8.0)
    return milp(-value, constraints=carried, integrality=numpy.ones(4), bounds=Bounds(0, 1)).x.round()


def _listed(solutions: list[Any], sign: float) -> Callable[[Tensor], Tensor]:
    table = torch.tensor(numpy.array(solutions), dtype=DOUBLE).flatten(1)
    return lambda cost: table[(sign * cost.double().flatten(1) @ table.t()).argmin(1)].reshape(cost.shape)


@pytest.mark.parametrize("name", ["assignment", "milp"])
def test_solvers_of_scipy_are_taken_as_they_are(name: str) -> None:
    """A model learns costs from their solutions; every layer's gradient is that with all solutions listed."""
    if name == "assignment":
        real, shape, sense = _matched, (4, 4), "min"
        known = _listed([numpy.eye(4)[list(order)] for order in permutations(range(4))], 1.0)
    else:
        real, shape, sense = _packed, (4,), "max"
        loads = [each for each in product((0, 1), repeat=4) if numpy.dot(each, [3, 4, 5, 2]) <= 8]
        known = _listed(loads, -1.0)
    draw = torch.Generator().manual_seed(2)
    cost, v = (torch.randn(3, *shape, generator=draw, dtype=DOUBLE) for _ in range(2))
    for make in LAYERS.values():
        y = make(hg.BlackBox(real), sense=sense)(cost)
        assert torch.equal(y, known(cost))
        found = gradient(make(hg.BlackBox(real), sense=sense), cost, v)
        torch.testing.assert_close(found, gradient(make(known, sense=sense), cost, v))
    x, hidden = torch.randn(40, 5, generator=draw), torch.randn(5, math.prod(shape), generator=draw)
    model, target = nn.Linear(5, math.prod(shape)), known((x @ hidden).reshape(-1, *shape))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(40):
        predicted = model(x).reshape(-1, *shape)
        loss = hg.fenchel_young(known, predicted, target, scale=1.0, samples=2, sense=sense).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        solved = hg.BlackBox(real)(model(x).reshape(-1, *shape))
    assert (solved == target).flatten(1).all(1).float().mean() > 0.7


# ------------------------------------------------------------------------------------------------------ modes of torch


@every_layer
def test_transforms_give_the_gradient_of_each_row(name: str) -> None:
    """vmap(grad) with a NumPy solver; noise is that of one draw for all rows ("same"), as a loop with one seed has."""
    make = {
        "interpolated": lambda: hg.interpolated(hg.BlackBox(programs.cheapest), 3.0),
        "perturbed": lambda: hg.perturbed(lambda c: torch.from_numpy(1 * (c.numpy() > 0)), 1.0, samples=3),
        "imle": lambda: hg.imle(hg.BlackBox(programs.cheapest), strength=2.0, two_sided=True),
    }[name]
    layer = make()

    def loss(cost: Tensor, v: Tensor) -> Tensor:
        return (layer(cost.unsqueeze(0)).squeeze(0) * v).sum()

    torch.manual_seed(3)
    found = vmap(grad(loss), randomness="same")(COST, V)
    rows = [gradient(layer, cost[None], v[None], seed=3)[0] for cost, v in zip(COST, V, strict=True)]
    torch.testing.assert_close(found, torch.stack(rows))
    assert found.any()
    assert torch.equal(vmap(layer, randomness="different")(COST[:, None])[:, 0], layer.hard.solver(COST))
    with pytest.raises(RuntimeError, match="its gradient has no derivative of its own, since solutions jump"):
        grad(lambda c: grad(lambda t: loss(t, V[0]))(c).sum())(COST[0])


@every_layer
def test_second_derivatives_are_refused(name: str) -> None:
    cost, v = COST.clone().requires_grad_(), V.clone().requires_grad_()
    (first,) = torch.autograd.grad((LAYERS[name](cheapest)(cost) * v).sum(), cost, create_graph=True)
    for source in (cost, v):
        with pytest.raises(RuntimeError, match=rf"{name}\(cheapest\): its gradient has no derivative of its own"):
            torch.autograd.grad(first.sum(), source, retain_graph=True)


@pytest.mark.parametrize("name", LOSSES)
def test_second_derivatives_of_losses_are_refused(name: str) -> None:
    cost = COST.clone().requires_grad_()
    (first,) = torch.autograd.grad(LOSSES[name](cheapest, cost).sum(), cost, create_graph=True)
    with pytest.raises(RuntimeError, match=rf"{name}\(cheapest\): its gradient has no derivative"):
        first.sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, where its graph breaks
@pytest.mark.parametrize("name", ["interpolated", "spo_plus"])
def test_compiled_code_breaks_off_for_a_solver_and_says_why(name: str) -> None:
    layer = LAYERS[name](cheapest) if name in LAYERS else partial(LOSSES[name], cheapest)

    def step(cost: Tensor) -> Tensor:
        return layer(cost * 2.0) + 1.0

    def run(step: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        torch.manual_seed(5)
        leaf = COST.clone().requires_grad_()
        y = step(leaf)
        return y.detach(), torch.autograd.grad((y * V[: len(y), 0 if y.ndim == 1 else slice(3)]).sum(), leaf)[0]

    want = run(step)
    torch.compiler.reset()
    found = run(torch.compile(step, backend="eager"))
    assert all(map(torch.equal, found, want))
    torch.compiler.reset()
    with pytest.raises(Exception, match=rf"{name}\(cheapest\): a graph cannot hold a solver"):
        torch.compile(step, backend="eager", fullgraph=True)(COST.clone().requires_grad_())


def test_export_holds_a_solver_of_torch_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), hg.perturbed(cheapest, 1.0)).eval()
    x = COST.float()
    assert torch.equal(torch.export.export(model, (x,)).module()(x), model(x))
    for solver, rows in ((lambda row: row.numpy(), False), (cheapest, True)):
        refused = nn.Sequential(nn.Linear(3, 3), hg.interpolated(solver, 1.0, rows=rows)).eval()
        with pytest.raises(Exception, match=r"interpolated\(.*\): a graph can hold a solver of a batch in torch's own"):
            torch.export.export(refused, (x,))


def test_a_batch_without_rows() -> None:
    none = torch.zeros(0, 3, requires_grad=True)
    for make in LAYERS.values():
        for solver in (cheapest, hg.BlackBox(programs.cheapest)):
            layer = make(solver)
            if isinstance(layer, hg.perturbed) and solver is not cheapest:
                with pytest.raises(ValueError, match=r"perturbed\(BlackBox\): the first cost must have rows"):
                    layer(none)
                layer(COST)
            layer(none).sum().backward()
            assert none.grad is not None
            assert none.grad.shape == (0, 3)
    assert hg.spo_plus(cheapest, none, none.detach()).shape == (0,)
    flat = torch.tensor([1.0, -2.0], requires_grad=True)  # rows that are one number
    hg.interpolated(lambda c: (c < 0).float(), 3.0)(flat).sum().backward()
    hg.perturbed(lambda c: (c < 0).float(), 3.0)(flat).sum().backward()
    assert flat.grad is not None


def test_infinite_costs_forbid_and_gradients_that_overflowed_stay_so() -> None:
    cost = torch.tensor([[1.0, math.inf, 2.0]], requires_grad=True)
    for make in LAYERS.values():
        y = make(cheapest)(cost)
        assert y.tolist() == [[1.0, 0.0, 0.0]]
        assert gradient(make(cheapest), cost.detach(), torch.ones(3)).isfinite().all()
    v = V.clone()
    v[1, 0] = math.inf
    for name in ("interpolated", "imle"):
        found = gradient(LAYERS[name](cheapest), COST, v)
        assert found[1].isnan().all()
        assert found[[0, 2, 3]].isfinite().all()


@pytest.mark.parametrize("name", ["perturbed", "imle"])
def test_a_generator_repeats_itself_and_leaves_the_global_seed_alone(name: str) -> None:
    one, other = (LAYERS[name](cheapest, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    torch.manual_seed(0)
    first = one(leaf := COST.clone().requires_grad_())
    state = torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    (first * V).sum().backward()
    assert torch.equal(leaf.grad, gradient(other, seed=1))
    assert not torch.equal(leaf.grad, gradient(one, seed=0))


def test_evaluation_says_that_no_gradient_passes() -> None:
    layer = hg.perturbed(cheapest, 1.0).eval()
    leaf = COST.clone().requires_grad_()
    with pytest.warns(UserWarning, match=r"perturbed\(cheapest\): in eval\(\) no gradient passes"):
        layer(leaf).sum().backward()
    assert leaf.grad is not None
    assert not leaf.grad.any()
    for make in (partial(hg.perturbed, scale=9.0), partial(hg.imle, scale=9.0)):
        for lends in (False, True):
            quiet = make(cheapest, value="mean", samples=2, differentiable_in_eval=lends).eval()
            assert torch.equal(quiet(leaf), cheapest(COST))
            assert not torch.equal(quiet.train()(leaf), cheapest(COST))
    lent = hg.perturbed(cheapest, 1.0, samples=4, differentiable_in_eval=True)
    assert torch.equal(gradient(lent.eval()), gradient(lent.train()))
    assert layer.state_dict() == {}
    assert "solver=cheapest" in repr(layer)


# --------------------------------------------------------------------------------------------------- words of mistakes


def fails_at_a_hundred(cost: Tensor) -> Tensor:
    if bool((cost > 50).any()):
        raise ArithmeticError("infeasible")
    return cheapest(cost)


def none_of_it(cost: Tensor) -> None:
    return None


FAR, HOLE = COST.clone(), COST.clone()
FAR[2, 1], HOLE[3, 0] = 100.0, math.nan
I, P = hg.interpolated, hg.perturbed  # noqa: E741
FY, SPO = partial(hg.fenchel_young, scale=1.0), hg.spo_plus
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "no solver": (lambda: I(3, 1.0), r"interpolated: solver must be a function cost -> solution, got int 3"),
    "strength": (lambda: I(cheapest, 0.0), "interpolated: strength must be above 0, got 0.0; it multiplies the"),
    "no servo": (lambda: I(cheapest, "servo"), "interpolated: strength must be a number, got str 'servo'"),
    "another word": (lambda: hg.imle(cheapest, strength="auto"), "imle: strength must be a number.*or 'servo'"),
    "rho": (lambda: I(cheapest, 1.0, rho=-1.0), "interpolated: rho must be at least 0, got -1.0"),
    "rho of numbers": (
        lambda: I(lambda c: 2 * cheapest(c), 1.0, rho=0.5)(COST.clone().requires_grad_()),
        r"interpolated\(<lambda>\): rho must be 0 unless solutions are of zeros and ones, got 0.5",
    ),
    "sense": (lambda: I(cheapest, 1.0, sense="least"), "interpolated: sense must be one of 'min', 'max', got 'least'"),
    "rows of a box": (lambda: I(hg.BlackBox(cheapest), 1.0, rows=True), "rows and cache must be left out for a Bla"),
    "cache of a box": (lambda: I(hg.BlackBox(cheapest), 1.0, cache=3), "which has its own, got False and 3"),
    "cache": (lambda: I(cheapest, 1.0, cache=-1), "interpolated: cache must be at least 0, got -1"),
    "scale": (lambda: P(cheapest, 0.0), "perturbed: scale must be above 0, got 0"),
    "samples": (lambda: P(cheapest, 1.0, samples=0), "perturbed: samples must be at least 1, got 0"),
    "noise": (lambda: P(cheapest, 1.0, noise="cauchy"), "noise must be one of 'normal', 'gumbel', got 'cauchy'"),
    "value": (lambda: P(cheapest, 1.0, value="soft"), "perturbed: value must be one of 'exact', 'mean', got 'soft'"),
    "aim": (lambda: hg.imle(cheapest, aim=0), "imle: aim must be above 0, got 0"),
    "whole costs": (lambda: I(cheapest, 1.0)(torch.arange(3)), "cost must be floating point, got torch.int64"),
    "no batch": (lambda: I(cheapest, 1.0)(torch.tensor(1.0)), r"cost must be rows of numbers .* got shape \(\)"),
    "meta": (lambda: P(cheapest, 1.0)(COST.to("meta")), "cost must be rows of numbers that a solver can read.*meta"),
    "NaN cost": (lambda: I(cheapest, 1.0)(HOLE), "cost must hold no NaN, got one in row 3"),
    "NaN cost, cached": (lambda: I(cheapest, 1.0, cache=9)(HOLE), "cost must hold no NaN, got one in row 3"),
    "NaN for a loss": (lambda: SPO(cheapest, HOLE, V), "cost must be finite, got NaN or infinity in row 3"),
    "raises": (
        lambda: I(fails_at_a_hundred, 1.0)(FAR),
        r"interpolated\(fails_at_a_hundred\): row 2: solver raised ArithmeticError: infeasible",
    ),
    "raises, cached": (lambda: I(fails_at_a_hundred, 1.0, cache=9)(FAR), "row 2: solver raised ArithmeticError"),
    "raises, row by row": (lambda: I(fails_at_a_hundred, 1.0, rows=True)(FAR), "row 2: solver raised Arithmetic"),
    "raises in a loss": (lambda: FY(fails_at_a_hundred, FAR, V), "row 2: solver raised ArithmeticError: infeasible"),
    "None": (lambda: I(none_of_it, 1.0)(COST), "must return a tensor or an array of real numbers, got NoneType; where"),
    "None, row by row": (lambda: P(none_of_it, 1.0, rows=True)(COST), r"perturbed\(none_of_it\): row 0: solver must"),
    "complex": (lambda: I(lambda c: c * 1j, 1.0)(COST), "array of real numbers, got Tensor"),
    "NaN solution": (lambda: I(lambda c: c.log(), 1.0)(COST.abs() - 2 * (COST[1] == COST)), "row 1: solver returned"),
    "shape": (lambda: I(lambda c: c[:, :2], 1.0)(COST), r"must return the cost's shape, \(4, 3\), got \(4, 2\); rows"),
    "no row for each row": (lambda: P(lambda c: c[0], 1.0)(COST), r"must return a row for each row of the cost"),
    "shapes of rows": (
        lambda: P(lambda row: row[: 2 + int(row[0] > 0)], 1.0, rows=True)(COST.sort(0).values),
        r"solver must return the shape of the first row, \(2,\), got \(3,\); pad to one length",
    ),
    "weights": (lambda: I(nn.Linear(3, 3).double(), 1.0)(COST), "parameters that require gradients and get none here"),
    "generator": (lambda: P(cheapest, 1.0, generator=3), "perturbed: generator must be a torch.Generator or None"),
    "target": (lambda: FY(cheapest, COST, V[:, :2]), r"target must have the cost's shape \(4, 3\), got \(4, 2\)"),
    "no target": (lambda: FY(cheapest, COST, None), "fenchel_young.*: target must be a tensor, got NoneType"),
    "a target that learns": (lambda: FY(cheapest, COST, V.clone().requires_grad_()), "target must be real and need no"),
    "true cost": (lambda: SPO(cheapest, COST, HOLE), "true_cost must be finite, got NaN or infinity in row 3"),
    "solution": (lambda: SPO(cheapest, COST, V, solution=V[:1]), "solution must have the cost's shape"),
    "scale of a loss": (lambda: hg.fenchel_young(cheapest, COST, V, scale=-1.0), "fenchel_young: scale must be above"),
    "projection": (lambda: hg.surrogate.twins.negative_identity("mode"), "project must be one of 'mean', 'norm', 'std"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake: str) -> None:
    call, sentence = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError, hg.BoxError), match=sentence):
        call()


def test_a_failure_beside_the_cost_names_its_row() -> None:
    """The second of two noisy costs of row 1 is row 5 of what is solved: noise that is mirrored, and one is refused."""

    def refuses(row: Tensor) -> Tensor:
        if float(row[0]) < -900:
            raise ArithmeticError("no")
        return row

    cost = torch.tensor([[0.0], [-899.0], [0.0], [0.0]], dtype=DOUBLE, requires_grad=True)
    for seed in range(20):
        torch.manual_seed(seed)
        with pytest.raises(hg.BoxError, match=r"row [15]: solver raised ArithmeticError") as failed:
            hg.perturbed(refuses, 200.0, samples=2, rows=True)(cost)
        assert failed.value.__notes__ == ["perturbed(refuses): costs beside the given ones were solved; that is row 1"]


def test_gradients_of_a_batch_of_losses_are_refused() -> None:
    leaf = COST.clone().requires_grad_()
    y = hg.interpolated(cheapest, 1.0)(leaf)
    with pytest.raises(RuntimeError, match="its backward solves for one gradient at a time; hand them over one by one"):
        torch.autograd.grad(y, leaf, torch.stack([V, V]), is_grads_batched=True)
    y = hg.perturbed(cheapest, 1.0)(leaf)
    both = torch.autograd.grad(y, leaf, torch.stack([V, 2 * V]), is_grads_batched=True, retain_graph=True)[0]
    torch.testing.assert_close(both[1], 2 * both[0])

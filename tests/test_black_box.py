"""Boxes in this process: what the program gets, what comes back, what is refused, and the modes of torch."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.distributions import Bernoulli, Independent
from torch.nn.parallel import DistributedDataParallel

import hardgrad as hg
from hardgrad.black_box import arrays

CURES = r"straight_through\(box\).*perturb\(box, scale\).*Bridge\(box.*score_function\(q, box\).*detach\(\).*no_grad"
STAIRS = 8


def stairs(row: Any) -> Any:
    return numpy.round(row * STAIRS) / STAIRS


def truth(x: Tensor) -> Tensor:
    return (x * STAIRS).round() / STAIRS


def same(row: Any) -> Any:
    return row


class Count:
    """A program with a memory, made by a factory."""

    made = 0

    def __init__(self) -> None:
        Count.made += 1
        self.runs = 0

    def __call__(self, row: Any) -> int:
        self.runs += 1
        return self.runs


X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

# --------------------------------------------------------------------------------------------------- rows and numbers


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batched", [False, True])
def test_the_program_gets_wide_floats_and_the_result_is_rounded_once(dtype: torch.dtype, batched: bool) -> None:
    seen = []

    def third(array: Any) -> Any:
        seen.append((array.dtype.name, array.shape, array.flags.c_contiguous, array.flags.writeable))
        return array.astype("f8") / 3

    x = X.to(dtype).t()  # not contiguous
    y = hg.BlackBox(third, batched=batched)(x)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert seen == [(str(wide)[6:], (3, 4) if batched else (4,), True, True)] * (1 if batched else 3)
    assert y.dtype == dtype
    assert torch.equal(y, (x.double() / 3).to(wide).to(dtype))


def test_integers_and_bools_come_as_they_are_and_go_as_floats() -> None:
    kinds = []

    def kind(*arrays: Any) -> Any:
        kinds.append([array.dtype.name for array in arrays])
        return arrays[0] + 1

    box = hg.BlackBox(kind)
    index, mask = torch.arange(4), torch.ones(4, dtype=torch.bool)
    assert box(index, mask).dtype == torch.float32
    assert box(index, X.double()).dtype == torch.float64
    assert kinds[0] == ["int64", "bool"]
    assert torch.equal(box(index), torch.arange(4.0) + 1)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda row: float(row.sum()), X.double().sum(1).float()),
        (lambda row: [1, 2], torch.tensor([[1.0, 2.0]] * 4)),
        (lambda row: [row, row], torch.stack([X, X], 1)),
        (lambda row: numpy.broadcast_to(row[::-1], (2, 3)), torch.stack([X.flip(1)] * 2, 1)),
        (lambda row: row.astype(">f8"), X),
        (lambda row: row.astype("longdouble"), X),
        (lambda row: row > 0, (X > 0).float()),
        (lambda row: torch.from_numpy(row).requires_grad_() * 2, X * 2),
        (lambda row: torch.from_numpy(row).bfloat16(), X.bfloat16().float()),
        (lambda row: row * numpy.float32("nan"), X * torch.nan),
    ],
    ids=["number", "list", "list of arrays", "read-only", "byte order", "long", "bools", "tensor", "bf16", "nan"],
)
def test_what_comes_back_is_any_array_of_real_numbers(program: Callable[..., Any], expected: Tensor) -> None:
    y = hg.BlackBox(program)(X)
    assert torch.allclose(y, expected, rtol=0, atol=1e-6, equal_nan=True)
    assert not y.requires_grad


def test_rows_of_a_vector_are_arrays_without_a_dimension() -> None:
    shapes = []
    hg.BlackBox(lambda a, b: shapes.append((type(a), a.shape, b.shape)) or 0.0)(X[:, 0], X)
    assert shapes == [(numpy.ndarray, (), (3,))] * 4


@pytest.mark.parametrize("batched", [False, True])
def test_a_program_may_write_into_its_input_and_use_its_buffer_again(batched: bool) -> None:
    buffer = numpy.zeros((4, 3) if batched else 3, dtype="f4")

    def careless(array: Any) -> Any:
        buffer[:] = array + 1
        array[:] = 99
        return buffer

    x = X.clone()
    box = hg.BlackBox(careless, batched=batched)
    y = box(x)
    assert torch.equal(x, X)
    box(x + 5)
    assert torch.equal(y, X + 1)


def test_out_makes_arrays_of_what_is_none() -> None:
    assert torch.equal(hg.BlackBox(lambda row: {"y": row}, out=lambda made: made["y"])(X), X)


def test_no_rows_run_nothing_and_have_the_last_shape() -> None:
    box = hg.BlackBox(lambda row: row[:2])
    with pytest.raises(ValueError, match=r"BlackBox\(<lambda>\): the first batch must have rows.*call it"):
        box(X[:0])
    box(X)
    empty = box(X[:0].double())
    assert (empty.shape, empty.dtype, box.calls) == ((0, 2), torch.float64, 4)


def test_an_overflow_is_not_silent() -> None:
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert torch.isinf(hg.BlackBox(lambda row: 1e300)(X)).all()


# ------------------------------------------------------------------------------------------------------------ mistakes

_DIMENSION = "the batch for its first dimension.*unsqueeze"


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ((torch.tensor(1.0),), ValueError, "x must have " + _DIMENSION),
        (([1.0],), TypeError, "x must be a tensor, got list"),
        ((X, X[:1]), ValueError, r"input 2 must have as many rows as x, 4, got shape \(1, 3\).*expand\(4"),
        ((X, torch.tensor(1.0)), ValueError, "input 2 must have " + _DIMENSION),
        ((X.to_sparse(),), ValueError, "x must hold numbers.*sparse_coo.*to_dense"),
        ((X.to("meta"),), ValueError, "x must hold numbers.*on meta"),
    ],
    ids=["no batch", "no tensor", "one row", "no rows", "sparse", "meta"],
)
def test_wrong_inputs_are_named(inputs: tuple[Any, ...], error: type[Exception], words: str) -> None:
    box = hg.BlackBox(stairs)
    with pytest.raises(error, match=r"^BlackBox\(stairs\): " + words):
        box(*inputs)
    assert box.calls == 0


def test_fake_tensors_are_refused() -> None:
    with FakeTensorMode() as mode, pytest.raises(ValueError, match=r"BlackBox\(stairs\): x must hold numbers"):
        hg.BlackBox(stairs)(mode.from_tensor(X))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (lambda row: None, "must return an array of real numbers or a number, got NoneType; give out="),
        (lambda row: "3", "must return an array of real numbers or a number, got str"),
        (lambda row: numpy.array(["a", "b"]), "must return an array of real numbers.*got ndarray of <U1"),
        (lambda row: row * 1j, "must return an array of real numbers.*got ndarray of complex.*return .real"),
        (lambda row: [1, [2, 3]], "must return an array or a number, got list"),
    ],
)
def test_results_that_are_no_arrays_are_named(program: Callable[..., Any], words: str) -> None:
    with pytest.raises(hg.BoxError, match=r"^BlackBox\(<lambda>\): row 0: fn " + words):
        hg.BlackBox(program)(X)
    with pytest.raises(hg.BoxError, match=r"^BlackBox\(<lambda>\): row 0: out " + words):
        hg.BlackBox(lambda row: row, out=program)(X)


def test_another_shape_names_its_row() -> None:
    x = torch.tensor([[0.0], [0.0], [1.0]])
    with pytest.raises(hg.BoxError, match=r"row 2: fn must return the shape of row 0, \(2,\), got \(3,\)") as caught:
        hg.BlackBox(lambda row: [1.0] * (2 + int(row[0])))(x)
    assert caught.value.row == 2
    assert sorted(caught.value.results) == [0, 1, 2]
    with pytest.raises(hg.BoxError, match=r"the batch: fn must return one result for each of 4 rows, got shape \(2, 3"):
        hg.BlackBox(lambda batch: batch[:2], batched=True)(X)


def test_an_error_of_the_program_names_the_row_and_keeps_its_own() -> None:
    def picky(row: Any) -> Any:
        if row[0] == 2:
            raise KeyError("knob")
        return row

    box = hg.BlackBox(picky)
    with pytest.raises(hg.BoxError, match=r"^BlackBox\(picky\): row 2: the program raised KeyError: 'knob'") as caught:
        box(torch.arange(4.0).unsqueeze(1))
    error = caught.value
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.__traceback__ is not None
    assert (error.row, box.calls) == (2, 3)
    assert {i: float(value[0]) for i, value in error.results.items()} == {0: 0.0, 1: 1.0}
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.row) == (str(error), 2)
    with pytest.raises(hg.BoxError, match=r"out, which got ndarray from fn, raised .*TypeError") as caught:
        hg.BlackBox(same, out=lambda row: row + "a", batched=True)(X)
    assert caught.value.row is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give fn, the program, or factory.*got neither"),
        ({"fn": same, "factory": Count}, "got both"),
        ({"fn": 3}, "fn must be a function of arrays, got int 3"),
        ({"fn": same, "out": 3}, "out must be a function"),
        ({"factory": 3}, "factory must be a function"),
        ({"fn": same, "workers": -1}, "workers must be at least 0"),
        ({"fn": same, "workers": 2, "batched": True}, "workers must be 0 or 1 with batched=True.*batched=False"),
        ({"fn": same, "timeout": 1.0}, "timeout must be None without workers.*workers=1"),
        ({"fn": same, "workers": 1, "timeout": 0}, "timeout must be above 0"),
        ({"fn": same, "cache": -1}, "cache must be at least 0"),
        ({"fn": same, "low": "a"}, "low must be a number, a list or a tensor"),
        ({"fn": same, "low": True}, "low must be a number, a list or a tensor"),
        ({"fn": same, "high": [0.0, float("nan")]}, "high must be a number.*without nan"),
        ({"fn": same, "low": 1.0, "high": [2.0, 0.5]}, "low must be below high everywhere"),
        (
            {"fn": same, "low": [1.0, 1.0], "high": [2.0] * 3},
            "low must be below high everywhere, in shapes that broadcast",
        ),
        ({"fn": same, "low": (0.0, None), "high": 1.0}, "low and high must be of as many inputs, got 2 and 1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^BlackBox: .*" + words):
        hg.BlackBox(**arguments)


def test_what_a_factory_does_wrong_is_said() -> None:
    with pytest.raises(hg.BoxError, match=r"BlackBox\(<lambda>\): factory raised ZeroDivisionError"):
        hg.BlackBox(factory=lambda: 1 // 0)(X)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="what factory returns must be a function of arrays, got NoneType"):
        hg.BlackBox(factory=lambda: None)(X)  # type: ignore[arg-type,return-value]


def test_bounds_are_exact_tensors() -> None:
    box = hg.BlackBox(stairs, low=(None, 0.1), high=(None, [0.2, float("inf")]))
    assert box.low[0] is None
    assert float(box.low[1]) == 0.1  # as a float64
    assert box.high[1].tolist() == [0.2, float("inf")]
    assert hg.BlackBox(stairs, low=0).low.dtype == torch.float64


# ------------------------------------------------------------------------------------------------- the silent zero


@pytest.mark.parametrize("training", [True, False])
def test_alone_with_an_input_that_needs_a_gradient_it_names_the_cures(training: bool) -> None:
    box = hg.BlackBox(stairs).train(training)
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"^BlackBox\(stairs\): the input requires gradients.*" + CURES):
        box(x)
    with pytest.raises(RuntimeError, match=CURES):
        box(X, x)
    assert box.calls == 0
    with torch.no_grad():
        assert torch.equal(box(x), truth(X))
    assert torch.equal(box(x.detach()), truth(X))
    assert torch.equal(torch.inference_mode()(box)(X), truth(X))


def test_no_transform_gets_a_silent_zero() -> None:
    box = hg.BlackBox(stairs)
    for derivative in (
        lambda: torch.func.grad(lambda x: box(x).sum())(X),
        lambda: torch.func.jvp(box, (X,), (X,)),
        lambda: torch.func.jacrev(box)(X),
        lambda: torch.func.vmap(torch.func.grad(lambda x: box(x).sum()))(X),
        lambda: _dual(box),
    ):
        with pytest.raises(RuntimeError, match=CURES):
            derivative()
    assert torch.equal(torch.func.grad(lambda x: (x + box(x.detach())).sum())(X), torch.ones(4, 3))


def _dual(box: nn.Module) -> Tensor:
    with forward_ad.dual_level():
        return box(forward_ad.make_dual(X, X))


def test_vmap_brings_rows() -> None:
    x = torch.stack([X, X + 1])
    box = hg.BlackBox(lambda row, other: row.max() + other)
    y = torch.func.vmap(box, in_dims=(0, None))(x, X)
    assert torch.equal(y, torch.stack([box(X, X), box(X + 1, X)]))
    whole = hg.BlackBox(lambda batch: batch - batch.max(), batched=True)  # a program that is not one of rows
    assert torch.equal(torch.func.vmap(whole)(x), torch.stack([X - X.max(), X + 1 - (X + 1).max()]))


# ----------------------------------------------------------------------------------------- inside what lends a gradient


def _layers() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    return {
        "straight_through": hg.straight_through(hg.BlackBox(stairs)),
        "Bridge": hg.Bridge(hg.BlackBox(stairs), hg.approximators.mlp(3, 3)),
    }


@pytest.mark.parametrize("name", ["straight_through", "Bridge"])
def test_inside_a_surrogate_it_gives_values(name: str) -> None:
    layer = _layers()[name]
    x = X.clone().requires_grad_()
    y = layer(x)
    assert torch.equal(y.detach(), truth(X))
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any()
    assert torch.equal(layer.eval()(X), truth(X))
    for copied in (copy.deepcopy(layer), hg.strip(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(X), truth(X))
    assert [key for key in layer.state_dict() if "approximator" not in key] == []
    assert torch.equal(layer(X.half()), truth(X.half()))


@pytest.mark.parametrize("name", ["straight_through", "Bridge"])
def test_inside_a_surrogate_transforms_work(name: str) -> None:
    layer = _layers()[name]

    def loss(x: Tensor) -> Tensor:
        return (layer(x) * X).sum()

    x = X.clone().requires_grad_()
    with hg.penalties():
        loss(x).backward()
    assert torch.allclose(torch.func.grad(loss)(X), x.grad)
    per_row = torch.func.vmap(torch.func.grad(lambda row, w: (layer(row[None]) * w).sum()))(X, X)
    assert torch.allclose(per_row, x.grad, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own look at what flows over a break
@pytest.mark.parametrize("name", ["straight_through", "Bridge"])
def test_a_compiled_graph_breaks_at_the_box_alone(name: str) -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(3, 3), _layers()[name])
    x = X.clone().requires_grad_()
    with hg.penalties():
        model(x).sum().backward()
    expected, x.grad = x.grad, None
    with hg.penalties():
        y = torch.compile(model, backend="aot_eager")(x)
        y.sum().backward()
    assert torch.equal(y.detach(), truth(model[0](X)).detach())
    assert torch.equal(x.grad, expected)


def test_a_graph_that_may_not_break_is_refused_with_the_reason() -> None:
    reason = r"BlackBox\(stairs\): a graph cannot hold a program; compile or export what is before and behind it"
    box = hg.BlackBox(stairs)
    layer = hg.straight_through(box).eval()
    torch._dynamo.reset()
    with pytest.raises(Exception, match=reason):
        torch.compile(box, backend="eager", fullgraph=True)(X)
    with pytest.raises(RuntimeError, match=CURES):
        torch.compile(box, backend="eager")(X.clone().requires_grad_())
    for model in (box, layer):
        with pytest.raises(RuntimeError, match=reason):
            torch.export.export(model, (X,))
        with pytest.raises(RuntimeError, match=reason):
            torch.jit.trace(model, (X,))
    with pytest.raises(Exception) as caught:  # noqa: PT011, torch's own, which quotes ours
        torch.onnx.export(box, (X,), io.BytesIO(), dynamo=True, verbose=False)
    assert "a graph cannot hold a program" in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("estimator", [hg.score_function, hg.disarm, hg.arms, hg.exact])
def test_estimators_that_need_values_alone_take_a_box(estimator: Callable[..., Tensor]) -> None:
    def cost(b: Any) -> float:
        return float((b.sum() - 1.3) ** 2)

    logits = torch.linspace(-1, 1, 12).reshape(4, 3).requires_grad_()
    samples = {} if estimator is hg.exact else {"samples": 4}
    given = hg.montecarlo.each_sample(hg.BlackBox(cost))
    plain = lambda b: (b.sum(-1) - 1.3).square()  # noqa: E731
    gradients = []
    for f in (given, plain):
        torch.manual_seed(3)
        q = Independent(Bernoulli(logits=logits), 1)
        gradients.append(torch.autograd.grad(estimator(q, f, **samples).sum(), logits)[0])
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)
    assert (gradients[0] != 0).any()


def test_estimators_that_follow_a_gradient_refuse_a_box() -> None:
    q = Independent(Bernoulli(logits=torch.zeros(4, 3, requires_grad=True)), 1)
    for estimator in (hg.gumbel_rao, hg.montecarlo.straight_through_estimator):
        with pytest.raises(ValueError, match=r"a black box.*score_function"):
            estimator(q, hg.BlackBox(lambda b: b.sum()))


def test_diagnose_takes_layers_on_a_box() -> None:
    box = hg.BlackBox(stairs)
    found = hg.diagnose({"straight_through": hg.straight_through(box)}, box, X[:2], draws=20)
    assert "straight_through" in str(found)


# ---------------------------------------------------------------------------------------------- copies, caches, threads


def test_a_factory_makes_one_program_for_each_box() -> None:
    Count.made = 0
    box = hg.BlackBox(factory=Count)
    assert Count.made == 0
    assert box(X).tolist() == [1, 2, 3, 4]
    assert box(X).tolist() == [5, 6, 7, 8]
    assert Count.made == 1
    other = copy.deepcopy(box)
    assert other(X).tolist() == [1, 2, 3, 4]
    assert (other.calls, box.calls) == (12, 8)
    box.close()
    with box:
        assert box(X).tolist() == [1, 2, 3, 4]


def test_a_program_that_cannot_be_pickled_is_no_matter_until_it_is() -> None:
    box = hg.BlackBox(lambda row: row)
    assert torch.equal(copy.deepcopy(box)(X), X)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(box)
    assert torch.equal(pickle.loads(pickle.dumps(hg.BlackBox(same)))(X), X)


def test_the_last_results_are_kept() -> None:
    runs: list[float] = []
    box = hg.BlackBox(lambda row: runs.append(float(row)) or row * 2, cache=2)

    def ask(*values: float) -> list[float]:
        del runs[:]
        assert box(torch.tensor(values)).tolist() == [2 * value for value in values]
        return list(runs)

    assert ask(1.0, 2.0, 1.0) == [1.0, 2.0]  # equal rows run once
    assert (box.calls, box.hits) == (2, 1)
    assert ask(1.0) == []
    assert ask(3.0) == [3.0]  # in the place of 2, for 1 was asked for since
    assert ask(1.0, 3.0) == []
    assert ask(2.0) == [2.0]
    assert ask(-0.0, 0.0) == [-0.0, 0.0]
    assert (box.calls, box.hits) == (6, 5 - 1)


def test_the_cache_knows_dtypes_shapes_and_whole_batches() -> None:
    box = hg.BlackBox(lambda row: row.astype("f8") / 3, cache=9)
    assert torch.equal(box(torch.ones(1, 2)), torch.full((1, 2), 1 / 3))
    assert torch.equal(box(torch.ones(1, 2, dtype=torch.float64)), torch.full((1, 2), 1 / 3, dtype=torch.float64))
    assert box(torch.ones(1, 2, 1)).shape == (1, 2, 1)
    assert box.hits == 0
    whole = hg.BlackBox(lambda batch: batch - batch.max(), batched=True, cache=1)
    first = whole(X)
    first.add_(1)  # the user's own
    assert torch.equal(whole(X), X - X.max())
    assert (whole.calls, whole.hits) == (4, 4)
    assert torch.equal(whole(X[:2]), X[:2] - X[:2].max())


def test_threads_wait_for_each_other() -> None:
    inside, worst = [0], [0]

    def alone(row: Any) -> Any:
        inside[0] += 1
        worst[0] = max(worst[0], inside[0])
        numpy.sort(numpy.random.default_rng(0).random(20000))  # gives the interpreter away
        inside[0] -= 1
        return row

    box = hg.BlackBox(alone)
    results: dict[int, Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: box(X + i)})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst[0] == 1
    assert all(torch.equal(results[i], X + i) for i in range(4))


def test_ddp_takes_a_box(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 3), hg.straight_through(hg.BlackBox(stairs)), nn.Linear(3, 1))
    model(X).square().mean().backward()
    expected = [p.grad for p in model.parameters()]
    model.zero_grad()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        DistributedDataParallel(model)(X).square().mean().backward()
    finally:
        dist.destroy_process_group()
    assert all(torch.allclose(p.grad, grad) for p, grad in zip(model.parameters(), expected, strict=True))


def test_without_numpy_a_program_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays.numpy.cache_clear()
    monkeypatch.setitem(sys.modules, "numpy", None)
    try:
        with pytest.raises(ImportError, match="NumPy is not installed here; pip install numpy"):
            hg.BlackBox(stairs)
        with pytest.raises(ImportError, match="pip install numpy"):
            hg.interpolated(lambda cost: cost.tolist(), 1.0)(torch.ones(1, 2))
    finally:
        arrays.numpy.cache_clear()

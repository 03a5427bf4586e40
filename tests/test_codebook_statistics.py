"""What a codebook counts and how its codes move, against NumPy loops, across processes, modes and interruptions."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from hardgrad.codebook.everywhere import places, rows_at
from hardgrad.codebook.moving import WINDOW
from hardgrad.codebook.start import means
from hardgrad.penalty.scopes import penalties_disabled

CODES, WIDTH = 8, 4


def codebook(**options: Any) -> hg.Codebook:
    torch.manual_seed(0)
    return hg.Codebook(CODES, WIDTH, **{"decay": 0.9, "revive": 0.1, **options})


def batches(count: int, rows: int = 40, width: int = WIDTH, seed: int = 1) -> Tensor:
    return torch.randn(count, rows, width, generator=torch.Generator().manual_seed(seed))


def state(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in layer.state_dict().items()}


def assert_same(one: nn.Module, other: nn.Module, rtol: float = 0.0, atol: float = 0.0) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=atol, msg=lambda m, n=name: n + m)


# The published formula.


def published(codes: np.ndarray, data: np.ndarray, decay: float) -> np.ndarray:
    """Moving counts and sums as in appendix A.1, from one row a code; each batch's codes are those of the last."""
    codes, count, total = codes.astype(float), np.ones(len(codes)), codes.astype(float)
    for rows in data:
        index = ((rows[:, None] - codes[None]) ** 2).sum(-1).argmin(-1)
        hit = np.eye(len(codes))[index]
        count = decay * count + (1 - decay) * hit.sum(0)
        total = decay * total + (1 - decay) * hit.T @ rows
        codes = total / count[:, None]
    return codes


@pytest.mark.parametrize("heads", [1, 2])
def test_codes_are_the_published_moving_sums_over_moving_counts(heads: int) -> None:
    layer = codebook(start="normal", revive=None, heads=heads).double()
    first, data = layer.weight.clone(), batches(30).double()
    for x in data:
        layer(x)
    layer(data[0])  # applies what the last one said
    for head, part in enumerate(data.split(WIDTH // heads, -1)):
        expected = published(first[head].numpy(), part.numpy(), 0.9)
        np.testing.assert_allclose(layer.weight[head].numpy(), expected, rtol=1e-6)


def test_the_codes_a_forward_uses_are_there_until_the_next_training_forward() -> None:
    layer = codebook(start="normal", decay=0.0)
    before, (x, other) = layer.weight.clone(), batches(2)
    _, index = layer(x)
    assert torch.equal(layer.weight, before)
    layer.eval()
    layer(other)
    layer.codes(index)
    assert torch.equal(layer.weight, before)
    layer.train()(other)
    hit = index.unique()
    for code in hit:  # without memory a code is the mean of its rows
        torch.testing.assert_close(layer.weight[0, code], x[index == code].mean(0))


def test_what_was_said_is_applied_once_though_a_forward_fails() -> None:
    layer, (x, other) = codebook(start="normal"), batches(2)
    layer(x)
    layer.statistics.before(layer.weight, other.unsqueeze(0), None)
    before = layer.weight.clone()
    layer.statistics.before(layer.weight, other.unsqueeze(0), None)
    assert torch.equal(layer.weight, before)


def test_codes_that_are_assigned_are_not_pulled_back() -> None:
    layer = codebook(start="normal", revive=None)
    for x in batches(20):
        layer(x)
    far = torch.full_like(layer.weight, 100.0)
    layer.load_state_dict({"weight": far}, strict=False)
    layer(batches(1)[0])
    assert torch.equal(layer.weight, far)
    layer(batches(1)[0])  # the first of equals took all rows, and moved by its share alone
    assert torch.equal(layer.weight[0, 1:], far[0, 1:])
    assert 0 < (layer.weight[0, 0] - 100).abs().max() < 100


@pytest.mark.parametrize("learn", ["gradient", "simvq", None])
def test_other_codes_do_not_move_by_counts(learn: str | None) -> None:
    layer = codebook(start="normal", learn=learn, revive=None)
    before = layer.weight.detach().clone()
    for x in batches(5):
        layer(x)
    assert torch.equal(layer.weight, before)
    assert layer.usage().rows == 200


# What counts.


def test_what_does_not_count() -> None:
    layer = codebook(start="normal")
    x, other = batches(2)
    layer(x)
    before = state(layer)
    with penalties_disabled():
        layer(other)
    with pytest.warns(UserWarning, match="nothing is counted"):
        torch.func.grad(lambda x: torch.func.vmap(lambda x: layer(x)[0])(x).sum())(other)
    layer.eval()(other)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    with torch.no_grad():  # as batch normalization does
        layer.train()(other)
    assert layer.usage().rows == 80


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_counts_once_and_finds_the_same_codes(reentrant: bool) -> None:
    def trained(run: Any) -> tuple[nn.Module, list[Tensor]]:
        torch.manual_seed(3)
        before, layer, drop = nn.Linear(WIDTH, WIDTH), codebook(), nn.Dropout(0.5)
        gradients = []
        for x in batches(6):
            y = run(lambda x: drop(layer(before(x))[0]), x.requires_grad_())
            y.square().sum().backward()
            gradients.append(before.weight.grad.clone())  # type: ignore[union-attr]  # there is one
        return layer, gradients

    layer, gradients = trained(lambda f, x: checkpoint(f, x, use_reentrant=reentrant))
    plain, expected = trained(lambda f, x: f(x))
    assert_same(layer, plain)
    torch.testing.assert_close(gradients, expected)


def test_masked_rows_and_rows_of_nan_take_no_part() -> None:
    layer, plain = codebook(), codebook()
    dirty, keep = torch.full((60, WIDTH), torch.nan), torch.zeros(60, dtype=torch.bool)
    keep[10:50] = True
    for x in batches(10):
        dirty[10:50] = x
        layer(dirty, keep)
        plain(x)
    assert_same(layer, plain)
    nothing = torch.zeros(60, dtype=torch.bool)
    layer(dirty, nothing)
    before = layer.statistics.counts.clone()
    layer(dirty, nothing)
    assert torch.equal(layer.statistics.counts, before)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_never_reaches_a_code(bad: float) -> None:
    """Of the statistics by themselves, whatever the layer lets through."""
    layer = codebook(start="normal", revive=0.9)
    rows = batches(1)
    rows[0, ::3] = bad
    for _ in range(3):
        layer.statistics.before(layer.weight, rows, None)
        layer.statistics.after(rows, torch.arange(40).view(1, -1) % CODES, None)
    assert layer.weight.isfinite().all()
    assert layer.statistics.counts.isfinite().all()


def test_an_empty_batch_moves_nothing() -> None:
    layer = codebook(start="normal")
    layer(batches(1)[0])
    layer(batches(1, rows=0)[0])
    before = state(layer)
    layer(batches(1, rows=0)[0])
    assert torch.equal(layer.statistics.counts, before["statistics.counts"])
    assert torch.equal(layer.weight, before["weight"])


# The start.


def test_kmeans_finds_groups_that_are_apart() -> None:
    middles = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * 20
    rows = middles.repeat(20, 1) + torch.randn(1280, 8, generator=torch.Generator().manual_seed(1)) * 0.1
    found = [means(rows, 64, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(found[0], found[1])
    for codes in found:
        assert torch.cdist(rows, codes).amin(-1).max() < 1


def test_the_start_is_better_than_rows_drawn_at_random() -> None:
    rows = batches(1, rows=2000, width=2)[0]
    codes = means(rows, 50, torch.Generator().manual_seed(0))
    drawn = rows[torch.randperm(2000, generator=torch.Generator().manual_seed(0))[:50]]
    error, expected = (torch.cdist(rows, c).amin(-1).square().mean() for c in (codes, drawn))
    assert error < 0.4 * expected  # .37; .54 before Lloyd's rounds, .36 after a hundred


def test_fewer_rows_than_codes_are_refused_with_a_cure() -> None:
    layer = codebook()
    with pytest.raises(ValueError, match=r"at least 8 rows for start='kmeans', one a code, got 5; give a larger"):
        layer(batches(1)[0], torch.arange(40) < 5)
    layer(batches(1)[0])  # and nothing is broken
    assert layer.usage().rows == 40


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("uniform", "start must be one of 'kmeans', 'normal', got 'uniform'; or give the codes, a tensor"),
        (torch.zeros(3, WIDTH), r"start must have shape \(8, 4\) or \(1, 8, 4\), got \(3, 4\)"),
        (torch.full((CODES, WIDTH), torch.nan), "start must be finite"),
    ],
)
def test_a_wrong_start_is_named(start: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codebook(start=start)


def test_given_codes_are_copied() -> None:
    given = batches(1, rows=CODES)[0]
    layer = codebook(start=given, heads=2)
    assert torch.equal(layer.weight[1], given[:, 2:])
    given.zero_()
    assert layer.weight.abs().min() > 0


def test_equal_rows_start_equal_codes() -> None:
    layer = codebook(revive=None)
    y, index = layer(torch.ones(40, WIDTH))
    assert torch.equal(y, torch.ones(40, WIDTH))
    assert (index == 0).all()


# Revival.


@pytest.mark.parametrize("learn", ["ema", "gradient"])
def test_a_dead_code_becomes_a_row_of_the_batch_and_has_time_to_be_found(learn: str) -> None:
    far = torch.cat([torch.zeros(1, WIDTH), torch.full((CODES - 1, WIDTH), 1e3)])
    layer = codebook(start=far, learn=learn)
    lived, x = 0, batches(1)[0]
    for x in batches(100):
        layer(x)
        if layer.statistics.share[0, 1:].eq(1).all():
            break
        lived += 1
    # N is 40 - 39 * .9^t of code 0 and .9^t of the others.
    means_at = [(40 - 32 * 0.9**t) / CODES for t in range(1, 100)]
    died = next(t for t, mean in enumerate(means_at, 1) if 0.9**t < 0.1 * mean)
    assert lived == died - 1
    torch.testing.assert_close(layer.statistics.counts[0, 1:], torch.full((CODES - 1,), means_at[lived]))
    layer(x)
    assert all((x == code).all(-1).any() for code in layer.weight[0, 1:])
    for _ in range(3):
        layer(x)
    assert layer.statistics.share.lt(1).all()


def test_revival_brings_all_codes_into_use() -> None:
    groups = torch.eye(WIDTH).repeat(2, 1) * torch.tensor([[5.0]] * 4 + [[-5.0]] * 4)
    start = torch.full((CODES, WIDTH), 50.0)
    used = {}
    for revive in (None, 0.1):
        layer = codebook(start=start, revive=revive)
        for x in batches(150):
            layer(x * 0.1 + groups.repeat(5, 1))
        used[revive] = layer.usage()
    assert used[None].dead == CODES - 1
    assert used[None].perplexity == pytest.approx(1)
    assert used[0.1].dead == 0
    assert used[0.1].perplexity > 5


def test_an_optimizer_does_not_drag_a_revived_code_back() -> None:
    """A code that got no gradient for so long that it counts as dead has no momentum left."""
    start = torch.cat([torch.zeros(1, WIDTH), torch.full((7, WIDTH), 3.0)])
    layer = codebook(start=start, learn="gradient", decay=0.97)
    adam = torch.optim.Adam([layer.weight], lr=0.1)
    momentum = []
    for x in torch.cat([torch.full((5, 40, WIDTH), 2.0), batches(150) * 0.1]):
        layer(x.requires_grad_())[0].sum().backward()
        adam.step()
        adam.zero_grad()
        momentum.append(float(adam.state[layer.weight]["exp_avg"][0, 1].abs().max()))
        if layer.statistics.share[0, 1].eq(1):
            break
    assert layer.statistics.share[0, 1] == 1
    assert max(momentum) > 1e-3
    layer(batches(1)[0])
    placed = layer.weight.detach().clone()
    layer.weight.grad = torch.zeros_like(layer.weight)
    adam.step()  # momentum alone
    assert (layer.weight - placed)[0, 1].abs().max() < 1e-3


# Usage.


def test_usage_is_of_the_last_batches() -> None:
    start = torch.arange(CODES * 1.0).unsqueeze(1).expand(CODES, WIDTH)
    layer = codebook(start=start, learn=None)
    with pytest.raises(RuntimeError, match="no training batch has passed yet"):
        layer.usage()
    layer(start[[0, 0, 1, 2]].clone())
    usage = layer.usage()
    assert usage.counts.tolist() == [2, 1, 1, 0, 0, 0, 0, 0]
    assert (usage.dead, usage.rows) == (5, 4)
    assert usage.perplexity == pytest.approx(2**1.5)
    with torch.no_grad():
        for _ in range(2 * WINDOW - 2):
            layer(start[:1].clone())
        assert layer.usage().counts[1] == 1
        layer(start[:1].clone())
        layer(start[:1].clone())
    assert layer.usage().dead == CODES - 1
    assert WINDOW <= layer.usage().rows < 2 * WINDOW


def test_usage_of_heads() -> None:
    layer = codebook(heads=2, start=torch.arange(CODES * 1.0).unsqueeze(1).expand(CODES, WIDTH), learn=None)
    layer(torch.tensor([[0.0, 0, 3, 3], [1, 1, 3, 3]]))
    usage = layer.usage()
    assert usage.counts.shape == (2, CODES)
    assert usage.counts[1, 3] == 2
    assert (usage.dead, usage.rows, usage.perplexity) == (13, 2, pytest.approx(1.5))


# Interruptions and modes.


def test_a_run_goes_on_from_its_state() -> None:
    whole, data = codebook(), batches(40)
    for x in data[:20]:
        whole(x)
    torch.manual_seed(99)
    loaded = hg.Codebook(CODES, WIDTH, decay=0.9, revive=0.1)
    loaded.load_state_dict(state(whole))
    copies = [loaded, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))]
    for x in data[20:]:
        for layer in (whole, *copies):
            layer(x)
    for layer in copies:
        assert_same(layer, whole)
    with pytest.raises(RuntimeError, match="size mismatch"):
        hg.Codebook(CODES + 1, WIDTH).load_state_dict(whole.state_dict())


def test_codes_loaded_alone_are_not_started_anew() -> None:
    layer, codes = codebook(), batches(1, rows=CODES)
    layer.load_state_dict({"weight": codes}, strict=False)
    layer(batches(1)[0])
    assert torch.equal(layer.weight, codes)
    layer.load_state_dict(codebook().state_dict())  # of a layer that had no batch yet
    layer(batches(1)[0])
    whole = codebook()
    whole(batches(1)[0])
    assert torch.equal(layer.weight, whole.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_in_single(dtype: torch.dtype) -> None:
    layer, plain = codebook().to(dtype), codebook()
    for x in batches(20, rows=400):
        layer(x.to(dtype))
        plain(x.to(dtype).float())
    assert layer.statistics.counts.dtype == layer.statistics.target.dtype == torch.float32
    torch.testing.assert_close(layer.statistics.counts, plain.statistics.counts, rtol=0.1, atol=1.0)
    layer(torch.ones(70_000, WIDTH, dtype=dtype))
    assert int(layer.usage().counts.max()) >= 70_000


def test_meta_device_has_shapes_alone() -> None:
    with torch.device("meta"):
        layer = hg.Codebook(CODES, WIDTH)
        for _ in range(2):
            layer(torch.empty(40, WIDTH))
    assert layer.weight.is_meta
    with pytest.raises(RuntimeError, match="no training batch"):
        layer.usage()


def test_compiled_whole_as_in_eager_code() -> None:
    results = []
    for run in (torch.compile(backend="aot_eager", fullgraph=True), lambda layer: layer):
        layer = codebook()
        called: Any = run(layer)
        for x in batches(4):
            called(x.requires_grad_())[0].sum().backward()
        results.append(layer)
    assert_same(*results, rtol=1e-5, atol=1e-6)


def test_terms_are_of_the_codes_of_their_own_forward_under_inductor() -> None:
    """It may compute codes again in the backward, of buffers that are the next batch's by then; others do not."""
    found = []
    for run in (torch.compile(backend="inductor", fullgraph=True), lambda layer: layer):
        called: Any = run(codebook(start="normal", decay=0.5))
        x = batches(1)[0].requires_grad_()
        (0 * called(x)[0]).sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found)


# Processes.


def _halves(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.pop("OMP_NUM_THREADS", None)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = [_run(rank, learn) for learn in ("ema", "gradient")]
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _run(rank: int | None, learn: str) -> dict[str, Tensor]:
    """Train on rows that drift away, so that codes die; a process has half the rows of which some are masked."""
    layer = codebook(learn=learn)
    keep = torch.arange(40) % 7 > 0
    keep[20:30] = False
    for step, x in enumerate(batches(60)):
        x, kept = x + step * 0.1, keep
        if rank is not None:
            x, kept = x.chunk(2)[rank], keep.chunk(2)[rank]
        layer(x, kept)
    assert layer.usage().rows == 60 * keep.sum()
    return state(layer)


def test_two_processes_of_half_the_batch_are_one_of_the_whole(tmp_path: Path) -> None:
    mp.spawn(_halves, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        for learn, found in zip(("ema", "gradient"), torch.load(tmp_path / f"{rank}.pt"), strict=True):
            alone = _run(None, learn)
            for name in alone:
                torch.testing.assert_close(found[name], alone[name], rtol=1e-5, atol=1e-6)
            assert alone["statistics.counts"].max() > 0


def test_places_are_spread_and_rows_are_taken_where_they_lie() -> None:
    rows = torch.arange(1000.0).view(1, 1000, 1)
    keep = torch.arange(1000) % 2 == 0
    total = torch.tensor(500)
    place, _ = places(torch.tensor(2**31 - 1), (1, 100), total)
    assert torch.equal(rows_at(rows, keep, total.view(1), place), 2.0 * place.unsqueeze(-1))
    assert place.unique().numel() == 100
    gaps = place.sort().values.diff()
    assert gaps.min() >= 2
    assert gaps.max() <= 14  # three-distance theorem: 500 / 100 by at most the golden section's square, rounded

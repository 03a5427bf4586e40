"""Streams: every row once an epoch, disjoint shares, resumption bit for bit, and what is done to pixels on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hardgrad_lab.data.binarized import draw
from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.folder import Middle, find
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.order import Order
from hardgrad_lab.data.pictures import Pictures
from hardgrad_lab.data.prepare import InTurn, Shifted, Standardized, mirrored, scaled
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.stream import Resident, in_order
from hardgrad_lab.runs.loop import Plan, Stream, Training, train
from hardgrad_lab.runs.options import OptionError
from lab.data_files import photographs


def rows(n: int, side: int = 2) -> Images:
    """Row i is of grey level i all over, and its label is i."""
    x = torch.arange(n).byte().view(n, 1, 1, 1).expand(n, 1, side, side).contiguous()
    return Images(x=x, y=torch.arange(n), classes=(), what="greys")


def bytes_as_they_are(x: Tensor, generator: torch.Generator) -> Tensor:
    del generator
    return x


@pytest.mark.parametrize(("batch", "drop_last", "sizes"), [(4, False, [4, 4, 3]), (4, True, [4, 4]), (11, False, [11])])
def test_an_epoch_shows_each_row_once(batch: int, drop_last: bool, sizes: list[int]) -> None:
    stream = Resident(rows(11), batch=batch, seed=3, drop_last=drop_last, prepare=bytes_as_they_are)
    assert stream.steps_per_epoch == len(sizes)
    epochs = []
    for _ in range(3):
        seen = [stream.batch() for _ in sizes]
        assert [len(x) for x, _ in seen] == sizes
        assert all((x[:, 0, 0, 0].long() == y).all() for x, y in seen)
        labels = torch.cat([y for _, y in seen]).tolist()
        assert len(set(labels)) == len(labels) == sum(sizes)
        epochs.append(labels)
    assert epochs[0] != epochs[1] != epochs[2]


def test_alternating_mirrors_each_row_in_every_other_epoch() -> None:
    x = torch.tensor([0, 1]).byte().expand(40, 1, 1, 2).contiguous()
    images = Images(x=x, y=torch.arange(40), classes=(), what="dark to bright")
    stream = Resident(images, batch=8, seed=0, alternating=True, prepare=bytes_as_they_are)
    turned = torch.empty(4, 40)
    for epoch in range(4):
        for _ in range(5):
            shown, row = stream.batch()
            turned[epoch, row] = shown[:, 0, 0, 0].float()
    assert torch.equal(turned[0] + turned[1], torch.ones(40))
    assert torch.equal(turned[:2], turned[2:])
    assert 10 <= turned[0].sum() <= 30  # 20 expected, 3.2 standard deviations each way


def test_the_seed_decides_the_order_and_the_draws() -> None:
    def seen(seed: int) -> list[Tensor]:
        stream = Resident(rows(200), batch=50, seed=seed, prepare=draw)
        return [part for _ in range(6) for part in stream.batch()]

    assert all(torch.equal(a, b) for a, b in zip(seen(0), seen(0), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(seen(0), seen(1), strict=True))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_rows_of_what_would_be_one_larger_batch(world: int) -> None:
    n, batch = 32, 4
    whole = Order(rows=n, batch=batch * world, seed=5)
    shares = [Order(rows=n, batch=batch, seed=5, rank=rank, world=world) for rank in range(world)]
    assert len({share.steps for share in shares}) == 1
    for epoch in range(3):
        orders = [share.epoch(epoch) for share in shares]
        together = torch.cat(orders).tolist()
        assert len(set(together)) == len(together) == n - n % world
        for step in range(whole.steps - 1):
            one = whole.epoch(epoch)[step * batch * world :][: batch * world]
            many = torch.cat([order[step * batch :][:batch] for order in orders])
            assert torch.equal(one, many)
        assert len({len(order) for order in orders}) == 1


def test_every_process_seed_epoch_and_batch_has_draws_of_its_own() -> None:
    same = Images(x=torch.full((8, 1, 300, 300), 128).byte(), y=torch.arange(8), classes=(), what="grey")
    seen = []
    for seed, rank in ((0, 0), (0, 1), (1, 0)):
        stream = Resident(same, batch=2, seed=seed, rank=rank, world=2, prepare=draw)
        seen += [stream.batch()[0] for _ in range(2 * stream.steps_per_epoch)]
    assert len(seen) == 12
    # n = 180,000 pixels a batch: two independent draws agree on half of them; 4.5 standard errors
    for i, one in enumerate(seen):
        assert all(abs((one == other).double().mean() - 0.5) < 4.5 * 0.5 / 180000**0.5 for other in seen[:i])


# So many numbers a row that the batches of an epoch are prepared in groups of 1, 2 and all
@pytest.mark.parametrize("side", [128, 64, 2])
@pytest.mark.parametrize("taken", [0, 1, 3, 7])
def test_a_stream_goes_on_bit_for_bit_from_any_place(side: int, taken: int) -> None:
    prepare = InTurn([Shifted(1), mirrored, draw])
    stream = Resident(rows(20, side), batch=6, seed=1, prepare=prepare)
    for _ in range(taken):
        stream.batch()
    state = stream.state_dict()
    expected = [stream.batch() for _ in range(9)]
    fresh = Resident(rows(20, side), batch=6, seed=1, prepare=prepare)
    fresh.batch()
    fresh.load_state_dict(state)
    for (x, y), (again, labels) in zip(expected, [fresh.batch() for _ in range(9)], strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, labels)


def test_a_state_of_other_batches_is_refused() -> None:
    state = Resident(rows(20), batch=6, seed=1).state_dict()
    with pytest.raises(ValueError, match=r"other batches \(batch 6 there, 5 here, seed 1 there, 2 here\)"):
        Resident(rows(20), batch=5, seed=2).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"batch": 12, "drop_last": True}, "rows must be at least 12.*got 11"),
        ({"batch": 2, "world": 12}, "rows must be at least 12.*got 11"),
        ({"batch": 2, "rank": 2, "world": 2}, "rank must be from 0 to world - 1 = 1, got 2"),
    ],
)
def test_impossible_batches_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        Resident(rows(11), seed=0, **options)


class Quiet:
    def step(self, training: Training) -> None: ...

    def point(self, training: Training) -> None: ...


def run(stream: Stream, steps: int, state: dict[str, Any] | None = None) -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    training = Training(
        model=model,
        optimizers=[torch.optim.Adam(model.parameters(), 0.01)],
        schedulers=[],
        stream=stream,
        loss=lambda x, y: (model(x).squeeze(1) - y / 10).square().mean(),
        evaluate=lambda last: {},
    )
    if state is not None:
        training.load_state_dict(state)
    train(training, Plan(steps=steps, evaluate_every=100), lambda: None, Quiet())
    return training.state_dict()


def test_the_training_loop_takes_it_and_resumes_it() -> None:
    make = lambda: Resident(rows(20), batch=6, seed=1, prepare=InTurn([mirrored, draw]))  # noqa: E731 - made twice
    straight = run(make(), 11)
    resumed = run(make(), 11, run(make(), 5))
    assert all(torch.equal(straight["model"][name], resumed["model"][name]) for name in straight["model"])


def test_a_pass_in_order_shows_every_row_and_the_same_each_time() -> None:
    passes = [list(in_order(rows(200), batch=64, prepare=draw, seed=4)) for _ in range(2)]
    assert [len(x) for x, _ in passes[0]] == [64, 64, 64, 8]
    assert torch.cat([y for _, y in passes[0]]).tolist() == list(range(200))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(*passes, strict=True))


# What is done to pixels


def test_a_shifted_picture_is_a_crop_of_the_padded_one() -> None:
    x = torch.randint(1, 256, (300, 3, 5, 7), dtype=torch.uint8)
    shifted = Shifted(2)(x, torch.Generator().manual_seed(0))
    found = set()
    for picture, moved in zip(x, shifted, strict=True):
        padded = torch.zeros(3, 9, 11, dtype=torch.uint8)
        padded[:, 2:7, 2:9] = picture
        places = [(d, a) for d in range(5) for a in range(5) if torch.equal(padded[:, d : d + 5, a : a + 7], moved)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) == 25  # P(one of 25 places is missed by 300 draws) is below 25 * (24/25)^300 = 1.2e-4


def test_half_of_the_pictures_are_mirrored() -> None:
    x = torch.randint(0, 256, (1000, 1, 3, 4), dtype=torch.uint8)
    turned = mirrored(x, torch.Generator().manual_seed(0))
    is_turned = (turned == x.flip(-1)).flatten(1).all(1)
    assert (is_turned | (turned == x).flatten(1).all(1)).all()
    assert abs(is_turned.double().mean() - 0.5) < 4.5 * 0.5 / 1000**0.5  # 4.5 standard errors, n = 1000, seed 0


def test_channels_are_standardised_one_by_one() -> None:
    x = torch.tensor([0, 255]).byte().view(1, 1, 1, 2).expand(1, 3, 1, 2)
    out = Standardized((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(x, torch.Generator())
    assert torch.allclose(out, torch.tensor([[-1.0, 1], [-2, 8], [0, 0.5]]).view(1, 3, 1, 2))


# Photographs


def photos(tmp_path: Path, count: int = 5) -> Any:
    photographs(tmp_path / "set/train", {"a": [(9, 7)] * count, "b": [(8, 8)] * count})
    return find(Root(folder=tmp_path), "set", "train")


@pytest.mark.parametrize("workers", [1, 3])
def test_photographs_are_shown_once_an_epoch_with_their_labels(tmp_path: Path, workers: int) -> None:
    stream = Pictures(photos(tmp_path), side=4, batch=3, seed=0, workers=workers, ahead=2, prepare=bytes_as_they_are)
    for _ in range(2):
        seen = [stream.batch() for _ in range(stream.steps_per_epoch)]
        assert [tuple(x.shape) for x, _ in seen] == [(3, 3, 4, 4)] * 3 + [(1, 3, 4, 4)]
        told = [(int(x[0, 0, 0]) // 10, int(x[1, 0, 0]) // 10, int(x[2, 0, 0])) for xs, _ in seen for x in xs]
        assert sorted(told) == [(c, i, 7) for c in range(2) for i in range(5)]
        assert [c for c, _, _ in told] == torch.cat([y for _, y in seen]).tolist()
    stream.close()


def test_photographs_go_on_bit_for_bit_whoever_reads_them(tmp_path: Path) -> None:
    listing = photos(tmp_path)
    noisy = torch.randint(0, 256, (10, 20, 30, 3), dtype=torch.uint8)
    for i in range(10):
        Image.fromarray(noisy[i].numpy()).save(listing.path(i))
    prepare = InTurn([mirrored, scaled])
    one = Pictures(listing, side=4, batch=3, seed=7, workers=1, prepare=prepare)
    for _ in range(6):
        one.batch()
    state = one.state_dict()
    expected = [one.batch() for _ in range(6)]
    two = Pictures(listing, side=4, batch=3, seed=7, workers=4, ahead=2, prepare=prepare)
    two.batch()
    two.load_state_dict(state)
    for (x, y), (again, labels) in zip(expected, [two.batch() for _ in range(6)], strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, labels)
    one.close()
    two.close()


def test_photographs_are_cut_anew_in_every_epoch_and_process(tmp_path: Path) -> None:
    listing = photos(tmp_path)
    noisy = Image.fromarray(torch.randint(0, 256, (40, 50, 3), dtype=torch.uint8).numpy())
    for i in range(10):
        noisy.save(listing.path(i))
    seen = []
    for rank in range(2):
        stream = Pictures(listing, side=4, batch=1, seed=0, rank=rank, world=2, workers=1)
        seen += [stream.batch()[0] for _ in range(2 * stream.steps_per_epoch)]
        stream.close()
    assert len(torch.cat(seen).unique(dim=0)) == len(seen) == 20


def test_no_more_batches_are_read_ahead_than_asked(tmp_path: Path) -> None:
    stream = Pictures(photos(tmp_path), side=4, batch=2, seed=0, workers=2, ahead=3, crop=Middle())
    for _ in range(8):
        stream.batch()
        assert len(stream._pending) == 3
    stream.close()


def test_a_photograph_that_cannot_be_decoded_ends_the_run_with_its_name(tmp_path: Path) -> None:
    listing = photos(tmp_path)
    listing.path(4).write_bytes(b"no picture")
    stream = Pictures(listing, side=4, batch=10, seed=0, workers=2)
    for _ in range(2):
        with pytest.raises(DamagedDataError, match=r"004\.png cannot be decoded"):
            stream.batch()
    stream.close()
    with pytest.raises(OptionError, match="ahead must be at least 1, got 0"):
        Pictures(listing, side=4, batch=10, seed=0, ahead=0)

"""The samples: which rows they are, that every reader takes them, and that the whole set goes before them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hardgrad_lab.data import binarized, cifar10, folder, mnist, omniglot, pick_samples
from hardgrad_lab.data.errors import DamagedDataError, MissingDataError
from hardgrad_lab.data.images import SPLITS, Images, SplitError
from hardgrad_lab.data.root import VARIABLE, Root
from hardgrad_lab.data.samples import NAME
from lab.data_files import digits

READERS: dict[str, Callable[[Root, str], Images]] = {
    "MNIST": mnist.load,
    "Fashion-MNIST": lambda root, split: mnist.load(root, split, mnist.FASHION),
    "CIFAR-10": cifar10.load,
    "Omniglot": omniglot.load,
    "statically binarized MNIST": binarized.static,
}
# Rows of fit, valid and test, and how many classes: by the table beside the file.
ROWS = dict.fromkeys(READERS, (250, 50, 100, 10)) | {"Omniglot": (250, 50, 100, 50), "CIFAR-10": (180, 20, 80, 10)}
# The mean of the official training rows on the scale from 0 to 1, as published with the sets or counted from them.
MEANS = {
    "MNIST": 0.1307,
    "Fashion-MNIST": 0.2860,
    "CIFAR-10": 0.4734,
    "Omniglot": 0.0808,
    "statically binarized MNIST": 0.1307 / 255,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_takes_samples_where_there_is_nothing_else(samples: Path, name: str) -> None:
    parts = {split: READERS[name](Root(folder=samples), split) for split in SPLITS}
    *rows, classes = ROWS[name]
    assert [len(parts[split]) for split in ("fit", "valid", "test")] == rows
    assert torch.equal(parts["train"].x, torch.cat([parts["fit"].x, parts["valid"].x]))
    assert torch.equal(parts["train"].y, torch.cat([parts["fit"].y, parts["valid"].y]))
    for split, images in parts.items():
        counts = images.y.bincount()
        assert (len(images.classes), len(counts), len(counts.unique())) == (classes, classes, 1)
        assert images.what.startswith(f"{name}, a sample for trial runs: {len(images)} of the rows of {split}")
    side, channels = (32, 3) if name == "CIFAR-10" else (28, 1)
    assert parts["fit"].x.shape[1:] == (channels, side, side)
    assert parts["fit"].x.dtype == torch.uint8
    assert parts["train"].x.float().mean().item() / 255 == pytest.approx(MEANS[name], rel=0.1)


@pytest.mark.parametrize("name", READERS)
def test_no_sampled_row_is_in_two_parts(samples: Path, name: str) -> None:
    parts = [READERS[name](Root(folder=samples), split).x.flatten(1) for split in ("fit", "valid", "test")]
    rows = torch.cat(parts)
    assert len(rows.unique(dim=0)) == len(rows)


def test_classes_take_turns_and_binary_rows_are_binary(samples: Path) -> None:
    assert cifar10.load(Root(folder=samples), "fit").y[:20].tolist() == 2 * list(range(10))
    assert binarized.static(Root(folder=samples), "test").x.unique().tolist() == [0, 1]


def test_every_binarization_works_on_samples(samples: Path) -> None:
    root = Root(folder=samples)
    for name, way in [("mnist", "static"), *((name, "dynamic") for name in binarized.SETS), ("omniglot", "threshold")]:
        images, prepare = binarized.load(root, name, "test", way)
        shown = prepare(images.x, torch.Generator())
        assert shown.shape == (100, 1, 28, 28)
        assert shown.unique().tolist() == [0, 1]
        assert "a sample" in images.what


def test_the_whole_set_goes_before_samples(samples: Path, tmp_path: Path) -> None:
    kind = digits(tmp_path, "MNIST/raw")
    shutil.copy(samples / NAME, tmp_path)
    root = Root(folder=tmp_path)
    assert mnist.load(root, "train", kind).what == "MNIST, the 12 official training rows"
    assert "a sample" in mnist.load(root, "train", mnist.FASHION).what
    # A set that lacks a file is to be completed, not replaced by a sample of it.
    (tmp_path / "MNIST/raw/train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MissingDataError, match="no MNIST file train-labels-idx1-ubyte"):
        mnist.load(root, "train", kind)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/test_batch.webp").touch()
    with pytest.raises(MissingDataError, match=r"data_batch_1\.webp"):
        cifar10.load(root, "train")
    (tmp_path / "omniglot-py/images_background").mkdir(parents=True)
    with pytest.raises(DamagedDataError, match="has 0 rows, it should have 19,280"):
        omniglot.load(root, "test")


def test_samples_are_no_answer_to_a_download(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr("hardgrad_lab.data.root.fetch", refuse)
    shutil.copy(samples / NAME, tmp_path)
    for load in READERS.values():
        with pytest.raises(ConnectionError):
            load(Root(folder=tmp_path, download=True), "test")


def test_a_split_that_is_none_is_refused_on_samples(samples: Path) -> None:
    for load in READERS.values():
        with pytest.raises(SplitError, match="got 'all'"):
            load(Root(folder=samples), "all")


def test_damaged_samples_are_refused(samples: Path, tmp_path: Path) -> None:
    content = bytearray((samples / NAME).read_bytes())
    content[1000] ^= 1
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DamagedDataError, match=rf"{NAME} is damaged.*sha256"):
        mnist.load(Root(folder=tmp_path), "train")


def test_rows_are_taken_at_equal_distances_within_each_class() -> None:
    y = torch.tensor([1, 0, 0, 1, 0, 0, 1, 0, 0, 0])
    # The zeros stand at 1 2 4 5 7 8 9 and the ones at 0 3 6: of seven every third or second, of three every other.
    assert pick_samples.spread_out(y, 3).tolist() == [1, 0, 4, 3, 7, 6]


def test_samples_of_samples_are_the_same(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / NAME
    pick_samples.make(Root(folder=samples), path)
    with np.load(path) as made, np.load(samples / NAME) as there:
        assert set(made) == set(there)
        for name in there:
            np.testing.assert_array_equal(made[name], there[name])
    pick_samples.shrink(Root(folder=samples), tmp_path)
    pictures = sorted(path.relative_to(samples) for path in samples.glob("photos/**/*.jpg"))
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.glob("photos/**/*.jpg")) == pictures


def test_photographs_are_a_folder_a_class_and_small(samples: Path) -> None:
    root = Root(folder=samples)
    train = folder.find(root, "photos/free", "train")
    val = folder.find(root, "photos/free", "val", classes=("scene", "science", "surface"))
    assert (train.y.bincount().tolist(), val.y.bincount().tolist()) == ([3, 2, 2], [1, 1, 1])
    for row in range(len(train)):
        with Image.open(train.path(row)) as picture:
            assert max(picture.size) == 96
            assert picture.mode == "RGB"


def test_photographs_that_want_their_author_s_name_are_left_out(tmp_path: Path) -> None:
    for name, size in {"china.jpg": (640, 427), "rocket.png": (640, 427)}.items():
        for split in ("train", "val"):
            path = tmp_path / "whole/photos/free" / split / "scene" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, 128).save(path)
    pick_samples.shrink(Root(folder=tmp_path / "whole"), tmp_path / "small")
    made = {path.relative_to(tmp_path / "small").as_posix() for path in tmp_path.glob("small/**/*.*")}
    assert made == {"photos/free/train/scene/rocket.jpg", "photos/free/val/scene/rocket.jpg"}
    with Image.open(tmp_path / "small/photos/free/val/scene/rocket.jpg") as picture:
        assert picture.size == (96, 64)


def test_the_file_is_small_enough_for_a_repository(samples: Path) -> None:
    assert os.path.getsize(samples / NAME) < 1_250_000

"""The data room: every form of every set, files that are missing or damaged, and downloads that fail half-way."""

from __future__ import annotations

import http.server
import os
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import hardgrad_lab.data.checksum as checksum
from hardgrad_lab.data import binarized, cifar10, folder, mnist, omniglot
from hardgrad_lab.data.download import fetch, unpack
from hardgrad_lab.data.errors import DamagedDataError, MissingDataError
from hardgrad_lab.data.images import SplitError
from hardgrad_lab.data.root import VARIABLE, File, Root
from lab.data_files import batches, digest, digits, drawings, noise, photographs, pickled, trap, write_idx


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache"


# MNIST


@pytest.mark.parametrize(("layout", "packed"), [("MNIST/raw", True), ("MNIST/raw", False), ("mnist/raw", True)])
def test_idx_files_are_read_from_either_layout(tmp_path: Path, layout: str, packed: bool) -> None:
    kind = digits(tmp_path, layout, packed=packed)
    root = Root(folder=tmp_path)
    train, test = (mnist.load(root, split, kind) for split in ("train", "test"))
    assert torch.equal(train.x, torch.from_numpy(noise(12, 1, 4, 4, seed=12)))
    assert torch.equal(test.x, torch.from_numpy(noise(5, 1, 4, 4, seed=5)))
    assert train.y.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    fit, valid = (mnist.load(root, split, kind) for split in ("fit", "valid"))
    assert torch.equal(fit.x, train.x[:10])
    assert torch.equal(valid.y, train.y[10:])
    assert valid.what == "MNIST, the 12 official training rows: the last 2, for validation"


def test_the_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = digits(tmp_path, "MNIST/raw")
    with pytest.raises(MissingDataError, match=rf"no folder was given; pass --data FOLDER .* or set {VARIABLE}"):
        mnist.load(Root(), "test", kind)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert len(mnist.load(Root(), "test", kind)) == 5
    with pytest.raises(MissingDataError, match=r"there is no folder .*nowhere"):
        mnist.load(Root(folder=tmp_path / "nowhere"), "test", kind)


def test_a_missing_file_is_named_with_every_place_and_the_cure(tmp_path: Path) -> None:
    kind = replace(digits(tmp_path, "MNIST/raw"), mirrors=("https://example.org/",))
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MissingDataError) as caught:
        mnist.load(Root(folder=tmp_path), "test", kind)
    for place in ("MNIST/raw/t10k-labels-idx1-ubyte", "mnist/raw/t10k-labels-idx1-ubyte.gz"):
        assert f"\n  {tmp_path / place}\n" in str(caught.value)
    assert "no MNIST file t10k-labels-idx1-ubyte" in str(caught.value)
    assert "--download" in str(caught.value)
    assert "https://example.org/t10k-labels-idx1-ubyte.gz" in str(caught.value)


def _swap(path: Path) -> None:
    """Put another picture of the right size there, packed as well."""
    write_idx(path, noise(5, 4, 4, seed=99))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("harm", [_swap, _cut])
def test_a_file_that_is_not_the_official_one_is_refused(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    kind = digits(tmp_path, "MNIST/raw")
    path = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    right = digest(path)
    harm(path)
    with pytest.raises(
        DamagedDataError, match=rf"{path} is damaged.* md5 is {digest(path)}, the right one's is {right}"
    ):
        mnist.load(Root(folder=tmp_path), "test", kind)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x00\x00\x08\x01\x00\x00\x00\x05\x01\x02\x03", "has 3 bytes of data, not 5"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x06\x01\x02\x03\x04\x05\x06", "is no idx file of bytes of shape"),
        (b"", "is no idx file"),
    ],
)
def test_an_idx_file_is_looked_at_even_without_a_checksum(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DamagedDataError, match=complaint):
        mnist.read_idx(path, (5,))


def test_a_packed_idx_file_cut_short_is_refused_even_without_a_checksum(tmp_path: Path) -> None:
    write_idx(tmp_path / "x.gz", noise(5, 4, 4))
    _cut(tmp_path / "x.gz")
    with pytest.raises(DamagedDataError, match=r"x\.gz is damaged"):
        mnist.read_idx(tmp_path / "x.gz", (5, 4, 4))


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    kind = replace(digits(tmp_path, "MNIST/raw"), classes=("0", "1"))
    with pytest.raises(DamagedDataError, match="has a label 4, over 1"):
        mnist.load(Root(folder=tmp_path), "test", kind)


@pytest.mark.parametrize("load", [mnist.load, cifar10.load, omniglot.load, binarized.static])
def test_an_unknown_split_is_named(tmp_path: Path, load: Callable[..., object]) -> None:
    with pytest.raises(SplitError, match="split must be one of train, fit, valid, test, got 'tset'"):
        load(Root(folder=tmp_path), "tset")


# Checksums, taken once


def test_a_checksum_is_taken_once_and_again_when_asked_or_when_the_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    original = checksum.digest_of

    def count(path: Path, algorithm: str = "md5") -> str:
        read.append(path)
        return original(path, algorithm)

    monkeypatch.setattr(checksum, "digest_of", count)
    (tmp_path / "a").write_bytes(b"content")
    file = File(what="a", digests={"a": digest(tmp_path / "a", "sha256")})
    for _ in range(3):
        Root(folder=tmp_path).get(file)
    assert len(read) == 1
    Root(folder=tmp_path, verify=True).get(file)
    assert len(read) == 2
    (tmp_path / "a").write_bytes(b"CONTENT")
    os.utime(tmp_path / "a", ns=(1, 1))
    with pytest.raises(DamagedDataError, match="its sha256 is"):
        Root(folder=tmp_path).get(file)
    with pytest.raises(DamagedDataError):  # a failure leaves no mark
        Root(folder=tmp_path).get(file)


def test_data_may_be_checked_where_nothing_can_be_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))  # a file where the cache folder should be
    assert Root(folder=tmp_path).get(File(what="a", digests={"a": digest(tmp_path / "a")})) == tmp_path / "a"


# CIFAR-10


@pytest.mark.parametrize("form", ["pickles", "mosaics", "archive"])
def test_every_form_of_cifar_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    kind = batches(tmp_path, form)
    root = Root(folder=tmp_path)
    expected, labels = torch.from_numpy(noise(18, 3, 32, 32)), torch.arange(18) % 10
    train = cifar10.load(root, "train", kind)
    assert torch.equal(train.x, expected[:12])
    assert torch.equal(train.y, labels[:12])
    test = cifar10.load(root, "test", kind)
    assert torch.equal(test.x, expected[12:])
    assert torch.equal(test.y, labels[12:])
    assert torch.equal(cifar10.load(root, "valid", kind).x, expected[8:12])


def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path: Path) -> None:
    kind = batches(tmp_path, "pickles")
    path = tmp_path / cifar10.PICKLES / "test_batch"
    path.write_bytes(trap(tmp_path / "sprung"))
    kind = replace(kind, digests={**kind.digests, "test_batch": ""})
    with pytest.raises(DamagedDataError, match=r"it asks for os\.system, which a batch has no need of"):
        cifar10.load(Root(folder=tmp_path), "test", kind)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(path.read_bytes(), encoding="bytes")
    assert (tmp_path / "sprung").exists()  # the trap is one


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (pickled(noise(6, 3072), [0] * 6)[:-900], "is no batch of CIFAR-10"),
        (pickled(noise(6, 3072), [0] * 5), "holds no label for each of its 6 rows"),
        (pickled(noise(6, 1024), [0] * 6), "holds no rows of 3072 bytes"),
        (pickled(noise(5, 3072), [0] * 5), "has 5 rows, it should have 6"),
        (pickled(noise(6, 3072), [77] * 6), "has a label 77, over 9"),
        (b"\x80\x02]q\x00.", "it holds a list"),
    ],
)
def test_a_damaged_pickle_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    kind = batches(tmp_path, "pickles")
    (tmp_path / cifar10.PICKLES / "test_batch").write_bytes(content)
    kind = replace(kind, digests={**kind.digests, "test_batch": ""})
    with pytest.raises(DamagedDataError, match=complaint):
        cifar10.load(Root(folder=tmp_path), "test", kind)


def test_a_batch_that_is_missing_among_others_is_named(tmp_path: Path) -> None:
    kind = batches(tmp_path, "pickles")
    (tmp_path / cifar10.PICKLES / "data_batch_2").unlink()
    with pytest.raises(MissingDataError, match="no CIFAR-10 file data_batch_2"):
        cifar10.load(Root(folder=tmp_path), "train", kind)


def test_a_damaged_mosaic_is_named(tmp_path: Path) -> None:
    kind = batches(tmp_path, "mosaics")
    path = tmp_path / cifar10.MOSAICS / "test_batch.webp"
    kind = replace(kind, digests={**kind.digests, "test_batch.webp": ""})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DamagedDataError, match="cannot be decoded"):
        cifar10.load(Root(folder=tmp_path), "test", kind)
    Image.new("RGB", (96, 32)).save(path, lossless=True)
    with pytest.raises(DamagedDataError, match=r"has shape \(32, 96, 3\), not \(64, 96, 3\)"):
        cifar10.load(Root(folder=tmp_path), "test", kind)


# Omniglot


def _ink(count: int) -> np.ndarray:  # type: ignore[type-arg]
    """Average 105 x 105 over 28 x 28 by way of 4 x 4 finer pixels: each new one covers 15 x 15 of them exactly."""
    fine = np.kron((np.arange(105 * 105) < count).reshape(105, 105), np.ones((4, 4)))
    return np.rint(255 * fine.reshape(28, 15, 28, 15).mean((1, 3))).astype(np.uint8)


@pytest.mark.parametrize("packed", [False, True])
def test_drawings_are_averaged_and_divided_by_drawer(tmp_path: Path, packed: bool) -> None:
    kind = drawings(tmp_path, packed=packed)
    root = Root(folder=tmp_path)
    train, test = (omniglot.load(root, split, "drawings", kind) for split in ("train", "test"))
    assert train.classes == ("Braille", "Glagolitic", "Angelic")
    assert train.y.tolist() == [0] * 15 + [1] * 15 + [2] * 15
    assert test.y.tolist() == [0] * 5 + [1] * 4 + [2] * 5  # drawer 20 of Glagolitic is not there
    np.testing.assert_array_equal(train.x[0, 0], _ink(101))
    np.testing.assert_array_equal(train.x[-1, 0], _ink(1502))
    np.testing.assert_array_equal(test.x[8, 0], _ink(1901))
    np.testing.assert_array_equal(test.x[-1, 0], _ink(2002))


def test_omniglot_is_shuffled_by_the_published_seed_before_the_split(tmp_path: Path) -> None:
    kind = drawings(tmp_path)
    train, fit, valid = (omniglot.load(Root(folder=tmp_path), split, "", kind) for split in ("train", "fit", "valid"))
    order = np.random.RandomState(123).permutation(45)
    assert torch.equal(fit.x, train.x[order[:40]])
    assert torch.equal(valid.x, train.x[order[40:]])
    assert (omniglot.OMNIGLOT.rows["train"] - omniglot.OMNIGLOT.held_out, omniglot.SHUFFLE_SEED) == (23000, 123)


def test_chardata_is_turned_upright_and_comes_first(tmp_path: Path) -> None:
    kind = drawings(tmp_path)
    train, test = noise(45, 28, 28, seed=1), noise(14, 28, 28, seed=2)
    # Columns of pictures, each picture column by column, as MATLAB keeps them
    columns = {name: x.transpose(0, 2, 1).reshape(-1, 784).T / 255 for name, x in (("data", train), ("testdata", test))}
    targets = {"target": np.eye(50)[np.arange(45)].T, "testtarget": np.eye(50)[np.arange(14)].T}
    (tmp_path / "omniglot").mkdir()
    scipy.io.savemat(tmp_path / "omniglot/chardata.mat", {**columns, **targets})
    images = omniglot.load(Root(folder=tmp_path), "train", kind=kind)
    np.testing.assert_array_equal(images.x[:, 0], train)
    assert images.y.tolist() == list(range(45))
    assert "Burda's chardata.mat" in images.what
    np.testing.assert_array_equal(omniglot.load(Root(folder=tmp_path), "test", kind=kind).x[:, 0], test)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"data": np.zeros((784, 45))}, "is not Burda's chardata.mat"),
        (dict.fromkeys(("data", "testdata"), np.full((784, 45), 3.0)), "holds no columns of 784 numbers from 0 to 1"),
        (dict.fromkeys(("data", "testdata"), np.zeros((784, 44))), "has 44 rows, it should have 45"),
    ],
)
def test_a_damaged_chardata_is_named(tmp_path: Path, content: dict[str, object], complaint: str) -> None:
    (tmp_path / "omniglot").mkdir()
    targets = dict.fromkeys(("target", "testtarget"), np.zeros((50, 45))) if "testdata" in content else {}
    scipy.io.savemat(tmp_path / "omniglot/chardata.mat", {**content, **targets})
    with pytest.raises(DamagedDataError, match=complaint):
        omniglot.load(Root(folder=tmp_path), "test", kind=drawings(tmp_path))


def test_the_packed_file_gives_its_rows(tmp_path: Path) -> None:
    kind = drawings(tmp_path)
    train, test = noise(45, 28, 28), noise(14, 28, 28)
    (tmp_path / "omniglot").mkdir()
    path = tmp_path / "omniglot/omniglot28.npz"
    np.savez(path, train=train, test=test, train_alphabet=np.ones(45), test_alphabet=np.zeros(14), alphabets=["A", "B"])
    kind = replace(kind, digests={**kind.digests, path.name: digest(path, "sha256")})
    images = omniglot.load(Root(folder=tmp_path), "test", kind=kind)
    np.testing.assert_array_equal(images.x[:, 0], test)
    assert images.classes == ("A", "B")
    assert omniglot.load(Root(folder=tmp_path), "train", kind=kind).y.unique().tolist() == [1]


def test_drawings_are_counted_and_missing_ones_named(tmp_path: Path) -> None:
    kind = drawings(tmp_path)
    (tmp_path / "omniglot-py/images_evaluation/Angelic/character02/0001_07.png").unlink()
    with pytest.raises(DamagedDataError, match=r"images_evaluation has 19 rows, it should have 20"):
        omniglot.load(Root(folder=tmp_path), "train", kind=kind)
    (tmp_path / "omniglot-py/images_evaluation").rename(tmp_path / "gone")
    with pytest.raises(MissingDataError, match=r"no folder .*images_evaluation, and no Omniglot file"):
        omniglot.load(Root(folder=tmp_path), "train", kind=kind)
    with pytest.raises(ValueError, match=r"form must be one of chardata, packed, drawings.*got 'png'"):
        omniglot.load(Root(folder=tmp_path), "train", "png", kind)


# Binary pictures


def _static(tmp_path: Path) -> tuple[dict[str, np.ndarray], binarized.Static]:  # type: ignore[type-arg]
    parts = {part: noise(rows, 784, seed=rows) % 2 for part, rows in (("train", 6), ("valid", 3), ("test", 4))}
    return parts, binarized.Static(rows=tuple((part, len(x)) for part, x in parts.items()), digest="", mirror="")


def test_static_binarization_is_read_from_the_packed_file(tmp_path: Path) -> None:
    parts, source = _static(tmp_path)
    (tmp_path / "mnist/binarized").mkdir(parents=True)
    shaped = {part: x.reshape(-1, 28, 28) for part, x in parts.items()}
    np.savez(tmp_path / "mnist/binarized/binarized_mnist.npz", **shaped, test_label_matched=np.arange(4))
    root = Root(folder=tmp_path)
    train = binarized.static(root, "train", source)
    np.testing.assert_array_equal(train.x[:, 0], np.concatenate([shaped["train"], shaped["valid"]]))
    assert train.y.tolist() == [-1] * 9
    np.testing.assert_array_equal(binarized.static(root, "fit", source).x[:, 0], shaped["train"])
    np.testing.assert_array_equal(binarized.static(root, "valid", source).x[:, 0], shaped["valid"])
    assert binarized.static(root, "test", source).y.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n", ""])
def test_static_binarization_is_read_from_text(tmp_path: Path, end: str) -> None:
    parts, source = _static(tmp_path)
    (tmp_path / "BinarizedMNIST/raw").mkdir(parents=True)
    path = tmp_path / "BinarizedMNIST/raw/binarized_mnist_test.amat"
    path.write_bytes(((end or "\n").join(" ".join(map(str, row)) for row in parts["test"]) + end).encode())
    test = binarized.static(Root(folder=tmp_path), "test", source)
    np.testing.assert_array_equal(test.x.flatten(1), parts["test"])
    with pytest.raises(MissingDataError, match=r"neither as binarized_mnist.npz nor as binarized_mnist_valid.amat"):
        binarized.static(Root(folder=tmp_path), "valid", source)
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    with pytest.raises(DamagedDataError, match="does not hold 784 zeros and ones a line"):
        binarized.static(Root(folder=tmp_path), "test", source)


def test_a_density_set_is_asked_for_by_name_and_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = digits(tmp_path, "MNIST/raw")
    monkeypatch.setattr(mnist, "MNIST", kind)
    root = Root(folder=tmp_path)
    grey, draw = binarized.load(root, "mnist", "test", "dynamic")
    assert (grey.x.max() > 1, draw) == (True, binarized.draw)
    assert binarized.load(root, "mnist", "test", "threshold")[1] is binarized.threshold
    with pytest.raises(ValueError, match="way='static' is for MNIST alone, got name='omniglot'"):
        binarized.load(root, "omniglot", "test", "static")
    with pytest.raises(ValueError, match="way must be one of dynamic, static, threshold, got 'grey'"):
        binarized.load(root, "mnist", "test", "grey")
    with pytest.raises(ValueError, match="name must be one of mnist, fashion-mnist, omniglot, got 'cifar'"):
        binarized.load(root, "cifar", "test", "dynamic")


def test_pixels_are_drawn_with_their_grey_level_as_probability() -> None:
    # n = 40,000 for each of the 256 levels, seed 0, 4.5 standard errors at the two sure levels and between
    n = 40000
    grey = torch.arange(256, dtype=torch.uint8).repeat(n, 1)
    means = binarized.draw(grey, torch.Generator().manual_seed(0)).double().mean(0)
    p = torch.arange(256).double() / 255
    assert means[0] == 0
    assert means[255] == 1
    assert ((means - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt()).all()


def test_pixels_are_drawn_independently_and_anew() -> None:
    # Neighbours share one draw of the generator: their product is on average the product of their averages.
    # n = 200,000, seed 1, 4.5 standard errors of a mean of plus and minus one
    n = 200000
    first, second = (
        binarized.draw(torch.full((n, 5), 128, dtype=torch.uint8), torch.Generator().manual_seed(seed)).double()
        for seed in (1, 2)
    )
    signs = 2 * first - 1 - (2 * 128 / 255 - 1)
    together = signs.T @ signs / n
    assert (together - together.diag().diag()).abs().max() < 4.5 / n**0.5
    assert not torch.equal(first, second)


# Photographs


def test_a_folder_a_class_is_listed_in_the_order_of_names(tmp_path: Path) -> None:
    photographs(tmp_path / "set/train", {"b": [(4, 4)], "a/inner": [(4, 4), (5, 5)], "a": [(6, 6)]})
    (tmp_path / "set/train/a/notes.txt").write_text("no picture")
    listing = folder.find(Root(folder=tmp_path), "set", "train")
    assert listing.classes == ("a", "b")
    assert list(listing.files) == ["a/000.png", "a/inner/000.png", "a/inner/001.png", "b/000.png"]
    assert listing.y.tolist() == [0, 0, 0, 1]
    assert folder.find(Root(folder=tmp_path), "set", "train", classes=("a", "b"), rows=4).what.startswith(
        "set/train, 4"
    )
    with pytest.raises(DamagedDataError, match="has 4 rows, it should have 5"):
        folder.find(Root(folder=tmp_path), "set", "train", rows=5)
    with pytest.raises(DamagedDataError, match="has other classes than it should, among them b, c"):
        folder.find(Root(folder=tmp_path), "set", "train", classes=("a", "c"))
    with pytest.raises(MissingDataError, match=r"val is not there or holds no folder a class"):
        folder.find(Root(folder=tmp_path), "set", "val")
    (tmp_path / "set/train/empty").mkdir()
    with pytest.raises(DamagedDataError, match="has no picture in empty"):
        folder.find(Root(folder=tmp_path), "set", "train")


def test_the_middle_of_a_picture_is_read_and_no_more(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    none = torch.empty(folder.TRIES, 4)
    read = folder.read(tmp_path / "wide.png", 8, folder.Middle(), none)
    np.testing.assert_array_equal(read[:, 1:-1], 200)
    assert (read[:, [0, -1]] > 160).all()  # shrinking by 2.5, the filter sees 2.5 - 1.25 columns beyond the edge
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(folder.read(tmp_path / "grey.png", 8, folder.Middle(0.5), none), 200)


def test_a_large_jpeg_is_decoded_small_at_the_right_place(tmp_path: Path) -> None:
    slope = np.linspace(0, 255, 800).astype(np.uint8)
    Image.fromarray(np.broadcast_to(slope, (600, 800)).copy()).save(tmp_path / "slope.jpg", quality=95)
    small = folder.read(tmp_path / "slope.jpg", 64, folder.Middle(), torch.empty(0)).astype(float)
    # The middle 600 of 800 columns, in 64 steps of 9.375; the value at a step's middle
    expected = 255 / 799 * (100 + 9.375 * (np.arange(64) + 0.5) - 0.5)
    assert np.abs(small[:, :, 0] - expected).max() < 1.5
    with Image.open(tmp_path / "slope.jpg") as picture:
        drafted, box = folder._decoded(picture, (100.0, 0.0, 700.0, 600.0), 64)
    assert drafted.size == (200, 150)  # a quarter; an eighth would be 75 high, less than twice 64
    assert box == (25.0, 0.0, 175.0, 150.0)


def test_a_random_part_keeps_within_the_picture_and_its_ranges() -> None:
    crop = folder.Anywhere()
    generator = torch.Generator().manual_seed(0)
    for width, height in ((300, 200), (64, 64), (17, 90)):
        for _ in range(200):
            left, top, right, bottom = crop(width, height, torch.rand(folder.TRIES, 4, generator=generator))
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            wide, tall = right - left, bottom - top
            assert 0.7 < wide / tall < 1.45  # 3/4 to 4/3, before sides are rounded to pixels
            assert 0.06 < wide * tall / (width * height) <= 1


def test_a_part_that_fits_nowhere_gives_way_to_the_middle() -> None:
    assert folder.Anywhere(area=(1.0, 1.0))(400, 100, torch.rand(folder.TRIES, 4)) == pytest.approx(
        (200 - 100 * 2 / 3, 0.0, 200 + 100 * 2 / 3, 100.0)
    )


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff\xe0 cut"])
def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(DamagedDataError, match=r"bad\.jpg cannot be decoded"):
        folder.read(tmp_path / "bad.jpg", 8, folder.Middle(), torch.empty(0))


# Downloads


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT under /right and what may go wrong under other names."""

    content = bytes(range(256)) * 40

    def do_GET(self) -> None:
        if self.path.startswith("/gone"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[:100] if self.path.startswith("/cut") else self.content)

    def log_message(self, *arguments: object) -> None:
        del arguments


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def _right() -> str:
    import hashlib

    return hashlib.md5(Handler.content).hexdigest()


def test_the_first_address_with_the_right_file_is_taken(tmp_path: Path, server: str) -> None:
    path = tmp_path / "folder/file"
    fetch([f"{server}/gone", f"{server}/cut", f"{server}/right"], path, _right())
    assert path.read_bytes() == Handler.content
    assert [member.name for member in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "checksum", "reason"),
    [
        ("gone", "", "HTTP Error 404"),
        ("cut", "", "it ended after 100 of 10240 bytes|IncompleteRead"),
        ("right", "0" * 32, f"what came has the md5 {_right()}, the right file has {'0' * 32}"),
    ],
)
def test_a_download_that_fails_leaves_nothing_behind(
    tmp_path: Path, server: str, name: str, checksum: str, reason: str
) -> None:
    with pytest.raises(MissingDataError, match=reason) as caught:
        fetch([f"{server}/{name}"], tmp_path / "file", checksum)
    assert list(tmp_path.iterdir()) == []
    assert "no network" not in str(caught.value)


def test_without_a_network_it_says_so(tmp_path: Path, server: str) -> None:
    port = int(server.rpartition(":")[2])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        free = closed.server_port
    assert free != port
    with pytest.raises(MissingDataError, match=r"this machine seems to have no network(?s:.)*Bring the file here"):
        fetch([f"http://127.0.0.1:{free}/right"], tmp_path / "file", _right())


def test_what_is_missing_is_fetched_if_asked_into_the_usual_layout(tmp_path: Path) -> None:
    kind = digits(tmp_path / "elsewhere", "MNIST/raw")
    kind = replace(kind, mirrors=(f"{(tmp_path / 'elsewhere/MNIST/raw').as_uri()}/",))
    home = tmp_path / "home"
    images = mnist.load(Root(folder=home, download=True), "train", kind)
    assert torch.equal(images.x, torch.from_numpy(noise(12, 1, 4, 4, seed=12)))
    fetched = sorted(path.name for path in (home / "MNIST/raw").iterdir())
    assert fetched == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert len(mnist.load(Root(folder=home), "fit", kind)) == 10


def test_an_archive_is_fetched_unpacked_and_its_members_checked(tmp_path: Path) -> None:
    kind = batches(tmp_path, "archive")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "small.tar.gz").rename(tmp_path / "elsewhere/small.tar.gz")
    with pytest.raises(MissingDataError, match=r"CIFAR-10: neither cifar-10-batches-py(?s:.)*--download"):
        cifar10.load(Root(folder=tmp_path), "test", kind)
    assert len(cifar10.load(Root(folder=tmp_path, download=True), "test", kind)) == 6
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    (tmp_path / cifar10.PICKLES / "data_batch_1").unlink()
    with pytest.raises(MissingDataError, match=r"no CIFAR-10 file data_batch_1(?s:.)*or move cifar-10-batches-py away"):
        cifar10.load(Root(folder=tmp_path, download=True), "train", kind)
    unpack(tmp_path / "small.tar.gz", tmp_path / cifar10.PICKLES)  # does not mix two of them
    assert not (tmp_path / cifar10.PICKLES / "data_batch_1").exists()


def test_two_processes_may_unpack_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches(tmp_path, "archive")

    def slow(archive: Path, aside: Path) -> None:
        monkeypatch.undo()
        unpack(archive, tmp_path / cifar10.PICKLES)  # the other process, from first to last
        (aside / cifar10.PICKLES).mkdir()

    monkeypatch.setattr("hardgrad_lab.data.download._extract", slow)
    unpack(tmp_path / "small.tar.gz", tmp_path / cifar10.PICKLES)
    assert (tmp_path / cifar10.PICKLES / "test_batch").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_archive_without_its_folder_or_with_a_way_out_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(__file__, arcname="../outside")
    with pytest.raises(DamagedDataError, match=r"a\.tar\.gz cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "inner/folder")
    assert not (tmp_path / "outside").exists()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.write(__file__, "other/file")
    with pytest.raises(DamagedDataError, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "inner/folder")
    assert list((tmp_path / "inner").iterdir()) == []


def test_a_damaged_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(DamagedDataError, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

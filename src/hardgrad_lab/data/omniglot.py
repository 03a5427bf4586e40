"""Omniglot at 28 x 28: Burda's file, a packed set of the same rows, or the original drawings in torchvision's layout.

32,460 drawings: 1,623 characters of 50 alphabets by 20 drawers. Rows, whatever they are read from: 24,345 for training
and 8,070 for tests, white ink on black, upright.

Splits, as in the program of Burda et al. 2016 (IWAE), which REBAR and RELAX follow:
- ``train``: all 24,345, in the order of the file;
- ``fit`` and ``valid``: the first 23,000 and the last 1,345 after a shuffle by ``numpy.random.RandomState(123)``;
- ``test``: 8,070.

Forms, in the order in which they are looked for:
- ``chardata``: Burda's ``chardata.mat``, the published rows. It stores columns before rows, so pictures are turned. Its
  grey levels are fractions; here they are rounded to 1/255.
- ``packed``: ``omniglot28.npz``. Training rows are drawers 1 to 15, test rows 16 to 20 but for drawer 20 of Glagolitic,
  which gives the published counts; a pixel is the share of ink in its square of 3.75 x 3.75 original pixels, times 255,
  rounded. **Which drawers Burda's test rows are and how his were scaled is not known**, so bounds measured on it are
  near the published ones in kind, and not comparable to the decimal.
- ``drawings``: ``omniglot-py/images_background`` and ``images_evaluation``, which give the same rows as ``packed``.

Source: Lake, Salakhutdinov, Tenenbaum 2015, Human-level concept learning; Burda, Grosse, Salakhutdinov 2016,
arXiv:1509.00519.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardgrad_lab.data import samples
from hardgrad_lab.data.download import unpack
from hardgrad_lab.data.errors import DamagedDataError, MissingDataError
from hardgrad_lab.data.images import SPLITS, Images, SplitError, require_rows, split_tail, tensor
from hardgrad_lab.data.root import File, Root

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
FORMS = ("chardata", "packed", "drawings")
FOLDER = "omniglot-py"
PARTS = ("images_background", "images_evaluation")
SIDE = 28
SHUFFLE_SEED = 123  # Burda's
LAST_TRAINING_DRAWER = 15
SHORT = ("Glagolitic", 20)  # the alphabet and the drawer that the published test set lacks
CURE = "move it away and put a good copy there, or let it be fetched with --download"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A set of drawings as Omniglot's.

    Args:
        rows: of the two files' parts, ``train`` and ``test``.
        held_out: of the training rows, how many are for validation.
        characters: in the two folders of drawings.
        drawers: of every character.
        digests: checksums by file name.
        mirrors: addresses that end in a slash, by file name.
    """

    rows: Mapping[str, int]
    held_out: int
    characters: tuple[int, int]
    drawers: int
    digests: Mapping[str, str]
    mirrors: Mapping[str, str]

    def file(self, name: str, *folders: str) -> File:
        """Return a file by its name and the folders it may be in."""
        places = {f"{folder}/{name}": self.digests[name] for folder in folders}
        urls = [f"{self.mirrors[name]}{name}"] if name in self.mirrors else []
        return File(what=f"Omniglot file {name}", digests=places, urls=urls, saved=next(iter(places)))

    def chardata(self) -> File:
        """Return Burda's file."""
        return self.file("chardata.mat", "omniglot", "OMNIGLOT", FOLDER)

    def packed(self) -> File:
        """Return the packed file."""
        return self.file("omniglot28.npz", "omniglot", FOLDER)


OMNIGLOT = Kind(
    rows={"train": 24345, "test": 8070},
    held_out=1345,
    characters=(964, 659),
    drawers=20,
    digests={
        "chardata.mat": "",  # none is published
        "omniglot28.npz": "5e3621f4b2a0394938c254ab3dd42fdf57d896759f8ddbe489c1276144991a3f",
        "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
    },
    mirrors={
        "chardata.mat": "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/",
        "images_background.zip": "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
        "images_evaluation.zip": "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    },
)


@dataclass(frozen=True)
class Rows:
    """Both parts as a reader finds them: pictures (n, 28, 28), alphabets (n,), alphabets' names, and what they are."""

    x: Mapping[str, Bytes]
    y: Mapping[str, Any]
    alphabets: tuple[str, ...]
    what: str


def load(root: Root, split: str, form: str = "", kind: Kind = OMNIGLOT) -> Images:
    """Return one split.

    Args:
        root: where the files are, or `samples` of them. If none is there and downloads are allowed, Burda's file is
            fetched.
        split: ``train``, ``fit``, ``valid`` or ``test``; see the top of this module.
        form: ``chardata``, ``packed`` or ``drawings``; empty takes the first that is there.
        kind: the set.

    Returns:
        x (n, 1, 28, 28), 255 for ink; y (n,), the alphabet.

    Raises:
        MissingDataError: if a file is missing.
        DamagedDataError: if one is not what it should be.
        SplitError: if there is no such split.
        ValueError: if there is no such form.
    """
    if split not in SPLITS:
        raise SplitError(split)
    if form not in ("", *FORMS):
        raise ValueError(f"form must be one of {', '.join(FORMS)}, or empty for the first that is there, got {form!r}")
    there = form or _form_there(root, kind)
    if not there and samples.stand_in(root, []):
        return samples.load(root, "Omniglot", split)
    rows = _READERS[there or FORMS[0]](root, kind)
    part = "test" if split == "test" else "train"
    x, y = tensor(rows.x[part]).unsqueeze(1), torch.from_numpy(np.array(rows.y[part], np.int64))
    images = Images(x=x, y=y, classes=rows.alphabets, what=f"Omniglot, {len(x):,} {part} rows of {rows.what}")
    if split in ("train", "test"):
        return images
    order = torch.from_numpy(np.random.RandomState(SHUFFLE_SEED).permutation(len(x)))
    return split_tail(images.take(order, f"shuffled by seed {SHUFFLE_SEED}"), split, kind.held_out)


def _form_there(root: Root, kind: Kind) -> str:
    there = {
        "chardata": root.has(kind.chardata()),
        "packed": root.has(kind.packed()),
        "drawings": (root.path() / FOLDER / PARTS[0]).is_dir(),
    }
    return next((form for form in FORMS if there[form]), "")


def _from_chardata(root: Root, kind: Kind) -> Rows:
    from scipy.io import loadmat  # only this file needs it

    path = root.get(kind.chardata())
    try:
        content = loadmat(path)
        x = {"train": content["data"], "test": content["testdata"]}
        y = {"train": content["target"].argmax(0), "test": content["testtarget"].argmax(0)}
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise DamagedDataError(f"data: {path} is not Burda's chardata.mat ({error}); {CURE}") from None
    for part, columns in x.items():
        if columns.ndim != 2 or len(columns) != SIDE * SIDE or columns.min() < 0 or columns.max() > 1:
            raise DamagedDataError(f"data: {path} holds no columns of {SIDE * SIDE} numbers from 0 to 1; {CURE}")
        require_rows(f"{path}, {part},", columns.shape[1], kind.rows[part], CURE)
        # A column is a picture, and within it the pixels go down first
        pictures = columns.T.reshape(-1, SIDE, SIDE).transpose(0, 2, 1)
        x[part] = np.rint(255 * pictures.astype(np.float64)).astype(np.uint8)
    return Rows(x, y, (), "Burda's chardata.mat")


def _from_packed(root: Root, kind: Kind) -> Rows:
    path = root.get(kind.packed())
    content = np.load(path)
    x = {part: content[part] for part in kind.rows}
    for part, pictures in x.items():
        require_rows(f"{path}, {part},", len(pictures), kind.rows[part], CURE)
    names = tuple(str(name) for name in content["alphabets"])
    return Rows(x, {part: content[f"{part}_alphabet"] for part in kind.rows}, names, _DIVIDED)


def _from_drawings(root: Root, kind: Kind) -> Rows:
    from PIL import Image  # only drawings need it

    drawings = sorted(_drawings(root, kind))
    alphabets = [alphabet for _, alphabet in sorted({(drawing.part, drawing.alphabet) for drawing in drawings})]
    x: dict[str, list[Bytes]] = {"train": [], "test": []}
    y: dict[str, list[int]] = {"train": [], "test": []}
    for drawing in drawings:
        if (drawing.alphabet, drawing.drawer) == SHORT:
            continue
        part = "train" if drawing.drawer <= LAST_TRAINING_DRAWER else "test"
        try:
            with Image.open(drawing.path) as picture:
                ink = 1.0 - np.asarray(picture.convert("1"), np.float64)
        except OSError as error:
            raise DamagedDataError(f"data: {drawing.path} cannot be decoded ({error}); {CURE}") from None
        x[part].append(shrink(ink))
        y[part].append(alphabets.index(drawing.alphabet))
    for part, pictures in x.items():
        require_rows(f"the drawings' {part} part", len(pictures), kind.rows[part], CURE)
    return Rows({part: np.stack(x[part]) for part in x}, y, tuple(alphabets), _DIVIDED)


_READERS = {"chardata": _from_chardata, "packed": _from_packed, "drawings": _from_drawings}
_DIVIDED = "the original drawings, averaged over squares (drawers 1 to 15 train, 16 to 20 test; not Burda's division)"


@dataclass(frozen=True, order=True)
class _Drawing:
    part: int  # the background's alphabets come first
    alphabet: str
    character: int
    drawer: int
    path: Path


def _drawings(root: Root, kind: Kind) -> Iterator[_Drawing]:
    """Find ALPHABET/characterNN/NNNN_DD.png in both folders, and count them."""
    for number, (part, characters) in enumerate(zip(PARTS, kind.characters, strict=True)):
        folder = root.path() / FOLDER / part
        if not folder.is_dir():
            try:
                archive = root.get(kind.file(f"{part}.zip", FOLDER))
            except MissingDataError as error:
                raise MissingDataError(f"data: there is no folder {folder}, and {str(error)[6:]}") from None
            unpack(archive, folder)
        paths = list(folder.glob("*/character*/*.png"))
        require_rows(str(folder), len(paths), characters * kind.drawers, CURE)
        for path in paths:
            character, drawer = path.parent.name.removeprefix("character"), path.stem.rpartition("_")[2]
            yield _Drawing(number, path.parent.parent.name, int(character), int(drawer), path)


def shrink(ink: np.ndarray[Any, np.dtype[np.float64]], side: int = SIDE) -> Bytes:
    """Return a picture of ``side`` x ``side``, each pixel the mean of the square it covers, as bytes.

    Squares need not be of whole pixels: one that is covered in part counts in part.

    Args:
        ink: (height, width), from 0 to 1.
        side: pixels of what comes out.

    Returns:
        (side, side), round(255 * mean).

    Example:
        >>> shrink(np.eye(3), side=2)
        array([[142,  28],
               [ 28, 142]], dtype=uint8)
    """
    down, across = (_shares(length, side) for length in ink.shape)
    pixels: Bytes = np.rint(255 * (down @ ink @ across.T)).astype(np.uint8)
    return pixels


def _shares(length: int, side: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return (side, length): which share of new pixel i is covered by old pixel j."""
    edges = np.arange(side + 1) * (length / side)
    low, high = edges[:-1, None], edges[1:, None]
    old = np.arange(length)
    covered = np.maximum(np.minimum(high, old + 1) - np.maximum(low, old), 0)
    shares: np.ndarray[Any, np.dtype[np.float64]] = covered * (side / length)
    return shares

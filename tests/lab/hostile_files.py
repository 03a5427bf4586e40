"""Damaged and hostile files, drawn from a seed: what a cut download, a bad disk or a stranger may hand to a command.

``PYTHONPATH=tests python -m lab.hostile_trials FOLDER`` tries all 2,000 and says what came of them.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

CANARY = "canary_of_trust"  # a module beside the folder; importing it leaves a file
Maker = Callable[[random.Random, bytes], bytes]


class Runs:
    """An object whose unpickling runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("ran", "w")


def cut(draw: random.Random, whole: bytes) -> bytes:
    """Return the beginning of a file."""
    return whole[: draw.randrange(len(whole))]


def flip(draw: random.Random, whole: bytes) -> bytes:
    """Return a file with a few bytes changed."""
    changed = bytearray(whole)
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def splice(draw: random.Random, whole: bytes) -> bytes:
    """Return a file in which a piece was left out, doubled, or replaced by noise."""
    a, b = sorted(draw.randrange(len(whole) + 1) for _ in range(2))
    piece = draw.choice([b"", 2 * whole[a:b], draw.randbytes(b - a)])
    return whole[:a] + piece + whole[b:]


def noise(draw: random.Random, whole: bytes) -> bytes:
    """Return bytes that are no file of any kind."""
    return draw.choice(
        [b"", b"\0" * 100, draw.randbytes(300), b"\xff\xfe" + whole[:99], b"[" * 100_000, b'{"a":' * 9999]
    )


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 10**9, 10**18, 10**400, -(10**400), 0.5, 1e308, -1e-320, 2**63),
    *(
        "",
        "x",
        "mlp",
        "../../escaped",
        "/tmp/escaped",
        "..\\escaped",
        "a\0b",
        "\x1b[31mred",
        "NaN",
        "inf",
        "-inf",
        "\n",
    ),
    *(f"{CANARY}:go", f"{CANARY}.sub:go", "os:system", "builtins:exec", "nowhere:go", ":", "evil:", "a b:c"),
    *([], {}, [[]], [0], [1, 1], [-1], [10**9], [10**9, 10**9], [1] * 3000, [None], ["x"], {"mean": [1], "scale": [0]}),
    *([-1, 0, 1], [1, 0, -1], [0.0, 0.0], ["-inf", 0, "inf"], [[0, 1], [2]], {"a": {"b": [1]}}),
]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values in a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, each in inside for place in places(each, (*at, name)))]


def mutant(draw: random.Random, whole: bytes) -> bytes:
    """Return JSON in which one to three values are others, left out, or doubled."""
    content = copy.deepcopy(json.loads(whole))
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        at = draw.choice([place for place in places(content) if place] or [()])
        if not at:
            return json.dumps(draw.choice(VALUES)).encode()
        holder = content
        for name in at[:-1]:
            holder = holder[name]
        deed = draw.randrange(8)
        if deed == 0:
            del holder[at[-1]]
        elif deed == 1 and isinstance(holder, list):
            holder.insert(at[-1], holder[at[-1]])
        else:
            holder[at[-1]] = draw.choice(VALUES)
    return json.dumps(content, allow_nan=True).replace('"NaN"', "NaN").encode()


AIMED: dict[str, list[Any]] = {
    "branch": [f"{CANARY}:go", f"{CANARY}.sub:go", "os:system", "mlp:", ""],
    "hidden": [[10**9], [10**9, 10**9], [65536, 65536], [1] * 10**5, [0], [-4], [4.5], [[4]], ["4"]],
    "points": [[0, 0], [1, -1], list(range(10**5)), [None, 1], ["-inf", "inf"], [-1, 10**400]],
    "window": [10**9, 0, -1, 2, 1.5, True],
    "columns": [10**9, 0, 1],
    "out_features": [10**9, 0, 2],
    "raw": [10**9, -1, 1],
}


def aimed(draw: random.Random, whole: bytes) -> bytes:
    """Return a description in which what decides a network asks for code, for too much, or for what cannot be."""
    said = json.loads(whole)
    name = draw.choice(sorted(AIMED))
    value = draw.choice(AIMED[name])
    for part in draw.choice([["architecture"], ["architecture", "options"], ["options"]]):
        if name in said[part]:
            said[part][name] = value
    if name == "points" and draw.randrange(2):
        said["points"] = value
    return json.dumps(said).encode()


def header(draw: random.Random, whole: bytes) -> bytes:
    """Return a safetensors file whose header lies."""
    size = struct.unpack("<Q", whole[:8])[0]
    said, rest = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    name = draw.choice(sorted(said.keys() - {"__metadata__"}))
    entry = said[name]
    wrong: list[Any] = [
        {**entry, "shape": [10**9, 10**9]}, {**entry, "shape": [0, 10**18]}, {**entry, "dtype": "F16"},
        {**entry, "data_offsets": [0, 10**15]}, {**entry, "data_offsets": [5, 1]}, {**entry, "shape": [-1]},
        {**entry, "dtype": "__import__"}, [], None, {**entry, "shape": "x"}, {**entry, "shape": entry["shape"][::-1]},
    ]  # fmt: skip
    said[draw.choice([name, name, "../escaped", "branches.99999999.0.weight"])] = draw.choice(wrong)
    text = json.dumps(said).encode()
    return struct.pack("<Q", draw.choice([len(text), len(text), 2**63, 2**40, 0, len(text) + 5])) + text + rest


def checkpoint(draw: random.Random, whole: bytes) -> bytes:
    """Return a checkpoint that is a program, a bomb, another program's, or this one's with another content."""
    import torch

    file = io.BytesIO()
    kind = draw.randrange(5)
    if kind == 0:
        torch.save({"format": "hardgrad-checkpoint-1", "state": Runs()}, file)
    elif kind == 1:
        return pickle.dumps(Runs())
    elif kind == 2:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("archive/data.pkl", b"\0" * 5_000_000)
            packed.writestr("../escaped", b"x")
    else:
        content = torch.load(io.BytesIO(whole), weights_only=True)
        state = content["state"]
        wrong = [None, 7, -1, 1e400, "x", [], {}, torch.zeros(3), torch.zeros(1).expand(10**9), [[]], True]
        holder = draw.choice([content, state, state, state["model"]])
        holder[draw.choice(sorted(holder))] = draw.choice(wrong)
        torch.save(content, file)
    return file.getvalue()


def table(draw: random.Random, whole: bytes) -> bytes:
    """Return a CSV file with odd content."""
    lines = whole.decode().splitlines()
    row = draw.randrange(len(lines))
    odd = [
        "",
        "x",
        "1e999",
        "nan",
        "=cmd()",
        "\0",
        '"',
        '"a\nb"',
        "1,2,3",
        "é",
        "\x1b[31m",
        "../x",
        "9" * 5000,
        "1;2",
        "-",
    ]
    lines[row] = ",".join(
        draw.choice([*cells, *odd]) for cells in [lines[row].split(",")] * draw.choice([1, 2, 2, 3, 9])
    )
    encoding = draw.choice(["utf-8", "utf-8", "utf-16", "latin-1", "utf-8-sig"])
    return draw.choice(["\n", "\n", "\r\n", "\r"]).join(lines).encode(encoding, errors="replace")


def sound(draw: random.Random, whole: bytes) -> bytes:
    """Return a WAV file whose header lies."""
    changed = bytearray(whole)
    at, form = draw.choice(
        [(4, "<I"), (16, "<I"), (20, "<H"), (22, "<H"), (24, "<I"), (28, "<I"), (32, "<H"), (34, "<H")]
    )
    struct.pack_into(form, changed, at, draw.choice([0, 1, 3, 2**15, 2 ** (8 * struct.calcsize(form)) - 1]))
    return bytes(changed)


DAMAGES: list[Maker] = [cut, flip, splice, noise]
# How many files of each kind, and what makes them: damage to any file, and what is known of the kind.
KINDS: dict[str, tuple[int, list[Maker]]] = {
    "model.json": (500, [aimed, aimed, mutant, mutant, *DAMAGES]),
    "weights.safetensors": (350, [header, header, header, *DAMAGES]),
    "record.json": (350, [mutant, mutant, mutant, *DAMAGES]),
    "checkpoint.pt": (250, [checkpoint, checkpoint, *DAMAGES]),
    "table.csv": (200, [table, table, table, *DAMAGES]),
    "table.parquet": (150, DAMAGES),
    "sound.wav": (200, [sound, sound, *DAMAGES]),
}
ALL = sum(count for count, _ in KINDS.values())


def hostile(kind: str, number: int, whole: bytes) -> bytes:
    """Return one file of a kind; equal numbers give equal files."""
    draw = random.Random(f"{kind} {number}")
    makers = KINDS[kind][1]
    return makers[number % len(makers)](draw, whole)

"""Inventories for intersphinx, written from the lists of names in docs/inventories: the build asks no network.

A line of such a list is ``name  role  address``: ``$`` in the address stands for the name, and the first line is the
address of all. Intersphinx reads Sphinx's own form of it, a header and the lines compressed.
"""

from __future__ import annotations

import zlib
from pathlib import Path


def read(listed: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the address of a project's pages and its entries: name, role, address."""
    lines = [line.split(" # ")[0].strip() for line in listed.read_text(encoding="utf-8").splitlines()]
    base, *rest = (line for line in lines if line)
    entries = [tuple(line.split()) for line in rest]
    wrong = [entry for entry in entries if len(entry) != 3]
    if wrong:
        raise ValueError(f"{listed.name}: a line is name, role, address; got {wrong[0]}")
    return base, [(name, role, address) for name, role, address in entries]


def write(lists: Path, out: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory for each list and return intersphinx's mapping."""
    out.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for listed in sorted(lists.glob("*.txt")):
        base, entries = read(listed)
        lines = "".join(f"{name} {role} 1 {address.replace('$', name)} -\n" for name, role, address in entries)
        head = f"# Sphinx inventory version 2\n# Project: {listed.stem}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        made = out / f"{listed.stem}.inv"
        made.write_bytes(head.encode() + zlib.compress(lines.encode()))
        mapping[listed.stem] = (base, str(made))
    return mapping

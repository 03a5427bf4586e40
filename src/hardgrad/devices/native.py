"""Loops along time as one C text: the machine's own compiler makes it when it is first needed, and it is kept.

C by ``ctypes`` asks least of a user: no build system, no header of torch, no compiler for a wheel. ``cpp_extension``
wants ninja and half a minute, inductor's loops compile for longer the longer they are, and a scan in parallel adds in
another order, so chunks are not the whole bit for bit. Without a compiler Python does the same arithmetic in its order.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

# Never -ffast-math, and no fused multiply-add: Python must come to the same bits.
_FLAGS = ["-O3", "-ffp-contract=off", "-fPIC", "-shared"]


@functools.cache
def native(source: str, name: str) -> ctypes.CDLL | None:
    """Return a C text as a library, compiled once a machine, or None where nothing can compile it.

    Kept in the user's cache folder under a hash of the text and the compiler; written aside and renamed. With
    ``HARDGRAD_NATIVE=0`` in the environment it is None and nothing is said.

    Args:
        source: C99 without dependencies, the same for all machines.
        name: of the file, and in the warning.
    """
    if os.environ.get("HARDGRAD_NATIVE") == "0":
        return None
    try:
        found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), "cc")
        command = shlex.split(os.environ.get("CC", "")) or [found]
        stamp = os.stat(shutil.which(command[0]) or command[0])
        text = f"{source}\0{command}\0{_FLAGS}\0{stamp.st_size}\0{stamp.st_mtime}\0{platform.machine()}"
        folder, stem = _folder(), f"{name}-{_mark(text.encode())}"
        # Each file names what is in it: loading one that was cut short or changed would end the process.
        kept = (file for file in folder.glob(f"{stem}-*.so") if file.stem == f"{stem}-{_mark(file.read_bytes())}")
        return ctypes.CDLL(str(next(kept, None) or _compile(command, source, folder, stem)))
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # ValueError: of quotes in CC
        lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
        said = next((line for line in lines if "error" in line), "".join(lines[-1:]))
        warnings.warn(
            f"hardgrad: {name} runs in Python, about 80 times slower, since its C text could not be compiled "
            f"({said}); install a C compiler or name one in CC, or set HARDGRAD_NATIVE=0 to keep it so",
            stacklevel=2,
        )
        return None


def _folder() -> Path:
    """The user's cache folder; where it cannot be written to, one for this process."""
    try:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardgrad"
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(kept, os.W_OK):
            return kept
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        pass
    folder = tempfile.mkdtemp(prefix="hardgrad-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compile(command: list[str], source: str, folder: Path, stem: str) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        text, made = Path(aside, "source.c"), Path(aside, "made.so")
        text.write_text(source)
        subprocess.run([*command, *_FLAGS, str(text), "-o", str(made)], check=True, capture_output=True, text=True)
        return made.replace(folder / f"{stem}-{_mark(made.read_bytes())}.so")


def _mark(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


@functools.cache
def on_gpu(source: str, name: str, device: torch.device) -> Callable[..., Any] | None:
    """Return one kernel of the same text for NVIDIA's compiler at run time, or None where torch has no door to it."""
    try:
        with torch.cuda.device(device):
            made: Any = torch.cuda._compile_kernel
            return cast("Callable[..., Any]", made(source, name, nvcc_options=["--fmad=false"]))
    except (AttributeError, OSError, RuntimeError):
        return None


def call(function: Any, *arguments: Tensor | int) -> None:
    """Call a function of a library with contiguous tensors on the CPU as pointers, and whole numbers as long long."""
    pointers = (ctypes.c_void_p(each.data_ptr()) if isinstance(each, Tensor) else each for each in arguments)
    function(*(each if isinstance(each, ctypes.c_void_p) else ctypes.c_longlong(each) for each in pointers))

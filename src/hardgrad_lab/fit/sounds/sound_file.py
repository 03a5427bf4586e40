"""Sound files: opened, read and written; each fault is a FileFault that names the file, the rule and the cure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.rows import Array

if TYPE_CHECKING:
    import soundfile

READ = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
    *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".voc"),
)
NOT_READ = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka", ".amr", ".ape", ".wv", ".dsf", ".raw", ".pcm")
LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW")
UNKNOWN_LENGTH = 0x7FFF0000  # a size in a header from here on means that it was not known when it was written
_PROMISED = re.compile(r"^\s*(?:data|SSND|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One sound file in memory.

    Args:
        path: where it came from.
        samples: (n, C), one column a channel; full scale is 1.
        rate: samples a second.
        notes: what the user should know.
    """

    path: Path
    samples: Array
    rate: int
    notes: tuple[str, ...] = ()


def is_sound(path: Path) -> bool:
    """Return whether a path's name is a sound file's, or what it holds begins like one."""
    if path.suffix.lower() in (*READ, *NOT_READ):
        return True
    try:
        with path.open("rb") as file:
            begin = file.read(12)
    except OSError:
        return False
    forms = (b"RIFF", b"RF64", b"RIFX", b"FORM")
    return begin[:4] in (b"fLaC", b"OggS", b"caff") or (begin[:4] in forms and begin[8:] in (b"WAVE", b"AIFF", b"AIFC"))


def read_sound(path: Path, most: int | None = None) -> Sound:
    """Return a sound file with all its channels, up to ``most`` samples of each, which is said.

    Raises:
        FileFault: if the file is not there, cannot be read to its end, or has no samples or a sample that is no number.
    """
    with opened(path) as file:
        wanted = min(file.frames, most or file.frames)
        with _reading(path):
            samples: Any = file.read(wanted, dtype="float64", always_2d=True)
        if len(samples) < wanted:
            raise FileFault(_cut(path, f"{len(samples):,} of {file.frames:,} samples can be read"))
        check_numbers(path, samples, 0)
        notes = header_notes(path, file)
        if wanted < file.frames:
            long, used = (frames / file.samplerate / 60 for frames in (file.frames, wanted))
            notes += (f"{path} is {long:.3g} minutes long: its first {used:.3g}, {wanted:,} samples, are used",)
        return Sound(path=path, samples=samples, rate=int(file.samplerate), notes=notes)


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a sound file that has at least one sample, for reading."""
    import soundfile

    if not path.is_file():
        raise FileFault(f"{path} is not there" if not path.exists() else f"{path} is a folder, not a sound")
    if path.suffix.lower() in NOT_READ:
        raise FileFault(
            f"{path} cannot be read as sound, since {path.suffix} is not among the formats read ({', '.join(READ)}); "
            f"convert it: ffmpeg -i {path.name} {path.stem}.wav"
        )
    if not path.stat().st_size:
        raise FileFault(f"{path} cannot be read as sound: it is empty, 0 bytes; record or copy it again")
    with _reading(path):
        file = soundfile.SoundFile(path)
    with file:
        if not file.frames:
            size = path.stat().st_size
            raise FileFault(
                f"{path} has no samples"
                + (
                    f", though it is {size:,} bytes long: its header was never completed; repair it: "
                    if size > 512
                    else ""
                )
                + (
                    f"ffmpeg -i {path.name} -c copy repaired{path.suffix}"
                    if size > 512
                    else "; record or copy it again"
                )
            )
        if not file.seekable():  # so it is with codings of telephones, which end where they end
            raise FileFault(
                f"{path} cannot be read as sound, since its samples are coded as {file.subtype}; convert it: "
                f"ffmpeg -i {path.name} {path.stem}-converted.wav"
            )
        yield file


def blocks_of(path: Path, file: soundfile.SoundFile, size: int) -> Iterator[Array]:
    """Yield an open sound's samples in blocks of at most ``size``, (m, C)."""
    read = 0
    while read < file.frames:
        with _reading(path):
            block: Any = file.read(size, dtype="float64", always_2d=True)
        if not len(block):
            raise FileFault(_cut(path, f"{read:,} of {file.frames:,} samples can be read"))
        check_numbers(path, block, read)
        read += len(block)
        yield block


def header_notes(path: Path, file: soundfile.SoundFile) -> tuple[str, ...]:
    """Return what is odd about a file's header."""
    lossy = (f"{path} is lossy ({file.subtype}): what that takes away and adds is taken for the sound",)
    notes = lossy if file.subtype in LOSSY else ()
    found = _PROMISED.search(file.extra_info)
    if not found or int(found[1]) >= UNKNOWN_LENGTH or int(found[1]) <= int(found[2]):
        return notes
    return (
        *notes,
        f"{path}: its header promises {int(found[1]):,} bytes of sound and {int(found[2]):,} are there, so the end may "
        f"be missing; the {file.frames:,} samples there are used",
    )


def check_numbers(path: Path, samples: Array, begin: int) -> None:
    """Raise a FileFault for a sample that is no number, as a sound in floats may have."""
    odd = ~np.isfinite(samples)
    if odd.any():
        row, channel = (int(at) for at in np.argwhere(odd)[0])
        raise FileFault(
            f"{path}: every sample must be a number, got {samples[row, channel]} at sample {begin + row:,} of channel "
            f"{channel + 1}; render the sound again, or cut that place out"
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import soundfile

    try:
        yield
    except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError) as error:
        raise FileFault(_cut(path, _line(error))) from None


def _cut(path: Path, why: str) -> str:
    return (
        f"{path} cannot be read as sound: {why}; it is damaged, cut short or no sound file, so copy or render it again"
    )


def _line(error: Any) -> str:
    said = str(getattr(error, "error_string", "") or error).strip().rstrip(".:")
    return said.splitlines()[0] if said else "the file ends too early"

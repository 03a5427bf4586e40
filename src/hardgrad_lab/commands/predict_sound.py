"""``hardgrad predict`` of a sound: a sound of as many channels, rate and length out, in memory of a few blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    import soundfile

    from hardgrad_lab.devices.device import Device
    from hardgrad_lab.fit.folder import Model
    from hardgrad_lab.fit.options import TooLoud
    from hardgrad_lab.fit.rows import Array
    from hardgrad_lab.fit.sounds.knob import Knob

BLOCK = 32_768  # samples read at a time


def predict_sound(
    fitted: Model | Device,
    described: dict[str, Any],
    source: Path,
    out: Path,
    console: Console,
    notes: list[str],
    *,
    resample: bool,
    too_loud: TooLoud,
    knob: Knob | None = None,
) -> None:
    """Write the prediction of a sound, channel by channel, and say what was done, after notes."""
    from hardgrad_lab.devices.device import Device
    from hardgrad_lab.fit.estimator import SwitchClassifier
    from hardgrad_lab.fit.predictions import lines_of_ranges
    from hardgrad_lab.fit.reading.files import FileFault
    from hardgrad_lab.fit.sounds.sound_file import header_notes, opened
    from hardgrad_lab.fit.sounds.sound_out import Form, check_form, write_sound
    from hardgrad_lab.fit.sounds.streaming import Tally, device_stream, predict_stream

    if isinstance(fitted, SwitchClassifier):
        raise FileFault(f"the model must predict numbers to make a sound of {source}, got one that predicts classes")
    if out.exists() and out.samefile(source):
        raise FileFault(f"--out must not be the sound that is read, got {out}; choose another")
    tally = Tally()
    with opened(source) as file:
        form = Form(rate=int(file.samplerate), channels=int(file.channels), frames=int(file.frames))
        check_form(out, form)
        for note in [*notes, *header_notes(source, file), *_notes(described, source, form.rate, resample)]:
            _say(note, console, style="yellow")
        stands = None if knob is None else knob.values[0]
        if isinstance(fitted, Device):
            predict = partial(device_stream, fitted, knob=stands)
        else:
            predict = partial(predict_stream, fitted, tally=tally, knob=stands)
        blocks = _shown(_predicted(predict, described, source, file), form.frames, console)
        try:
            written, fault = write_sound(out, blocks, form, too_loud), None
        except FileFault as error:
            written, fault = [], error
    if not isinstance(fitted, Device):
        for line in lines_of_ranges(fitted, tally.visits, tally.outside):
            _say(line, console)
    for note in written:
        _say(note, console, style="yellow")
    if fault is not None:
        raise fault
    channels = "" if form.channels == 1 else f" in each of {form.channels} channels"
    _say(f"{form.frames:,} predictions of {described.get('target', 'target')}{channels}: {out}", console)


def _predicted(
    predict: Callable[[Iterator[Array]], Iterator[Array]],
    described: dict[str, Any],
    source: Path,
    file: soundfile.SoundFile,
) -> Iterator[Array]:
    from hardgrad_lab.fit.sounds.sound_file import blocks_of
    from hardgrad_lab.fit.sounds.streaming import first_samples, resampled

    rate, own = _rate(described), int(file.samplerate)
    blocks = blocks_of(source, file, BLOCK)
    if rate in (None, own):
        return predict(blocks)
    assert rate is not None
    predicted = predict(resampled(blocks, own, rate))
    return first_samples(resampled(predicted, rate, own), file.frames)


def _shown(blocks: Iterator[Array], frames: int, console: Console) -> Iterator[Array]:
    """Yield blocks; in a terminal a bar shows how many samples are done and the time that is left."""
    from rich.progress import Progress

    from hardgrad_lab.runs.live import is_live

    with Progress(console=console, transient=True, disable=not is_live(console)) as progress:
        task = progress.add_task("predicting", total=frames)
        for block in blocks:
            yield block
            progress.advance(task, len(block))


def _notes(described: dict[str, Any], source: Path, own: int, resample: bool) -> Iterator[str]:
    """Yield what should be known before; raise a FileFault if the rates differ and nothing is to be done about it."""
    from hardgrad_lab.fit.reading.files import FileFault

    rate = _rate(described)
    if rate is None:
        yield (
            f"the model does not say for which sample rate it was fitted; {source} has {own:,} Hz, and the prediction "
            "is right only if that is the same"
        )
    elif rate != own and not resample:
        raise FileFault(
            f"{source} must have the model's sample rate, {rate:,} Hz, got {own:,} Hz; add --resample, or resample it: "
            f"ffmpeg -i {source.name} -ar {rate} {source.stem}-{rate}.wav"
        )
    elif rate != own:
        lost = f"; what it has above {rate // 2:,} Hz is lost" if own > rate else ""
        yield f"{source} is resampled from {own:,} to {rate:,} Hz, and the prediction back{lost}"
    latency = described.get("latency")
    if isinstance(latency, list) and any(latency):
        listed = ", ".join(f"{late:.10g}" if isinstance(late, float) else str(late) for late in latency)
        yield (
            f"the recordings fitted to came {listed} samples late, which was taken out: the prediction is not late, it "
            "begins with the input"
        )


def _rate(described: dict[str, Any]) -> int | None:
    from hardgrad_lab.fit.reading.files import FileFault

    rate = described.get("rate")
    if rate is None or (isinstance(rate, int) and not isinstance(rate, bool) and rate > 0):
        return rate
    raise FileFault(f"model.json must have a sample rate in Hz, above 0, as rate, got {rate!r}; fit the model again")


def _say(line: str, console: Console, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

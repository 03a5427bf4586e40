"""What ``fit`` is told of its files, the table that they make, and the estimator for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hardgrad_lab.commands.dialect_options import DialectOptions, names_in

if TYPE_CHECKING:
    from hardgrad_lab.fit.folder import Model
    from hardgrad_lab.fit.sounds.pairs import Pairing
    from hardgrad_lab.fit.tables import Table

Flag = Parameter(negative="")
Listed = Parameter(allow_leading_hyphen=True)  # a list of numbers may begin with a minus sign


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What is in the files."""

    key: str | None = None
    """The column that decides; not needed where there is one input."""
    inputs: str | None = None
    """The columns that the branches see, with commas; by default every column of numbers but the target."""
    key_only: Annotated[bool, Flag] = False
    """The key decides, but is no input of the branches."""
    categories: str | None = None
    """Columns to take as categories whatever they hold, with commas: an input for each; or a branch for each, of the
    key's."""
    classify: Annotated[bool, Flag] = False
    """Take the target's values as classes; words and true or false are in any case."""
    drop_missing: Annotated[bool, Flag] = False
    """Leave out rows that lack a value."""


@dataclass(frozen=True, kw_only=True)
class SoundOptions:
    """How pairs of sounds are read."""

    channel: str = "each"
    """Of sounds with several channels: each is a recording of its own; or left, right, a number from 1, or mid, their
    mean."""
    latency: Annotated[str, Parameter(name=["--latency", "--lag"], allow_leading_hyphen=True)] = "auto"
    """Samples that the target comes late by, which are taken out; negative if early, with a fraction if need be. auto
    finds them."""
    knob: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """A knob of the device and where it stood in each target: gain=0,0.5,1. Its range chooses the parameters; one
    input may be that of all targets."""

    def how(self) -> Pairing:
        """Return the same for the reader."""
        from hardgrad_lab.fit.sounds.channels import check_channel
        from hardgrad_lab.fit.sounds.knob import read_knob
        from hardgrad_lab.fit.sounds.pairs import Pairing

        check_channel(self.channel)
        knob = read_knob(self.knob)
        if self.latency == "auto":
            return Pairing(channel=self.channel, knob=knob)
        try:
            late = float(self.latency)
        except ValueError:
            late = math.nan
        if not math.isfinite(late):
            raise ValueError(f"--lag must be auto or a number of samples, got {self.latency!r}")
        return Pairing(channel=self.channel, latency=int(late) if late.is_integer() else late, knob=knob)


def read_files(
    files: Sequence[Path],
    target: str,
    options: TableOptions,
    text: DialectOptions | None = None,
    sound: SoundOptions | None = None,
) -> Table:
    """Return the table that the files make: pairs where the target is a file, columns where it is a name."""
    text, sound = text or DialectOptions(), sound or SoundOptions()
    from hardgrad_lab.fit.sounds.pairs import read_pairs
    from hardgrad_lab.fit.sounds.sound_file import is_sound
    from hardgrad_lab.fit.tables import Columns, Reading, read_table

    others = [Path(part) for part in target.split(",")]
    pairing = sound.how()
    if any(map(is_sound, files)) or (others[0].suffix and all(path.is_file() for path in others)):
        if given := [name for name, value in (vars(options) | vars(text)).items() if value not in (None, False)]:
            option = given[0].replace("_", "-")
            raise ValueError(f"--{option} is for tables; a pair of files has one input, which is the key")
        return read_pairs(files, others, pairing)
    if sound != SoundOptions():
        raise ValueError("--channel, --lag and --knob are for pairs of sounds; a table has columns and rows")
    columns = Columns(target=target, key=options.key, inputs=names_in(options.inputs))
    how = Reading(
        dialect=text.dialect(),
        categories=tuple(names_in(options.categories) or ()),
        classify=options.classify,
        key_only=options.key_only,
    )
    return read_table(files, columns, names_in(text.columns), drop_missing=options.drop_missing, how=how)


def model_for(read: Table, options: dict[str, Any], *, key_only: bool, seed: int) -> Model:
    """Return the estimator to fit: of classes where the target has them; a branch for each category of such a key."""
    from hardgrad_lab.fit.estimator import SwitchClassifier, SwitchRegressor
    from hardgrad_lab.fit.sounds.knob import knob_of

    kind = SwitchClassifier if read.classes else SwitchRegressor
    if (knob := knob_of(read.facts)) is not None:
        for name, given in (("points", options["points"] is not None), ("learn-points", options["learn_points"])):
            if given:
                raise ValueError(f"--{name} is for the ranges of a sound; with --knob a range of {knob.name} decides")
        # Halfway between the values, so that one in between is taken for the nearest; the branches see the sound alone.
        options, key_only = {**options, "points": knob.points()}, True
    if categories := read.key_categories:
        for name, given in (("points", options["points"] is not None), ("learn-points", options["learn_points"])):
            if given:
                raise ValueError(
                    f"--{name} is for a key of numbers; {read.key} has a branch for each of its categories"
                )
        # The number of a category says nothing by itself: branches see it as one input for each category.
        options = {**options, "points": [i - 0.5 for i in range(len(categories) + 1)]}
        key_only = True
    return kind(**options, key=read.key, key_only=key_only, random_state=seed)

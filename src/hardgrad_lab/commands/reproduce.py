"""``hardgrad reproduce``: run a published experiment."""

from __future__ import annotations

from cyclopts import App

from hardgrad_lab.commands import lactose, published, sorting, toys
from hardgrad_lab.commands.machine import Stopped as Stopped

app = App(name="reproduce", help="Run a published experiment: progress, records, checkpoints, a report.")
app.command(sorting.sorting)
for command in (*lactose.COMMANDS, published.published, toys.toys):
    app.command(command)

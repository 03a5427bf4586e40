"""``hardgrad reproduce``: run a published experiment."""

from __future__ import annotations

from cyclopts import App

from hardgrad_lab.commands import all as everything
from hardgrad_lab.commands import sorting
from hardgrad_lab.commands.machine import Stopped as Stopped
from hardgrad_lab.experiments import LIST

app = App(name="reproduce", help="Run a published experiment: progress, records, checkpoints, a report.")
app.command(sorting.sorting)
for name in LIST:
    app.command(f"hardgrad_lab.commands.by_name:{name}", name=name)
app.command(everything.everything, name="all")

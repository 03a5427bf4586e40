"""``hardgrad reproduce``: run a published experiment."""

from __future__ import annotations

from cyclopts import App

from hardgrad_lab.commands import all as everything
from hardgrad_lab.commands import lactose, published, toys
from hardgrad_lab.commands.experiment import command
from hardgrad_lab.commands.machine import Stopped as Stopped
from hardgrad_lab.experiments import experiments

app = App(name="reproduce", help="Run a published experiment: progress, records, checkpoints, a report.")
for function in (*lactose.COMMANDS, published.published, toys.toys):
    app.command(function)
for experiment in experiments():
    app.command(command(experiment), name=experiment.name)
app.command(everything.everything, name="all")

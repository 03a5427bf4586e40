"""``hardgrad reproduce``: run a published experiment."""

from __future__ import annotations

from cyclopts import App

from hardgrad_lab.experiments import LIST

app = App(name="reproduce", help="Run a published experiment: progress, records, checkpoints, a report.")
for name in LIST:
    app.command(f"hardgrad_lab.commands.by_name:{name}", name=name)
app.command("hardgrad_lab.commands.all:everything", name="all")

"""``hardgrad reproduce``: run a published experiment. Its one attribute, ``app``, is made of the list as it is now."""

from __future__ import annotations

from cyclopts import App

from hardgrad_lab.experiments import LIST


def __getattr__(name: str) -> App:
    """Return the command, with a line for every experiment; an experiment may join the list at any time."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = App(name="reproduce", help="Run a published experiment: progress, records, checkpoints, a report.")
    for experiment in LIST:
        app.command(f"hardgrad_lab.commands.by_name:{experiment}", name=experiment)
    app.command("hardgrad_lab.commands.all:everything", name="all")
    return app

"""``hardgrad report NAME``: the report of each experiment, as an attribute of this module; see ``by_name``."""


def __getattr__(name: str) -> object:
    """Return the command that reports on an experiment."""
    from hardgrad_lab.commands.experiment import report_command
    from hardgrad_lab.experiments import LIST, experiment

    if name not in LIST:
        raise AttributeError(f"no experiment is called {name!r}")
    return report_command(experiment(name))

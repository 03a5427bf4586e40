"""The command of each experiment as an attribute of this module, made when it is asked for; nothing else is in here."""


def __getattr__(name: str) -> object:
    """Return the command of an experiment."""
    from hardgrad_lab.commands.experiment import command
    from hardgrad_lab.experiments import LIST, experiment

    if name not in LIST:
        raise AttributeError(f"no experiment is called {name!r}")
    return command(experiment(name))

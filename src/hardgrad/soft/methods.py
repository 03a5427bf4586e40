"""The methods by name; a new one is a file and a line here."""

from __future__ import annotations

from importlib import import_module

from hardgrad.soft.method import Method

METHODS = {
    "laplace": "hardgrad.soft.laplace:Laplace",
    "softsort": "hardgrad.soft.softsort:SoftSort",
    "neuralsort": "hardgrad.soft.neuralsort:NeuralSort",
    "permutahedron": "hardgrad.soft.permutahedron:Permutahedron",
    "network": "hardgrad.soft.network:Network",
}
_made: dict[str, Method] = {}


def method_of(owner: str, method: Method | str) -> Method:
    """Return a method, which is given as it is or by name; the name stands for its defaults.

    Raises:
        ValueError: if there is none of that name, with the list.
        TypeError: if it is neither.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"{owner}: method must be one of {_names()} or a method, got {type(method).__name__}")
    if method not in METHODS:
        raise ValueError(f"{owner}: method must be one of {_names()} or a method, got {method!r}")
    if method not in _made:
        module, _, name = METHODS[method].partition(":")
        _made[method] = getattr(import_module(module), name)()
    return _made[method]


def _names() -> str:
    return ", ".join(map(repr, METHODS))

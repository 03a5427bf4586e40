"""The methods by name; a new one is a file and a line here."""

from __future__ import annotations

from hardgrad.soft.laplace import Laplace
from hardgrad.soft.method import Method
from hardgrad.soft.network import Network
from hardgrad.soft.neuralsort import NeuralSort
from hardgrad.soft.permutahedron import Permutahedron
from hardgrad.soft.softsort import SoftSort

# Made here, not when they are asked for: torch.compile traces no import.
METHODS: dict[str, Method] = {
    method.name: method for method in (Laplace(), SoftSort(), NeuralSort(), Permutahedron(), Network())
}


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
    return METHODS[method]


def _names() -> str:
    return ", ".join(map(repr, METHODS))

"""A model as a folder: weights in safetensors, everything else in JSON that a person can read. Whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save

from hardgrad_lab.devices import folder as of_devices
from hardgrad_lab.devices.device import Device
from hardgrad_lab.fit.estimator import SwitchClassifier, SwitchRegressor
from hardgrad_lab.fit.fitted import Fitted
from hardgrad_lab.fit.models.description import Check, ends, require_trust
from hardgrad_lab.fit.models.weights import check_weights
from hardgrad_lab.fit.rows import Scaling
from hardgrad_lab.fit.training.factories import names_code
from hardgrad_lab.fit.training.network import Architecture, build_switch
from hardgrad_lab.runs.model_files import CURE, DESCRIPTION, WEIGHTS, FolderError, read_weights
from hardgrad_lab.runs.model_folder import read_said, write_folder

FORMAT = "hardgrad-model-1"
REPORT = "report.html"
Model = SwitchRegressor | SwitchClassifier
_KINDS: dict[str, type[Model]] = {"SwitchRegressor": SwitchRegressor, "SwitchClassifier": SwitchClassifier}
_PARAMETERS = {name: sorted(kind().get_params()) for name, kind in _KINDS.items()}


def save_model(model: Model, path: Path | str, notes: Mapping[str, Any] | None = None, *, force: bool = False) -> None:
    """Write a fitted model as a folder, whole or not at all.

    Args:
        model: a fitted estimator whose branch goes by name or ``module:factory``.
        path: the folder to make.
        notes: whatever else belongs into ``model.json``, such as scores and where the data came from; plain values.
        force: replace a model folder that is there.

    Raises:
        FolderError: if something is there, or the branch was handed over as a function, which no file can name.

    Example:
        >>> import tempfile, numpy as np
        >>> from hardgrad_lab import SwitchRegressor, load_model, save_model
        >>> x = np.linspace(-1, 1, 100)[:, None]
        >>> model = SwitchRegressor([-1, 0, 1], branch="linear", epochs=2, random_state=0).fit(x, x[:, 0])
        >>> folder = tempfile.mkdtemp() + "/model"
        >>> save_model(model, folder)
        >>> bool((load_model(folder).predict(x) == model.predict(x)).all())
        True
    """
    write_folder(Path(path), describe(model, notes), weights_of(model), {}, force=force)


def describe(model: Model, notes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what ``model.json`` says of a fitted model, without the fingerprint of its weights."""
    if callable(model.branch):
        raise FolderError(
            "branch must go by name or module:factory for a model to be saved, got a function; pass its place, such "
            "as branch='my_module:my_branch'"
        )
    said: dict[str, Any] = {"format": FORMAT, "kind": type(model).__name__}
    names = getattr(model, "feature_names_in_", None)
    said["columns"] = None if names is None else [str(name) for name in names]
    said["column_count"] = model.n_features_in_
    said["key"] = int(model.key_)
    said["inputs"] = [int(column) for column in model.inputs_]
    said["points"] = list(model.points_)
    said["architecture"] = model.architecture_.to_json()
    said["input_scaling"] = _scaling(model.scaling_)
    if isinstance(model, SwitchRegressor):
        said["target_scaling"] = _scaling(model.target_scaling_)
    else:
        said["classes"] = model.classes_.tolist()
    said["options"] = _options(model)
    said["training"] = {
        "epochs": model.n_iter_,
        "steps": model.steps_,
        "best_epoch": model.best_epoch_,
        "rows": list(model.split_),
        "rows_per_range": model.visits_,
        "curve": model.curve_,
    }
    return said | dict(notes or {})


def weights_of(model: Model) -> bytes:
    """Return a fitted model's weights as the bytes of a safetensors file, in the precision they were trained in."""
    dtype = model.architecture_.dtype
    weights = {}
    for name, tensor in model.network_.state_dict().items():
        narrow = tensor.is_floating_point() and name.startswith("branches.")
        weights[name] = (tensor.to(dtype) if narrow else tensor).contiguous()
    return save(weights)


def written(fitted: Fitted, notes: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return what ``model.json`` says of the model that a fit chose, and its weights as a file's bytes."""
    if fitted.device is None:
        return describe(fitted.model, notes), weights_of(fitted.model)
    return of_devices.describe(fitted.device, notes), of_devices.weights_of(fitted.device)


def load_model(path: Path | str, *, trust: bool = False) -> Model:
    """Read a model folder.

    Args:
        path: a folder that ``save_model`` or ``hardgrad fit`` wrote.
        trust: import the code that the folder names, if its branches are made by a ``module:factory``. Importing runs
            it: say so only of a folder and of code whose origin you know.

    Returns:
        The fitted estimator.

    Raises:
        FolderError: if the folder is not whole, or of another format, or names code without ``trust``.
    """
    said = read_description(Path(path))
    if said["format"] != FORMAT:
        raise FolderError(
            f"{path} must hold an estimator here, got a device of the kind {said['kind']!r}; read it with "
            "hardgrad_lab.devices.folder.load_device"
        )
    return model_from(Path(path), said, trust=trust)


def load_any(path: Path | str, *, trust: bool = False) -> Model | Device:
    """Read a model folder of either kind: a fitted estimator, or a device; arguments as for ``load_model``."""
    said = read_description(Path(path))
    if said["format"] == of_devices.FORMAT:
        return of_devices.device_from(Path(path), said)
    return model_from(Path(path), said, trust=trust)


def read_description(path: Path) -> dict[str, Any]:
    """Return the checked content of a folder's ``model.json``, of an estimator or of a device."""
    said = read_said(path, (FORMAT, of_devices.FORMAT))
    if said["format"] == of_devices.FORMAT:
        of_devices.check(path / DESCRIPTION, said)
        return said
    if not isinstance(said.get("kind"), str) or said["kind"] not in _KINDS:
        raise FolderError(
            f"{path / DESCRIPTION}: kind must be one of {', '.join(_KINDS)}, got {said.get('kind')!r}; {CURE}"
        )
    if isinstance(options := said.get("options"), dict) and "normalise" in options:  # its name in older folders
        options["normalize"] = options.pop("normalise")
    Check(path / DESCRIPTION, said, _PARAMETERS).all()
    return said


def model_from(path: Path, said: Mapping[str, Any], *, trust: bool = False) -> Model:
    """Return the estimator that a folder and its checked description hold; ``trust`` as for ``load_model``."""
    if not trust:
        require_trust(path / DESCRIPTION, said)
    if not names_code(said["architecture"]["branch"]):
        check_weights(path / WEIGHTS, said)
    weights = read_weights(path / WEIGHTS, said, "branches.")
    model = _described(said)
    network = build_switch(model.architecture_)
    try:
        network.load_state_dict(weights)
        model.network_ = network.double().eval()
        if tuple(model.ranges_.points) != model.points_:
            raise ValueError("its points are others")
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise FolderError(f"{path / WEIGHTS} does not fit {DESCRIPTION} ({line}); {CURE}") from None
    return model


def _described(said: Mapping[str, Any]) -> Model:
    """Return the estimator without its network."""
    model = _KINDS[said["kind"]](**said["options"])
    if said["columns"] is not None:
        model.feature_names_in_ = np.array(said["columns"], dtype=object)
    model.n_features_in_ = said["column_count"]
    model.key_ = said["key"]
    model.inputs_ = np.array(said["inputs"])
    drawn = said["architecture"]
    drawn = {**drawn, "points": ends(drawn["points"]), "hidden": tuple(drawn["hidden"])}
    model.architecture_ = Architecture(**drawn)
    model.scaling_ = _scaling_from(said["input_scaling"])
    if isinstance(model, SwitchRegressor):
        model.target_scaling_ = _scaling_from(said["target_scaling"])
    else:
        model.classes_ = np.array(said["classes"])
    model.found_ = None
    model.points_ = ends(said["points"])
    trained = said["training"]
    model.n_iter_, model.steps_, model.best_epoch_ = trained["epochs"], trained["steps"], trained["best_epoch"]
    model.visits_, model.curve_ = trained["rows_per_range"], trained["curve"]
    model.split_ = trained["rows"][0], trained["rows"][1]
    return model


def _scaling(scaling: Scaling) -> dict[str, list[float]]:
    return {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}


def _scaling_from(said: Mapping[str, list[float]]) -> Scaling:
    return Scaling(np.array(said["mean"], dtype=np.float64), np.array(said["scale"], dtype=np.float64))


def _options(model: Model) -> dict[str, Any]:
    plain: dict[type, Callable[[Any], Any]] = {np.ndarray: lambda value: value.tolist(), tuple: list}
    options = {name: plain.get(type(value), lambda v: v)(value) for name, value in model.get_params().items()}
    if not isinstance(options["random_state"], int | None):
        options["random_state"] = None  # a generator in use has no plain value
    return options

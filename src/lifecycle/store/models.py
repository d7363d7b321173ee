"""save and load: a model as one file of the format of `lifecycle.store.bundle`, which contains no code."""

import os
import warnings
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from lifecycle._check import UnsupportedModel, to_scalar
from lifecycle.store import adapters, bundle_reader, limits
from lifecycle.store.bundle import write

__all__ = ["load", "save"]


def save(model: Any, path: str | os.PathLike, *, example: Any = None, metadata: dict[str, Any] | None = None) -> None:
    """Write a model into one file.

    The file is written under a temporary name and renamed, so that it is never incomplete; an existing file is
    replaced, and what a killed save to this path left is removed. The same model gives the same bytes. Pruned weights
    are stored as a bit mask and their non-zero values where that is smaller, quantized ones as their codes. Nothing may
    change the model while it is saved.

    Parameters
    ----------
    model : torch.nn.Module, estimator of this library or of scikit-learn, or a Pipeline of these
        Models and estimators of this library are stored completely. Of scikit-learn's linear models with a dense
        ``coef_``, MLPClassifier and MLPRegressor what predicting, scoring and ``partial_fit`` need is stored, not what
        a search or a path has recorded (``scores_``, ``coefs_paths_``, ``mse_path_`` …); the optimizer of an MLP
        starts anew. Of trees, forests and boosting what predicting needs is stored, not the numbers of samples and the
        impurities of nodes, of which ``feature_importances_`` and ``partial_dependence`` are made, nor the bins with
        which ``warm_start`` of HistGradientBoosting goes on. Nearest-neighbors models are stored with their rows, and
        pipelines with the steps that the documentation lists. Of a module of another class only the state dict is
        stored, and `load` needs ``into=module``. Arguments of an estimator that are not plain values (a function, a
        user's module) or that hold data (rows for early_stopping, arrays above 8 kB) are not stored either: `load`
        needs ``into=estimator``. An estimator's ``module=lt.CNN(…)`` object is stored by its arguments: after loading,
        a new ``fit`` starts from new weights; ``module_``, the fitted one, is stored with every bit. A compiled module,
        or one in DataParallel, stands for the module that it wraps.
        The result of `compress` stands for its model, and its certificate is stored too.
    path : str or os.PathLike
    example : array, DataFrame, tensor, or tuple or dict of these, optional
        Two rows or more, as the model takes them. The file then also holds the model as an ONNX graph, with which
        `load_predictor` predicts without the framework. It has been compared with the model first, as by
        `export_onnx`. Needs the extra [onnx].
    metadata : dict, optional
        Any JSON, for `inspect`.

    Raises
    ------
    UnsupportedModel
        `model` is of another kind, is not fitted, or has parts that cannot be stored, or more steps, columns or values
        in its configuration than `load` accepts (25,000 encoded columns, 5,000 steps that nest 5 levels; the JSON may
        take as much memory as twice the file and 16 MB).
    ParityError
        The graph does not give the model's answers for the rows of `example`; nothing is written.
    ValueError
        `metadata` is not JSON, `example` does not fit the model, or a parameter has no values: a lazy module, or one on
        the meta device.

    Warns
    -----
    UserWarning
        The file holds neither the class of the model nor a graph, so that only ``load(path, into=…)`` will open it.
    """
    model, facts = model_of_result(model)
    adapter = adapters.adapter_for(model)
    try:
        with limits.budget():
            config, arrays = adapter.serialize(model)
    except limits.ExceedsLimit as error:
        raise UnsupportedModel(f"this {type(model).__name__} cannot be stored: {error}") from None
    graph = None
    if example is not None:
        # by name: a layer above this one, and another framework
        graph, of_graph = import_module("lifecycle.onnx.export").graph_of_file(model, config["kind"], example, arrays)
        facts.update(of_graph)
    elif not adapters.describe(config)[1]:
        warnings.warn(
            f"this {type(model).__name__} can be opened by load(path, into=…) only, as its class or some of its "
            "arguments are not in the file: save it with example=rows to predict from the file alone",
            stacklevel=2,
        )
    write(Path(path), config, arrays, metadata, small=True, graph=graph, facts=facts or None)


def model_of_result(model: Any) -> tuple[Any, dict[str, Any]]:
    """The model of a result of `compress`, and what the file says of it; any other model as it is."""
    if not type(model).__module__.startswith("lifecycle.compression."):
        return model, {}
    if model.best is None:  # the original model, of which the certificate says nothing
        return model.model, {}
    certificate = {name: to_scalar(value) for name, value in asdict(model.certificate).items()}
    return model.model, {"certificate": {**certificate, "bytes_before": model.size_before}}


def load(path: str | os.PathLike, *, into: Any = None, sha256: str | None = None) -> Any:
    """Read a model that `save` wrote; its predictions are the same.

    They are equal bit for bit on the same machine, with the same versions and as many BLAS threads. No code from the
    file is run, and no name in it is imported. What is built is bounded by the arrays of the file; reading it takes
    twice its size, or the size of the decoded model.

    Parameters
    ----------
    path : str or os.PathLike
    into : torch.nn.Module or estimator, optional
        A module to fill, with the names, shapes and dtypes of the file; a compiled one, or one in DataParallel, stands
        for the module that it wraps. Its linear layers become int8 layers where the file has int8 layers. For an
        estimator that was saved without some of its arguments: one of the same class that was made with them; all other
        arguments are taken from the file. Parameters that the file has in the order of ``torch.channels_last``, and the
        module in another, get new memory; those whose memory is in that order keep it. A module stays in the mode that
        it is in, as by ``load_state_dict``: call its ``eval()`` before it predicts, if it has dropout or batch
        normalization.
    sha256 : str, optional
        Digest that the file must have, as ``sha256sum`` prints it; it is compared before anything else of the file is
        read.

    Returns
    -------
    The model, or `into`.

    Raises
    ------
    CorruptBundle
        The file is truncated, altered, not a file of this library, from a newer version, has another digest, changed
        while it was read, or needs more memory than there is.
    FileNotFoundError, IsADirectoryError
        The file does not exist, or is a folder.
    UnsupportedModel
        The file holds a model that can only be loaded `into` another.
    ValueError
        The file does not fit `into`, or `into` has tensors that cannot be filled: without values (lazy, on the meta
        device), expanded, sparse, or made in inference mode. Nothing of `into` is changed then.
    """
    path = Path(path)
    bundle_reader.check_sha256(sha256)
    with bundle_reader.reading(path.name, "a model", keep=() if into is None else (ValueError,)):
        bundle = bundle_reader.read(path, sha256)
        config = bundle.manifest["config"]
        if config["kind"] == adapters.CHECKPOINT:
            raise UnsupportedModel(f"{path.name} is a checkpoint: load_checkpoint(path, model=…) loads it into a model")
        arrays = bundle_reader.arrays_of(bundle)
        del bundle  # its memory, where no array is in it
        return adapters.adapter_for_kind(config["kind"]).deserialize(config, arrays, into)

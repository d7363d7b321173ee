"""save and load: a model as one file of the format of `lifecycle.store.bundle`, which contains no code."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from lifecycle._check import CorruptBundle, UnsupportedModel
from lifecycle.store import adapters, bundle, bundle_reader, limits

__all__ = ["load", "save"]


def save(model: Any, path: str | os.PathLike, *, metadata: dict[str, Any] | None = None) -> None:
    """Write a model into one file.

    The file is written under a temporary name and renamed, so that it is never incomplete; an existing file is
    replaced, and what a killed save to this path left is removed. The same model gives the same bytes. Pruned weights
    are stored as a bit mask and their non-zero values where that is smaller, quantized ones as their codes.

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
    path : str or os.PathLike
    metadata : dict, optional
        Any JSON, for `inspect`.

    Raises
    ------
    UnsupportedModel
        `model` is of another kind, is not fitted, or has parts that cannot be stored, or more steps, columns or values
        in its configuration than `load` accepts (25,000 encoded columns, 5,000 steps that nest 5 levels, 4 million
        values).
    ValueError
        `metadata` is not JSON, or a parameter has no values: a lazy module, or one on the meta device.
    """
    adapter = adapters.adapter_for(model)
    try:
        with limits.budget():
            config, arrays = adapter.serialize(model)
    except limits.ExceedsLimit as error:
        raise UnsupportedModel(f"this {type(model).__name__} cannot be stored: {error}") from None
    bundle.write(Path(path), config, arrays, metadata, small=True)


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
        Digest that the file must have, as ``sha256sum`` prints it.

    Returns
    -------
    The model, or `into`.

    Raises
    ------
    CorruptBundle
        The file is truncated, altered, not a file of this library, from a newer version, has another digest, or needs
        more memory than there is.
    FileNotFoundError
        The file does not exist.
    UnsupportedModel
        The file holds a model that can only be loaded `into` another.
    ValueError
        The file does not fit `into`, or `into` has tensors that cannot be filled: without values (lazy, on the meta
        device), expanded, sparse, or made in inference mode. Nothing of `into` is changed then.
    """
    path = Path(path)
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)):
        raise ValueError(f"sha256 must be 64 hexadecimal digits; got {sha256!r}")
    with bundle_reader.reading(path.name, "a model", keep=() if into is None else (ValueError,)):
        data = bundle_reader.read(path)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower():
            digest = hashlib.sha256(data).hexdigest()
            raise CorruptBundle(f"{path.name} is not the file you expect: its sha256 is {digest}")
        manifest, tensors = bundle_reader.parse(path.name, data)
        del data
        config = manifest["config"]
        if config["kind"] == adapters.CHECKPOINT:
            raise UnsupportedModel(f"{path.name} is a checkpoint: load_checkpoint(path, model=…) loads it into a model")
        arrays = bundle_reader.arrays_of(manifest, tensors)
        return adapters.adapter_for_kind(config["kind"]).deserialize(config, arrays, into)

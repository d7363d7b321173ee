"""`lifecycle warmup`: compiles the usual kernels into numba's cache by small fits of the kinds that people use."""

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import lifecycle as lc
from lifecycle._jit import KERNELS_NOT_KEPT, cache_usage
from lifecycle._progress import progress_bar

_N_LARGE = 1 << 19  # elements with which kernels run on threads, with a kernel of their own


class CacheNotWritable(OSError):
    """Kernels cannot be kept."""


class Warmup(NamedTuple):
    """What a warmup has found: kernels compiled now and before, seconds, the folder of the cache, what is left out."""

    n_compiled: int
    n_loaded: int
    seconds: float
    folder: str
    without_torch: bool

    def __str__(self) -> str:
        left_out = "torch is not installed: its optimizers and estimators are left out\n" if self.without_torch else ""
        n = self.n_compiled + self.n_loaded
        return (
            f"{left_out}{n} kernels in {self.seconds:.1f} s, of which {self.n_loaded} were "
            f"compiled before; they lie in {self.folder}"
        )


def usual_fits() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name and function of each small fit: the list of what is compiled."""
    dtypes: tuple[Any, ...] = (np.float64, np.float32)
    for dtype in dtypes:
        for name, model, n_classes, sparse in _linear_models():
            yield f"{name}, {np.dtype(dtype)}", partial(_fit_linear, model, n_classes, sparse, dtype)
    for rule, dtype in product((lc.SGD(momentum=0.9), lc.Adam(), lc.AdamW()), dtypes):
        yield f"{type(rule).__name__} of numpy arrays", partial(_step, rule, dtype)
    for name in ("RandomForestClassifier", "HistGradientBoostingClassifier"):
        yield f"predictions of a {name}", partial(_predict_with_trees, name)
    if find_spec("torch") is not None:
        yield from _torch_fits()


def _linear_models() -> Iterator[tuple[str, Any, int, bool]]:
    """Name, model, number of classes (0: regression), whether X is sparse."""
    for n_classes, sparse in product((2, 3), (False, True)):
        for optimizer in (None, "newton", "sgd"):
            chosen: Any = {} if optimizer is None else {"optimizer": optimizer}
            yield f"classifier, {optimizer or 'default'}", lc.LinearClassifier(**chosen), n_classes, sparse
    yield "classifier, adam", lc.LinearClassifier(optimizer="adam"), 2, False
    yield "classifier, hinge", lc.LinearClassifier("hinge", optimizer="sgd"), 2, False
    for optimizer in (None, "exact", "sgd"):
        chosen = {} if optimizer is None else {"optimizer": optimizer}
        yield f"regressor, {optimizer or 'default'}", lc.LinearRegressor(**chosen), 0, False


def _fit_linear(model: Any, n_classes: int, sparse: bool, dtype: Any) -> None:
    """Fit one model and a grid of them, and predict, with equal and unequal scales of the columns."""
    model.set_params(max_iter=5, random_state=0)
    for scales in (1.0, 10.0 ** np.arange(6)):
        X, y = _table(n_classes, sparse, dtype, scales)
        model.fit(X, y).predict(X)
        lc.GridSearchCV(model, {"alpha": [1e-3, 1e-2]}, cv=3, progress=False).fit(X, y)


def _table(n_classes: int, sparse: bool, dtype: Any, scales: Any = 1.0) -> tuple[Any, np.ndarray]:
    random = np.random.RandomState(0)
    X = (random.normal(size=(120, 6)) * scales).astype(dtype)
    y = np.arange(120) % n_classes if n_classes else X[:, 0] + random.normal(size=120)
    if not sparse:
        return X, y
    from scipy.sparse import csr_matrix

    return csr_matrix(np.where(X > 0, X, 0)), y


def _step(rule: Any, dtype: Any) -> None:
    params = [np.ones(_N_LARGE, dtype), np.ones(8, dtype)]
    state = rule.init(params)
    for _ in range(2):
        rule.step(params, [0.1 * p for p in params], state)


def _predict_with_trees(name: str) -> None:
    from sklearn import ensemble

    from lifecycle.store.adapters import adapter_for

    X, y = _table(2, False, np.float64)
    model = getattr(ensemble, name)().fit(X, y)
    adapter_for(model).first_trees(model, 1.0).predict(X)


def _torch_fits() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, state_dtype in product(("SGD", "Adam", "AdamW"), (None, "bfloat16", "int8")):
        options = {"momentum": 0.9} if name == "SGD" else {}
        for more in ({}, {"max_grad_norm": 1.0}):
            arguments = {**options, **more, "state_dtype": state_dtype}
            yield f"{name} of torch, states in {state_dtype or 'float32'}", partial(_step_torch, name, arguments)
    for estimator in ("TorchClassifier", "TorchRegressor"):
        yield estimator, partial(_fit_torch, estimator)


def _step_torch(name: str, arguments: dict[str, Any]) -> None:
    import lifecycle.torch as lt

    params = list(lt.MLP(_N_LARGE // 512, 512, hidden=()).parameters())
    optimizer = getattr(lt, name)(params, **arguments)
    for _ in range(2):
        for p in params:
            p.grad = p.detach().clone()
        optimizer.step()


def _fit_torch(estimator: str) -> None:
    import lifecycle.torch as lt

    X, y = _table(2 if estimator == "TorchClassifier" else 0, False, np.float32)
    for ema_decay in (None, 0.9):
        model = getattr(lt, estimator)(max_epochs=1, ema_decay=ema_decay, progress=False, random_state=0)
        model.fit(X, y).predict(X)


def run(progress: bool | None = None) -> Warmup:
    """Compile; CacheNotWritable where the kernels cannot be kept."""
    _check_folder(os.environ.get("NUMBA_CACHE_DIR"))
    start, before = time.perf_counter(), cache_usage()
    fits = list(usual_fits())
    with warnings.catch_warnings(), lc.threads(2), progress_bar(len(fits), "warmup", progress) as bar:
        warnings.simplefilter("ignore")  # of fits that end early
        warnings.filterwarnings("error", KERNELS_NOT_KEPT)
        for name, fit in fits:
            bar.set_postfix_str(name, refresh=False)
            try:
                fit()
            except UserWarning as warning:
                raise CacheNotWritable(str(warning)) from None
            bar.update()
    after = cache_usage()
    return Warmup(
        after.n_saved - before.n_saved,
        after.n_loaded - before.n_loaded,
        time.perf_counter() - start,
        os.path.commonpath(after.folders) if after.folders else "",
        find_spec("torch") is None,
    )


def _check_folder(folder: str | None) -> None:
    """Numba takes another folder, without a word, where it cannot write to the one that NUMBA_CACHE_DIR names."""
    if not folder:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CacheNotWritable(f"NUMBA_CACHE_DIR={folder} cannot be written to: {error.strerror}") from None

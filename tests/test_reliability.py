"""The optimizers with threads, forks, workers and ranks, and on the inputs of torch's own tests."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle import _threads
from lifecycle.rules import list_rules

from .networks import recorded_gradients

ROOT = Path(__file__).parents[1]
SEARCH_PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
SIZES = [(400, 500), (333,), (3, 7, 11)]


def trained(seed=0, *, steps=3, rule="AdamW", state="int8"):
    """Bytes of new parameters after a few steps of a new optimizer."""
    generator = torch.Generator().manual_seed(seed)
    params = [nn.Parameter(torch.randn(size, generator=generator)) for size in SIZES]
    optimizer = getattr(lt, rule)(params, lr=1e-2, state_dtype=state, max_grad_norm=1.0, ema_decay=0.9, seed=seed)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach().numpy().tobytes() for p in params]


@pytest.fixture(autouse=True)
def _always_threaded(monkeypatch):
    monkeypatch.setattr(_threads, "SERIAL_BELOW", {"pool": 1, "team": 1})
    monkeypatch.setattr(_threads, "_MIN_CHUNK", 256)


@pytest.mark.parametrize("state", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("team", [False, True])
def test_same_bits_with_1_2_3_and_7_threads(state, team, monkeypatch):
    monkeypatch.setattr(_threads, "_team_usable", team)
    results = []
    for n in (1, 2, 3, 7):
        with lc.threads(n):
            results.append(trained(state=state))
    assert all(bits == results[0] for bits in results)


def test_torch_s_number_of_threads_changes_no_bit():
    before, results = torch.get_num_threads(), []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            assert _threads.num_threads() == n
            results.append(trained())
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("team", [False, True])
def test_8_threads_stepping_8_optimizers(team, monkeypatch):
    monkeypatch.setattr(_threads, "_team_usable", team)
    expected = [trained(seed, steps=10) for seed in range(8)]
    results = {}

    def work(seed):
        results[seed] = trained(seed, steps=10)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert [results[seed] for seed in range(8)] == expected


class SteppingDataset(torch.utils.data.Dataset):
    """Every item is the outcome of a few steps."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return i, trained(i)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_step_in_a_data_loader_worker_that_was_forked_after_the_parent_stepped():
    expected = [trained(i) for i in range(4)]
    loader = torch.utils.data.DataLoader(
        SteppingDataset(), num_workers=2, batch_size=None, multiprocessing_context="fork", timeout=120
    )
    assert [bits for _, bits in sorted(loader)] == expected


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_steps_inside_joblib(backend):
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=False, kill_workers=True)  # idle workers of earlier tests end about now
    expected = [trained(i) for i in range(4)]
    assert Parallel(n_jobs=2, backend=backend)(delayed(trained)(i) for i in range(4)) == expected


def python(code, timeout=300, **environment):
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": SEARCH_PATH, **environment}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_lifecycle_num_threads_is_obeyed():
    code = "from lifecycle import _threads; print(_threads.num_threads())"
    for before in ("", "import lifecycle.torch.optimizers; "):
        assert python(before + code, LIFECYCLE_NUM_THREADS="5") == "5"
    assert python("import lifecycle.torch.optimizers; " + code, OMP_NUM_THREADS="1") == "1"
    assert python(code, OMP_NUM_THREADS="1") == "1"


# -- the cache of compiled kernels: an edited rule is in test_every_rule.py --------------------------------------------

STEP = (
    "import numpy as np, lifecycle as lc; x = np.ones(1); lc.GD(lr=0.5).step(x, np.ones(1), lc.GD().init(x))\n"
    "from lifecycle.loops import elementwise; from lifecycle.formats import list_formats\n"
    "float64 = list_formats()['float64']\n"
    "k = elementwise.compiled(lc.GD().rule.variant({}).update, (), float64, float64, x.dtype, 3, False)\n"
    "print(x[0], k.cache_hits)"
)


def test_a_kernel_of_another_numba_is_not_used(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert python(STEP, **cache) == "0.5 0"
    assert python(STEP, **cache) == "0.5 1"
    assert python("import numba; numba.__version__ = '0.1'\n" + STEP, **cache) == "0.5 0"


def test_a_kernel_for_another_processor_is_not_used(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert python(STEP, **cache) == "0.5 0"
    assert python(STEP, **cache, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == "0.5 0"


def test_a_read_only_install_works_and_warns_once(tmp_path):
    """Neither the package's folder nor the user's cache is writable (to root all folders are, so numba is patched)."""
    code = (
        "import warnings\n"
        "from numba.core import caching\n"
        "def refuse(self): raise OSError('read-only')\n"
        "caching._CacheLocator.ensure_cache_path = refuse\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    import numpy as np, lifecycle as lc\n"
        "    for rule in (lc.GD(lr=0.5), lc.SGD(lr=0.5, momentum=0.9)):\n"
        "        x = np.ones(1); rule.step(x, np.ones(1), rule.init(x)); print(x[0])\n"
        "print([str(w.message)[:32] for w in seen])"
    )
    assert python(code).splitlines() == ["0.5", "0.5", "['compiled kernels cannot be kept,']"]


# -- ranks -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_ranks(tmp_path):
    """DistributedDataParallel equals one process with the whole batch; all ranks clip by the same norm."""
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.ranks", str(tmp_path / "meeting")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ranks = [subprocess.Popen([*command, str(rank)], cwd=ROOT, env=environment, **pipes) for rank in (0, 1)]
    outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(outputs)


# -- the inputs of torch's tests of its optimizers ---------------------------------------------------------------------

db = pytest.importorskip("torch.testing._internal.common_optimizers", exc_type=ImportError)
TWINS = {rule.class_name: rule for rule in list_rules().values() if hasattr(torch.optim, rule.class_name)}
INFOS = [info for info in db.optim_db if info.optim_cls.__name__ in TWINS]
CASES = [
    pytest.param(info.optim_cls, case.kwargs, id=f"{info.optim_cls.__name__}-{case.desc}")
    for info in INFOS
    for case in info.optim_inputs_func(device="cpu")
]


def test_every_twin_is_among_them():
    assert {info.optim_cls.__name__ for info in INFOS} == set(TWINS)
    assert len(CASES) > 50


@pytest.fixture(scope="module")
def recorded():
    return recorded_gradients(30)


@pytest.mark.parametrize(("theirs", "options"), CASES)
def test_torch_s_own_inputs(theirs, options, recorded, monkeypatch):
    def run(cls, dtype, **extra):
        params = [nn.Parameter(torch.tensor(a, dtype=dtype)) for a in recorded[0]]
        optimizer = cls(params, **options, **extra)
        for grads in recorded[1]:
            for p, g in zip(params, grads, strict=True):
                p.grad = g.to(dtype)
            optimizer.step()
        return torch.cat([p.detach().double().ravel() for p in params])

    def distance(a, b):
        return (a - b).norm() / b.norm()

    ours = getattr(lt, theirs.__name__)
    single = run(theirs, torch.float32, foreach=False)
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)  # else NAdam's product is in float32
    exact = run(theirs, torch.float64, foreach=False)
    assert distance(run(ours, torch.float64), exact) < 1e-13
    # where p crosses zero, decay through the gradient makes NAdam's steps amplify the rounding: torch's as ours
    bound = max(1e-6, 4 * distance(single, exact))
    assert distance(run(ours, torch.float32), exact) < bound


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.optim_cls.__name__)
def test_torch_s_own_errors(info):
    ours = getattr(lt, info.optim_cls.__name__)
    for wrong in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        if wrong.error_on is not db.OptimizerErrorEnum.CONSTRUCTION_ERROR or {"foreach", "fused"} & {
            *wrong.optimizer_error_input.kwargs
        }:
            continue
        case = wrong.optimizer_error_input
        if not isinstance(case.params, torch.Tensor) and not case.kwargs:
            continue  # a fault of the parameters, which torch's code refuses
        with pytest.raises((ValueError, TypeError)):
            ours(case.params, **case.kwargs)


def test_numpy_and_torch_take_the_same_steps():
    start, gradients = recorded_gradients(5)
    for name in ("AdamW", "RAdam", "RMSprop"):
        arrays, params = [a.copy() for a in start], [nn.Parameter(torch.tensor(a)) for a in start]
        ours, theirs = getattr(lc, name)(lr=1e-3), getattr(lt, name)(params, lr=1e-3)
        state = ours.init(arrays)
        for grads in gradients:
            ours.step(arrays, [g.double().numpy() for g in grads], state)
            for p, g in zip(params, grads, strict=True):
                p.grad = g.double()
            theirs.step()
        for a, p in zip(arrays, params, strict=True):
            np.testing.assert_array_equal(a, p.detach().numpy())

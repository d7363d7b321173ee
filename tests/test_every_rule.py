"""Every rule of the registry, over numpy arrays."""

import ast
import importlib.util
import inspect
import pickle
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

import lifecycle as lc
from lifecycle import _threads
from lifecycle.rules import Rule, list_rules

from . import naive

# every rule with the options that choose another variant or other coefficients
CASES = [
    ("gd", {}),
    ("gd", {"weight_decay": 0.1, "maximize": True}),
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("adam", {}),
    ("adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("adam", {"bias_correction": False}),
    ("adamw", {}),
    ("adamw", {"amsgrad": True, "maximize": True}),
    ("adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("adagrad", {}),
    ("adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    ("rmsprop", {}),
    ("rmsprop", {"momentum": 0.9, "maximize": True}),
    ("rmsprop", {"centered": True, "weight_decay": 0.1}),
    ("rmsprop", {"centered": True, "momentum": 0.9}),
    ("adadelta", {}),
    ("adadelta", {"weight_decay": 0.1, "maximize": True}),
    ("adamax", {}),
    ("adamax", {"weight_decay": 0.1, "maximize": True}),
    ("nadam", {}),
    ("nadam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    ("radam", {}),
    ("radam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.9, 0.8)}),
    ("lion", {}),
    ("lion", {"weight_decay": 0.1, "maximize": True}),
]
CASES += [(name, {}) for name in list_rules() if name not in {c[0] for c in CASES}]
IDS = [f"{name}-{'-'.join(hyper) or 'defaults'}" for name, hyper in CASES]
ORACLES = {name: getattr(naive, name) for name in list_rules() if hasattr(naive, name)}


def make(name, hyper):
    return getattr(lc, list_rules()[name].class_name)(**hyper)


def run(optimizer, start, grads, dtype=np.float64):
    p = np.array(start, dtype=dtype)
    state = optimizer.init(p)
    for g in grads:
        optimizer.step(p, np.asarray(g, dtype), state)
    return p


def random_gradients(shape=(37,), steps=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.normal(size=(steps, *shape)) * np.exp(rng.normal(size=(steps, *shape)))


@pytest.mark.parametrize(("name", "hyper"), CASES, ids=IDS)
def test_agrees_with_the_naive_oracle(name, hyper):
    if name not in ORACLES:
        pytest.skip("a rule registered from outside brings its own oracle")
    start, grads = random_gradients()
    sign = -1.0 if hyper.get("maximize") else 1.0
    options = {"lr": 0.01, **{k: v for k, v in hyper.items() if k != "maximize"}}
    expected = ORACLES[name](start, sign * grads, **options)
    for dtype, bound in ((np.float64, 1e-13), (np.float32, 1e-6)):
        got = run(make(name, {"lr": 0.01, **hyper}), start, grads, dtype)
        assert got.dtype == dtype
        assert np.linalg.norm(got - expected) <= bound * np.linalg.norm(expected)


SMALL_STEPS_AFTER = [("adam", 0.9972), ("adamw", 0.9972), ("nadam", 0.9978), ("rmsprop", 0.98), ("adadelta", 0.9924)]


@pytest.mark.parametrize(("name", "expected"), SMALL_STEPS_AFTER)
def test_a_gradient_whose_square_is_infinite_takes_the_step_of_exact_arithmetic(name, expected):
    """The float64 run has no infinite square; in float32 the second moment was infinite, and NaN a step later."""
    hyper = {} if name == "adadelta" else {"lr": 1e-3}
    grads = np.array([1.0, 1e20, 1.0, 1.0])[:, None]
    exact = run(make(name, hyper), [1.0], grads)
    assert exact[0] == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(run(make(name, hyper), [1.0], grads, np.float32), exact, rtol=1e-6)


@pytest.mark.parametrize("largest", [1e19, 1e25, 3.4e38])
@pytest.mark.parametrize(("name", "hyper"), CASES, ids=IDS)
def test_finite_gradients_of_any_size_never_give_nan(name, hyper, largest):
    """Spikes at every place of a block, one of each sign, among ordinary gradients, and nothing but spikes."""
    if "non-negative" not in make(name, hyper).rule.variant(make(name, hyper).get_params()).slots.values():
        if name != "lion":
            pytest.skip("keeps no squares: a sum of gradients beyond the largest float is infinite, as in torch")
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(60, 9000)).astype(np.float32)
    spikes = rng.random(grads.shape) < 1e-3
    grads[spikes] = largest * rng.choice([-1.0, 1.0], spikes.sum())
    grads[20, :], grads[21, :] = largest, -largest
    p = run(make(name, hyper), np.ones(9000), grads, np.float32)
    assert np.isfinite(p).all()
    if name in ("adam", "adamw", "nadam", "rmsprop", "adamax", "lion") and not hyper.get("momentum"):
        assert np.abs(p).max() < 10.0  # steps are of the size of lr


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "hyper"), CASES, ids=IDS)
def test_kernel_equals_its_own_python_function_bit_for_bit(name, hyper, dtype):
    optimizer = make(name, hyper)
    start, grads = random_gradients(steps=5)
    p = start.astype(dtype)
    got = run(optimizer, start, grads, dtype)
    update, slots = optimizer.rule.variant(optimizer.get_params())
    state = [np.full_like(p, optimizer.rule.initial(optimizer.get_params(), name)) for name in slots]
    scalars = dict(optimizer.rule.scalars)
    for t, g in enumerate(grads.astype(dtype), 1):
        s = tuple(dtype(x) for x in optimizer.rule.advance(t, optimizer.get_params(), scalars))
        p, *state = update(p, g, *state, s)
    assert got.tobytes() == p.tobytes()


@pytest.mark.parametrize(("name", "hyper"), CASES, ids=IDS)
def test_same_bits_on_any_number_of_threads(name, hyper, monkeypatch):
    monkeypatch.setattr(_threads, "SERIAL_BELOW", {"pool": 1, "team": 1})
    start, grads = random_gradients(shape=(1003,), steps=3)
    results = []
    for n in (1, 2, 3, 7):
        with lc.threads(n):
            results.append(run(make(name, hyper), start, grads, np.float32).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize(("name", "hyper"), CASES, ids=IDS)
def test_any_memory_layout_gives_the_same_answer(name, hyper):
    start, grads = random_gradients(shape=(6, 4))
    expected = run(make(name, hyper), start, grads)
    layouts = {
        "fortran": np.asfortranarray(start),
        "gaps": np.repeat(np.repeat(start, 2, 0), 3, 1)[::2, ::3],
        "backwards": start[::-1, ::-1].copy()[::-1, ::-1],
    }
    for layout, p in layouts.items():
        optimizer = make(name, hyper)
        state = optimizer.init(p)
        for k, g in enumerate(grads):
            optimizer.step(p, np.asfortranarray(g) if k % 2 else g, state)
        np.testing.assert_array_equal(p, expected, err_msg=layout)


@pytest.mark.parametrize("name", list_rules())
def test_gradient_is_untouched_and_a_list_is_one_call(name):
    start, grads = random_gradients(steps=1)
    optimizer = make(name, {})
    before = grads.copy()
    params = [start[:5].copy(), start[5:].astype(np.float32), np.zeros((0, 3))]
    state = optimizer.init(params)
    optimizer.step(params, [grads[0][:5], grads[0][5:].astype(np.float32), np.zeros((0, 3))], state)
    assert state.step == 1
    np.testing.assert_array_equal(grads, before)
    np.testing.assert_array_equal(params[0], run(optimizer, start[:5], [grads[0][:5]]))


@pytest.mark.parametrize("name", list_rules())
def test_minimizes_rosenbrock(name):
    # the length of Lion's step does not shrink near the minimum, and RMSprop's hardly
    lr = {"gd": 1e-3, "sgd": 1e-3, "radam": 1e-3, "lion": 1e-4, "rmsprop": 1e-4, "adadelta": 1.0, "adagrad": 0.5}
    result = lc.minimize(
        rosen,
        [-1.0, 1.0],
        jac=rosen_der,
        optimizer=make(name, {"lr": lr.get(name, 0.05), "weight_decay": 0.0}),
        max_iter=60_000,
        tol=1e-3,
    )
    if name == "adadelta":  # its steps along the valley are too short
        assert result.fun < 0.5 * result.history[0]
    else:
        np.testing.assert_allclose(result.x, [1, 1], atol=0.02)
    assert len(result.history) == result.nit + 1
    assert result.history[-1] == result.fun < result.history[0]


@pytest.mark.parametrize("name", list_rules())
def test_hyperparameters_are_checked_by_name_and_value(name):
    rule = list_rules()[name]
    with pytest.raises(TypeError, match=f"{rule.class_name} has no 'learning_rate'; it has lr"):
        make(name, {"learning_rate": 1})
    with pytest.raises(ValueError, match="lr must be a finite number >= 0"):
        make(name, {"lr": -1.0})
    with pytest.raises(TypeError, match="lr must be a number"):
        make(name, {"lr": "fast"})
    optimizer = make(name, {})
    assert optimizer.get_params() == rule.defaults
    assert pickle.loads(pickle.dumps(optimizer.set_params(lr=0.5))) == optimizer


@pytest.mark.parametrize("name", list_rules())
def test_has_a_test_and_a_documented_step(name):
    rule = list_rules()[name]
    assert all(f"\n{hyper} : " in rule.doc for hyper in rule.defaults if hyper != "t")
    assert f'("{name}"' in Path(__file__).read_text()


@pytest.mark.parametrize("name", list_rules())
def test_update_unpacks_the_coefficients_under_the_names_that_step_gives_them(name):
    module = ast.parse(inspect.getsource(importlib.import_module(f"lifecycle.rules.{name}")))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    (step,) = [f for f in functions if f.name == "step"]
    coefficients = step.body[-1].value
    if isinstance(coefficients, ast.Call):  # another rule's step
        return
    returned = [ast.unparse(x) for x in coefficients.elts]
    unpacked = [node for f in functions for node in f.body if ast.unparse(node).endswith(" = s")]
    updates = [f for f in functions if f.args.args and f.args.args[-1].arg == "s"]
    assert len(unpacked) == len(updates) >= 1
    for assignment in unpacked:
        names = [x.id for x in assignment.targets[0].elts]
        assert all(name in ("_", other) for name, other in zip(names, returned, strict=True)), names


@pytest.mark.parametrize("name", list_rules())
def test_an_optimizer_pickled_before_loads(name):
    """Pickles name the function `lifecycle.optim._rebuild`, the rule and its hyperparameters."""
    rule = list_rules()[name]
    payload = pickle.dumps((name, {**rule.defaults, "lr": 0.25}), protocol=0).rstrip(b".")
    assert pickle.loads(b"clifecycle.optim\n_rebuild\n" + payload + b"R.") == make(name, {"lr": 0.25})


def test_an_attribute_is_a_hyperparameter():
    adam = lc.Adam()
    adam.lr = 0.5
    assert adam.get_params()["lr"] == adam.lr == 0.5
    with pytest.raises(ValueError, match="lr must be"):
        adam.lr = -1.0


def test_a_stamp_follows_what_the_functions_use():
    from lifecycle._jit._compile import stamp

    def update(text):
        names = {"__name__": "module"}
        exec(text, names)
        return names["update"]

    text = "SCALE = 1.0\ndef helper(x):\n    return x * SCALE\ndef update(p):\n    return helper(p) + 1.0\n"
    stamps = {stamp(update(text))}
    for old, new in (("SCALE = 1.0", "SCALE = 2.0"), ("x * SCALE", "x / SCALE"), ("+ 1.0", "+ 2.0"), ("", "")):
        stamps.add(stamp(update(text.replace(old, new))))
    assert len(stamps) == 4


def test_every_rule_trains_a_linear_model_in_a_new_process():
    """A rule whose step calls that of another rule must not need the other one to have been compiled before."""

    def trained(name):
        code = f"""
import lifecycle as lc, numpy as np
X = np.random.RandomState(0).normal(size=(200, 3)); y = (X @ [1.0, -2.0, 0.5] > 0).astype(int)
model = lc.LinearClassifier(optimizer={name!r}, batch_size=16, max_iter=30, tol=None, random_state=0).fit(X, y)
assert model.score(X, y) > 0.9, model.score(X, y)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return name, done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        for name, code, error in pool.map(trained, list_rules()):
            assert code == 0, (name, error)


def test_named_failures_of_the_optimizers_over_numpy():
    adam = lc.Adam()
    x = np.zeros(3)
    state = adam.init(x)
    with pytest.raises(TypeError, match="float32 or float64"):
        adam.init(np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="must match"):
        adam.step(x, np.zeros(4), state)
    with pytest.raises(ValueError, match="do not match"):
        adam.step([x, x], [x, x], state)
    with pytest.raises(ValueError, match="call init"):
        lc.SGD(momentum=0.9).step(x, x.copy(), state)
    frozen = x.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        adam.step(frozen, x, adam.init(frozen))
    with pytest.raises(ValueError, match="nesterov"):
        lc.SGD(nesterov=True)
    with pytest.raises(ValueError, match=r"betas\[1\]"):
        lc.Adam(betas=(0.9, 1.0))
    assert state.step == 0
    assert not x.any()


def test_minimize_says_why_it_stopped():
    def bowl(x, centre):
        return float(((x - centre) ** 2).sum())

    done = lc.minimize(bowl, [0.0, 0.0], args=(3.0,), optimizer=lc.GD(lr=0.4), tol=1e-5)
    np.testing.assert_allclose(done.x, 3.0, atol=1e-5)
    assert (done.success, done.status) == (True, 0)
    cut = lc.minimize(bowl, [0.0], args=(3.0,), max_iter=2)
    assert (cut.success, cut.nit, cut.status) == (False, 2, 1)
    seen = []
    stopped = lc.minimize(bowl, [0.0], args=(3.0,), callback=lambda x: seen.append(x) or len(seen) == 4)
    assert (stopped.nit, stopped.status) == (4, 99)
    with np.errstate(over="ignore", invalid="ignore"):
        wild = lc.minimize(bowl, [0.0], args=(3.0,), jac=lambda x, c: 2 * (x - c), optimizer=lc.GD(lr=1e200))
    assert (wild.success, wild.status) == (False, 2)
    with pytest.raises(ValueError, match=r"optimizer must be one of 'adadelta', .*'adam', .*'gd', .*'lion'"):
        lc.minimize(bowl, [0.0], args=(0.0,), optimizer="bfgs")


def test_minimize_takes_a_single_argument_and_refuses_what_cannot_be_called():
    def scaled(x, factor):
        return float(factor * (x**2).sum())

    found, expected = (lc.minimize(scaled, [1.0, 2.0], args=given, max_iter=5) for given in (3.0, (3.0,)))
    np.testing.assert_array_equal(found.x, expected.x)
    with pytest.raises(TypeError, match="fun must be callable; got 3"):
        lc.minimize(3, [0.0])
    with pytest.raises(TypeError, match="callback must be callable; got 'stop'"):
        lc.minimize(scaled, [0.0], args=1.0, callback="stop")
    with pytest.raises(TypeError, match=r"with jac=True fun must return \(value, gradient\); it returned 0\.0"):
        lc.minimize(scaled, [0.0], args=1.0, jac=True)


def test_a_module_can_register_a_rule(monkeypatch):
    from lifecycle import rules

    source = Path(rules.__file__).with_name("gd.py")
    spec = importlib.util.spec_from_file_location("lifecycle.rules.half_gd", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(rules, "_registered", {})
    lc.register_rule(module)
    assert lc.HalfGd(lr=0.5).rule.name == "half_gd"
    np.testing.assert_array_equal(run(lc.HalfGd(lr=0.5), np.ones(3), [np.ones(3)]), 0.5)
    with pytest.raises(ValueError, match="there is a rule 'half_gd' already"):
        lc.register_rule(module)
    with pytest.raises(ValueError, match="the module empty has no SLOTS; it must define SLOTS, step"):
        Rule(types.ModuleType("empty"))


def test_cache_hits_across_processes_and_misses_after_an_edit(tmp_path):
    """An edited rule must not run from the old kernel (numba looks at the kernel's own file only)."""
    import os
    import shutil

    package = tmp_path / "lifecycle"
    shutil.copytree(Path(lc.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import numpy as np, lifecycle as lc; x = np.ones(1); lc.GD(lr=0.5).step(x, np.ones(1), lc.GD().init(x))\n"
        "from lifecycle.loops import elementwise; from lifecycle.formats import list_formats\n"
        "float64 = list_formats()['float64']\n"
        "k = elementwise.compiled(lc.GD().rule.variant({}).update, (), float64, float64, x.dtype, 3, False)\n"
        "print(x[0], k.cache_hits)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def answer():
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert answer() == "0.5 0\n"
    assert answer() == "0.5 1\n"
    rule = package / "rules" / "gd.py"
    rule.write_text(rule.read_text().replace("p - lr", "p - 2 * lr"))
    assert answer() == "0.0 0\n"

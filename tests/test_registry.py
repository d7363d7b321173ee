"""The registries: a file that does not fit its interface is refused by a sentence that names what is wrong."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import lifecycle
from lifecycle import _registry, codecs, formats, losses, masks, penalties, rules, splits

SOURCE = Path(lifecycle.__file__).parent
# of each package: the list of its implementations, and how a file is read
LISTS = {
    "rules": rules.list_rules,
    "losses": losses.list_losses,
    "penalties": penalties.list_penalties,
    "formats": formats.list_formats,
    "codecs": codecs.list_codecs,
    "masks": masks.list_masks,
    "splits": splits.list_splitters,
}
READERS = {
    "rules": rules.Rule,
    "losses": lambda module: _registry.read(module, losses.Loss),
    "penalties": lambda module: _registry.read(module, penalties.Penalty),
    "formats": formats._read_format,
    "codecs": codecs._read_codec,
    "masks": lambda module: _registry.read(module, masks.Criterion),
    "splits": lambda module: _registry.read_class(module, splits.Splitter),
}


def load(package, path):
    spec = importlib.util.spec_from_file_location(f"lifecycle.{package}.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", LISTS)
def test_every_file_without_an_underscore_is_an_implementation(package):
    files = {path.stem for path in (SOURCE / package).glob("[!_]*.py")}
    assert len(files) == len(LISTS[package]())
    if package != "splits":  # listed by class
        assert files == set(LISTS[package]())
        assert all(value.name == name for name, value in LISTS[package]().items())


# package, a good file, what is replaced in it by what, and the sentence
BAD = [
    ("rules", "lion", "SLOTS = ", "SLOT = ", r"bad\.py has no SLOTS; it must define SLOTS, step\(t, lr\), update\("),
    ("rules", "lion", "step(t, lr=", "step(lr=", r"step in .*bad\.py must be a function of \(t, lr\); it is step\("),
    ("rules", "lion", "=1e-4, betas=(0.9, 0.99)", ", betas", r"must be a function of \(t, lr\); it is step\(t, lr, "),
    ("rules", "lion", "lr=1e-4", "lr", "step of rule 'bad' gives no default for lr"),
    ("rules", "lion", "(p, g, exp_avg, s)", "(p, g, s)", r"must take \(p, g, exp_avg, s\), as its SLOTS say"),
    ("rules", "lion", '"signed"', '"complex"', "a slot of rule 'bad' is 'complex'; a slot is one of"),
    ("rules", "nadam", '"mu_product": 1.0', '"mu": 1.0', "step of rule 'bad' must end with its SCALARS, mu"),
    ("losses", "hinge", "def dloss", "def slope", r"bad\.py has no dloss; it must define task, value\(y, z, epsilon\)"),
    ("losses", "hinge", "def dloss(y, z, epsilon)", "def dloss(y, z)", r"dloss in .* a function of \(y, z, epsilon\)"),
    ("losses", "hinge", '"classification"', '"rank"', "must be 'classification' or 'regression'; it is 'rank'"),
    ("losses", "huber", "max_curvature = 1.0", "max_curvature = 'one'", r"max_curvature in .* of type float \| None;"),
    ("losses", "huber", "max_curvature =", "curvature =", "the loss 'bad' has no max_curvature; hessian, max_curv"),
    ("losses", "log_loss", "multinomial_exp", "exponential", "no multinomial_exp; .* must be defined together"),
    ("penalties", "l1", "def prox(", "def proximal(", r"bad\.py has no prox; it must define value\(w, l1_ratio\),"),
    ("penalties", "l1", "step_size, l1_ratio", "step_size", r"must be a function of \(step_size, l1_ratio\); it is pr"),
    ("formats", "float32", "STOCHASTIC = False", "", "bad.py has no STOCHASTIC; it must define DTYPE, BLOCK, STO"),
    ("formats", "float32", "BLOCK = 1", "BLOCK = '1'", "BLOCK in .* must be of type int; it is '1'"),
    ("formats", "float32", "def load(code)", "def load(bits)", r"load in .* must be a function of \(code\)"),
    ("formats", "int8", "largest, before", "largest", r"scale in .* must be a function of \(largest, before\)"),
    ("formats", "int8", "BLOCK = 256", "BLOCK = 1", r"must be a function of \(code\); it is load\(code, scale\)"),
    ("codecs", "bitmask", "LOSSLESS = True", "", r"bad\.py has no LOSSLESS; it must define LOSSLESS, encode\("),
    ("codecs", "bitmask", "LOSSLESS = True", "LOSSLESS = 'yes'", "LOSSLESS in .* must be True; it is 'yes'"),
    ("codecs", "absmax", "LOSSLESS = False", "LOSSLESS = 0", r"LOSSLESS in .* must be True; it is 0"),
    ("codecs", "absmax", "def scales", "def scale", r"bad\.py has no scales; it must define LOSSLESS, scales"),
    (
        "masks",
        "magnitude",
        "def scores(weight",
        "def scores(w",
        r"must be a function of \(weight, statistic\); it is scores\(w:",
    ),
    (
        "masks",
        "magnitude",
        "def scores",
        "scores = 3\n\n\ndef f",
        r"scores in .* function of \(weight, statistic\); it is 3",
    ),
    (
        "splits",
        "kfold",
        "class KFold(ShuffledSplitter)",
        "class KFold",
        "public class, derived from Splitter; it has KF",
    ),
    ("splits", "kfold", "class KFold", "class _KFold", "must define one public class, .* it has none"),
]


@pytest.mark.parametrize(("package", "name", "old", "new", "sentence"), BAD)
def test_a_file_that_does_not_fit_is_refused(package, name, old, new, sentence, tmp_path):
    good = (SOURCE / package / f"{name}.py").read_text(encoding="utf-8")
    path = tmp_path / "bad.py"
    path.write_text(good, encoding="utf-8")
    READERS[package](load(package, path))
    assert old in good
    path.write_text(good.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        READERS[package](load(package, path))


def test_a_function_may_have_further_parameters_with_defaults():
    assert _registry._takes(lambda w, l1_ratio, q=2.0, **more: w, ("w", "l1_ratio"))
    assert not _registry._takes(lambda w, l1_ratio, q: w, ("w", "l1_ratio"))
    assert not _registry._takes(lambda l1_ratio, w: w, ("w", "l1_ratio"))
    assert not _registry._takes(lambda w: w, ("w", "l1_ratio"))
    assert _registry._takes(lambda p, g, a, b, s: p, ("p", "g", "*slots", "s"))
    assert not _registry._takes(lambda p: p, ("p", "g", "*slots", "s"))
    assert not _registry._takes(3, ("w",))


def test_the_names_of_classes_are_found_without_importing_them():
    assert sorted(_registry.class_names("rules")) == sorted(r.class_name for r in rules.list_rules().values())
    assert sorted(_registry.class_names("splits")) == sorted(splits.list_splitters())
    code = (
        "import sys, lifecycle as lc; names = dir(lc)\n"
        "assert {'AdamW', 'SGD', 'KFold', 'minimize', 'LeaveOneOut'} <= set(names) == {*lc.__all__, '__version__'}\n"
        "assert not {'numpy', 'numba', 'sklearn'} & set(sys.modules), sys.modules\n"
        "from lifecycle import *; from lifecycle.splits import *; print(RMSprop.__name__, PurgedKFold.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "RMSprop PurgedKFold\n"


def test_every_public_name_is_found_and_an_unknown_one_lists_what_exists():
    assert all(getattr(lifecycle, name) is not None for name in lifecycle.__all__)
    assert all(getattr(splits, name) is not None for name in splits.__all__)
    for name, sentence in {
        "AdamWW": "did you mean AdamW",
        "KFolds": "did you mean KFold",
        "MLP": "it is in lifecycle.torch",
        "Transformer": "it has Adadelta, Adagrad",
        "nothing": "it has Adadelta, Adagrad",
    }.items():
        with pytest.raises(AttributeError, match=f"lifecycle has no '{name}'.*{sentence}"):
            getattr(lifecycle, name)
    with pytest.raises(AttributeError, match=r"'lifecycle\.splits' has no attribute 'AdamW'"):
        splits.AdamW  # noqa: B018

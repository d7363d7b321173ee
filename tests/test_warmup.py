"""`lifecycle warmup`: what it compiles, later processes find; one sentence where nothing can be kept."""

import os
import re
import subprocess
import sys
import warnings

import pytest

from lifecycle import _jit
from lifecycle.__main__ import main
from lifecycle.cli import warmup

RUN_SOME = """
from lifecycle.cli import warmup
all_fits = list(warmup.usual_fits())
warmup.usual_fits = lambda: [fit for fit in all_fits if fit[0] in {names}]
print(warmup.run())
"""
USUAL = """
import numpy as np, warnings
warnings.simplefilter("ignore")
import lifecycle as lc
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, load_diabetes, load_breast_cancer
X, y = load_digits(return_X_y=True)
lc.GridSearchCV(lc.LinearClassifier(), {"alpha": [1e-4, 1e-3]}, cv=3).fit(X[:300], y[:300])
X, y = load_breast_cancer(return_X_y=True)
for model in (lc.LinearClassifier(), lc.LinearClassifier(optimizer="newton"), lc.LinearClassifier(optimizer="sgd")):
    for rows in (X, X.astype(np.float32), csr_matrix(X)):
        model.set_params(max_iter=20).fit(rows, y)
        lc.cross_validate(model, rows, y, cv=3)
X, y = load_diabetes(return_X_y=True)
lc.cross_validate(lc.LinearRegressor(), X, y, cv=5)
"""
USUAL_TORCH = """
import torch, lifecycle.torch as lt
lt.TorchClassifier(lt.CNN, module__channels=(8,), max_epochs=1).fit(np.zeros((40, 1, 8, 8)), np.arange(40) % 2)
p = torch.nn.Parameter(torch.ones(2_000_000))
optimizer = lt.AdamW([p], max_grad_norm=1.0, state_dtype="int8")
p.grad = torch.ones_like(p)
optimizer.step()
"""


def files(folder):
    return sorted(path for path in folder.rglob("*.nb*"))


def python(folder, *arguments):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    run = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_second_process_compiles_nothing(tmp_path):
    code = RUN_SOME.format(names={"SGD of numpy arrays"})
    first = re.fullmatch(r"(\d+) kernels in [\d.]+ s, of which 0 were compiled before; they lie in (.*)\n",
                         python(tmp_path, "-c", code))  # fmt: skip
    assert int(first[1]) >= 3
    assert first[2].startswith(str(tmp_path))
    compiled = files(tmp_path)
    assert compiled
    again = python(tmp_path, "-c", code)
    assert re.match(r"(\d+) kernels in [\d.]+ s, of which \1 were compiled before", again)[1] == first[1]
    assert files(tmp_path) == compiled


@pytest.mark.slow
def test_usual_fits_compile_nothing_after_a_warmup(tmp_path):
    pytest.importorskip("torch")
    python(tmp_path, "-m", "lifecycle", "warmup")
    compiled = files(tmp_path)
    python(tmp_path, "-c", USUAL + USUAL_TORCH)
    assert files(tmp_path) == compiled


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    assert main(["warmup"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"lifecycle: NUMBA_CACHE_DIR={folder} cannot be written to: Not a directory\n"


def test_kernels_that_cannot_be_kept_are_one_sentence(monkeypatch, capsys):
    def fit():
        warnings.warn(f"{_jit.KERNELS_NOT_KEPT}, as the disk is full", stacklevel=2)

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(warmup, "usual_fits", lambda: [("a fit", fit)])
    assert main(["warmup"]) == 1
    assert capsys.readouterr().err == "lifecycle: compiled kernels cannot be kept, as the disk is full\n"


def test_without_torch_the_rest_is_compiled(monkeypatch, capsys):
    monkeypatch.setattr(warmup, "find_spec", lambda name: None)
    names = [name for name, _ in warmup.usual_fits()]
    assert names
    assert not [name for name in names if "orch" in name]
    monkeypatch.setattr(warmup, "usual_fits", lambda: [])
    assert main(["warmup"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "torch is not installed: its optimizers and estimators are left out"
    assert said[1].startswith("0 kernels in ")

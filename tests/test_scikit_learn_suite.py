"""scikit-learn's tests of model selection, run with our classes and functions under scikit-learn's names."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sklearn

SUITE = Path(sklearn.__file__).parent / "model_selection" / "tests"

# Tests that do not apply, and why. Another test that fails is an error, and so is one of these that passes.
STRATIFIED = "StratifiedKFold(n_splits=5, random_state=None, shuffle=False)"
GROUPS = "wording: a splitter of ours names itself where groups are missing"
EXCEPTIONS = {
    "test_search.py::test_grid_search_groups": GROUPS,
    "test_validation.py::test_cross_val_score_predict_groups": GROUPS,
    "test_search.py::test_grid_search_cv_splits_consistency": "requires that split be a generator; ours makes the "
    "first fold at once, so that errors come from the call of split",
    "test_split.py::test_2d_y": "wording: StratifiedKFold says which y it takes",
    "test_split.py::test_kfold_valueerrors": "wording: rows, not samples",
    f"test_split.py::test_stratified_splitter_without_y[{STRATIFIED}]": "our y may be missing where strata are given, "
    "so that it is not a required argument in Python",
}


@pytest.mark.parametrize(
    "file",
    [
        "test_split.py",
        pytest.param("test_validation.py", marks=pytest.mark.slow),
        pytest.param("test_search.py", marks=pytest.mark.slow),
    ],
)
def test_scikit_learns_tests_pass(file, tmp_path):
    if not (SUITE / file).exists():
        pytest.skip("this scikit-learn came without its tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = default\n", encoding="utf-8")
    outcomes_file = tmp_path / "outcomes.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "LIFECYCLE_OUTCOMES": str(outcomes_file),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "scikit_learn_suite"),
        *("-c", str(tmp_path / "pytest.ini"), "--rootdir", str(SUITE), str(SUITE / file)),
    ]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert outcomes_file.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    outcomes = json.loads(outcomes_file.read_text(encoding="utf-8"))
    counts = Counter(outcomes.values())
    sys.stdout.write(f"{file}: {dict(counts)}\n")
    assert counts["passed"] > 100, done.stdout[-3000:]
    failed = {name for name, outcome in outcomes.items() if outcome == "failed"}
    excepted = {name for name in EXCEPTIONS if name.startswith(file)}
    assert failed - excepted == set(), done.stdout[-6000:]
    assert excepted - failed == set(), "these tests pass: remove them from EXCEPTIONS"

"""The package and its documentation use the terms of the field: docs/glossary.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Words that once stood for a term of the field: accumulate, curvature, kink of a loss, sweep, target, vector width.
FORBIDDEN = re.compile(r"\b(push|bend|kink|pull|land|paces|goal|turns|look|room|face|lanes)\b", re.IGNORECASE)

# A line that needs one of these words in its plain meaning, and the reason: {"path": {"the line": "the reason"}}.
ALLOWED: dict[str, dict[str, str]] = {}


def test_no_line_uses_a_word_of_our_own_where_a_term_exists():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.py")]
    found = {
        (path.relative_to(ROOT).as_posix(), line.strip())
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if FORBIDDEN.search(line)
    }
    assert found == {(path, line) for path, lines in ALLOWED.items() for line in lines}

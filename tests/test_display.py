"""Text tables, HTML tables, axes of plots, and the error where an optional package is missing."""

import math
import sys

import numpy as np
import pytest

from lifecycle._display import (
    Markup,
    axes_or_new,
    format_interval,
    format_value,
    html_table,
    import_optional,
    text_table,
)


def test_columns_of_a_text_table_are_aligned():
    rows = [("name", "bytes", "codec"), ("weight", "1,024", ""), ("b", "8", "plain")]
    assert text_table(rows, "<>") == ["name    bytes  codec", "weight  1,024", "b           8  plain"]
    assert text_table(rows)[2] == "b       8      plain"
    assert text_table([("", "a"), ("", "b")]) == ["  a", "  b"]
    assert text_table([]) == []
    with pytest.raises(ValueError, match="zip"):
        text_table([("a", "b"), ("c",)])


def test_an_html_table_formats_and_escapes():
    rows = [("<a>", 1.23456, Markup("<b>1</b>"), "x"), ("b", math.nan, "<i>", "y" * 61)]
    assert html_table(["", "value", "&", "text"], rows, caption="<c>", text_columns=[3]) == (
        "<table><caption>&lt;c&gt;</caption>"
        '<thead><tr><th scope="col"></th><th scope="col">value</th><th scope="col">&amp;</th>'
        '<th scope="col" class="text">text</th></tr></thead>'
        '<tbody><tr><th scope="row">&lt;a&gt;</th><td>1.235</td><td><b>1</b></td><td class="text">x</td></tr>'
        f'<tr><th scope="row">b</th><td>–</td><td>&lt;i&gt;</td><td class="text wrap">{"y" * 61}</td></tr>'
        "</tbody></table>"
    )
    assert html_table([], [("kind", "a")]) == (
        '<table><tbody><tr><th scope="row">kind</th><td>a</td></tr></tbody></table>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345, "12,345"),
        (0.123456, "0.1235"),
        (np.float64(2.5), "2.5"),
        (math.inf, "–"),
        (True, "True"),
        ("1e9", "1e9"),
        (None, "None"),
        ((2, 3), "(2, 3)"),
    ],
)
def test_values(value, text):
    assert format_value(value) == text


def test_intervals():
    assert format_interval(0.123456, 2.0) == "[0.1235, 2]"
    assert format_interval(-1.0, 2.0, "+.4g") == "[-1, +2]"
    assert format_interval(math.nan, math.nan) == "none"


@pytest.mark.parametrize("module", ["pandas", "matplotlib.pyplot"])
def test_a_missing_package_is_named_with_its_extra(module, monkeypatch):
    package = module.partition(".")[0]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"plot\(\) needs {package}: pip install 'lifecycle-ml\[plot\]'"):
        import_optional(module, "plot()")
    with pytest.raises(ImportError, match=r"lifecycle-ml\[onnx\]"):
        import_optional(module, "export", extra="onnx")


def test_axes_are_those_given_or_new_ones():
    plt = pytest.importorskip("matplotlib.pyplot")
    given = axes_or_new(None, figsize=(3, 2))
    assert given.figure.get_size_inches().tolist() == [3, 2]
    assert axes_or_new(given, figsize=(9, 9)) is given
    assert given.figure.get_layout_engine() is not None
    plt.close("all")

"""How the transformers of text are stored: a vocabulary as its text and the lengths of its terms."""

import re
import warnings
from functools import partial
from typing import Any

import numpy as np

from lifecycle._check import one_of
from lifecycle.store import limits
from lifecycle.store.adapters.sklearn.transformers.stored import Flag, Numbers, Stored, refit

_HASHES_PER_UNIT = 250  # columns of the sparse rows of a HashingVectorizer, of one unit of `limits.MAX_WORK`
_MAX_NGRAM = 30  # words or characters; n-grams of long texts take the square of it in memory
_ENCODINGS = ("utf-8", "utf8", "ascii", "latin-1", "latin1", "iso-8859-1", "cp1252", "utf-16")  # others are imported
_ATOM = r"(?:\\[wWdDsS]|[A-Za-z0-9_#@'-]|\[\^?(?:\\[wWdDsS\\\]-]|[^\[\]\\&~|])+\])"
_REPEATED = rf"(?:{_ATOM}){{0,20}}{_ATOM}(?:\+|\{{\d\d?(?:,\d{{0,2}})?\}})?"
# A search for these takes a few passes over a text, where others can take exponential time: only the last atom is
# repeated without a bound, and where a boundary of a word has to follow it, one has to come before it too.
_TOKEN_PATTERN = re.compile(rf"(?:\(\?[iu]+\))?(?:{_REPEATED}|\\b{_REPEATED}\\b|\\b{_REPEATED})")
_ANALYSIS = (
    *("encoding", "decode_error", "strip_accents", "lowercase", "stop_words", "token_pattern", "ngram_range"),
    *("analyzer", "binary", "dtype"),
)
_COUNTS = (*_ANALYSIS, "max_df", "min_df", "max_features", "vocabulary")
_WEIGHTS = ("norm", "use_idf", "smooth_idf", "sublinear_tf")


def _check_analysis(step: Any) -> None:
    """ValueError for arguments with which a text can take much more time or memory than it has characters."""
    stop_words = step.stop_words
    if step.token_pattern is not None:
        _check_token_pattern(step.token_pattern)
    shortest, longest = step.ngram_range
    if not 1 <= shortest <= longest <= _MAX_NGRAM:
        raise ValueError(f"ngram_range={step.ngram_range!r} is not between 1 and {_MAX_NGRAM}")
    if stop_words is not None and stop_words != "english" and not all(isinstance(w, str) for w in stop_words):
        raise ValueError("stop_words are not strings")
    one_of("encoding", step.encoding, _ENCODINGS)


def _check_token_pattern(pattern: str) -> None:
    if len(pattern) > 200 or not _TOKEN_PATTERN.fullmatch(pattern):
        raise ValueError(
            rf"token_pattern={pattern!r} is no sequence of characters and classes such as \w and [a-z], maybe between "
            r"\b, of which the last one may be repeated"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, Warning) as error:
        raise ValueError(f"token_pattern={pattern!r}: {error}") from None


def _read_vocabulary(step: Any) -> dict[str, Any]:
    terms = sorted(step.vocabulary_, key=step.vocabulary_.get)
    if not all(isinstance(term, str) for term in terms):
        raise ValueError("vocabulary_ has a term that is no string")
    if [int(step.vocabulary_[term]) for term in terms] != list(range(len(terms))):
        raise ValueError("vocabulary_ does not number its terms from 0")
    lengths = np.array([len(term) for term in terms], np.uint32)
    width = np.min_scalar_type(lengths.max(initial=0))
    text = "".join(terms).encode("utf-8", "surrogatepass")
    return {"terms": np.frombuffer(text, np.uint8), "lengths": lengths.astype(width)}


def _terms(learned: dict[str, Any]) -> list[str]:
    text = learned["terms"].tobytes().decode("utf-8", "surrogatepass")
    ends = np.cumsum(learned["lengths"], dtype=np.int64).tolist()
    if ends[-1] != len(text):
        raise ValueError("the lengths of the terms are not those of their text")
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def _check_vocabulary(step: Any, learned: dict[str, Any]) -> None:
    _check_analysis(step)
    limits.spend_terms(len(learned["lengths"]))
    if learned["terms"].dtype != np.uint8 or learned["lengths"].dtype.itemsize > 4:
        raise ValueError("the vocabulary is malformed")


def _check_weighted(step: Any, learned: dict[str, Any]) -> None:
    _check_vocabulary(step, learned)
    _check_idf(step, learned)


def _check_idf(step: Any, learned: dict[str, Any]) -> None:
    if ("idf_" in learned) != bool(step.use_idf):
        raise ValueError(f"use_idf={step.use_idf} of a {type(step).__name__} is not that of its fit")


def _restore_vocabulary(step: Any, learned: dict[str, Any]) -> Any:
    terms, idf = _terms(learned), learned.get("idf_")
    if len(set(terms)) != len(terms):
        raise ValueError("a vocabulary has a term twice")
    given = step.vocabulary
    refit(step.set_params(vocabulary=terms), {}, ("",))  # numbers the terms
    if idf is not None:
        step.idf_ = idf
    step.fixed_vocabulary_ = bool(learned["fixed_vocabulary_"])
    return step.set_params(vocabulary=given)


_VOCABULARY = {
    "terms": Numbers(("characters",), "u"),
    "lengths": Numbers(("n_terms",), "u"),
    "fixed_vocabulary_": Flag(),
}
_IDF = Numbers(("n_terms",), inf=True, required=False)


def _n_terms(step: Any) -> int:
    return len(step.vocabulary_)


def _check_hashing(step: Any, learned: dict[str, Any]) -> None:
    _check_analysis(step)
    limits.spend_work(step.n_features // _HASHES_PER_UNIT)


TRANSFORMERS = {
    "CountVectorizer": Stored(
        "sklearn.feature_extraction.text",
        _COUNTS,
        _VOCABULARY,
        fitted="vocabulary_",
        read=_read_vocabulary,
        check=_check_vocabulary,
        restore=_restore_vocabulary,
        n_outputs=_n_terms,
    ),
    "TfidfVectorizer": Stored(
        "sklearn.feature_extraction.text",
        (*_COUNTS, *_WEIGHTS),
        {**_VOCABULARY, "idf_": _IDF},
        fitted="vocabulary_",
        read=_read_vocabulary,
        check=_check_weighted,
        restore=_restore_vocabulary,
        n_outputs=_n_terms,
    ),
    "TfidfTransformer": Stored(
        "sklearn.feature_extraction.text",
        _WEIGHTS,
        {"idf_": _IDF._replace(shape=("n",))},
        check=_check_idf,
    ),
    "HashingVectorizer": Stored(
        "sklearn.feature_extraction.text",
        (*_ANALYSIS, "n_features", "norm", "alternate_sign"),
        fitted=None,
        check=_check_hashing,
        restore=partial(refit, rows=("",)),
        n_outputs=lambda step: int(step.n_features),
    ),
}

"""The command line: lifecycle demo | inspect | predict | warmup."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 with one sentence on stderr where the input is at fault."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        return options.run(options)
    except BrokenPipeError:  # the reader, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, TypeError, ImportError) as error:
        _print_error(_sentence(error))
        return 2
    except KeyboardInterrupt:
        print("lifecycle: interrupted; nothing was written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from lifecycle import __version__

    parser = argparse.ArgumentParser(
        prog="lifecycle", description="The whole life of a model: build, train, validate, compress, ship, apply."
    )
    parser.add_argument("--version", action="version", version=f"lifecycle {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="take a model through its whole life and write a report")
    demo.add_argument("--data", metavar="FILE.csv", help="a table to learn from (default: scanned digits)")
    demo.add_argument("--target", metavar="COLUMN", help="its column to predict")
    demo.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column to learn from although it identifies the row; may be repeated",
    )
    demo.add_argument("--out", metavar="DIR", default=".", help="folder for the report and the model (default: .)")
    demo.set_defaults(run=_demo)

    inspect = commands.add_parser("inspect", help="print what a saved model's file holds, without building anything")
    inspect.add_argument("file", metavar="FILE")
    inspect.set_defaults(run=_inspect)

    predict = commands.add_parser(
        "predict", help="predict the rows of a .csv, .parquet or .npy file with a saved model"
    )
    predict.add_argument("file", metavar="FILE")
    predict.add_argument("data", metavar="DATA", help="rows: .parquet, .npy (an array), or any other name for CSV")
    predict.add_argument(
        "--out",
        metavar="PREDICTIONS",
        help="file to write: .parquet, .npy, or any other name for CSV (default: CSV to the terminal)",
    )
    predict.set_defaults(run=_predict)

    warmup = commands.add_parser("warmup", help="compile the usual kernels into the cache, for container images")
    warmup.set_defaults(run=_warmup)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from lifecycle.cli import demo

    result = demo.run(options.data, options.target, options.out, keep=options.keep)
    print(f"{result}\n\nwrote {result.report} (open it in a browser) and {result.model}")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    import lifecycle as lc

    print(lc.inspect(options.file))
    return 0


def _predict(options: argparse.Namespace) -> int:
    import lifecycle as lc
    from lifecycle._display import printable
    from lifecycle.cli.prediction import load_model, number_format_in
    from lifecycle.cli.prediction_files import as_csv, write_predictions
    from lifecycle.cli.row_files import open_rows, predict_in_chunks

    for given in (options.file, options.data):
        if options.out is not None and os.path.exists(options.out) and os.path.samefile(options.out, given):
            raise ValueError(f"--out {options.out} would overwrite what is read; give another file")
    model, metadata = load_model(options.file), lc.inspect(options.file).metadata
    with open_rows(options.data, model, number_format_in(metadata)) as rows:
        for note in rows.notes:
            _print_error(f"{options.data}: {note}")
        if options.out is None:
            is_terminal = sys.stdout.isatty()
            for text in as_csv(predict_in_chunks(model, rows, False if is_terminal else None)):
                sys.stdout.write("\n".join(map(printable, text.split("\n"))) if is_terminal else text)
        else:
            n_rows = write_predictions(predict_in_chunks(model, rows), options.out)
            print(f"wrote {options.out}: {n_rows:,} predictions")
    return 0


def _warmup(options: argparse.Namespace) -> int:
    from lifecycle.cli import warmup

    try:
        print(warmup.run())
    except warmup.CacheNotWritable as error:
        print(f"lifecycle: {error}", file=sys.stderr)
        return 1
    return 0


def _show_warning(message: Warning | str, *_: object) -> None:
    _print_error(str(message))


def _print_error(sentence: str) -> None:
    """One line on stderr, of which a terminal obeys nothing: it may quote a file."""
    from lifecycle._display import printable

    print(f"lifecycle: {printable(' '.join(sentence.splitlines()))}", file=sys.stderr)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error).strip() or type(error).__name__

"""python -m benchmarks NAME | all | page"""

import argparse
import inspect
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, keep the record, generate the page."""
    from benchmarks import _harness, _page

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=(*_page.NAMES, "all", "page"), help="what to measure; page: write it only")
    parser.add_argument("--rounds", type=int, default=20, help="alternating runs of each candidate (default 20)")
    parser.add_argument("--threads", type=int, default=2, help="default 2")
    parser.add_argument("--scale", type=float, default=1.0, help="< 1: a trial at smaller sizes, kept in --out only")
    parser.add_argument("--only", nargs="+", default=(), metavar="TEXT", help="cases whose names contain one of these")
    parser.add_argument("--resume", type=Path, help="keep each case in this file, and take what it has")
    parser.add_argument("--out", type=Path, default=_harness.RESULTS, help="folder of the record")
    args = parser.parse_args(arguments)
    if args.rounds < 1 or args.threads < 1 or not 0 < args.scale <= 1:
        parser.error("--rounds and --threads must be at least 1, and --scale above 0 and at most 1")
    published = args.out == _harness.RESULTS
    if args.name == "all":  # each in a process of its own, as none may warm another up
        rest = [a for a in (sys.argv[1:] if arguments is None else arguments) if a != "all"]
        return max(subprocess.run([sys.executable, "-m", "benchmarks", name, *rest]).returncode for name in _page.NAMES)
    if args.name == "page":
        print(f"wrote {_page.write(args.out)}")
        return 0
    if published and (args.scale != 1 or args.rounds < 10 or args.only):
        parser.error("a trial (--scale < 1, fewer than 10 rounds, or --only) is not published: add --out FOLDER")
    # numba's cache key ignores compile options: every benchmark compiles anew, before anything imports numba
    with tempfile.TemporaryDirectory(prefix="lifecycle-numba-") as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache
        module = import_module(f"benchmarks.{args.name}")
        options = {name: value for name in ("only", "resume") if (value := getattr(args, name))}
        for name in options.keys() - inspect.signature(module.run).parameters.keys():
            parser.error(f"--{name} is not for {args.name}, which is measured whole")
        result = module.run(rounds=args.rounds, threads=args.threads, scale=args.scale, **options)
    print(_page.part(result))
    print(f"wrote {_harness.write(result, args.out)}")
    if published:
        print(f"wrote {_page.write()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

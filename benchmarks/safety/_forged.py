"""Files with digests that fit, altered at random: `python -m benchmarks.safety._forged FOLDER SECONDS`."""

import json
import sys
import time
from collections import Counter

from tests.mutated_files import read_mutated_files

BATCH = 500  # files of one seed


def main(folder: str, seconds: float) -> None:
    """Read batches until that many seconds of the processor are over, and print what came of them as JSON."""
    outcomes: Counter = Counter()
    files, faults, slow, slowest, largest, seed = 0, [], 0, 0.0, 0, 10**6
    begin = time.process_time()
    while not files or time.process_time() - begin < seconds:
        reader = read_mutated_files(folder, BATCH, seed)
        outcomes += reader.outcomes
        files, seed = files + BATCH - reader.outcomes["no file"], seed + 1
        faults, slow = faults + reader.faults, slow + len(reader.slow)
        slowest, largest = max(slowest, reader.slowest[0]), max(largest, reader.largest[0])
    print(*faults, sep="\n", file=sys.stderr)
    found = {"files": files, "faults": len(faults), "slow": slow, "slowest": slowest, "largest": largest}
    print(json.dumps({**found, "seconds": time.process_time() - begin, "outcomes": dict(sorted(outcomes.items()))}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

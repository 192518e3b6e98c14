"""`make bench`: measure, write one JSON object a line, print the table; 1 if a gate fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import controlplane, depot, failover, replicas, results, strm

BENCHES = {
    "controlplane": controlplane.run,
    "replicas": replicas.run,
    "depot": depot.run,
    "failover": failover.run,
    "strm": strm.run,
}
FILE = Path("bench.jsonl")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which (default: all)")
    parser.add_argument("--objects", type=int, nargs="+", help="sizes of the control-plane bench")
    parser.add_argument("--files", type=int, nargs="+", help="sizes of the STRM bench")
    parser.add_argument("--profile", type=Path, help="write profiles of the operator's core beside this path")
    args = parser.parse_args()
    measured: list[results.Result] = []
    for name in args.names or BENCHES:
        print(f"--- {name}", flush=True)
        if name == "controlplane":
            found = controlplane.run(args.objects or controlplane.SIZES, profile=args.profile)
        elif name == "strm":
            found = strm.run(args.files or strm.SIZES)
        else:
            found = BENCHES[name]()
        results.write(found, FILE)
        measured += found
    print(results.table(measured))
    return 1 if any(result.passed is False for result in measured) else 0


if __name__ == "__main__":
    sys.exit(main())

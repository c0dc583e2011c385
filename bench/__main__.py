"""Run all benchmarks, each in its own process, so that results are kept even if a later benchmark fails.

python -m bench [--rounds N | --quick]
"""

import subprocess
import sys

from bench.report import HERE, PARTS


def main() -> None:
    """Run every part; exit status 1 if one could not be run. A missed target is a result, not a failure."""
    failed = [
        part
        for part in PARTS
        if subprocess.run([sys.executable, "-m", f"bench.{part}", *sys.argv[1:]], check=False).returncode
    ]
    print(f"results: {HERE / 'RESULTS.md'}")
    if failed:
        sys.exit(f"these parts failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

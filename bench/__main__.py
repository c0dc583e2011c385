"""All benchmarks, one after the other, each in a process of its own: what one finds stands even if the next one fails.

python -m bench [--quick]
"""

import subprocess
import sys

from bench.report import HERE, PARTS


def main() -> None:
    """Run every part; fail where one could not be run. A missed reach is a finding, not a failure."""
    failed = [
        part
        for part in PARTS
        if subprocess.run([sys.executable, "-m", f"bench.{part}", *sys.argv[1:]], check=False).returncode
    ]
    print(f"what was found is in {HERE / 'RESULTS.md'}")
    if failed:
        sys.exit(f"could not be run: {', '.join(failed)}")


if __name__ == "__main__":
    main()

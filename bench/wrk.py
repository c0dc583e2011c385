"""wrk, a load generator in C: so quick that it is never what is measured."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.gateway import say
from voxrec.sandbox.rootfs import Recipe, ensure_rootfs

CONNECTIONS: Final = 16
_PACKAGE: Final = Recipe("wrk", "bookworm", ("wrk",))
# The requests are made before, so that no Lua runs between two of them.
_SCRIPT: Final = """
local requests, n = {{ {requests} }}, 0
function request()
    n = n % #requests + 1
    return requests[n]
end
function done(summary, latency, requests)
    local e = summary.errors
    print(string.format('{{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "bytes": %d, "failed": %d}}',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.bytes,
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Load(NamedTuple):
    """What came of one run: answers a second, and the milliseconds that half and 99 % of them took at most."""

    rate: float
    median: float
    p99: float


def load(program: Sequence[str], port: int, requests: Sequence[bytes], seconds: float, script: Path) -> Load:
    """Send whole HTTP/1.1 ``requests``, one after the other and over again, on each of a few connections.

    Raises RuntimeError where a single answer is missing or an error.
    """
    script.write_text(_SCRIPT.format(requests=", ".join(map(_lua, requests))))
    command = [*program, "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds:g}s"]
    command += ["--latency", "--timeout", "30s", "--script", str(script), f"http://127.0.0.1:{port}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = json.loads(printed.splitlines()[-1])
    if told["failed"] or not told["requests"]:
        raise RuntimeError(f"{told['failed']} of {told['requests']} requests failed:\n{printed}")
    return Load(told["requests"] / told["microseconds"] * 1e6, told["p50"] / 1e3, told["p99"] / 1e3)


def wrk() -> list[str]:
    """How to call it: the one on PATH, or one from Debian, which stays in a directory of its own."""
    if (installed := shutil.which("wrk")) is not None:
        return [installed]
    root = ensure_rootfs(_PACKAGE, say)
    loader = next(root.glob("lib*/ld-linux-*.so.*"), None) or next(root.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = ":".join(str(path) for path in (root / "usr/lib").glob("*-linux-gnu*"))
    return [str(loader), "--library-path", libraries, str(root / "usr/bin/wrk")]


def _lua(text: bytes) -> str:
    """A Lua string of any bytes."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in text) + '"'

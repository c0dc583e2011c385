"""wrk, an HTTP load generator in C that is fast enough not to be the bottleneck."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from voxrec.sandbox.debian_program import program_command
from voxrec.sandbox.rootfs import Recipe

CONNECTIONS: Final = 16
_PACKAGE: Final = Recipe("wrk", "bookworm", ("wrk",))
# The requests are built beforehand, so that no Lua runs between two of them except for the selection.
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


class HttpLoad(NamedTuple):
    """The result of one run: responses per second, and the median and 99th percentile of their milliseconds."""

    rate: float
    median: float
    p99: float


def run_wrk(program: Sequence[str], port: int, requests: Sequence[bytes], seconds: float, script: Path) -> HttpLoad:
    """Send complete HTTP/1.1 ``requests`` in a loop on each connection, for ``seconds``.

    Raises RuntimeError if a response is missing or an error.
    """
    script.write_text(_SCRIPT.format(requests=", ".join(map(_lua_string, requests))))
    command = [*program, "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds:g}s"]
    command += ["--latency", "--timeout", "30s", "--script", str(script), f"http://127.0.0.1:{port}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = json.loads(output.splitlines()[-1])
    if summary["failed"] or not summary["requests"]:
        raise RuntimeError(f"{summary['failed']} of {summary['requests']} requests failed:\n{output}")
    rate = summary["requests"] / summary["microseconds"] * 1e6
    return HttpLoad(rate, summary["p50"] / 1e3, summary["p99"] / 1e3)


def wrk_command() -> list[str]:
    """Return the command that runs wrk: from PATH, or from a Debian package in its own root file system."""
    if (installed := shutil.which("wrk")) is not None:
        return [installed]
    return program_command(_PACKAGE, "usr/bin/wrk")


def _lua_string(content: bytes) -> str:
    """Return a Lua string literal for any bytes."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in content) + '"'

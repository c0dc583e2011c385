"""How busy the processors are: the time in which some process was ready to run and had to wait for one."""

import re
import time
from pathlib import Path
from typing import Final

_BUSY: Final = 0.1
"""Share of the time from which packets of audio may be late because of it."""
_TOTAL: Final = re.compile(r"^some .*\btotal=(\d+)$", re.MULTILINE)


class ProcessorPressure:
    """The waits of all processes of this machine from now on, as the kernel counts them (proc(5), /proc/pressure)."""

    def __init__(self, file: Path = Path("/proc/pressure/cpu")) -> None:
        self._file = file
        self._began = time.monotonic()
        self._before = self._waited_seconds()

    def share(self) -> float | None:
        """Return the share of the time since then in which a process waited, 0 to 1; None if the kernel counts none."""
        now = self._waited_seconds()
        if now is None or self._before is None:
            return None
        return min(1.0, (now - self._before) / max(time.monotonic() - self._began, 1e-6))

    def describe(self) -> str:
        """Return a clause about `share`, and whether it can be why packets were late."""
        share = self.share()
        if share is None:
            return "this kernel does not say whether the processors were busy meanwhile"
        if share < _BUSY:
            return f"the processors were not busy meanwhile: programs waited for one in {share:.0%} of the time"
        return f"programs waited for a processor in {share:.0%} of the time meanwhile, which makes packets late"

    def _waited_seconds(self) -> float | None:
        try:
            total = _TOTAL.search(self._file.read_text())
        except OSError:  # the kernel was built or started without it
            return None
        return int(total[1]) / 1e6 if total else None

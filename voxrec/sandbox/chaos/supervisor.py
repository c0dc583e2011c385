"""A run over a sandbox of its own that ends in a judgement: what ``make chaos`` and ``make soak`` have in common."""

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox.demo import console, step
from voxrec.sandbox.rootfs import asterisk_rootfs


class Ordeal(Protocol):
    """What was started, and can be stopped."""

    async def stop(self) -> None:
        """End all that it runs."""


R = TypeVar("R", bound=Ordeal)
V = TypeVar("V")


def endure(
    name: str,
    make: Callable[[Any, Path, Path | None], R],
    run: Callable[[R], Awaitable[V]],
    complaint: Callable[[V], str | None],
) -> None:
    """Make it (of reactor, directory and root file system), run it, and stop it. Its directory stays if it failed.

    ``complaint`` tells the verdict to whoever watches; what it gives back, if anything, ends the process with status 1.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"voxrec-{name}-"))
    directory.chmod(0o755)
    verdicts: list[V] = []

    async def whole(reactor: Any) -> None:
        ordeal = make(reactor, directory, rootfs)
        try:
            verdicts.append(await run(ordeal))
        except VoxrecError as error:
            _fail(error)
        finally:
            step("stopping everything")
            await ordeal.stop()

    try:
        rootfs = asterisk_rootfs(step)
        react(lambda reactor: Deferred.fromCoroutine(whole(reactor)))
    except VoxrecError as error:
        _fail(error)
    except SystemExit as end:
        if end.code:
            raise
    trouble = complaint(verdicts[0]) if verdicts else "it did not come to its end"
    if trouble is not None:
        sys.exit(f"{trouble}; logs: {directory}")
    shutil.rmtree(directory, ignore_errors=True)


def _fail(error: VoxrecError) -> None:
    console.print(f"failed: {error.detail}", style="red", soft_wrap=True, markup=False)

"""Run a scenario in a temporary sandbox and evaluate its result; shared by ``make chaos`` and ``make soak``."""

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox.console import print_error, print_step
from voxrec.sandbox.rootfs import asterisk_rootfs


class Scenario(Protocol):
    """A scenario that starts processes and can stop them."""

    async def stop(self) -> None:
        """Stop all processes."""


ScenarioT = TypeVar("ScenarioT", bound=Scenario)
ResultT = TypeVar("ResultT")


def supervise(
    name: str,
    make: Callable[[Any, Path, Path | None], ScenarioT],
    run: Callable[[ScenarioT], Awaitable[ResultT]],
    evaluate: Callable[[ResultT], str | None],
) -> None:
    """Make a scenario (from reactor, directory and root file system), run it, stop it, and evaluate its result.

    ``evaluate`` prints the result and returns an error message if the scenario failed. The process then exits with
    status 1, and the scenario's directory is kept for inspection.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"voxrec-{name}-"))
    directory.chmod(0o755)
    results: list[ResultT] = []

    async def run_scenario(reactor: Any) -> None:
        scenario = make(reactor, directory, rootfs)
        try:
            results.append(await run(scenario))
        except VoxrecError as error:
            print_error(error.detail)
        finally:
            print_step("stopping all processes")
            await scenario.stop()

    try:
        rootfs = asterisk_rootfs(print_step)
        react(lambda reactor: Deferred.fromCoroutine(run_scenario(reactor)))
    except VoxrecError as error:
        print_error(error.detail)
    except SystemExit as end:
        if end.code:
            raise
    error_message = evaluate(results[0]) if results else "the run did not finish"
    if error_message is not None:
        sys.exit(f"{error_message}; logs: {directory}")
    shutil.rmtree(directory, ignore_errors=True)

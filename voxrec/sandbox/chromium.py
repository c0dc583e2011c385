"""Debian's Chromium without a window, driven through chromedriver (WebDriver), for tests and benchmarks of pages."""

import secrets
import shutil
import socket
from pathlib import Path
from typing import Final

from selenium import webdriver
from selenium.webdriver.remote.client_config import ClientConfig
from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.process import Process, wait_until
from voxrec.sandbox.rootfs import CHROMIUM, ensure_rootfs

_START_TIMEOUT: Final = 60.0  # seconds
_COMMAND_TIMEOUT: Final = 60  # seconds
_ARGUMENTS: Final = (
    "--headless=new",
    # the sandbox of Chromium needs privileges that a container may not have; the pages are voxrec's own
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--force-device-scale-factor=1",
)


class Browser:
    """A chromedriver, which starts a Chromium for each session. ``directory`` has its files."""

    def __init__(self, directory: Path) -> None:
        self._namespace = MountNamespace(ensure_rootfs(CHROMIUM, lambda _line: None), directory)
        self._directory = directory
        self._port = free_port(socket.SOCK_STREAM)
        self._process: Process | None = None

    async def start(self, reactor: IReactorTime) -> None:
        """Start chromedriver, and wait until it accepts connections. Raises SandboxError."""
        self._namespace.prepare()
        (self._directory / "home").mkdir(exist_ok=True)
        home = self._namespace.path_inside(self._directory / "home")
        command = ["env", f"HOME={home}", f"XDG_CONFIG_HOME={home}", "/usr/bin/chromedriver", f"--port={self._port}"]
        process = Process(self._namespace.command(command), self._directory / "chromedriver.log")
        self._process = process
        if not await wait_until(reactor, lambda: not process.running or self._is_listening(), _START_TIMEOUT):
            raise SandboxError(f"chromedriver does not listen; its last output was:\n{process.log_tail()}")
        if not process.running:
            raise SandboxError(f"chromedriver has ended; its last output was:\n{process.log_tail()}")

    def open_session(self, language: str = "en", microphone: Path | None = None) -> webdriver.Remote:
        """Start a Chromium that prefers ``language``. Blocks: call it, and what it returns, in a thread.

        ``microphone`` is a WAV file that its microphone plays repeatedly; pages may use it without asking. Its log
        "performance" has the events of the DevTools protocol for every page.
        """
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        arguments = [*_ARGUMENTS, f"--lang={language}", f"--accept-lang={language}"]
        if microphone is not None:
            arguments += self._microphone_arguments(microphone)
        for argument in arguments:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        url = f"http://{LOOPBACK}:{self._port}"
        config = ClientConfig(remote_server_addr=url, timeout=_COMMAND_TIMEOUT, ignore_certificates=True)
        return webdriver.Remote(url, options=options, client_config=config)

    def share(self, file: Path) -> str:
        """Copy a file to where the browser can read it, and return its path there, for controls that choose a file."""
        directory = self._directory / secrets.token_hex(4)
        directory.mkdir()
        copy = Path(shutil.copy(file, directory))
        return self._namespace.path_inside(copy)

    def _microphone_arguments(self, audio: Path) -> list[str]:
        return [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={self.share(audio)}",
        ]

    def kill(self) -> None:
        """Kill chromedriver, and with it its Chromium; delete its files."""
        if self._process is not None:
            self._process.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _is_listening(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex((LOOPBACK, self._port)) == 0

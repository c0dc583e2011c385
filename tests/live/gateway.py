"""A running voxrec for live tests: one for all that only call it, one of their own for those that break it."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from voxrec.ari.client import AriClient
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_22, Recipe, asterisk_rootfs
from voxrec.sandbox.sipp import SippCaller
from voxrec.sandbox.stack import Stack

SHARED_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "calls": {"ring_timeout": 3, "allowed_hosts": ["127.0.0.1", "localhost"]},
}
_shared: dict[Recipe, Stack] = {}


def _say(_: str) -> None:
    pass


def _directory() -> Path:
    # beside the tests' own files would be too deep for a unix socket
    path = Path(tempfile.mkdtemp(prefix="voxrec-live-"))
    path.chmod(0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def new_stack(settings: Mapping[str, Mapping[str, Any]] | None = None, recipe: Recipe = ASTERISK_22) -> Stack:
    """A stack that is not started; it ends with this process at the latest."""
    stack = Stack(reactor, _directory(), asterisk_rootfs(_say, recipe), settings)
    atexit.register(stack.kill)
    return stack


async def shared_stack(recipe: Recipe = ASTERISK_22) -> Stack:
    """The running stack that tests share; started at the first call."""
    if recipe not in _shared:
        stack = new_stack(SHARED_SETTINGS, recipe)
        await stack.start()
        _shared[recipe] = stack
    return _shared[recipe]


class GatewayTestCase(TestCase):
    """Phones that end with their test, and a directory for what they play and hear.

    ``recipe`` says on which Asterisk; a subclass with another one runs the same tests there.
    """

    timeout = 180
    recipe: ClassVar[Recipe] = ASTERISK_22

    def setUp(self) -> None:
        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)

    def phone(self, phone: Phone) -> Phone:
        """Let a phone end with the test."""
        self.addCleanup(phone.kill)
        return phone

    async def sleep(self, seconds: float) -> None:
        await deferLater(self.reactor, seconds)

    async def sipp_code(self, stack: Stack, target: str, **arguments: Any) -> int:
        """Place one call through SIPp, and give back its final status."""
        caller = SippCaller(
            self.reactor,
            self.directory / f"sipp-{os.urandom(3).hex()}",
            asterisk_rootfs(_say),
            stack.asterisk.sip_address,
            target,
            **{"talk_seconds": 1.0, **arguments},
        )
        self.addCleanup(caller.stop)
        result = await caller.run()
        (call,) = result.calls
        return call.code

    async def assert_nothing_left(self, stack: Stack, asterisk: AriClient) -> None:
        """Asterisk has no channel and no bridge any more, and its recording directory is empty."""

        async def empty() -> bool:
            channels = await asterisk.list_channels()
            bridges = await asterisk.list_bridges()
            self.left = [channel.name for channel in channels], [bridge.id for bridge in bridges]
            self.files = sorted(path.name for path in stack.asterisk.recording_directory.iterdir())
            return not channels and not bridges and not self.files

        if not await stack.wait_until(empty, 15):
            self.fail(f"left in Asterisk: {self.left}, {self.files}")

"""Whether Asterisk forwards the RTP packets of a call unchanged, or processes them, which a recording needs."""

from tests.live.live_test_case import PROFILE_SECONDS, LiveTestCase, rootfs_of, shared_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sipp import SippAnswerer

LOG = "bridges.log"


class BridgeMediaTests(LiveTestCase):
    """Forwarded packets keep the numbers of the other leg; when that ends, Debian's Asterisk 22 drops what follows."""

    async def technologies(self, *, record: bool) -> tuple[list[str], str]:
        """Place a call, and return the technologies to which Asterisk switched its bridge, and the log about that."""
        stack = await shared_stack(self.recipe)
        for command in ("core set verbose 4", "core set debug 1", f"logger add channel {LOG} verbose(4),debug"):
            await stack.asterisk.run_console_command(self.reactor, command)
        callee = SippAnswerer(self.reactor, self.directory / "desk", rootfs_of())
        self.addCleanup(callee.stop)
        await callee.start()
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": record})
        await self.sleep(PROFILE_SECONDS)
        status = await self.place_sipp_call(stack, profile["id"], media=True, talk_seconds=1.5)
        self.assertEqual(status, 200)
        for command in (f"logger remove channel {LOG}", "core set debug 0"):
            await stack.asterisk.run_console_command(self.reactor, command)
        log = stack.asterisk.directory / "log" / LOG
        lines = [line for line in log.read_text(errors="replace").splitlines() if "ridge" in line]
        log.unlink()
        switches = [line for line in lines if "switching from" in line and "VERBOSE" in line]
        return [line.split()[-1] for line in switches], "\n".join(lines)

    async def test_a_recorded_call_is_never_forwarded(self) -> None:
        technologies, log = await self.technologies(record=True)
        self.assertEqual(technologies, [], log)

    async def test_a_call_that_is_not_recorded_is_forwarded(self) -> None:
        technologies, log = await self.technologies(record=False)
        self.assertIn("native_rtp", technologies, log)


class BridgeMediaOnAsterisk16Tests(BridgeMediaTests):
    """The same with Asterisk 16."""

    recipe = ASTERISK_16

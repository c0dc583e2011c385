"""What happens in a call of hours only: RTP sequence numbers begin again after 22 minutes, timestamps after days."""

from tests.live.test_fidelity import FidelityTestCase
from voxrec.sandbox.impaired_call import CallFidelity, Handling, Party
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.rtp import Impairments


class LongCallTests(FidelityTestCase):
    def assert_complete(self, fidelity: CallFidelity) -> None:
        assert fidelity.left is not None
        assert fidelity.right is not None
        for track, heard in (
            (fidelity.left, fidelity.heard_by_callee.track),
            (fidelity.right, fidelity.heard_by_caller.track),
        ):
            # Asterisk 16 loses the first 150 ms of the far end, whatever its numbers are
            self.assertGreaterEqual(heard.found, 0.95 * heard.sent)
            self.assertGreaterEqual(track.found, 0.98 * heard.found)

    async def test_numbers_of_rtp_begin_again(self) -> None:
        wrapping = Party(impairments=Impairments(wraps_at=2.0))
        await self.assert_eventually(
            self.assert_complete, Handling.RECORDED, caller=wrapping, callee=wrapping, seconds=4.0
        )


class LongCallsOnAsterisk16(LongCallTests):
    recipe = ASTERISK_16

"""Tests of voxrec.calls.side_recording."""

from uuid import UUID

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW, FakeAsterisk
from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.calls.side_recording import SideRecording, side_machine
from voxrec.model import Recording, RecordingState, Side

SNOOP = f"voxrec-{UUID(int=3)}-snoop-caller"
FILE = f"voxrec-{UUID(int=1)}-caller"


class SideRecordingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = FakeAsterisk()
        recording = Recording(
            id=UUID(int=1),
            profile_id=UUID(int=2),
            call_id=UUID(int=3),
            state=RecordingState.RECORDING,
            created_at=NOW,
            updated_at=NOW,
        )
        self.reported: list[str] = []
        self.core = SideRecording(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            recording,
            Side.CALLER,
            "1700.1",
            "wav",
            note=lambda _side, _detail: self.reported.append("failed"),
            started=lambda _side: self.reported.append("started"),
            over=lambda _side: self.reported.append("over"),
        )
        self.side = side_machine(self.core)

    def begin(self) -> None:
        self.side.begin()
        self.core.ready.entered()
        self.asterisk.take_requests()

    def test_start_and_end(self) -> None:
        self.side.begin()
        self.assertEqual(self.asterisk.take_requests(), [f"POST channels/1700.1/snoop/{SNOOP}"])
        self.core.ready.entered()
        self.assertEqual(self.asterisk.take_requests(), [f"POST channels/{SNOOP}/record"])
        for _ in range(2):
            self.side.opened()
        for _ in range(2):
            self.side.closed()
        self.assertEqual(self.reported, ["started", "over"])

    def test_side_that_cannot_be_recorded_counts_as_started_and_over(self) -> None:
        for failing in ("snoop-caller", "record"):
            self.setUp()
            self.asterisk.errors = {failing: 500}
            self.side.begin()
            self.core.ready.entered()
            self.assertEqual(self.reported, ["failed", "started", "over"])

    def test_call_that_ends_before_the_snoop_channel_is_ready(self) -> None:
        self.side.begin()
        self.side.call_ended()
        self.asterisk.take_requests()
        self.clock.advance(2)
        self.assertEqual((self.asterisk.take_requests(), self.reported), ([], ["started", "over"]))

    def test_file_that_is_open_when_the_call_ends_is_waited_for(self) -> None:
        self.begin()
        self.side.call_ended()
        self.assertEqual(self.reported, [])
        self.side.closed()
        self.assertEqual(self.reported, ["started", "over"])

    def test_mute_toggles_so_each_command_is_sent_once(self) -> None:
        self.begin()
        self.side.opened()
        for _ in range(2):
            self.successResultOf(self.side.mute())
        self.assertEqual(self.asterisk.take_requests(), [f"POST recordings/live/{FILE}/mute"])
        for _ in range(2):
            self.successResultOf(self.side.unmute())
        self.assertEqual(self.asterisk.take_requests(), [f"DELETE recordings/live/{FILE}/mute"])

    def test_old_asterisk_that_has_muted_once_is_muted_again_by_the_command_to_unmute(self) -> None:
        self.asterisk.responses["GET asterisk/info"] = b'{"system": {"version": "16.28.0~dfsg-0+deb11u4"}}'
        self.successResultOf(ensureDeferred(self.core.asterisk.detect_capabilities()))
        self.begin()
        self.side.opened()
        for _ in range(3):
            self.successResultOf(self.side.mute())
            self.successResultOf(self.side.unmute())
        methods = [request.split()[0] for request in self.asterisk.take_requests()]
        self.assertEqual(methods, ["POST", *["DELETE"] * 5])

    def test_old_asterisk_that_was_muted_when_the_call_was_taken_over(self) -> None:
        self.asterisk.responses["GET asterisk/info"] = b'{"system": {"version": "20.5.2"}}'
        self.successResultOf(ensureDeferred(self.core.asterisk.detect_capabilities()))
        self.asterisk.take_requests()
        self.side.found_silent()
        self.successResultOf(self.side.unmute())
        self.successResultOf(self.side.mute())
        self.assertEqual(self.asterisk.take_requests(), [f"DELETE recordings/live/{FILE}/mute"] * 2)

    def test_refused_mute_can_be_repeated(self) -> None:
        self.begin()
        self.asterisk.errors = {"mute": 500}
        self.failureResultOf(self.side.mute(), AriResponseError)
        self.asterisk.errors = {}
        self.successResultOf(self.side.mute())
        self.assertEqual(len(self.asterisk.take_requests()), 2)

    def test_closed_file_is_not_muted(self) -> None:
        self.begin()
        self.side.closed()
        self.successResultOf(self.side.mute())
        self.assertEqual(self.asterisk.take_requests(), [])

    def test_stop_ends_the_snoop_channel(self) -> None:
        self.begin()
        self.side.stop()
        self.assertEqual((self.asterisk.take_requests(), self.reported), ([f"DELETE channels/{SNOOP}"], []))
        self.asterisk.errors = {SNOOP: 404}
        self.side.stop()
        self.assertEqual(self.reported, ["started", "over"])

    def test_error_of_a_command_that_was_executed(self) -> None:
        self.begin()
        self.side.opened()
        self.side.failed(Failure(AriResponseError("POST", 500, "refused by the test")))
        self.assertEqual(self.reported, ["started"])

"""Tests of voxrec.ami.client."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from voxrec.ami.client import AmiClient, Direction
from voxrec.ami.protocol import AmiResponse, AmiResponseError
from voxrec.errors import InvalidInput


class FakeConnection:
    """Stores every action, and answers it with ``answer``: fields, or the message of an error."""

    def __init__(self) -> None:
        self.actions: list[tuple[str, dict[str, str]]] = []
        self.answer: dict[str, str] | str = {"Response": "Success"}
        self.version = 11

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        self.actions.append((action, dict(fields)))
        if isinstance(self.answer, str):
            return fail(AmiResponseError(action, self.answer))
        return succeed(AmiResponse(self.answer))


class AmiClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection = FakeConnection()
        self.client = AmiClient(self.connection)

    def start(self, received: str = "/spool/a-in.wav", transmitted: str = "/spool/a-out.wav", id_variable: str = "ID"):  # type: ignore[no-untyped-def]  # noqa: ANN201
        return self.client.mix_monitor("c1", received=received, transmitted=transmitted, id_variable=id_variable)

    def test_mix_monitor(self) -> None:
        self.connection.answer = {"Response": "Success", "MixMonitorID": "0x7f00"}
        self.assertEqual(self.successResultOf(self.start()), "0x7f00")
        self.assertEqual(
            self.connection.actions,
            [("MixMonitor", {"Channel": "c1", "Options": "r(/spool/a-in.wav)t(/spool/a-out.wav)i(ID)"})],
        )

    def test_before_asterisk_18_an_option_keeps_the_files_synchronous(self) -> None:
        self.connection.answer = {"Response": "Success", "MixMonitorID": "0x7f00"}
        for self.connection.version in (5, 6, 7):
            self.successResultOf(self.start())
        options = [fields["Options"] for _, fields in self.connection.actions]
        self.assertEqual([each.endswith("i(ID)S") for each in options], [True, True, False])

    def test_a_success_without_an_id_is_a_failure(self) -> None:
        self.failureResultOf(self.start(), AmiResponseError)

    def test_a_refusal(self) -> None:
        self.connection.answer = "No such channel"
        error = self.failureResultOf(self.start(), AmiResponseError).value
        self.assertEqual(str(error), "Asterisk refused the AMI action MixMonitor: No such channel")

    def test_file_names_cannot_add_options_or_commands(self) -> None:
        for name in ("a,b", "a)d(", "a(b", 'a"b', "a\\b", "a'b", "${EVAL(x)}", "a\nb", "a|b", "a`b", "a[b", "a{b", ""):
            for arguments in ({"received": name}, {"transmitted": name}, {"id_variable": name}):
                self.failureResultOf(self.start(**arguments), InvalidInput)
        self.assertEqual(self.connection.actions, [])

    def test_stop_mix_monitor(self) -> None:
        self.assertTrue(self.successResultOf(self.client.stop_mix_monitor("c1", "0x7f00")))
        self.assertEqual(self.connection.actions, [("StopMixMonitor", {"Channel": "c1", "MixMonitorID": "0x7f00"})])

    def test_what_does_not_record_is_not_an_error(self) -> None:
        for self.connection.answer in ("No such channel", "Could not stop monitoring channel"):
            self.assertFalse(self.successResultOf(self.client.stop_mix_monitor("c1", "0x7f00")))
        self.connection.answer = "Cannot set mute flag"
        muting = self.client.mute_mix_monitor("c1", "0x7f00", Direction.BOTH, muted=True)
        self.assertFalse(self.successResultOf(muting))

    def test_channel_that_does_not_exist_cannot_be_muted(self) -> None:
        self.connection.answer = "No such channel"
        muting = self.client.mute_mix_monitor("c1", "0x7f00", Direction.BOTH, muted=True)
        self.assertTrue(self.failureResultOf(muting, AmiResponseError).value.channel_gone)

    def test_other_refusals_are_errors(self) -> None:
        self.connection.answer = "Permission denied"
        self.failureResultOf(self.client.stop_mix_monitor("c1", "0x7f00"), AmiResponseError)

    def test_mute_mix_monitor(self) -> None:
        for direction, muted in ((Direction.READ, True), (Direction.WRITE, False), (Direction.BOTH, True)):
            muting = self.client.mute_mix_monitor("c1", "0x7f00", direction, muted=muted)
            self.assertTrue(self.successResultOf(muting))
        self.assertEqual(
            [(fields["Direction"], fields["State"]) for _, fields in self.connection.actions],
            [("read", "1"), ("write", "0"), ("both", "1")],
        )
        self.assertEqual(
            {(action, fields["Channel"], fields["MixMonitorID"]) for action, fields in self.connection.actions},
            {("MixMonitorMute", "c1", "0x7f00")},
        )

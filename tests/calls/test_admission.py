"""Tests of voxrec.calls.admission: which inbound calls are accepted, and with which status others are refused."""

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from voxrec.ari import events
from voxrec.calls.admission import is_trusted
from voxrec.calls.signalling.causes import Cause
from voxrec.model import Profile


def make_caller(channel: str = "1700.1", dialled: str = "100") -> events.Channel:
    return events.Channel(
        id=channel,
        name="PJSIP/trunk-1",
        state="Ring",
        caller=events.CallerId(name="Alice", number="+4930111"),
        dialplan=events.Dialplan(exten=dialled),
    )


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = ProfileDirectory(make_profile())
        self.process = ProcessFixture(self.directory)

    def assert_refused(self, reason: str) -> None:
        self.process.inbound_call(make_caller())
        self.assertEqual(self.process.asterisk.take_requests(), ["DELETE channels/1700.1"])
        self.assertEqual(self.process.asterisk.queries["DELETE channels/1700.1"], {"reason": reason})
        self.assertEqual(self.process.calls, [])

    def test_unknown_number_is_404(self) -> None:
        self.directory.found = None
        self.assert_refused("unallocated")

    def test_profile_without_far_end_is_480(self) -> None:
        self.directory.found = make_profile(remote_sip_uri=None)
        self.assert_refused("no_answer")

    def test_far_end_that_is_not_allowed_is_403(self) -> None:
        self.process = ProcessFixture(self.directory, allowed_hosts=("192.0.2.8",))
        self.assert_refused("rejected")

    def test_stored_uri_that_asterisk_would_send_elsewhere_is_403(self) -> None:
        self.process = ProcessFixture(self.directory, allowed_hosts=("192.0.2.8",))
        for parameter in ("maddr=192.0.2.66", "MAddr=192.0.2.66", "%6daddr=192.0.2.66", "method=MESSAGE"):
            self.directory.found = make_profile(remote_sip_uri=f"sip:100@192.0.2.8;{parameter}")
            self.assert_refused("rejected")

    def test_loop_is_482(self) -> None:
        args = ("incoming", "presentation=allowed", f"path={make_profile().id}", "max-forwards=69")
        self.process.router.handle(events.StasisStart(make_caller(), args))
        request = "POST channels/1700.1/continue"
        self.assertEqual((self.process.calls, self.process.asterisk.take_requests()), ([], [request]))
        query = self.process.asterisk.queries[request]
        self.assertEqual(query, {"context": "voxrec-refuse", "extension": "482*25", "priority": "1"})

    def test_status_of_the_far_end_is_passed(self) -> None:
        self.process.inbound_call(make_caller())
        (call,) = self.process.calls
        self.process.router.handle(events.ChannelDestroyed(events.Channel(id=call.leg), 127, 483))
        self.assertEqual(self.process.asterisk.take_requests()[-1], "POST channels/1700.1/continue")
        self.assertEqual(self.process.asterisk.queries["POST channels/1700.1/continue"]["extension"], "483*25")

    def test_unknown_number_is_503_until_all_profiles_are_loaded(self) -> None:
        self.directory.confirmed = False
        self.directory.found = None
        self.assert_refused("congestion")

    def test_known_number_is_accepted_before_all_profiles_are_loaded(self) -> None:
        self.directory.confirmed = False
        self.process.inbound_call(make_caller())
        self.assertEqual(len(self.process.calls), 1)

    def test_while_voxrec_stops_it_is_503(self) -> None:
        self.process.admission.refuse_new_calls()
        self.assert_refused("congestion")

    def test_accepted_call(self) -> None:
        self.process.inbound_call(make_caller())
        (call,) = self.process.calls
        self.assertEqual((call.inbound.number, call.inbound.name, call.inbound.dialled), ("+4930111", "Alice", "100"))
        self.assertEqual(call.status, "placing")


class LimitTests(SynchronousTestCase):
    def causes(self, process: ProcessFixture, *dialled: str) -> list[str | None]:
        """Call one number after the other, and return why each call was refused; None: accepted."""
        for number, exten in enumerate(dialled):
            process.inbound_call(make_caller(f"1700.{number}", exten))
        queries = process.asterisk.queries
        return [queries.get(f"DELETE channels/1700.{number}", {}).get("reason") for number in range(len(dialled))]

    def make_process(self, *, max_calls: int = 0, of_profile: int | None = None) -> ProcessFixture:
        class ProfileOfEachNumber:
            confirmed = True

            def find(self, dialled: str) -> Profile | None:
                return make_profile(id=UUID(int=int(dialled)), max_calls=of_profile)

        return ProcessFixture(ProfileOfEachNumber(), max_calls=max_calls)

    def test_max_calls_of_a_profile(self) -> None:
        self.assertEqual(self.causes(self.make_process(of_profile=2), "1", "1", "1", "2"), [None, None, "busy", None])

    def test_max_calls_of_the_process(self) -> None:
        self.assertEqual(self.causes(self.make_process(max_calls=2), "1", "2", "3"), [None, None, "congestion"])

    def test_call_that_ended_does_not_count(self) -> None:
        process = self.make_process(max_calls=1)
        self.assertEqual(self.causes(process, "1"), [None])
        (call,) = process.calls
        call.inputs.caller_hung_up(Cause.NORMAL)
        call.inputs.leg_hung_up(Cause.NORMAL)
        process.inbound_call(make_caller("1700.9", "1"))
        self.assertEqual(len(process.calls), 1)


class TrustTests(SynchronousTestCase):
    def test_only_listed_hosts_are_trusted(self) -> None:
        hosts = ("192.0.2.0/24", "*.pbx.example")
        for uri in ("sip:a@192.0.2.7:5070", "sips:a@one.PBX.example"):
            self.assertTrue(is_trusted(uri, hosts), uri)
        for uri in ("sip:a@192.0.3.7", "sip:192.0.2.7@evil.example", "sip:a@192.0.2.7;maddr=192.0.3.7", "nonsense", ""):
            self.assertFalse(is_trusted(uri, hosts), uri)
        self.assertFalse(is_trusted("sip:a@192.0.2.7", ()))

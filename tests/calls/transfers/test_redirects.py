"""Tests of redirections by far ends: which are followed, and how the call continues."""

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import SETTINGS, CallFixture
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.model import CallState

LEG_NAME = "PJSIP/trunk-00000001"
BOSS = "sip:boss@192.0.2.8"


class RedirectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.start_call(max_redirects=2)

    def start_call(self, *, max_redirects: int) -> None:
        settings = dataclasses.replace(
            SETTINGS, max_redirects=max_redirects, is_allowed=lambda uri: "192.0.2" in uri and "maddr" not in uri
        )
        self.fixture = CallFixture(settings, remote_sip_uri="sip:desk@192.0.2.7:5070")
        self.call = self.fixture.call
        self.call.inputs.begin()
        self.enter_leg()

    def enter_leg(self) -> None:
        self.call.leg_entered(self.call.leg, LEG_NAME)
        self.fixture.take_requests()

    def redirect(self, contact: str, status: int = 302) -> None:
        """Report the end of the current leg as Asterisk does."""
        leg = self.call.leg
        if contact:
            self.call.leg_redirected(leg, f"PJSIP/trunk/{contact}")
        self.call.leg_refused(leg, status)
        self.call.leg_destroyed(leg, 23)

    def assert_followed(self, contact: str) -> None:
        """Assert that a leg to ``contact`` is being created, and let it enter."""
        self.assertEqual(self.call.status, CallState.PLACING)
        self.assertEqual(self.fixture.asterisk.queries["POST channels/create"]["endpoint"], f"PJSIP/trunk/{contact}")
        self.assertEqual(self.call.representation().remote_sip_uri, contact)
        self.enter_leg()

    def assert_refused(self, status: int) -> None:
        """Assert that the caller gets ``status``."""
        self.assertEqual(self.call.status, CallState.CLEARING)
        reasons = {403: "rejected", 480: "no_answer"}
        if status in reasons:
            self.assertEqual(self.fixture.asterisk.queries["DELETE channels/1700.1"], {"reason": reasons[status]})
        else:
            query = self.fixture.asterisk.queries["POST channels/1700.1/continue"]
            self.assertEqual(query["extension"].partition("*")[0], str(status))

    def test_redirection_is_followed(self) -> None:
        for status in (300, 301, 302):
            self.start_call(max_redirects=2)
            self.redirect(BOSS, status)
            self.assert_followed(BOSS)
            self.assertEqual(self.call.status, CallState.RINGING)

    def test_the_new_leg_joins_the_bridge_of_the_caller(self) -> None:
        self.redirect(BOSS)
        self.fixture.take_requests()
        self.call.leg_entered(self.call.leg, LEG_NAME)
        self.assertEqual(
            self.fixture.take_requests(),
            ["POST bridges/voxrec-CALL-bridge/addChannel", "POST channels/voxrec-CALL-leg2/dial"],
        )
        query = self.fixture.asterisk.queries[f"POST bridges/voxrec-{self.call.id}-bridge/addChannel"]
        self.assertEqual(query, {"channel": f"voxrec-{self.call.id}-leg2"})

    def test_recording_names_the_far_end_that_was_reached(self) -> None:
        self.redirect(BOSS)
        self.enter_leg()
        self.call.inputs.leg_answered()
        self.assertEqual(self.fixture.recording.remote_sip_uri, BOSS)

    def test_other_redirections_are_not_followed(self) -> None:
        for status in (304, 305, 380, 399):
            self.start_call(max_redirects=2)
            self.redirect(BOSS, status)
            self.assert_refused(480)

    def test_without_contact(self) -> None:
        self.redirect("")
        self.assert_followed("sip:desk@192.0.2.7:5070")
        self.redirect("")
        self.assert_refused(480)

    def test_contact_that_is_not_reported(self) -> None:
        """The far end is called once more, and that is neither a loop nor a redirection."""
        self.redirect("")
        self.assert_followed("sip:desk@192.0.2.7:5070")
        self.redirect(BOSS)
        self.assert_followed(BOSS)
        self.redirect("")
        self.assert_followed(BOSS)
        self.redirect("sip:1@192.0.2.9")
        self.assert_followed("sip:1@192.0.2.9")
        self.redirect("sip:2@192.0.2.9")
        self.assert_refused(480)

    def test_setting_0(self) -> None:
        self.start_call(max_redirects=0)
        self.redirect(BOSS)
        self.assert_refused(480)

    def test_contact_that_is_not_allowed(self) -> None:
        for contact in ("sip:boss@198.51.100.7", f"{BOSS};maddr=198.51.100.7", "tel:+4930"):
            self.start_call(max_redirects=2)
            self.redirect(contact)
            self.assert_refused(403)

    def test_loops(self) -> None:
        for contact in ("sip:desk@192.0.2.7:5070", "sip:desk@192.0.2.7:5070;transport=udp"):
            self.start_call(max_redirects=2)
            self.redirect(contact)
            self.assert_refused(482)
        self.start_call(max_redirects=2)
        self.redirect(BOSS)
        self.assert_followed(BOSS)
        self.redirect("sip:desk@192.0.2.7:5070")
        self.assert_refused(482)

    def test_limit(self) -> None:
        for number in range(2):
            contact = f"sip:{number}@192.0.2.9"
            self.redirect(contact)
            self.assert_followed(contact)
        self.redirect(BOSS)
        self.assert_refused(480)

    def test_status_of_the_target(self) -> None:
        self.redirect(BOSS)
        self.enter_leg()
        self.call.leg_refused(self.call.leg, 415)
        self.call.leg_destroyed(self.call.leg, 127)
        self.assert_refused(415)

    def test_a_contact_does_not_count_for_another_failure(self) -> None:
        self.call.leg_redirected(self.call.leg, f"PJSIP/trunk/{BOSS}")
        self.call.leg_refused(self.call.leg, 415)
        self.call.leg_destroyed(self.call.leg, 127)
        self.assert_refused(415)

    def test_redirection_after_the_caller_has_gone(self) -> None:
        self.call.inputs.caller_hung_up(Cause.NORMAL)
        self.redirect(BOSS)
        self.assertEqual(self.fixture.over, [self.call])

    def test_target_of_a_transfer_redirects(self) -> None:
        self.call.inputs.leg_answered()
        self.call.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
        self.call.leg_entered(self.call.leg, "PJSIP/trunk-2")
        self.fixture.take_requests()
        self.redirect(BOSS)
        self.assertEqual(self.fixture.take_requests(), ["POST channels/create"])
        self.assertEqual(self.call.representation().remote_sip_uri, BOSS)
        self.call.leg_entered(self.call.leg, "PJSIP/trunk-3")
        requests = self.fixture.take_requests()
        self.assertIn("POST channels/voxrec-CALL-leg3/dial", requests)
        self.call.inputs.leg_answered()
        self.assertNotEqual(self.call.status, CallState.CLEARING)

    def test_target_of_a_transfer_redirects_to_a_forbidden_host(self) -> None:
        self.call.inputs.leg_answered()
        self.call.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
        self.call.leg_entered(self.call.leg, "PJSIP/trunk-2")
        self.redirect("sip:boss@198.51.100.7")
        self.assertEqual(self.call.status, CallState.CLEARING)

    def test_events_of_an_earlier_leg_change_nothing(self) -> None:
        former = self.call.leg
        self.redirect(BOSS)
        self.assert_followed(BOSS)
        self.call.leg_redirected(former, "PJSIP/trunk/sip:other@192.0.2.9")
        self.call.leg_refused(former, 486)
        self.call.leg_destroyed(former, 17)
        self.assertEqual((self.call.status, self.call.representation().remote_sip_uri), (CallState.RINGING, BOSS))

"""Tests of voxrec.calls.signalling.sip_status."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.signalling.sip_status import nearest_cause, refusal_cause, status_for_caller, status_of_cause


class SipStatusTests(SynchronousTestCase):
    def test_failures_are_passed_unchanged(self) -> None:
        for status in range(400, 700):
            if status not in (401, 407):
                self.assertEqual(status_for_caller(status), status)

    def test_challenges_are_not_passed(self) -> None:
        self.assertEqual([status_for_caller(401), status_for_caller(407)], [403, 403])

    def test_redirections_are_not_passed(self) -> None:
        self.assertEqual({status_for_caller(status) for status in range(300, 400)}, {480})

    def test_what_is_no_failure(self) -> None:
        self.assertEqual({status_for_caller(status) for status in (-1, 0, 100, 200, 299, 700, 4711)}, {0})

    def test_nearest_causes(self) -> None:
        """The comments are the statuses that Asterisk 16 sends."""
        expected = {
            404: 1, 485: 1, 604: 1,  # 404
            400: 38, 416: 38, 418: 38, 505: 38,  # 500
            406: 58, 415: 58, 606: 58,  # 488
            487: 19, 491: 19, 305: 19,  # 480
            503: 42, 504: 42, 580: 42, 599: 42,  # 503
            600: 17,  # 486
            603: 16, 607: 16, 699: 16,  # 603
            482: 21, 483: 21, 401: 21,  # 403
        }  # fmt: skip
        self.assertEqual({status: nearest_cause(status) for status in expected}, expected)

    def test_cause_of_routing_errors(self) -> None:
        self.assertEqual([refusal_cause(482, 127), refusal_cause(483, 19), refusal_cause(486, 17)], [25, 25, 17])

    def test_cause_34_means_that_the_far_end_was_not_called(self) -> None:
        """Kamailio calls another node then."""
        self.assertEqual([refusal_cause(503, 34), refusal_cause(0, 34), refusal_cause(503, 42)], [42, 42, 42])
        self.assertNotIn(34, {nearest_cause(status) for status in range(300, 700)})

    def test_cause_that_not_every_version_of_asterisk_can_send(self) -> None:
        self.assertEqual([status_of_cause(cause) for cause in (42, 34, 16, 0)], [503, 0, 0, 0])

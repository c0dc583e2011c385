"""Tests of voxrec.sandbox.sipp: the parsing of results."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.sipp import CallResult, SippResult, parse_results


class ResultTests(SynchronousTestCase):
    def test_answers_have_a_duration_and_rejections_a_code(self) -> None:
        lines = "200 1700000000.000000 999000.000000 1700000001.000000 1500.000000\n486\n"
        answered, rejected = parse_results(lines)
        self.assertEqual((answered.code, rejected), (200, CallResult(486, None)))
        self.assertAlmostEqual(answered.seconds or 0, 0.0025, places=6)

    def test_a_call_without_a_log_line_has_failed(self) -> None:
        result = SippResult(3, (CallResult(200, 0.005), CallResult(486, None)))
        self.assertEqual((result.succeeded, result.failed, result.response_seconds), (1, 2, [0.005]))
        self.assertEqual(result.codes, {200: 1, 486: 1})

"""Tests of voxrec.sandbox.sipp without a running SIPp: the scenarios and the parsing of results."""

from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.sipp import CallResult, SippResult, answerer_scenario, caller_scenario, parse_results


class ScenarioTests(SynchronousTestCase):
    def test_every_jump_has_a_label(self) -> None:
        for text in (
            caller_scenario("+15550100", "Ann", 5, "/mnt/tone.ul"),
            caller_scenario("+15550100", "", 0.5, None),
            answerer_scenario(0, 200),
            answerer_scenario(1.5, 200),
            answerer_scenario(0, 486),
            answerer_scenario(None, 200),
        ):
            scenario = ET.fromstring(text)  # noqa: S314
            labels = {label.get("id") for label in scenario.iter("label")}
            jumps = {element.get(name) for element in scenario.iter() for name in ("next", "ontimeout")} - {None}
            self.assertEqual(jumps - labels, set())

    def test_number_and_display_name_are_in_the_from_header(self) -> None:
        self.assertIn('From: "Ann" <sip:+15550123@', caller_scenario("+15550123", "Ann", 1, None))

    def test_audio_is_streamed_only_with_a_media_file(self) -> None:
        self.assertIn('rtp_stream="/mnt/tone.ul,', caller_scenario("1", "", 1, "/mnt/tone.ul"))
        self.assertNotIn("rtp_stream", caller_scenario("1", "", 1, None))


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

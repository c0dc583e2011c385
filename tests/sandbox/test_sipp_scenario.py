"""Tests of voxrec.sandbox.sipp_scenario."""

from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.sipp_scenario import answerer_scenario, caller_scenario


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

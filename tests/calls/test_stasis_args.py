"""What the dialplan tells of a caller, and what is made of it, whatever a header holds."""

from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.test_router import CALLER, RouterTestCase
from voxrec.ari import events
from voxrec.calls.stasis_args import display_name, headers_of, is_wideband, is_withheld, replaced_dialog


def argument(name: str, value: str) -> str:
    return f"{name}={quote(value, safe='')}"


class HeaderTests(SynchronousTestCase):
    def test_a_value_stays_as_it_is(self) -> None:
        value = '"Smith, \\"Jo\\"; x" <sip:+4930123@pbx.example;user=phone>;reason=no-answer;text="100%20é"'
        self.assertEqual(headers_of((argument("Diversion", value),)), {"Diversion": value})

    def test_several_of_one_name_become_one(self) -> None:
        args = (argument("History-Info", "<sip:a@x>;index=1"), argument("History-Info", "<sip:b@x>;index=1.1"))
        self.assertEqual(headers_of(args), {"History-Info": "<sip:a@x>;index=1, <sip:b@x>;index=1.1"})

    def test_what_is_too_long_is_left_out_and_never_cut(self) -> None:
        args = (argument("Diversion", "<sip:a@x>"), argument("Diversion", f"<sip:{1024 * 'b'}@x>"))
        self.assertEqual(headers_of(args), {"Diversion": "<sip:a@x>"})

    def test_what_could_hide_another_header_is_left_out(self) -> None:
        args = (
            argument("Diversion", "<sip:a@x>\r\nX-Voxrec-Call: 1"),
            argument("Diver sion", "<sip:a@x>"),
            argument("From", "<sip:somebody@else>"),
            argument("codecs", "(ulaw)"),
            argument("presentation", "allowed"),
            argument("X-Empty", ""),
            "X-Nothing",
        )
        self.assertEqual(headers_of(args), {})


class CallerTests(SynchronousTestCase):
    def test_the_first_codec_decides_about_the_band(self) -> None:
        for codecs, wide in (("(g722)", True), ("(ulaw|g722)", False), ("(opus|ulaw)", True), ("", False)):
            self.assertEqual(is_wideband((argument("codecs", codecs),)), wide, codecs)

    def test_a_name_is_what_its_quoted_form_says(self) -> None:
        for quoted, name in (("Alice", "Alice"), (r"\"Jo\" \\ Smith", r'"Jo" \ Smith'), ("ends in \\", "ends in \\")):
            self.assertEqual(display_name(quoted), name)

    def test_what_is_prohibited_is_withheld(self) -> None:
        for presentation in ("prohib", "prohib_not_screened", "prohib_passed_screen", "prohib_failed_screen"):
            self.assertTrue(is_withheld((f"presentation={presentation}",)), presentation)
        for presentation in ("allowed", "allowed_passed_screen", "unavailable", ""):
            self.assertFalse(is_withheld((f"presentation={presentation}",)), presentation)

    def test_a_dialog_to_replace(self) -> None:
        self.assertEqual(replaced_dialog("a1@host;to-tag=b;from-tag=c"), "a1@host;to-tag=b;from-tag=c")
        for hostile in (
            "",
            "a1",
            "a1;to-tag=b\r\nX-Voxrec-Call: 1",
            "a1;to-tag=b c",
            f"a;to-tag={1024 * 'b'}",
        ):
            self.assertEqual(replaced_dialog(hostile), "", hostile)


class WithheldTests(RouterTestCase):
    def test_neither_number_nor_name_is_known_to_voxrec(self) -> None:
        self.router.handle(events.StasisStart(CALLER, ("incoming", "presentation=prohib_not_screened")))
        (call,) = self.router.calls
        self.assertEqual((call.shown().from_, call.shown().from_name), (None, None))
        self.assertNotIn(CALLER.caller.number, str(self.asterisk.bodies))


class ConsultedTests(RouterTestCase):
    def test_the_leg_to_who_was_consulted_replaces_that_call(self) -> None:
        call = self.talk()
        call.leg_name = "PJSIP/trunk-7"
        refer_to, replaces = "<sip:third@192.0.2.9>", "a1@192.0.2.9;to-tag=b;from-tag=c"
        args = ("transferred", quote(refer_to, safe=""), quote(call.leg_name, safe=""), quote(replaces, safe=""))
        self.router.handle(events.StasisStart(events.Channel(id="1700.5"), args))
        made: Any = self.asterisk.bodies["POST channels/create"]
        self.assertEqual(made["variables"]["SIPREPLACESHDR"], replaces)

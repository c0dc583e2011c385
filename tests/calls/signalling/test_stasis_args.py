"""Tests of voxrec.calls.signalling.stasis_args, with headers of any content."""

from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.stasis.test_router import CALLER, RouterTestCase
from voxrec.ari import events
from voxrec.calls.signalling.stasis_args import (
    attempt_of,
    dialog_of,
    display_name,
    headers_of,
    is_late_offer,
    is_wideband,
    is_withheld,
    refer_target,
    replaced_dialog,
)
from voxrec.model import Attempt


def argument(name: str, value: str) -> str:
    return f"{name}={quote(value, safe='')}"


class HeaderTests(SynchronousTestCase):
    def test_value_is_not_changed(self) -> None:
        value = '"Smith, \\"Jo\\"; x" <sip:+4930123@pbx.example;user=phone>;reason=no-answer;text="100%20é"'
        self.assertEqual(headers_of((argument("Diversion", value),)), {"Diversion": value})

    def test_headers_of_one_name_become_one(self) -> None:
        args = (argument("History-Info", "<sip:a@x>;index=1"), argument("History-Info", "<sip:b@x>;index=1.1"))
        self.assertEqual(headers_of(args), {"History-Info": "<sip:a@x>;index=1, <sip:b@x>;index=1.1"})

    def test_long_value_is_omitted_and_not_truncated(self) -> None:
        args = (argument("Diversion", "<sip:a@x>"), argument("Diversion", f"<sip:{1024 * 'b'}@x>"))
        self.assertEqual(headers_of(args), {"Diversion": "<sip:a@x>"})

    def test_value_that_could_inject_a_header_is_omitted(self) -> None:
        args = (
            argument("Diversion", "<sip:a@x>\r\nX-Voxrec-Call: 1"),
            argument("Diver sion", "<sip:a@x>"),
            argument("From", "<sip:somebody@else>"),
            argument("codecs", "(ulaw)"),
            argument("presentation", "allowed"),
            argument("path", "1"),
            argument("max-forwards", "70"),
            argument("attempt", "a/0"),
            argument("dialog", "a;b"),
            argument("X-Voxrec-Attempt", "a/0"),
            argument("X-Voxrec-Call", "forged"),
            argument("Privacy", "id"),
            argument("X-Empty", ""),
            "X-Nothing",
        )
        self.assertEqual(headers_of(args), {})


class CallerTests(SynchronousTestCase):
    def test_first_codec_decides_about_wideband(self) -> None:
        for codecs, wide in (("(g722)", True), ("(ulaw|g722)", False), ("(opus|ulaw)", True), ("", False)):
            self.assertEqual(is_wideband((argument("codecs", codecs),)), wide, codecs)

    def test_attempt_of_a_proxy(self) -> None:
        for value, attempt in (("a1/2", Attempt("a1", 2)), ("", None), ("a1", None), ("1/2, 3/4", None)):
            self.assertEqual(attempt_of((argument("path", ""), argument("attempt", value))), attempt, value)
        self.assertIsNone(attempt_of(()))

    def test_dialog_of_the_caller(self) -> None:
        self.assertEqual(dialog_of((argument("path", ""), argument("dialog", "a,1@trunk;b"))), "a,1@trunk;b")
        self.assertEqual(dialog_of(()), "")

    def test_several_codecs_are_a_late_offer(self) -> None:
        for codecs, late in (("(g722)", False), ("(ulaw|alaw|g722)", True), ("", False)):
            self.assertEqual(is_late_offer((argument("codecs", codecs),)), late, codecs)
        self.assertFalse(is_late_offer(()))

    def test_quoted_pairs_in_a_name(self) -> None:
        for quoted, name in (("Alice", "Alice"), (r"\"Jo\" \\ Smith", r'"Jo" \ Smith'), ("ends in \\", "ends in \\")):
            self.assertEqual(display_name(quoted), name)

    def test_a_number_is_withheld_unless_its_presentation_is_allowed(self) -> None:
        for presentation in ("prohib", "prohib_not_screened", "prohib_passed_screen", "unavailable", "unknown", ""):
            self.assertTrue(is_withheld((f"presentation={presentation}",)), presentation)
            self.assertTrue(is_withheld(("presentation=allowed", f"presentation={presentation}")), presentation)
        self.assertTrue(is_withheld(()))
        self.assertTrue(is_withheld(("Presentation-Of-Something=allowed",)))
        for presentation in ("allowed", "allowed_passed_screen", "allowed_not_screened", "allowed_failed_screen"):
            self.assertFalse(is_withheld((f"presentation={presentation}",)), presentation)

    def test_replaced_dialog(self) -> None:
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
    def test_number_and_name_are_not_used(self) -> None:
        for args in (("presentation=prohib_not_screened",), ()):
            self.setUp()
            self.router.handle(events.StasisStart(CALLER, ("incoming", *args)))
            (call,) = self.process.calls
            self.assertEqual((call.representation().from_, call.representation().from_name), (None, None))
            self.assertNotIn(CALLER.caller.number, str(self.asterisk.bodies))


class TransferTests(SynchronousTestCase):
    def test_refer_target(self) -> None:
        for refer_to, target in (
            ("<sip:a@192.0.2.1>", "sip:a@192.0.2.1"),
            ('"A" <sip:a@192.0.2.1>;x=y', "sip:a@192.0.2.1"),
            ("<sip:a@192.0.2.1?Replaces=x>", "sip:a@192.0.2.1"),
            ("<sip:a@h&PJSIP/other>", None),
            ("<sip:a,b@h>", None),
            ("<sip:a%0d%0a@h>", None),
            ("<sip:a@192.0.2.1;maddr=192.0.2.66>", None),
            ("<sip:a@192.0.2.1;ob;maddr=192.0.2.66?Replaces=x>", None),
            ("<sip:a@192.0.2.1:5070;ob;transport=tcp>", "sip:a@192.0.2.1:5070;ob;transport=tcp"),
            ("tel:+4930", None),
            ("<", None),
            ("", None),
        ):
            self.assertEqual(refer_target(refer_to), target, refer_to)

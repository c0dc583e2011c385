"""Errors in the user's language: every code has a text, every place that makes an error says its code."""

import ast
import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

import voxrec
from tests.api.rest_test_case import ClientResponse, RestTestCase, send_request
from tests.console.console_test_case import SAME_ORIGIN, ConsoleTestCase
from tests.subtest import subtest
from voxrec.console.messages import ERROR_TEXTS, field_message, problem_message
from voxrec.console.rendering import LANGUAGES
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.web.problems import InvalidField, Problem

ROOT = Path(voxrec.__file__).parent
OF_REQUESTS = (
    "model",
    "web",
    "api",
    "store",
    "calls",
    "audio",
    "mail",
    "sipuri.py",
    "mailaddress.py",
    "type_violation.py",
)
"""The packages and modules in which errors of requests are made."""
OF_COMMANDS = {ROOT / "store" / "node_failures.py"}
INVALID_VALUES = {
    "FieldError",
    "InvalidValue",
    "SipUriError",
    "MailAddressError",
    "InvalidCertificateError",
    "Violation",
}
HERTZ = "Erlaubt sind 4000 bis 192.000 Hz."
PASSED_ON = ("code", "problem_reason")  # attributes of an error that another one repeats
WITH_REASON = {"Conflict", "NotAudio"}
"""Errors whose code has several causes."""


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for name in OF_REQUESTS:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file not in OF_COMMANDS:
                yield file, ast.parse(file.read_text())


def name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def dictionaries(tree: ast.AST) -> dict[str, set[str]]:
    """Return the keys of the dictionaries that are assigned to names."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            names, values = [target], [value]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                names, values = target.elts, value.elts
            for name, assigned in zip(names, values, strict=True):
                if isinstance(name, ast.Name) and isinstance(assigned, ast.Dict):
                    found[name.id] = keys(assigned, {})
    return found


def keys(node: ast.AST | None, assigned: Mapping[str, set[str]]) -> set[str]:
    if isinstance(node, ast.Dict):
        return {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
    return assigned.get(name_of(node), set()) if node is not None else set()


def calls(names: set[str]) -> Iterator[tuple[str, ast.Call, dict[str, set[str]]]]:
    """Yield the place of each call of ``names``, the call, and the dictionaries of the function around it."""
    for file, tree in trees():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_of(node.func) in names:
                around = [each for each in functions if node in set(ast.walk(each))]
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node, dictionaries(around[-1]) if around else {}


def placeholders(text: str | Mapping[str, str]) -> set[str]:
    return set(re.findall(r"(?<!{){(\w+)}", text if isinstance(text, str) else " ".join(text.values())))


class CodeTests(RestTestCase):
    async def test_every_code_has_a_text_in_every_language(self) -> None:
        responses = (await self.request("GET", "/openapi.json", token="")).json["components"]["responses"]
        documented = {code for response in responses.values() for code in response.get("x-problem-codes", ())}
        self.assertGreater(len(documented), 25)
        for language in ERROR_TEXTS.available.values():
            with subtest(language.code):
                self.assertEqual({*language.texts["field_errors"]}, {*FieldErrorCode})
                self.assertEqual({*language.texts["problem_reasons"]}, {*ProblemReason})
                self.assertEqual(documented - {*language.texts["problem_codes"]}, set())


class FormTests(ConsoleTestCase):
    """What REST says in English is not on the pages in other languages, wherever the form is."""

    async def test_forms_in_german(self) -> None:
        cookie = await self.signed_in("admin")
        await self.add_profile(name="Vertrieb", numbers=("+4930999",))
        webhook = {"url": "http://user:secret@crm.example", "events": "call.started"}
        forms: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
            ("/console/profiles/new", {"numbers": "030 12", "remoteSipUri": "tel:1"}, ("beginnt mit sip:",)),
            ("/console/profiles/new", {"numbers": "+4930999"}, ("„+4930999“ ist schon vergeben",)),
            ("/console/profiles/new", {"email": "nobody"}, ("keine Mailadresse: Das @ fehlt",)),
            ("/console/profiles/new", {"maxCalls": "0"}, ("Der kleinste erlaubte Wert ist 1",)),
            ("/console/profiles/new", {"maxCalls": "viele"}, ("Erwartet wird eine ganze Zahl",)),
            ("/console/profiles/new", {"recordResumeCode": "*2"}, ("Eingabe in „Code zum Anhalten“",)),
            ("/console/profiles/new", {"timeZone": "Mond"}, ("Es gibt keine Zeitzone „Mond“",)),
            ("/console/users/new", {"name": "A B", "password": "x", "scope": "all"}, ("mindestens 12 Zeichen",)),
            ("/console/tokens/new", {"name": "adm1n", "scope": "all"}, ("verwechseln", "Administrator")),
            ("/console/tokens/new", {"name": "x", "expiresAt": "2001-01-01"}, ("in der Zukunft",)),
            ("/console/webhooks/new", webhook, ("weder Namen noch Passwort",)),
            ("/console/certificates/new", {"certificate": "x"}, ("kein X.509-Zertifikat",)),
        )
        english = ("must ", "invalid", "expected", "Expected", "is not ", "allowed", "at most", "at least")
        for path, fields, expected in forms:
            with subtest(f"{path} {fields}"):
                entries = {"recordBeepAtStart": "true", "role": "read", **fields}
                response = await self.submit(path, cookie, {**SAME_ORIGIN, "Accept-Language": "de"}, **entries)
                self.assertIn(response.status, (409, 422))
                text = re.sub(r"<[^>]*>", " ", html.unescape(response.body.decode()))
                for words in expected:
                    self.assertIn(words, text)
                self.assertEqual([words for words in english if words in text], [])

    async def test_refusals_in_german(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording(legal_hold=True)
        headers = {**SAME_ORIGIN, "Accept-Language": "de"}
        response = await self.submit(f"/console/recordings/{recording.id}/delete", cookie, headers)
        text = html.unescape(response.body.decode())
        self.assertEqual(response.status, 409)
        self.assertIn("weil sie eine Löschsperre hat", text)
        self.assertNotIn("legal hold", text)

    async def text_for_script(self, document: object, language: str = "de") -> ClientResponse:
        headers = {"Accept-Language": language, "Content-Type": "application/json"}
        body = document if isinstance(document, bytes) else msgspec.json.encode(document)
        return await send_request(self.port, "POST", "/console/problem-text", headers=headers, data=body)

    async def test_scripts_say_the_same_as_pages(self) -> None:
        cookie = await self.signed_in("read")
        response = await self.request("PUT", "/prompts", json={"name": "x"}, token="", headers={"Cookie": cookie})
        self.assertEqual(response.status, 403)
        text = (await self.text_for_script(response.json)).body.decode()
        self.assertEqual(text, "Dazu ist die Rolle Einrichtung nötig.")
        common = {"type": "urn:x", "title": "x", "status": 422, "detail": "in English", "code": "invalid"}
        for document, expected in (
            (
                {"code": "not-audio", "reason": "audio-sample-rate", "params": {"minimum": 4000, "maximum": 192_000}},
                HERTZ,
            ),
            (
                {"code": "not-audio", "reason": "audio-format", "params": {"allowed": ["wav", "mp3"]}},
                "werden: wav, mp3.",
            ),
            (
                {"errors": [_too_short(1), _too_short(12)]},
                "Hier fehlt eine Eingabe. Geben Sie mindestens 12 Zeichen ein.",
            ),
            ({"code": "of a later version"}, "in English"),
            ({"reason": "audio-sample-rate", "params": {"minimum": "<b>"}}, "Einige Eingaben sind nicht gültig."),
            ({"errors": [{**_too_short(1), "code": "certificate-expired", "params": {"time": "soon"}}]}, "in English"),
        ):
            with subtest(document):
                response = await self.text_for_script({**common, **document})
                self.assertEqual(
                    (response.status, response.headers["content-type"]), (200, "text/plain; charset=utf-8")
                )
                self.assertIn(expected, response.body.decode())

    async def test_only_problem_documents_have_a_text(self) -> None:
        for document, status in ((b"", 400), (b"{}", 400), (b"[" * 10_000, 400), (b" " * 70_000, 413)):
            with subtest(document[:9]):
                self.assertEqual((await self.text_for_script(document)).status, status)


def _too_short(minimum: int) -> dict[str, Any]:
    return {"field": "x", "message": "in English", "code": "too-short", "params": {"minimum": minimum}}


class GuideTests(SynchronousTestCase):
    def test_the_api_guide_lists_every_code_with_its_parameters(self) -> None:
        _, _, section = (ROOT.parent / "docs" / "api.md").read_text().partition("## Codes of errors")
        rows = re.findall(r"^\| `([a-z0-9-]+)` \| ((?:`\w+`(?:, )?)*) \|", section, re.MULTILINE)
        self.assertEqual([code for code, _ in rows], [*FieldErrorCode, *ProblemReason])
        listed = [{*re.findall(r"\w+", params)} for _, params in rows]
        documented = dict(zip(FieldErrorCode, listed, strict=False))
        for place, call, assigned in calls(INVALID_VALUES):
            for position, arg in enumerate(call.args):
                if name_of(getattr(arg, "value", arg)) in ("FieldErrorCode", "Code"):
                    params = call.args[position + 1 :]
                    found = keys(params[0] if params else None, assigned)
                    self.assertEqual(found, documented[FieldErrorCode[name_of(arg)]], place)


class TextTests(SynchronousTestCase):
    def test_the_languages_have_the_same_texts(self) -> None:
        english = ERROR_TEXTS.available["en"].texts
        self.assertLessEqual({"en", "de"}, {*ERROR_TEXTS.available})
        for language in ERROR_TEXTS.available.values():
            with subtest(language.code):
                self.assertEqual({*language.texts}, {*english})
                for section, texts in english.items():
                    self.assertEqual({*language.texts[section]}, {*texts})
                    for code, text in texts.items():
                        self.assertEqual(placeholders(language.texts[section][code]), placeholders(text), code)
                        self.assertEqual(type(language.texts[section][code]), type(text), code)

    def test_every_invalid_value_has_a_code_with_the_parameters_of_its_text(self) -> None:
        texts = ERROR_TEXTS.available["en"].texts["field_errors"]
        used = set()
        for place, call, assigned in calls(INVALID_VALUES):
            codes = [arg for arg in call.args if name_of(getattr(arg, "value", arg)) in ("FieldErrorCode", "Code")]
            if any(name_of(arg) in PASSED_ON for arg in call.args):
                continue
            self.assertTrue(codes, f"{place}: the error has no FieldErrorCode, so that the console cannot translate it")
            code = FieldErrorCode[name_of(codes[0])]
            used.add(code)
            params = call.args[call.args.index(codes[0]) + 1 :]
            self.assertLessEqual(placeholders(texts[code]), keys(params[0] if params else None, assigned), place)
        self.assertEqual({*FieldErrorCode} - used, set())

    def test_every_refusal_with_several_causes_has_a_reason_with_the_parameters_of_its_text(self) -> None:
        texts = ERROR_TEXTS.available["en"].texts["problem_reasons"]
        used = set()
        for place, call, assigned in calls({*WITH_REASON, "NotAllowed", "TooManyRequests", "error"}):
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            if "reason" not in keywords:
                if name_of(call.func) in WITH_REASON:
                    self.assertEqual(len(call.args), 2, f"{place}: neither a reason nor field errors")
                continue
            reason = ProblemReason[name_of(keywords["reason"])]
            used.add(reason)
            self.assertLessEqual(placeholders(texts[reason]), keys(keywords.get("params"), assigned), place)
        self.assertEqual({*ProblemReason} - used, set())


class MessageTests(SynchronousTestCase):
    def message(self, language: str, code: str, **params: Any) -> str:
        error = InvalidField(field="x", message="in English", code=code, params=params)
        return field_message(LANGUAGES.available[language], error)

    def test_parameters_are_in_the_language_too(self) -> None:
        expected = {
            "en": (
                "It needs an entry in “Code for pausing”.",
                "Enter at most 10,000 characters.",
                "Expected a whole number.",
                'Expected a JSON object, such as {"customer": "42"}.',
            ),
            "de": (
                "Dazu gehört eine Eingabe in „Code zum Anhalten“.",
                "Geben Sie höchstens 10.000 Zeichen ein.",
                "Erwartet wird eine ganze Zahl.",
                'Erwartet wird ein JSON-Objekt wie {"customer": "42"}.',
            ),
        }
        for language, messages in expected.items():
            with subtest(language):
                found = (
                    self.message(language, "requires", other="recordPauseCode"),
                    self.message(language, "too-long", maximum=10_000),
                    self.message(language, "wrong-type", expected="integer"),
                    self.message(language, "wrong-type", expected="object"),
                )
                self.assertEqual(found, messages)

    def test_numbers(self) -> None:
        self.assertEqual(self.message("de", "too-small", minimum=0.5), "Der kleinste erlaubte Wert ist 0,5.")
        self.assertEqual(self.message("de", "too-large", maximum=8192), "Der größte erlaubte Wert ist 8192.")
        self.assertEqual(self.message("en", "too-large", maximum=2**31), "The largest allowed value is 2,147,483,648.")

    def test_singular_and_plural(self) -> None:
        self.assertEqual(self.message("en", "too-short", minimum=1), "Enter something here.")
        self.assertEqual(self.message("en", "too-short", minimum=12), "Enter at least 12 characters.")

    def test_lists_and_braces(self) -> None:
        self.assertEqual(self.message("en", "not-one-of", allowed=["wav", "mp3"]), "Allowed values: wav, mp3.")
        self.assertEqual(self.message("en", "duplicate", value="{maximum}"), "“{maximum}” is entered more than once.")

    def test_unknown_codes_and_missing_parameters_keep_what_rest_says(self) -> None:
        self.assertEqual(self.message("de", "of-a-later-version"), "in English")
        self.assertEqual(self.message("de", "too-long"), "in English")

    def test_a_reason_says_more_than_the_code(self) -> None:
        german = LANGUAGES.available["de"]

        def message(code: str, reason: str | None) -> str:
            problem = Problem(type="", title="", status=409, detail="in English", code=code, reason=reason)
            return problem_message(german, problem)

        self.assertIn("Löschsperre", message("conflict", "legal-hold"))
        self.assertIn("Laden Sie die Seite neu", message("conflict", None))
        self.assertIn("Laden Sie die Seite neu", message("conflict", "of-a-later-version"))
        self.assertEqual(message("of-a-later-version", None), "in English")

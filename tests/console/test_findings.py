"""English sentences of checks, jobs and nodes in the user's language."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import voxrec
from tests.subtest import subtest
from voxrec.console.findings import texts, translate
from voxrec.console.rendering import LANGUAGES

ROOT = Path(voxrec.__file__).parent
SOURCES = (
    *(f"profile_check/{name}.py" for name in ("archive", "audio", "deliveries", "encryption", "target")),
    "profile_check/runner.py",
    "composition/readiness.py",
    "ari/options_request.py",
)
"""Modules whose texts with spaces are all for users."""
FOR_THE_LOG = {"the check {} of profile {} failed"}
SEPARATORS = {"; "}


def without_names(text: str) -> str:
    return re.sub(r"\{\w*\}", "{}", text)


def template(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sentences(tree: ast.AST) -> Iterator[str]:
    """Yield the texts with spaces of a module, except for docstrings."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node and isinstance(part, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and node not in docstrings and node not in inner and " " in template(node):
            yield without_names(template(node))


class CatalogueTests(SynchronousTestCase):
    def test_every_text_of_the_checks_is_known(self) -> None:
        found = {text for source in SOURCES for text in sentences(ast.parse((ROOT / source).read_text()))}
        self.assertGreater(len(found), 60)
        for code in {*LANGUAGES.available} - {"en"}:
            with subtest(code):
                known = {*map(without_names, texts(code))}
                self.assertEqual(found - known - FOR_THE_LOG - SEPARATORS, set())

    def test_every_text_is_that_of_a_module(self) -> None:
        sources = [ast.parse(file.read_text()) for file in ROOT.rglob("*.py") if "sandbox" not in file.parts]
        found = {
            without_names(template(node)) for tree in sources for node in ast.walk(tree) if isinstance(node, ast.expr)
        }
        for code in {*LANGUAGES.available} - {"en"}:
            with subtest(code):
                self.assertEqual({text for text in texts(code) if without_names(text) not in found}, set())

    def test_translations_have_the_same_placeholders(self) -> None:
        for code in {*LANGUAGES.available} - {"en"}:
            for text, translation in texts(code).items():
                with subtest(text):
                    self.assertEqual({*re.findall(r"\{\w+\}", text)}, {*re.findall(r"\{\w+\}", translation)})


class TranslationTests(SynchronousTestCase):
    def test_sentences(self) -> None:
        for text, german in (
            ("set remoteSipUri", "tragen Sie die Gegenstelle ein"),
            (
                "2.5 s, 8000 Hz, 1 channel(s); installed for Asterisk",
                "2,5 s, 8000 Hz, Kanäle: 1; für Asterisk installiert",
            ),
            (
                "there is no certificate of this recipient (/recipient-certificates); it receives no mails",
                "es gibt kein Zertifikat dieses Empfängers; er erhält keine Mails",
            ),
            (
                "the certificate of this recipient expired on 2026-05-04 12:30 UTC; it receives no mails",
                "das Zertifikat dieses Empfängers ist abgelaufen am 4. Mai 2026, 12:30 UTC; er erhält keine Mails",
            ),
            (
                "did not accept a test message: HTTP status 503",
                "hat eine Testnachricht nicht angenommen: HTTP-Status 503",
            ),
            (
                "calls can be recorded and stored as opus, but with one channel",
                "Anrufe können aufgezeichnet und als opus gespeichert werden, aber mit nur einem Kanal",
            ),
            ("PostgreSQL is unreachable", "PostgreSQL ist nicht erreichbar"),
            (
                "the relay refuses the address: 550 5.1.1 {unknown} user",
                "der Mailserver lehnt die Adresse ab: 550 5.1.1 {unknown} user",
            ),
            ("550 no such user; try 1.5", "550 no such user; try 1.5"),
            ("", ""),
            ("{first}", "{first}"),
            ("x; " * 2000, "x; " * 2000),
        ):
            with subtest(text[:80]):
                self.assertEqual(translate(LANGUAGES.available["de"], text), german)
                self.assertEqual(translate(LANGUAGES.available["en"], text), text)

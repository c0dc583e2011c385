"""Tests of voxrec.mail.templates and voxrec.mail.template_process, with real processes."""

import os
import re
import subprocess
import sys
from dataclasses import replace as with_values
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.mail.test_message import (
    AUDIO,
    DEFAULTS,
    LINK,
    NOW,
    PROFILE,
    RECORDING,
    MessageTestCase,
    ParsedHTML,
    body,
    parse,
)
from voxrec.audio.waveform import render_waveform
from voxrec.languages import Language
from voxrec.mail import message as message_module
from voxrec.mail.content import LANGUAGES, describe
from voxrec.mail.message import compose
from voxrec.mail.templates import Texts, render_texts
from voxrec.model import Profile, Verdict

SALES = msgspec.structs.replace(PROFILE, mail_template="sales", metadata={"team": "<north>"})
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "mail.md"


class TemplateTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def write(self, **files: str) -> None:
        """Write files; in a name, ``__`` is a slash and ``_`` a dot."""
        for name, content in files.items():
            path = self.directory / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)

    def render(self, profile: Profile = PROFILE, language: Language | None = None, **changes: Any) -> Texts:
        recording = msgspec.structs.replace(RECORDING, **changes)
        content = describe(recording, profile, LINK, len(AUDIO), True, language=language)
        return render_texts(content, recording, profile, self.directory, "w@voxrec", True)

    def built_in(self, profile: Profile = PROFILE, **changes: Any) -> Texts:
        recording = msgspec.structs.replace(RECORDING, **changes)
        content = describe(recording, profile, LINK, len(AUDIO), True)
        return render_texts(content, recording, PROFILE, None, "w@voxrec", True)

    def assert_fails(self, file: str, line: int | None, reason: str, profile: Profile = PROFILE) -> None:
        texts = self.render(profile)
        place = self.directory / file
        self.assertEqual(texts.problem.partition(": ")[0], str(place) if line is None else f"{place} line {line}")
        self.assertIn(reason, texts.problem)
        self.assertEqual(with_values(texts, problem=""), self.built_in())


class RenderTests(TemplateTestCase):
    def test_parts_without_a_template_have_the_built_in_form(self) -> None:
        self.assertEqual(self.render(), self.built_in())
        self.write(message_txt="Call from {{ recording.from }}\n")
        self.assertEqual(self.render(), with_values(self.built_in(), text="Call from +49123\n"))

    def test_all_parts(self) -> None:
        self.write(
            subject_txt="{{ title }}:\r\n{{ recording.duration }}\n",
            message_txt="{% for fact in facts %}\n{{ fact.label }}\n{% endfor %}\n",
            message_html="<p>{{ profile.name }} {{ recording.from_name }}</p><img src='cid:{{ waveform_cid }}'>",
        )
        texts = self.render(from_name="<script>")
        self.assertEqual(texts.subject, "<script> (+49123) called +49555: 125.4")
        self.assertTrue(texts.text.startswith("Caller\nCalled number\n"), texts.text)
        self.assertEqual(texts.html, "<p>Front &lt;desk&gt; &lt;script&gt;</p><img src='cid:w@voxrec'>")
        self.assertEqual(texts.problem, "")

    def test_the_language_of_the_mail_chooses_the_file(self) -> None:
        self.write(message_txt="call", message_de_txt="Anruf", subject_de_txt="Betreff")
        self.assertEqual(self.render().text, "call")
        german = self.render(language=LANGUAGES.available["de"])
        self.assertEqual((german.subject, german.text), ("Betreff", "Anruf"))

    def test_set_of_a_profile(self) -> None:
        self.write(
            subject_txt="all",
            message_txt="all",
            layout_html="<b>{% block content %}{% endblock %}</b>",
            sales__message_txt="{{ profile.metadata.team }}",
            sales__message_html="{% extends 'layout.html' %}{% block content %}"
            "{{ profile.metadata.team }}{% endblock %}",
        )
        self.assertEqual(self.render(SALES), Texts("all", "<north>", "<b>&lt;north&gt;</b>"))
        self.assertEqual(self.render().text, "all")

    def test_every_documented_variable(self) -> None:
        table = DOCUMENTATION.read_text().partition("Its variables:\n\n")[2].partition("\n\n")[0]
        expressions = []
        for row in table.splitlines()[2:]:
            names, value = row.strip("|").split(" | ")[:2]
            for name in re.findall(r"`([a-z_]+)`", names):
                attributes = re.findall(r"`([a-z0-9_]+)`", value) if name in ("recording", "profile") else []
                expressions += [f"{name}.{attribute}" for attribute in attributes] or [name]
        self.assertEqual(len(expressions), 12 + 13 + 3)
        self.write(message_txt="\n".join(f"{{{{ {expression} }}}}" for expression in expressions))
        self.assertEqual(self.render(verdict=Verdict(ok=False, reasons=("x",)), call_id=None).problem, "")

    def test_the_documented_example(self) -> None:
        text = DOCUMENTATION.read_text().partition("sales/message.txt`:\n\n")[2].partition("\n\nThe language")[0]
        self.write(message_txt="\n".join(line.removeprefix("    ") for line in text.splitlines()) + "\n")
        texts = self.render()
        self.assertEqual(texts.problem, "")
        self.assertTrue(texts.text.startswith("Erna M\u00fcller (+49123) called +49555 (Front <desk>)\nCaller: "))
        self.assertTrue(texts.text.endswith(f"here: {LINK.url}\n"), texts.text)

    def test_empty_subject(self) -> None:
        self.write(subject_txt="\n")
        self.assertEqual(self.render().subject, self.built_in().subject)

    def test_half_of_a_surrogate_pair(self) -> None:
        self.write(message_txt=r"{{ '\ud800' }}")
        self.assertEqual(self.render().text, "?")


class FailureTests(TemplateTestCase):
    """Every failure names the file and the line, and all parts have the built-in form."""

    def test_errors(self) -> None:
        for template, line, reason in (
            ("\n\n{{ colour }}", 3, "'colour' is undefined"),
            ("\n{{ recording.colour }}", 2, "has no attribute 'colour'"),
            ("\n{% if %}", 2, "Expected an expression"),
            ("\n{{ 1 / 0 }}", 2, "division by zero"),
            ("\n\n{{ ''.__class__.__mro__ }}", 3, "access to attribute '__class__' of 'str' object is unsafe"),
            ("{{ facts.append(1) }}", 1, "access to attribute 'append' of 'list' object is unsafe"),
            ("\n{% include '../secret.txt' %}", 2, "there is no template ../secret.txt"),
            ("\n{% include '/etc/passwd' %}", 2, "there is no template /etc/passwd"),
            ("\n{% include 'message.html' %}", 2, "maximum recursion depth"),
            ("{{ 'x' * 600000 }}", None, "the result has 600000 characters; at most 524288 are allowed"),
            ("\n{{ 'x' * 9 ** 11 }}", 2, "MemoryError"),
        ):
            with self.subTest(template):
                self.write(subject_txt="custom", message_html=template)
                self.assert_fails("message.html", line, reason)

    def test_endless_loop_is_interrupted(self) -> None:
        loop = "{% for a in range(99999) %}"
        self.write(message_txt=f"\n{loop}\n{loop}{{% endfor %}}{{% endfor %}}")
        self.assert_fails("message.txt", 3, "it takes more than 2 s of CPU time")

    def test_expression_that_cannot_be_interrupted(self) -> None:
        self.write(message_txt="\n{{ 9 ** (9 ** 9) }}")
        texts = self.render()
        self.assertRegex(texts.problem, "/message.txt: it (needs too much time or memory|takes more than 20 s)$")
        self.assertEqual(texts.text, self.built_in().text)

    def test_missing_directory(self) -> None:
        self.assert_fails("sales", None, "there is no such directory", SALES)

    def test_set_without_the_setting(self) -> None:
        content = describe(RECORDING, SALES, LINK, 1, True)
        problem = render_texts(content, RECORDING, SALES, None, "", True).problem
        self.assertEqual(problem, "the Profile has the templates 'sales', but mail.templates is not set")

    def test_process_does_not_know_secrets(self) -> None:
        environments: list[dict[str, str]] = []

        def run(*_: Any, env: dict[str, str], **_options: Any) -> subprocess.CompletedProcess[bytes]:
            environments.append(env)
            return subprocess.CompletedProcess([], 0, b'{"texts": {}}', b"")

        self.patch(os, "environ", {"PATH": "/bin", "VOXREC__MAIL__PASSWORD": "s3cret"})
        self.patch(subprocess, "run", run)
        self.render()
        self.assertEqual(environments, [{"PATH": "/bin"}])

    def test_process_that_cannot_start(self) -> None:
        self.patch(sys, "executable", "/nonexistent/python")
        self.write(message_txt="custom")
        self.assert_fails("", None, "the templates cannot be rendered: [Errno 2]")


class MessageWithTemplatesTests(MessageTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def compose_with(self, **files: str) -> Any:
        for name, content in files.items():
            (self.directory / name.replace("_", ".")).write_text(content)
        defaults = with_values(DEFAULTS, templates=self.directory)
        return parse(compose(RECORDING, PROFILE, self.audio, LINK, defaults, NOW))

    def test_message(self) -> None:
        self.patch(message_module, "_waveform", lambda *_: render_waveform([[(-9, 9)]]))
        message = self.compose_with(
            subject_txt="S\u00fcbject =?utf-8?q?x?=", message_txt="text", message_html="<i>x</i>"
        )
        self.assertEqual(message["Subject"], "S\u00fcbject = ?utf-8?q?x?=")
        self.assertEqual(body(message, "plain"), "text\n")
        self.assertEqual(ParsedHTML(body(message, "html")).texts, ["x", "\n"])
        self.assertNotIn("image/png", [part.get_content_type() for part in message.walk()])
        (attached,) = message.iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)
        message = self.compose_with(message_html='<img src="cid:{{ waveform_cid }}">')
        self.assertIn("image/png", [part.get_content_type() for part in message.walk()])

    def test_failure_is_a_warning_and_the_mail_is_composed(self) -> None:
        warnings: list[dict[str, Any]] = []

        class RecordingLogger:
            def warn(self, text: str, **values: Any) -> None:
                warnings.append({"text": text, **values})

        self.patch(message_module, "_log", RecordingLogger())
        message = self.compose_with(message_txt="\n{{ colour }}")
        self.assertIn("The recording is attached.", body(message, "plain"))
        (warning,) = warnings
        self.assertEqual(warning["problem"], f"{self.directory.absolute()}/message.txt line 2: 'colour' is undefined")
        self.assertIn("the built-in form is sent", warning["text"])

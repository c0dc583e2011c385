"""Tests of voxrec.mail.rendering."""

from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.mail.test_message import LINK, PROFILE, RECORDING
from voxrec.mail.content import Content, ListeningLink, describe
from voxrec.mail.rendering import render_html, render_text


def make_content(text: str = "") -> Content:
    return Content(
        subject=text,
        title=text,
        summary=text,
        warning=text,
        facts=(("Label", text),),
        introduction=text,
        url=text,
        waveform_description=text,
    )


class RenderTests(SynchronousTestCase):
    def test_every_value_is_in_both_bodies(self) -> None:
        link = ListeningLink("https://example.org/1")
        content = replace(describe(RECORDING, PROFILE, link, 1, True), warning="A warning.")
        values = [content.title, content.summary, content.warning, content.introduction, content.url]
        values += [value for _, value in content.facts if "<" not in value]
        for rendered in (render_text(content), render_html(content)):
            for value in values:
                self.assertIn(value, rendered)

    def test_text_without_warning_has_no_empty_paragraph(self) -> None:
        self.assertNotIn("\n\n\n", render_text(describe(RECORDING, PROFILE, LINK, 1, True)))

    def test_image_is_referenced_only_if_there_is_one(self) -> None:
        self.assertNotIn("<img", render_html(make_content()))
        self.assertIn('src="cid:waveform@voxrec"', render_html(make_content("x"), "waveform@voxrec"))

    @given(st.text(st.sampled_from("<>&\"'${}a "), min_size=1))
    def test_values_are_escaped_in_html_and_are_not_templates(self, text: str) -> None:
        parsed = Tags(render_html(make_content(text), "cid"))
        self.assertEqual(parsed.tags, Tags(render_html(make_content("x"), "cid")).tags)
        self.assertIn(text, render_text(make_content(text)))


class Tags(HTMLParser):
    """The tags of a page, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))

"""The mail, the page behind an expiring link, the console and /docs have the same colours."""

import re
from importlib import resources

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest


def colours(style: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values of the variables for the light and the dark scheme."""
    light, dark = re.findall(r":root\{(.*?)\}", style)
    return tuple(dict(re.findall(r"--([\w-]+):(#\w+)", block)) for block in (light, dark))  # type: ignore[return-value]


def read(package: str, *path: str) -> str:
    return resources.files(package).joinpath(*path).read_text()


class ColourTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.console = colours(read("voxrec.console", "assets", "console.css"))

    def test_pages_behind_links_have_those_of_the_console(self) -> None:
        for link, console in zip(colours(read("voxrec.api.links", "link_page", "page.css")), self.console, strict=True):
            self.assertGreater(len(link), 7)
            self.assertEqual(link, {name: console[name] for name in link})

    def test_docs_has_those_of_the_console(self) -> None:
        pairs = re.findall(r"light-dark\((#\w+), (#\w+)\)", read("voxrec.web", "docs_page", "page.css"))
        self.assertGreater(len(pairs), 7)
        for scheme, used in zip(self.console, zip(*pairs, strict=True), strict=True):
            self.assertEqual({*used} - {*scheme.values()}, set())

    def test_mails_have_those_of_the_light_scheme(self) -> None:
        light, _ = self.console
        for template, names in (
            ("link.html", ("accent", "on-accent")),
            ("warning.html", ("warn-back", "warn-text")),
        ):
            with subtest(template):
                used = set(re.findall(r"#[0-9a-f]{6}\b", read("voxrec.mail", "templates", template)))
                self.assertEqual({each.replace("#ffffff", "#fff") for each in used}, {light[name] for name in names})

"""Every page of the console, and /docs, in Chromium: light and dark in English, narrow in German.

A page that is added is tested by itself, unless its path has parameters: then it needs a row in PATHS.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from selenium.webdriver import Remote

from tests.api.auth.test_sessions import PASSWORD
from tests.browser.page_test_case import DARK, LIGHT, NARROW, PageTestCase, set_view, wait_on
from tests.browser.sample_data import CALL, SampleDataTestCase, Samples
from voxrec.web.route import Route

_UNFOLD: Final = "document.querySelectorAll('main details').forEach((details) => { details.open = true; })"
PATHS: Final[Mapping[str, Callable[[Samples], str]]] = MappingProxyType(
    {
        "/console/calls/<id>/hang-up": lambda _samples: f"/console/calls/{CALL}/hang-up",
        "/console/certificates/<id>": lambda samples: f"/console/certificates/{samples.certificate}",
        "/console/profiles/<id>": lambda samples: f"/console/profiles/{samples.profile}",
        "/console/profiles/<id>/edit": lambda samples: f"/console/profiles/{samples.profile}/edit",
        "/console/recordings/<id>": lambda samples: f"/console/recordings/{samples.recording}",
        "/console/recordings/<id>/accesses": lambda samples: f"/console/recordings/{samples.recording}/accesses",
        "/console/users/<id>": lambda samples: f"/console/users/{samples.user}",
        "/console/webhooks/<id>": lambda samples: f"/console/webhooks/{samples.webhook}",
    }
)
"""Returns the path of a page by the path of its route."""
NOT_PAGES: Final = frozenset(
    {
        *("/console", "/console/assets/<name>", "/console/calls/table", "/console/recordings.csv"),
        *("/console/recordings/<id>/changes", "/console/session", "/console/<path:name>"),
    }
)
"""Paths of what is not a page: a redirection, files, and what scripts load."""
SHOWN_ELSEWHERE: Final = frozenset({"/console/bulk-actions/<id>", "/console/bulk-actions/<id>/progress"})
"""Paths of pages that need more than `SampleDataTestCase`; `tests.browser.test_recording_list` checks them."""


def page_paths(routes: Sequence[Route], samples: Samples) -> dict[str, str]:
    """Return the path of each page of the console by a name for its screenshots. Raises KeyError if PATHS lacks one."""
    paths = [route.path for route in routes if route.method == "GET" and route.path.startswith("/console")]
    return {
        path.removeprefix("/console/").replace("/", "-").replace("<id>", "one"): (
            PATHS[path](samples) if "<" in path else path
        )
        for path in paths
        if path not in NOT_PAGES | SHOWN_ELSEWHERE
    }


async def _not_ready() -> str | None:
    return "calls cannot be recorded: the connection is refused"


class EveryPageTests(PageTestCase, SampleDataTestCase):
    timeout = 500
    probes = MappingProxyType({**SampleDataTestCase.probes, "ami": _not_ready})

    async def test_every_page(self) -> None:
        samples = await self.add_samples()
        await self.add_user("anna", "admin")
        pages = page_paths(self.app._dispatcher.routes, samples)
        self.assertGreater(len(pages), 15)

        def scenario(driver: Remote) -> None:
            problems = self.problems(driver, {"sign-in": pages.pop("sign-in"), "docs": "/docs"})
            self.sign_in_as(driver, "anna", PASSWORD, "/console/recordings")
            problems += self.problems(driver, pages)
            self.assertEqual(problems, [], "\n".join(problems))

        await self.drive(scenario)

    def problems(self, driver: Remote, pages: Mapping[str, str]) -> list[str]:
        """Return what is wrong with pages, whose paths are given by name."""
        problems = []
        for name, path in pages.items():
            for language, views in (("en", (LIGHT, DARK)), ("de", (NARROW,))):
                self.prefer(driver, language)
                set_view(driver, views[0])
                self.show(driver, path)
                self.wait_until_complete(driver)
                for view in views:
                    problems += self.view_problems(driver, name, view)
                    if name != "docs":
                        driver.execute_script(_UNFOLD)  # for the next view
                if language == "de" and name != "docs":
                    problems += self.view_problems(driver, f"{name}-unfolded", NARROW)
            self.assert_quiet(driver)
        return problems

    def prefer(self, driver: Remote, language: str) -> None:
        """Have the browser prefer a language."""
        driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}})

    def wait_until_complete(self, driver: Remote) -> None:
        """Wait until scripts have drawn the waveform, and the operations on /docs."""
        script = (
            "const waveform = document.getElementById('waveform'), operations = document.getElementById('operations');"
            "return (!waveform || waveform.childElementCount > 0) && (!operations || operations.childElementCount > 3)"
        )
        wait_on(driver).until(lambda page: page.execute_script(script))

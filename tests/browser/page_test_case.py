"""The base class of tests that show pages in Chromium.

Screenshots of every page, light, dark and narrow, are written to the directory of the test.
"""

import atexit
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from selenium.webdriver import Remote
from twisted.internet.threads import deferToThread

from tests.api.rest_test_case import RestTestCase
from tests.browser.chromium import Browser
from tests.database import reactor

WAIT: Final = 30  # seconds, for a browser on a busy machine
_VIEWS: Final = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "narrow": (360, 740, "light")}
_browsers: list[Browser] = []


async def shared_browser() -> Browser:
    """Return the chromedriver that the tests of this process share; the first call starts it."""
    if not _browsers:
        browser = Browser(Path(tempfile.mkdtemp(prefix="voxrec-chromium-")))
        atexit.register(browser.kill)
        await browser.start(reactor)
        _browsers.append(browser)
    return _browsers[0]


class PageTestCase(RestTestCase):
    """Serves the pages on a loopback port, and drives a browser."""

    async def drive(self, scenario: Callable[[Remote], None], language: str = "en") -> None:
        """Call ``scenario`` in a thread with a new browser."""
        browser = await shared_browser()

        def run() -> None:
            driver = browser.open_session(language)
            try:
                driver.set_page_load_timeout(WAIT)
                scenario(driver)
            finally:
                driver.quit()

        await deferToThread(run)

    def screenshots(self, driver: Remote, name: str) -> None:
        """Write the page in every view, and check that it fits into the window."""
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        for view, (width, height, scheme) in _VIEWS.items():
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            driver.save_screenshot(str(directory / f"{name}-{view}.png"))
            overflow = driver.execute_script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            self.assertEqual(overflow, 0, f"{name}-{view} is wider than its window")

    def assert_quiet(self, driver: Remote) -> None:
        """Assert that the browser has reported no error, such as a violation of the policy, and used no other host."""
        errors = [
            entry
            for entry in driver.execute("getLog", {"type": "browser"})["value"]
            if entry["level"] in ("SEVERE", "WARNING")
        ]
        self.assertEqual(errors, [])
        script = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).host)"
        hosts = driver.execute_script(script)
        self.assertLessEqual({*hosts}, {f"127.0.0.1:{self.port}", ""})

"""The base classes of tests that show pages in Chromium.

Screenshots of every page, light, dark and narrow, are written to the directory of the test. Each of these views has to
fit into the window, and axe-core must find nothing in it.
"""

import atexit
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.api.rest_test_case import RestTestCase
from tests.browser.accessibility import accessibility_findings
from tests.database import reactor, until
from tests.temporary import temporary_directory
from voxrec.sandbox.chromium import Browser

WAIT: Final = 30  # seconds, for a browser on a busy machine
LIGHT, DARK, NARROW = "light", "dark", "narrow"
VIEWS: Final = {LIGHT: (1280, 900, "light"), DARK: (1280, 900, "dark"), NARROW: (320, 740, "light")}
"""Width and height of the window in pixels, and the colour scheme that the user prefers.

WCAG 1.4.10 requires that pages fit into 320 pixels, as on a window of 1280 pixels with a zoom of 400 %.
"""
_OVERFLOW: Final = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
_SCROLLING_TABLES: Final = (
    "return [...document.querySelectorAll('.scroll')].some((region) => region.scrollWidth > region.clientWidth)"
)
_browsers: list[Browser] = []


async def shared_browser() -> Browser:
    """Return the chromedriver that the tests of this process share; the first call starts it."""
    if not _browsers:
        browser = Browser(temporary_directory("chromium"))
        atexit.register(browser.kill)
        await browser.start(reactor)
        _browsers.append(browser)
    return _browsers[0]


class BrowserTestCase(TestCase):
    """Drives a browser that shows pages of the server at ``base_url``."""

    base_url: str
    """Scheme, host and port of the server, the only one that pages may use."""

    async def drive(
        self, scenario: Callable[[Remote], None], language: str = "en", microphone: Path | None = None
    ) -> None:
        """Call ``scenario`` in a thread with a new browser, and check that no page has used another host.

        ``microphone`` is a WAV file that the browser's microphone plays.
        """
        browser = await shared_browser()

        def run() -> None:
            driver = browser.open_session(language, microphone)
            try:
                driver.set_page_load_timeout(WAIT)
                driver.set_script_timeout(WAIT)
                scenario(driver)
                self.assertLessEqual(requested_hosts(driver), {urlsplit(self.base_url).netloc})
            finally:
                driver.quit()

        await deferToThread(run)

    def show(self, driver: Remote, path: str) -> None:
        """Show a page of the server."""
        driver.get(f"{self.base_url}{path}")

    def sign_in_as(self, driver: Remote, name: str, password: str, path: str) -> None:
        """Open a page of the console, and sign in on the form that appears instead."""
        self.show(driver, path)
        driver.find_element(By.NAME, "name").send_keys(name)
        driver.find_element(By.NAME, "password").send_keys(password)
        driver.find_element(By.CSS_SELECTOR, "form button").click()
        wait_on(driver).until(lambda page: page.find_elements(By.CSS_SELECTOR, "nav"))

    def send_form(self, driver: Remote) -> None:
        """Send the form of the page, and wait until the browser has left it."""
        self.follow(driver, By.CSS_SELECTOR, "main form button[type=submit]")

    def follow(self, driver: Remote, by: str, selector: str) -> None:
        """Click a link or a button, and wait until the browser has left the page."""
        page = driver.find_element(By.TAG_NAME, "html")
        self.click(driver, by, selector)
        wait_on(driver).until(staleness_of(page))

    def click(self, driver: Remote, by: str, selector: str) -> None:
        """Click an element of a part of the page that a script may replace at any moment."""

        def click(page: Remote) -> bool:
            page.find_element(by, selector).click()
            return True

        wait_on(driver).until(click)

    def screenshots(self, driver: Remote, name: str) -> None:
        """Write the page in every view; check that it fits into the window, and that axe-core finds nothing."""
        for view in VIEWS:
            self.check_view(driver, name, view)

    def check_view(self, driver: Remote, name: str, view: str) -> None:
        """Do so in one view."""
        self.assertEqual(self.view_problems(driver, name, view), [])

    def view_problems(self, driver: Remote, name: str, view: str) -> list[str]:
        """Write the page in one view, and return what is wrong with it."""
        set_view(driver, view)
        driver.save_screenshot(str(self.screenshot_directory() / f"{name}-{view}.png"))
        overflow = driver.execute_script(_OVERFLOW)
        too_wide = [f"{name}-{view}: {overflow} pixels wider than the window"] if overflow else []
        if view == NARROW and driver.execute_script(_SCROLLING_TABLES):
            too_wide.append(f"{name}-{view}: a table is wider than the window")
        return [*too_wide, *(f"{name}-{view}: {finding}" for finding in accessibility_findings(driver))]

    def screenshot_directory(self) -> Path:
        """Return a new directory of this test."""
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        return directory

    def assert_quiet(self, driver: Remote) -> None:
        """Assert that the browser has reported no error since the last call, such as a violation of the policy."""
        self.assertEqual(_messages(driver), [])

    def assert_only_refused(self, driver: Remote, status: int) -> None:
        """Assert that the browser has reported nothing but a page with ``status``, and forget that."""
        (message,) = _messages(driver)
        self.assertIn(f"status of {status}", message)


class PageTestCase(BrowserTestCase, RestTestCase):
    """Serves the pages on a loopback port of this process."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.base_url = f"http://127.0.0.1:{self.port}"

    async def tearDown(self) -> None:  # type: ignore[override]
        await until(lambda: not self.site.connection_count)  # the browser closes them a little after it has quit
        await super().tearDown()


def wait_on(driver: Remote) -> WebDriverWait[Remote]:
    """Return a wait whose condition is evaluated again after an element was missing, or was replaced meanwhile."""
    return WebDriverWait(driver, WAIT, ignored_exceptions=(StaleElementReferenceException,))


def set_view(driver: Remote, view: str) -> None:
    """Set the size of the window, and the colour scheme that the user prefers."""
    width, height, scheme = VIEWS[view]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requested_hosts(driver: Remote) -> set[str]:
    """Return the host and port of each request that the browser has sent since the last call."""
    hosts = set()
    for entry in driver.execute("getLog", {"type": "performance"})["value"]:
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            hosts.add(urlsplit(event["params"]["request"]["url"]).netloc)
    return hosts - {""}  # of data: and blob:


def _messages(driver: Remote) -> list[str]:
    entries = driver.execute("getLog", {"type": "browser"})["value"]
    return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

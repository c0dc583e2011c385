"""The page behind an expiring link in Chromium: opened, heard and read as its users do.

Screenshots of every page, light, dark and narrow, are written to the directory of the test.
"""

import atexit
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from twisted.internet.threads import deferToThread

from tests.api.test_link_opening import AUDIO, OpeningTestCase, path_of
from tests.browser.chromium import Browser
from tests.database import reactor
from voxrec.model import Verdict

_WAIT: Final = 30  # seconds, for a browser on a busy machine
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


class LinkPageTests(OpeningTestCase):
    timeout = 300

    async def drive(self, scenario: Callable[[Remote], None], language: str = "en") -> None:
        """Call ``scenario`` in a thread with a new browser."""
        browser = await shared_browser()

        def run() -> None:
            driver = browser.open_session(language)
            try:
                driver.set_page_load_timeout(_WAIT)
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

    async def test_a_listener_opens_plays_seeks_and_downloads(self) -> None:
        link = await self.create(max_uses=1)
        url = f"http://127.0.0.1:{self.port}{path_of(link)}"

        def scenario(driver: Remote) -> None:
            driver.get(url)
            self.screenshots(driver, "invitation")
            button = driver.find_element(By.CSS_SELECTOR, "button")
            self.assertEqual(button.accessible_name, "Open the recording")
            driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
            focused: Any = driver.switch_to.active_element
            self.assertEqual(focused.accessible_name, "Open the recording", "the keyboard reaches the button first")
            focused.send_keys(Keys.ENTER)
            wait = WebDriverWait(driver, _WAIT)
            audio = wait.until(lambda page: page.find_element(By.TAG_NAME, "audio"))
            self.assertEqual(audio.accessible_name, "Recording of the call, 2 min 5 s")
            self.assertEqual(driver.current_url, url)
            self.screenshots(driver, "player")
            self.play(driver)
            self.assertEqual(driver.find_element(By.TAG_NAME, "html").get_attribute("lang"), "en")
            self.assertEqual(driver.find_element(By.TAG_NAME, "h1").aria_role, "heading")
            driver.refresh()
            self.assertTrue(driver.find_elements(By.TAG_NAME, "audio"), "a reload is the same visit")
            self.assert_quiet(driver)

        await self.drive(scenario)
        self.assertEqual(await self.uses(link), 1)

    def play(self, driver: Remote) -> None:
        """Play, seek, and check that the position advances."""
        wait = WebDriverWait(driver, _WAIT)

        def position(page: Remote) -> float:
            return float(page.execute_script("return document.querySelector('audio').currentTime"))

        duration = "return document.querySelector('audio').duration || 0"
        wait.until(lambda page: np.isclose(page.execute_script(duration), 1.0))
        driver.execute_script("document.querySelector('audio').play()")
        wait.until(lambda page: position(page) > 0.05)
        driver.execute_script("document.querySelector('audio').currentTime = 0.8")
        wait.until(lambda page: position(page) > 0.85)

    async def test_other_pages(self) -> None:
        verdict = Verdict(ok=False, reasons=("one-way audio: callee silent",))
        problem = await self.add_audio(
            AUDIO, from_name="Ä" * 255, to="9" * 200, verdict=verdict, profile_id=self.profile.id
        )
        link, revoked = await self.create(problem), await self.create()
        await self.links.revoke(revoked.recording_id, revoked.id)
        base = f"http://127.0.0.1:{self.port}"

        def scenario(driver: Remote) -> None:
            driver.get(f"{base}{path_of(link)}")
            driver.find_element(By.CSS_SELECTOR, "button").click()
            WebDriverWait(driver, _WAIT).until(lambda page: page.find_elements(By.TAG_NAME, "audio"))
            self.assertIn("der Angerufene ist nicht zu hören", driver.find_element(By.CLASS_NAME, "warning").text)
            self.screenshots(driver, "problem-german")
            driver.get(f"{base}{path_of(revoked)}")
            self.assertEqual(driver.find_element(By.TAG_NAME, "h1").text, "Dieser Link wurde widerrufen")
            self.screenshots(driver, "revoked-german")

        await self.drive(scenario, "de")

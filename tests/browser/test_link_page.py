"""The page behind an expiring link in Chromium: opened, heard and read as its users do."""

from typing import Any

import numpy as np
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.api.links.test_link_opening import AUDIO, OpeningTestCase, path_of
from tests.browser.page_test_case import PageTestCase, wait_on
from voxrec.model import Verdict


class LinkPageTests(PageTestCase, OpeningTestCase):
    timeout = 900  # the first run builds the root file system of Chromium

    async def test_a_listener_opens_plays_seeks_and_downloads(self) -> None:
        link = await self.create(max_uses=1)
        url = f"{self.base_url}{path_of(link)}"

        def scenario(driver: Remote) -> None:
            driver.get(url)
            self.screenshots(driver, "invitation")
            button = driver.find_element(By.CSS_SELECTOR, "button")
            self.assertEqual(button.accessible_name, "Open the recording")
            driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
            focused: Any = driver.switch_to.active_element
            self.assertEqual(focused.accessible_name, "Open the recording", "the keyboard reaches the button first")
            focused.send_keys(Keys.ENTER)
            wait = wait_on(driver)
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
        wait = wait_on(driver)

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

        def scenario(driver: Remote) -> None:
            self.show(driver, path_of(link))
            driver.find_element(By.CSS_SELECTOR, "button").click()
            wait_on(driver).until(lambda page: page.find_elements(By.TAG_NAME, "audio"))
            self.assertIn("der Angerufene ist nicht zu hören", driver.find_element(By.CLASS_NAME, "warning").text)
            self.screenshots(driver, "problem-german")
            self.show(driver, path_of(revoked))
            self.assertEqual(driver.find_element(By.TAG_NAME, "h1").text, "Dieser Link wurde widerrufen")
            self.screenshots(driver, "revoked-german")

        await self.drive(scenario, "de")

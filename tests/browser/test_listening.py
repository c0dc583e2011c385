"""Listening to a live call in Chromium: the audio reaches the output of the browser, side by side."""

import math
from uuid import UUID

import numpy as np
from selenium.webdriver import ActionChains, Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from twisted.internet.task import LoopingCall

from tests.api.auth.test_sessions import PASSWORD
from tests.api.calls.test_calls import make_call
from tests.browser.page_test_case import PageTestCase, wait_on
from tests.console.console_test_case import ConsoleTestCase
from tests.database import reactor
from voxrec.calls.listening.frames import Frame
from voxrec.calls.listening.listener import Listener
from voxrec.model import RecordingState

CALL = UUID("55555555-5555-4555-8555-555555555555")
_SILENT = -60  # the lowest level that is shown, in dBFS


class ListeningPageTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    def begin_to_talk(self, listener: Listener) -> None:
        """Let the caller whistle at half of full scale, while the far end is silent, until the listener leaves."""
        time = np.arange(160) / 8000
        whistle = (16384 * np.sin(2 * math.pi * 500 * time)).astype(np.int16)  # ten periods
        frame = Frame(whistle, np.zeros(160, dtype=np.int16))

        def talk(frames: int) -> None:
            for _ in range(frames):
                listener.add(frame)
            if listener.has_ended:
                talking.stop()

        talking = LoopingCall.withCount(talk)
        talking.clock = reactor
        talking.start(0.02)

    async def test_levels_sides_and_the_end(self) -> None:
        await self.add_user("anna", "read", listenLive=True)
        profile = await self.add_profile(name="Sales")
        call = make_call(id=CALL, profile_id=profile.id, recording_state=RecordingState.RECORDING, recording_id=CALL)
        self.call_control.calls = [call]

        def scenario(driver: Remote) -> None:
            wait = wait_on(driver)
            self.sign_in_as(driver, "anna", PASSWORD, "/console/calls")
            wait.until(lambda page: page.find_element(By.CSS_SELECTOR, ".listen").is_displayed())
            self.assertFalse(driver.find_element(By.ID, "listening").is_displayed())
            self.click(driver, By.CSS_SELECTOR, ".listen")
            wait.until(lambda page: self.level(page, "caller") > -10 and self.level(page, "callee") == _SILENT)
            self.assertAlmostEqual(self.level(driver, "caller"), 20 * math.log10(0.5), delta=0.5)
            self.assertEqual(driver.switch_to.active_element.get_attribute("id"), "listening-stop")
            self.screenshots(driver, "listening")
            Select(driver.find_element(By.ID, "listening-side")).select_by_value("callee")
            wait.until(lambda page: self.level(page, "caller") == _SILENT)
            Select(driver.find_element(By.ID, "listening-side")).select_by_value("mixed")
            wait.until(lambda page: self.level(page, "caller") > -10)
            driver.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
            wait.until(lambda page: not page.find_element(By.ID, "listening").is_displayed())
            wait.until(lambda _page: not self.listeners)
            self.assertEqual(driver.execute_script("return document.activeElement.dataset.listen"), str(CALL))
            ActionChains(driver).send_keys(Keys.ENTER).perform()  # to the focused button, which may be replaced
            wait.until(lambda page: self.level(page, "caller") > -10)
            reactor.callFromThread(self.listeners[0].end, "the call has ended")
            state = driver.find_element(By.ID, "listening-state")
            wait.until(lambda _page: state.text == "The listening has ended.")
            self.listening_enabled = False
            self.click(driver, By.CSS_SELECTOR, ".listen")
            wait.until(lambda _page: "Listening to live calls is disabled" in state.text)
            self.assert_refused_once(driver)

        await self.drive(scenario)

    def level(self, driver: Remote, side: str) -> float:
        """Return the level of a side in dBFS, as the browser plays it."""
        value = driver.execute_script(f"return document.getElementById('level-{side}').value")
        return float(value)

    def assert_refused_once(self, driver: Remote) -> None:
        """Assert that the browser has reported the refusal of the last request, and no other error."""
        errors = [
            entry["message"]
            for entry in driver.execute("getLog", {"type": "browser"})["value"]
            if entry["level"] in ("SEVERE", "WARNING")
        ]
        self.assertEqual(len(errors), 1, errors)
        self.assertIn("403", errors[0])

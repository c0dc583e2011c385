"""Announcements in the form of a Profile: uploaded as a file, or refused; and pages that may not use the microphone.

What the microphone hears is measured in `tests.live.test_console`.
"""

import io

import soundfile
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from tests.api.audio.audio_test_case import two_tones
from tests.api.auth.test_sessions import PASSWORD
from tests.api.rest_test_case import PROMPT_ID
from tests.browser.page_test_case import PageTestCase, shared_browser, wait_on
from tests.console.console_test_case import ConsoleTestCase
from voxrec.sandbox import tones

_RECORD = """
const done = arguments[0];
navigator.mediaDevices.getUserMedia({audio: true}).then(() => done("permitted"), (error) => done(error.name));
"""


class AnnouncementTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def test_a_file_is_uploaded_and_chosen(self) -> None:
        await self.add_user("anna", "provision")
        profile = await self.add_profile(name="Sales", record=True)
        directory = self.make_directory()
        (directory / "broken.wav").write_bytes(b"RIFF but not WAVE")
        (directory / "Our greeting.flac").write_bytes(two_tones("FLAC"))
        browser = await shared_browser()
        broken, greeting = (browser.share(directory / name) for name in ("broken.wav", "Our greeting.flac"))

        def scenario(driver: Remote) -> None:
            self.sign_in_as(driver, "anna", PASSWORD, f"/console/profiles/{profile.id}/edit")
            driver.find_element(By.XPATH, "//summary[text()='Add an announcement']").click()
            self.upload(driver, broken, "The announcement was not stored.")
            self.assert_only_refused(driver, 422)
            self.screenshots(driver, "announcement-refused")
            driver.find_element(By.ID, "prompt-file").clear()
            self.upload(driver, greeting, "The announcement is stored and chosen.")
            self.assertEqual(driver.current_url, f"{self.base_url}/console/profiles/{profile.id}/edit")
            chosen = Select(driver.find_element(By.ID, "recordPromptCustomId")).first_selected_option
            self.assertEqual(chosen.text, "Our greeting")
            duration = "return document.getElementById('prompt-chosen').duration"
            driver.execute_script("document.getElementById('prompt-chosen').preload = 'metadata'")
            wait_on(driver).until(lambda page: page.execute_script(duration) == 1)
            driver.find_element(By.CSS_SELECTOR, ".save button").click()
            wait_on(driver).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".effective"))
            self.assert_quiet(driver)

        await self.drive(scenario)
        prompts = {prompt["id"]: prompt for prompt in (await self.request("GET", "/prompts")).json}
        del prompts[str(PROMPT_ID)]
        ((prompt_id, prompt),) = prompts.items()
        self.assertEqual((prompt["name"], prompt["duration"]), ("Our greeting", 1.0))
        stored = (await self.request("GET", f"/profiles/{profile.id}")).json
        self.assertEqual((stored["recordPrompt"], stored["recordPromptCustomId"]), ("custom", prompt_id))
        audio = (await self.request("GET", f"/prompts/{prompt_id}/audio")).body
        self.assertEqual(soundfile.info(io.BytesIO(audio)).format, "FLAC")

    def upload(self, driver: Remote, path: str, expected: str) -> None:
        """Choose a file, and upload it; Enter in the field of the name does not send the form of the Profile."""
        driver.find_element(By.ID, "prompt-file").send_keys(path)
        driver.find_element(By.ID, "prompt-name").send_keys(Keys.ENTER)
        driver.find_element(By.ID, "prompt-save").click()
        status = driver.find_element(By.ID, "prompt-status")
        wait_on(driver).until(lambda _: expected in status.text)

    async def test_only_the_form_may_use_the_microphone(self) -> None:
        await self.add_user("anna", "provision")
        microphone = tones.write_tone(self.make_directory() / "tone.wav", 600.0, 1.0, rate=48000)

        def scenario(driver: Remote) -> None:
            self.sign_in_as(driver, "anna", PASSWORD, "/console/profiles/new")
            self.assertEqual(driver.execute_async_script(_RECORD), "permitted")
            for path in ("/console/profiles", "/console/recordings", "/docs"):
                self.show(driver, path)
                self.assertEqual(driver.execute_async_script(_RECORD), "NotAllowedError", path)

        await self.drive(scenario, microphone=microphone)

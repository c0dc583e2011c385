"""The console with a real call: from the form of a Profile, and the microphone, to what is heard of the recording."""

import io
from typing import Any, Final

import soundfile
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.browser.page_test_case import wait_on
from tests.live.console_test_case import LiveConsoleTestCase
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone

PROMPT_HZ: Final = 600.0  # of the tone that the microphone hears
PROMPT_SECONDS: Final = 1.0  # at least
PAUSE_SECONDS: Final = 1.0
TALK_SECONDS: Final = 1.5
MAX_MISSING_MS: Final = 250.0  # of a second: the browser takes the CPU from the phones; other tests measure audio
MAX_CALL_SECONDS: Final = 90.0
_POSITION: Final = "return document.getElementById('audio').currentTime"


class ConsoleCallTests(LiveConsoleTestCase):
    async def test_from_the_form_of_a_profile_to_the_audio_of_its_call(self) -> None:
        await self.add_user("anna", "admin")
        tone = tones.write_tone(self.directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        callee = self.kill_at_end(Phone.make_callee(self.reactor, self.directory, name="desk", play=tone))
        await callee.start()
        microphone = tones.write_tone(self.directory / "microphone.wav", PROMPT_HZ, 10.0, rate=48000)

        def scenario(driver: Remote) -> None:
            self.sign_in(driver, "anna", "/console/profiles/new")
            profile_id = self.create_profile(driver, callee.uri)
            profile = self.wait_for(self.stack.request_json, "GET", f"/profiles/{profile_id}")
            self.wait_for(self.check_prompt, profile["recordPromptCustomId"])
            driver.get(f"{self.base_url}/console/calls")
            self.assertIn("no calls", driver.find_element(By.ID, "calls").text)
            caller = self.wait_for(self.call, profile_id)
            self.control(driver)
            recording, samples, rate = self.wait_for(self.finished_recording, self.stack, profile_id, caller)
            self.check_audio(recording, samples, rate)
            self.find(driver, recording)
            self.hear(driver, recording)
            self.assert_quiet(driver)

        await self.drive(scenario, microphone=microphone)

    def create_profile(self, driver: Remote, far_end: str) -> str:
        """Create a Profile whose announcement is recorded from the microphone, and return its id."""
        wait = wait_on(driver)
        driver.find_element(By.ID, "name").send_keys("Front desk")
        driver.find_element(By.ID, "remoteSipUri").send_keys(far_end)
        driver.find_element(By.ID, "record").click()
        Select(driver.find_element(By.ID, "recordChannels")).select_by_value("dual")
        driver.find_element(By.XPATH, "//summary[text()='Add an announcement']").click()
        driver.find_element(By.ID, "prompt-name").send_keys("Welcome")
        driver.find_element(By.ID, "prompt-record").click()
        wait.until(lambda page: page.find_element(By.ID, "prompt-seconds").text == "0:01")
        driver.find_element(By.ID, "prompt-stop").click()
        preview = (
            "const audio = document.getElementById('prompt-preview'); return audio.hidden ? 0 : audio.duration || 0"
        )
        wait.until(lambda page: page.execute_script(preview) >= PROMPT_SECONDS)
        driver.execute_script("document.getElementById('prompt-preview').play()")
        wait.until(
            lambda page: page.execute_script("return document.getElementById('prompt-preview').currentTime") > 0.2
        )
        self.screenshots(driver, "announcement-recorded")
        driver.find_element(By.ID, "prompt-save").click()
        wait.until(lambda page: "stored and chosen" in page.find_element(By.ID, "prompt-status").text)
        chosen = Select(driver.find_element(By.ID, "recordPrompt")).first_selected_option.text
        self.assertEqual(chosen, "a custom announcement")
        driver.find_element(By.CSS_SELECTOR, ".save button").click()
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".effective"))
        return str(driver.current_url.rpartition("/")[2])

    async def check_prompt(self, prompt_id: str) -> None:
        """Check that the stored audio is the tone of the microphone, and wait until Asterisk can play it."""
        prompt = await self.stack.request_json("GET", f"/prompts/{prompt_id}")
        self.assertEqual(prompt["name"], "Welcome")
        audio = (await self.stack.request("GET", f"/prompts/{prompt_id}/audio")).body
        samples, rate = soundfile.read(io.BytesIO(audio), always_2d=True)
        seconds = len(samples) / rate
        self.assertEqual((rate, samples.shape[1]), (16000, 1))
        self.assertGreaterEqual(seconds, PROMPT_SECONDS)
        missing = tones.missing_milliseconds(samples[:, 0], rate, PROMPT_HZ, 0.3, seconds - 0.1)
        self.assertLess(missing, demo_call.TOLERATED_GAP_MS, f"of {seconds} s")

        async def installed() -> bool:
            return any(self.stack.asterisk.sounds_directory.glob(f"prompt-{prompt_id}-*.wav"))

        self.assertTrue(await self.stack.wait_until(installed, 30))

    async def call(self, profile_id: str) -> Phone:
        """Call the Profile with a phone, and return the phone when the call is answered."""
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        uri = f"sip:{profile_id}@{self.stack.sip_host_port}"
        options: dict[str, Any] = {"number": "+4930901820", "display_name": "Alice Example"}
        caller = Phone.make_caller(
            self.reactor, self.directory, uri, name="caller", play=tone, seconds=MAX_CALL_SECONDS, **options
        )
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_for("confirmed")
        return caller

    def control(self, driver: Remote) -> None:
        """Pause, resume and end the call on the page of live calls, which follows it without being loaded again."""
        wait = wait_on(driver)
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".state.talking"))
        self.assertIn("Alice Example", driver.find_element(By.ID, "calls").text)
        self.wait_for(self.sleep, TALK_SECONDS)
        self.follow(driver, By.XPATH, "//button[text()='Pause']")
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".state.paused"))
        self.screenshots(driver, "call-paused")
        self.wait_for(self.sleep, PAUSE_SECONDS)
        self.follow(driver, By.XPATH, "//button[text()='Resume']")
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".state.recording"))
        self.wait_for(self.sleep, TALK_SECONDS)
        self.follow(driver, By.LINK_TEXT, "Hang up")
        self.assertIn("Alice Example", driver.find_element(By.TAG_NAME, "main").text)
        self.screenshots(driver, "hang-up")
        self.follow(driver, By.XPATH, "//button[text()='Hang up']")
        wait.until(lambda page: "no calls" in page.find_element(By.ID, "calls").text)

    def check_audio(self, recording: dict[str, Any], samples: tones.Samples, rate: int) -> None:
        """Check the file: the announcement, silence in the pause, and both parties before and after it."""
        self.assert_paused(recording, samples, rate, 1)
        at = self.event_times(recording)
        self.assertGreater(at["resumed"] - at["paused"], PAUSE_SECONDS)
        announced = (at["announcement.started"] + 0.4, at["announcement.finished"] - 0.2)
        announcement = tones.missing_milliseconds(samples[:, demo_call.RIGHT], rate, PROMPT_HZ, *announced)
        self.assertLess(announcement, MAX_MISSING_MS)
        for start, end in ((at["paused"] - 1.0, at["paused"]), (at["resumed"] + 0.1, at["resumed"] + 1.1)):
            for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
                missing = tones.missing_milliseconds(samples[:, channel], rate, hz, start, end)
                self.assertLess(missing, MAX_MISSING_MS, f"{hz} Hz from {start} to {end}")

    def find(self, driver: Remote, recording: dict[str, Any]) -> None:
        """Find the Recording in the list by its Profile, and show it."""
        wait = wait_on(driver)
        driver.find_element(By.LINK_TEXT, "Recordings").click()
        wait.until(lambda page: page.find_elements(By.NAME, "profile"))
        Select(driver.find_element(By.NAME, "profile")).select_by_visible_text("Front desk")
        driver.find_element(By.CSS_SELECTOR, ".filters button").click()
        wait.until(
            lambda page: "profile=" in page.current_url and len(page.find_elements(By.CSS_SELECTOR, "tbody tr")) == 1
        )
        driver.find_element(By.CSS_SELECTOR, "tbody a").click()
        wait.until(lambda page: page.find_elements(By.ID, "audio"))
        self.assertTrue(driver.current_url.partition("?")[0].endswith(f"/console/recordings/{recording['id']}"))

    def hear(self, driver: Remote, recording: dict[str, Any]) -> None:
        """Play the audio, and jump to the end of the pause."""
        wait = wait_on(driver)
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#waveform[role=slider]"))
        driver.find_element(By.ID, "play").click()
        wait.until(lambda page: page.execute_script(_POSITION) > 0.5)
        duration = driver.execute_script("return document.getElementById('audio').duration")
        self.assertAlmostEqual(duration, recording["duration"], delta=0.1)
        resumed = next(entry["at"] for entry in recording["timeline"] if entry["event"] == "resumed")
        driver.find_element(By.CSS_SELECTOR, f"[data-position='{resumed}']").click()
        wait.until(lambda page: resumed + 0.3 < page.execute_script(_POSITION) < recording["duration"])
        self.screenshots(driver, "recording-of-a-call")

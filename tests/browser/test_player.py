"""The page of one Recording in Chromium: the player, its two sides, the verification of the file, and live changes."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import soundfile
from selenium.webdriver import ActionChains, Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.api.auth.test_sessions import PASSWORD
from tests.browser.page_test_case import PageTestCase, wait_on
from tests.console.console_test_case import ConsoleTestCase
from tests.database import reactor
from voxrec.api.audio.audio_files import AudioDamaged
from voxrec.audio.convert import convert
from voxrec.audio.formats import FORMATS
from voxrec.model import Recording, RecordingState, TimelineEntry, Verdict

SECONDS = 20
SEEKABLE = "const { seekable } = document.getElementById('audio'); return seekable.length ? seekable.end(0) : 0"
SHADOW = "document.querySelector('#waveform > div').shadowRoot"
# The levels of what is played on the left and on the right, from the moment at which this script runs.
MEASURE = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target === this.context.destination && !(this instanceof AnalyserNode)) {
    window.levels ??= (() => {
      const splitter = this.context.createChannelSplitter(2);
      const analysers = [0, 1].map((channel) => {
        const analyser = this.context.createAnalyser();
        connect.call(splitter, analyser, channel);
        connect.call(analyser, target);
        return analyser;
      });
      const read = () => analysers.map((analyser) => {
        const samples = new Float32Array(analyser.fftSize);
        analyser.getFloatTimeDomainData(samples);
        return Math.max(...samples.map(Math.abs));
      });
      return { splitter, read };
    })();
    return connect.call(this, window.levels.splitter);
  }
  return connect.call(this, target, ...rest);
};
"""
PLAY_EACH = """
const [urls, done] = arguments;
(async () => {
  const results = {};
  for (const [name, url] of Object.entries(urls)) {
    const audio = new Audio(url);
    audio.muted = true;
    results[name] = await new Promise((resolve) => {
      audio.addEventListener("error", () => resolve(audio.error.message));
      audio.addEventListener("timeupdate", () => { if (audio.currentTime > 0.05) resolve(true); });
      audio.play().catch((error) => resolve(error.message));
    });
    audio.removeAttribute("src");
    audio.load();
  }
  done(results);
})();
"""


def tones(seconds: float = SECONDS, channels: int = 2) -> bytes:
    """Return WAV: 440 Hz on the left, 880 Hz on the right; silence on both sides from 8 to 10 s."""
    time = np.arange(round(8000 * seconds)) / 8000
    audible = (time < 8) | (time > 10)
    sides = [0.5 * np.sin(2 * np.pi * tone * time) * audible for tone in (440, 880)]
    file = io.BytesIO()
    soundfile.write(file, np.column_stack(sides[:channels]), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


class PlayerPageTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def add_call(self, content: bytes | None = None, **fields: Any) -> Recording:
        values: dict[str, Any] = {
            "from_": "+4930111",
            "from_name": "Alice",
            "to": "+4930999",
            "channels": 2,
            "duration": float(SECONDS),
            "timeline": (
                TimelineEntry(at=0.0, event="answered", by="callee"),
                TimelineEntry(at=5.0, event="beep"),
                TimelineEntry(at=8.0, event="paused", by="caller", detail="silence"),
                TimelineEntry(at=10.0, event="resumed", by="caller"),
                TimelineEntry(at=20.0, event="hangup", by="caller"),
            ),
            "verdict": Verdict(ok=False, reasons=("packet loss: caller", "truncated")),
            **fields,
        }
        return await self.add_audio(tones() if content is None else content, **values)

    def open_recording(self, driver: Remote, recording: Recording) -> None:
        driver.get(f"http://127.0.0.1:{self.port}/console/recordings/{recording.id}")
        if driver.find_elements(By.NAME, "password"):
            driver.find_element(By.NAME, "name").send_keys("anna")
            driver.find_element(By.NAME, "password").send_keys(PASSWORD)
            driver.find_element(By.CSS_SELECTOR, "form button").click()
            wait_on(driver).until(lambda page: page.find_elements(By.CSS_SELECTOR, "nav"))

    def slider(self, driver: Remote) -> WebElement:
        """Return the waveform, when it is drawn."""
        find = (By.CSS_SELECTOR, "#waveform[role=slider]")
        (slider,) = wait_on(driver).until(lambda page: page.find_elements(*find))
        return slider

    def position(self, driver: Remote) -> float:
        return float(driver.execute_script("return document.getElementById('audio').currentTime"))

    def wait(self, driver: Remote, condition: Callable[[], object]) -> None:
        wait_on(driver).until(lambda _page: condition())

    def text(self, driver: Remote, element_id: str) -> str:
        return driver.find_element(By.ID, element_id).text

    async def test_play_seek_and_jump(self) -> None:
        await self.add_user("anna", "provision")
        recording = await self.add_call()

        def scenario(driver: Remote) -> None:
            self.open_recording(driver, recording)
            slider = self.slider(driver)
            self.screenshots(driver, "player")
            self.assertEqual(self.text(driver, "position"), "0:00 of 0:20")
            self.jump(driver, slider)
            self.play(driver)
            self.see_the_pause(driver)
            self.screenshots(driver, "player-in-pause")
            self.assert_quiet(driver)

        await self.drive(scenario)
        (access,) = (await self.request("GET", f"/recordings/{recording.id}/accesses")).json
        self.assertEqual((access["purpose"], access["who"]), ("play", "anna"))

    def jump(self, driver: Remote, slider: WebElement) -> None:
        """Seek by keyboard and mouse, before any audio is loaded."""
        slider.send_keys(Keys.ARROW_RIGHT)
        self.assertEqual(self.position(driver), 5)
        self.assertEqual(slider.get_attribute("aria-valuetext"), "0:05 of 0:20")
        slider.send_keys("l")
        self.assertEqual(self.position(driver), 15)
        slider.send_keys(",")
        self.assertEqual(self.position(driver), 10, "the previous event")
        slider.send_keys(".")
        self.assertEqual(self.position(driver), 20, "the next event")
        slider.send_keys(Keys.HOME)
        self.assertEqual(self.position(driver), 0)
        ActionChains(driver).move_to_element(slider).click().perform()
        self.assertAlmostEqual(self.position(driver), SECONDS / 2, delta=0.2)
        marker = driver.execute_script(f"return {SHADOW}.querySelector('[part~=marker][title*=beep]')")
        self.assertEqual(marker.get_attribute("title"), "0:05 beep")
        driver.execute_script("arguments[0].querySelector('span').click()", marker)
        self.assertEqual(self.position(driver), 5)

    def play(self, driver: Remote) -> None:
        """Play from an event on, change the speed, and stop."""
        driver.find_element(By.CSS_SELECTOR, "[data-event^=beep]").click()
        self.wait(driver, lambda: 5.2 < self.position(driver) < 20)
        Select(driver.find_element(By.ID, "speed")).select_by_value("3")
        audio = "const audio = document.getElementById('audio'); return [audio.playbackRate, audio.preservesPitch]"
        self.assertEqual(driver.execute_script(audio), [3, True])
        button = driver.find_element(By.ID, "play")
        self.assertEqual(button.text, "Pause")
        button.click()
        self.assertTrue(driver.execute_script("return document.getElementById('audio').paused"))
        Select(driver.find_element(By.ID, "speed")).select_by_value("1")

    def see_the_pause(self, driver: Remote) -> None:
        self.assertEqual(self.text(driver, "pause-note"), "")
        driver.find_element(By.CSS_SELECTOR, "[data-event^='recording paused']").click()
        self.wait(driver, lambda: "This is silence" in self.text(driver, "pause-note"))
        driver.find_element(By.ID, "play").click()
        region = driver.execute_script(f"return {SHADOW}.querySelector('[part~=region]').title")
        self.assertEqual(region, "Pause of 2.0 s: silence")

    async def test_sides_are_muted_and_moved(self) -> None:
        await self.add_user("anna")
        recording = await self.add_call()

        def scenario(driver: Remote) -> None:
            self.open_recording(driver, recording)
            self.slider(driver)
            driver.execute_script(MEASURE)
            mute = driver.find_element(By.CSS_SELECTOR, "[data-mute=caller]")
            mute.click()
            self.assertEqual(mute.get_attribute("aria-pressed"), "true")
            driver.find_element(By.ID, "play").click()
            self.wait_for_levels(driver, lambda left, right: left < 0.01 and right > 0.3)
            mute.click()
            self.wait_for_levels(driver, lambda left, right: left > 0.3 and right > 0.3)
            driver.find_element(By.CSS_SELECTOR, "[data-mute=callee]").click()
            self.wait_for_levels(driver, lambda left, right: left > 0.3 and right < 0.01)
            balance = driver.find_element(By.CSS_SELECTOR, "[data-balance=caller]")
            balance.send_keys(Keys.END)
            self.assertEqual(balance.get_attribute("aria-valuetext"), "right 100 %")
            self.wait_for_levels(driver, lambda left, right: left < 0.01 and right > 0.3)
            self.assert_quiet(driver)

        await self.drive(scenario)

    def wait_for_levels(self, driver: Remote, condition: Callable[[float, float], bool]) -> None:
        """Wait until the peaks on the left and on the right meet a condition. The tones are played in a loop."""
        script = (
            "const audio = document.getElementById('audio'); if (audio.currentTime > 6) audio.currentTime = 0;"
            "return window.levels.read()"
        )
        self.wait(driver, lambda: condition(*driver.execute_script(script)))

    async def test_the_file_is_verified(self) -> None:
        await self.add_user("anna")
        recording = await self.add_call()

        def verify(driver: Remote) -> str:
            driver.find_element(By.ID, "verify-start").click()
            self.wait(driver, lambda: self.text(driver, "verify-result"))
            return self.text(driver, "verify-result")

        def scenario(driver: Remote) -> None:
            self.open_recording(driver, recording)
            self.slider(driver)
            unchanged = "The file is unchanged: its SHA-256 is the stored one."
            self.assertEqual(verify(driver), unchanged)
            # as without HTTPS
            driver.execute_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
            self.assertEqual(verify(driver), unchanged)
            self.tamper(recording)
            self.assertIn("The file was changed!", verify(driver))
            self.screenshots(driver, "verification")
            self.assert_quiet(driver)
            driver.refresh()  # with Web Crypto again
            self.slider(driver)
            self.assertIn("The file was changed!", verify(driver))
            self.truncate(recording)
            self.assertIn(
                "The file could not be verified: The file of the recording is missing or damaged.", verify(driver)
            )

        await self.drive(scenario)
        accesses = (await self.request("GET", f"/recordings/{recording.id}/accesses")).json
        self.assertEqual({each["purpose"] for each in accesses}, {"verify"})
        self.assertEqual(len(self.flushLoggedErrors(AudioDamaged)), 1)

    def archived(self, recording: Recording) -> Path:
        return self.archive.locate(str(recording.path))

    def tamper(self, recording: Recording) -> None:
        """Change one sample of the archived file."""
        path = self.archived(recording)
        content = bytearray(path.read_bytes())
        content[5000] ^= 1
        self.rewrite(path, bytes(content))

    def truncate(self, recording: Recording) -> None:
        path = self.archived(recording)
        self.rewrite(path, path.read_bytes()[:-2])

    def rewrite(self, path: Path, content: bytes) -> None:
        path.chmod(0o640)
        path.write_bytes(content)

    async def test_every_stored_format_is_played(self) -> None:
        """The first source of each page is played; a browser without the codec would go to the next."""
        await self.add_user("anna")
        directory = self.make_directory()
        source = directory / "source.wav"
        source.write_bytes(tones(1.0, channels=1))
        added = {}
        for name, audio_format in FORMATS.items():
            converted = directory / "converted"
            convert(source, converted, audio_format)
            fields = {"format": name, "channels": 1, "duration": 1.0, "timeline": ()}
            added[name] = await self.add_call(converted.read_bytes(), **fields)
        unusual = self.imported_adpcm(directory)
        adpcm = await self.add_call(unusual, channels=1, duration=1.0, timeline=())

        def scenario(driver: Remote) -> None:
            self.open_recording(driver, added["gsm"])
            fetch = (
                "const [ids, done] = arguments; Promise.all(Object.entries(ids).map(async ([name, id]) => {"
                "const html = await (await fetch(`/console/recordings/${id}`)).text();"
                "const page = new DOMParser().parseFromString(html, 'text/html');"
                "return [name, page.querySelector('source').src];"
                "})).then((pairs) => done(Object.fromEntries(pairs)))"
            )
            urls = driver.execute_async_script(fetch, {name: str(each.id) for name, each in added.items()})
            self.assertEqual(driver.execute_async_script(PLAY_EACH, urls), dict.fromkeys(FORMATS, True))
            for recording in (added["gsm"], adpcm):  # converted, and a WAV file that no browser plays
                self.open_recording(driver, recording)
                self.slider(driver).send_keys(Keys.SPACE)
                self.wait(driver, lambda: self.position(driver) > 0.2)
                self.wait(driver, lambda: driver.execute_script(SEEKABLE) > 0.9)
                source = driver.execute_script("return document.getElementById('audio').currentSrc")
                self.assertTrue(source.startswith("blob:"), source)

        await self.drive(scenario)

    def imported_adpcm(self, directory: Path) -> bytes:
        path = directory / "adpcm.wav"
        samples, rate = soundfile.read(directory / "source.wav")
        soundfile.write(path, samples, rate, format="WAV", subtype="IMA_ADPCM")
        return path.read_bytes()

    async def test_the_page_follows_a_recording_until_it_is_finished(self) -> None:
        await self.add_user("anna", "provision")
        recording = await self.add_recording(id=uuid4(), state=RecordingState.RECORDING, from_name="Alice", channels=2)
        other = await self.add_call()
        stored = self.put_in_archive(tones(), recording.id, "wav")

        def change(**fields: Any) -> None:
            async def update() -> Any:
                updated = await self.recordings.update(recording.id, lambda old: msgspec.structs.replace(old, **fields))
                self.broadcaster.refresh()
                return updated

            blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(update()))

        def scenario(driver: Remote) -> None:
            self.open_recording(driver, recording)
            self.assertIn("The call is in progress", driver.find_element(By.TAG_NAME, "main").text)
            change(state=RecordingState.PAUSED)
            self.wait(driver, lambda: self.text(driver, "live") == "The state is now: paused.")
            self.assertIn("the recording is paused", driver.find_element(By.TAG_NAME, "main").text)
            file = {"path": stored.path, "size": stored.size, "sha256": stored.sha256, "duration": float(SECONDS)}
            change(state=RecordingState.COMPLETED, timeline=other.timeline, **file)
            slider = self.slider(driver)
            self.assertEqual(self.text(driver, "live"), "The state is now: completed.")
            slider.send_keys(Keys.SPACE)
            self.wait(driver, lambda: self.position(driver) > 0.2)
            self.assert_quiet(driver)

        await self.drive(scenario)

    async def test_links_and_accesses(self) -> None:
        await self.add_user("anna", "provision")
        recording = await self.add_call()

        def scenario(driver: Remote) -> None:
            self.open_recording(driver, recording)
            driver.find_element(By.XPATH, "//summary[text()='Create a link']").click()
            form = driver.find_element(By.XPATH, "//details[summary='Create a link']//form")
            form.find_element(By.NAME, "description").send_keys("Ben")
            form.find_element(By.CSS_SELECTOR, "[type=submit]").click()
            self.wait(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "[data-copy^=link-]:not([hidden])"))
            self.slider(driver)
            self.screenshots(driver, "recording-with-link")
            driver.find_element(By.CSS_SELECTOR, ".links .confirmation summary").click()
            driver.find_element(By.XPATH, "//button[text()='Revoke for good']").click()
            self.wait(driver, lambda: "revoked" in driver.find_element(By.CSS_SELECTOR, ".links").text)
            self.assert_quiet(driver)

        await self.drive(scenario)

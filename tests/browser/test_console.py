"""The console in Chromium: signing in, finding and hearing a recording, controlling a call."""

import io
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import UUID

import msgspec
import numpy as np
import soundfile
from selenium.webdriver import ActionChains, Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.api.auth.test_sessions import PASSWORD
from tests.api.calls.test_calls import make_call
from tests.browser.page_test_case import PageTestCase, wait_on
from tests.console.console_test_case import ConsoleTestCase
from voxrec.model import CallState, NodeStatus, RecordingState, TimelineEntry, Verdict
from voxrec.store.nodes import Nodes

CALL = UUID("55555555-5555-4555-8555-555555555555")


def two_tones() -> bytes:
    """Return three seconds of WAV: 440 Hz on the left, silence and then 880 Hz on the right."""
    time = np.arange(24_000) / 8000
    left, right = 0.5 * np.sin(2 * np.pi * 440 * time), 0.5 * np.sin(2 * np.pi * 880 * time) * (time > 1.5)
    file = io.BytesIO()
    soundfile.write(file, np.column_stack([left, right]), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


async def ready() -> str | None:
    return None


async def not_ready() -> str | None:
    return "calls cannot be recorded: the connection is refused"


class ConsolePageTests(PageTestCase, ConsoleTestCase):
    timeout = 300
    probes = MappingProxyType({"postgresql": ready, "asterisk": ready, "ami": not_ready})

    def sign_in_by_form(self, driver: Remote, path: str) -> None:
        self.sign_in_as(driver, "anna", PASSWORD, path)

    async def test_find_and_hear_a_recording(self) -> None:
        await self.add_user("anna", "provision")
        profile = await self.add_profile(name="Sales")
        await self.add_recording(from_name="Bob", state=RecordingState.FAILED)
        recording = await self.add_audio(
            two_tones(),
            profile_id=profile.id,
            from_="+4930111",
            from_name="Alice",
            to="+4930999",
            channels=2,
            duration=3.0,
            timeline=(TimelineEntry(at=0.0, event="answered"), TimelineEntry(at=2.0, event="beep")),
            verdict=Verdict(ok=False, reasons=("one-way audio: callee silent",)),
        )

        def scenario(driver: Remote) -> None:
            wait = wait_on(driver)
            self.show(driver, "/console")
            self.screenshots(driver, "sign-in")
            self.sign_in_by_form(driver, "/console/recordings")
            self.screenshots(driver, "recordings")
            Select(driver.find_element(By.NAME, "profile")).select_by_visible_text("Sales")
            driver.find_element(By.CSS_SELECTOR, ".filters button").click()
            wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "tbody tr")) == 1)
            driver.find_element(By.CSS_SELECTOR, "tbody a").click()
            wait.until(
                lambda page: page.execute_script(
                    "return document.getElementById('waveform')?.shadowRoot ? 1 : "
                    "document.querySelector('#waveform > div')?.shadowRoot ? 1 : 0"
                )
            )
            self.screenshots(driver, "recording")
            self.hear(driver)
            self.write_a_note(driver)
            self.assertIn(f"profile={profile.id}", driver.current_url, "the forms keep the list")
            driver.find_element(By.XPATH, "//button[text()='Set a legal hold']").click()
            wait.until(lambda page: page.find_elements(By.XPATH, "//summary[text()='Release the legal hold']"))
            self.assert_quiet(driver)

        await self.drive(scenario)
        self.assertTrue((await self.recordings.get(recording.id)).legal_hold)

    def hear(self, driver: Remote) -> None:
        """Jump to an event in the timeline, and check that the audio plays from there."""
        wait = wait_on(driver)
        position = "return document.getElementById('audio').currentTime"
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#waveform[role=slider]"))
        driver.find_element(By.CSS_SELECTOR, "[data-position='2.0']").click()
        wait.until(lambda page: page.execute_script("return document.getElementById('audio').duration") == 3)
        wait.until(lambda page: 2.1 < page.execute_script(position) <= 3)
        Select(driver.find_element(By.ID, "speed")).select_by_value("0.5")
        self.assertEqual(driver.execute_script("return document.getElementById('audio').playbackRate"), 0.5)

    def write_a_note(self, driver: Remote) -> None:
        """Write a note about the position of the player, and jump back to it."""
        wait = wait_on(driver)
        driver.execute_script("const audio = document.getElementById('audio'); audio.pause(); audio.currentTime = 1.25")
        driver.find_element(By.XPATH, "//summary[text()='Add a note']").click()
        note = driver.find_element(By.XPATH, "//details[summary='Add a note']//form")
        note.find_element(By.NAME, "text").send_keys("The caller agrees.")
        note.find_element(By.CSS_SELECTOR, "[data-take-position]").click()
        note.find_element(By.CSS_SELECTOR, "[type=submit]").click()
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "[data-position='1.25']"))
        driver.find_element(By.XPATH, "//summary[text()='Change the tags']").click()
        tags = driver.find_element(By.XPATH, "//details[summary='Change the tags']//form")
        tags.find_element(By.NAME, "tags").send_keys("VIP, complaint")
        tags.find_element(By.CSS_SELECTOR, "[type=submit]").click()
        wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "a.state")) == 2)
        self.screenshots(driver, "notes")
        driver.find_element(By.CSS_SELECTOR, "[data-position='1.25']").click()
        position = "return document.getElementById('audio').currentTime"
        wait.until(lambda page: 1.3 < page.execute_script(position) <= 3)

    async def test_a_provisioner_creates_and_tests_a_profile(self) -> None:
        await self.add_user("anna", "provision")
        await self.add_profile(
            name="Support", numbers=("+4940222",), remote_sip_uri="sip:desk@pbx.example", record=True
        )

        def scenario(driver: Remote) -> None:
            wait = wait_on(driver)
            self.sign_in_by_form(driver, "/console/profiles")
            self.screenshots(driver, "profiles")
            driver.find_element(By.LINK_TEXT, "New Profile").click()
            wait.until(lambda page: page.find_elements(By.ID, "numbers"))
            self.screenshots(driver, "profile-new")
            driver.find_element(By.ID, "name").send_keys("Sales")
            driver.find_element(By.ID, "numbers").send_keys("030 111")
            driver.find_element(By.ID, "record").click()
            self.assert_quiet(driver)
            driver.find_element(By.ID, "metadata").send_keys("{", Keys.TAB, Keys.ENTER)  # the button is next
            wait.until(lambda page: page.find_elements(By.ID, "numbers-error"))
            self.screenshots(driver, "profile-errors")
            self.assert_only_refused(driver, 422)
            self.correct(driver)
            wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".effective"))
            driver.find_element(By.XPATH, "//button[text()='Test']").click()
            wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#checks tbody tr"))
            self.assertIn("a file was written", driver.find_element(By.ID, "checks").text)
            self.screenshots(driver, "profile")
            driver.find_element(By.LINK_TEXT, "Edit").click()
            wait.until(lambda page: page.find_elements(By.ID, "name"))
            self.assertEqual(driver.find_element(By.ID, "name").get_property("value"), "Sales")
            self.assertTrue(driver.find_element(By.ID, "record").is_selected())
            self.assert_quiet(driver)

        await self.drive(scenario)
        stored = {profile.name: profile for profile in await self.profiles.all()}["Sales"]
        self.assertEqual((stored.numbers, stored.record, stored.metadata), (("+4930111",), True, {}))

    def correct(self, driver: Remote) -> None:
        """Check what the form says about two wrong entries, correct them, and submit it."""
        self.assertEqual(driver.switch_to.active_element.get_attribute("role"), "alert")
        for name, text in (("numbers", "+49 30 111"), ("metadata", "")):
            control = driver.find_element(By.ID, name)
            self.assertEqual(control.get_attribute("aria-invalid"), "true")
            self.assertIn(f"{name}-error", str(control.get_attribute("aria-describedby")))
            self.assertTrue(control.accessible_name)
            control.clear()
            control.send_keys(text)
        self.assertEqual(driver.find_element(By.ID, "name").get_property("value"), "Sales")
        self.assertTrue(driver.find_element(By.ID, "record").is_selected())
        driver.find_element(By.CSS_SELECTOR, ".save button").click()

    async def test_a_supervisor_pauses_a_call(self) -> None:
        await self.add_user("anna", "supervise")
        recording = await self.add_recording(state=RecordingState.RECORDING)
        self.call_control.recorded[recording.id] = recording
        call = make_call(
            id=CALL,
            state=CallState.ANNOUNCING,  # the page asks again each second
            recording_id=recording.id,
            recording_state=RecordingState.RECORDING,
        )
        self.call_control.calls = [call]

        def scenario(driver: Remote) -> None:
            self.sign_in_by_form(driver, "/console/calls")
            self.screenshots(driver, "calls-german")
            wait = wait_on(driver)
            self.press_during_updates(driver, "//button[text()='Anhalten']")
            wait.until(lambda _: self.call_control.pauses)
            self.call_control.calls = [msgspec.structs.replace(call, recording_state=RecordingState.PAUSED)]
            driver.refresh()
            wait.until(lambda page: page.find_elements(By.XPATH, "//button[text()='Fortsetzen']"))
            self.assert_quiet(driver)

        await self.drive(scenario, "de")

    async def test_the_focus_stays_in_its_row_while_calls_change(self) -> None:
        await self.add_user("anna", "read")
        profile = await self.add_profile(name="Sales")
        first, second, third = (
            make_call(id=UUID(int=number, version=4), profile_id=profile.id, state=CallState.ANNOUNCING)
            for number in (1, 2, 3)
        )
        self.call_control.calls = [first, second]
        focused = (
            "const { activeElement } = document;"
            "return [activeElement.textContent.trim().slice(0, 5), activeElement.closest('[data-row]')?.dataset.row];"
        )

        def scenario(driver: Remote) -> None:
            wait = wait_on(driver)
            self.sign_in_by_form(driver, "/console/calls")
            driver.execute_script(f"document.querySelector('[data-row=\"{second.id}\"] a').focus()")
            self.call_control.calls = [third, first, second]
            wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "#calls tbody tr")) == 3)
            self.assertEqual(driver.execute_script(focused), ["Sales", str(second.id)])
            self.call_control.calls = [third, first]
            wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "#calls tbody tr")) == 2)
            self.assertEqual(driver.execute_script("return document.activeElement.className"), "scroll")
            self.call_control.calls = []
            wait.until(lambda page: not page.find_elements(By.CSS_SELECTOR, "#calls tbody tr"))
            self.assertEqual(driver.execute_script("return document.activeElement.id"), "calls")
            self.assert_quiet(driver)

        await self.drive(scenario)

    def press_during_updates(self, driver: Remote, button: str) -> None:
        """Press the button and release it after two updates of the table, which must not take it away meanwhile."""

        def updates(page: Remote) -> int:
            script = "return performance.getEntriesByName(`${location.origin}/console/calls/table`).length"
            count: int = page.execute_script(script)
            return count

        def press(element: WebElement) -> bool:
            ActionChains(driver).click_and_hold(element).perform()
            return True

        wait = wait_on(driver)
        wait.until(lambda page: press(page.find_element(By.XPATH, button)))
        before = updates(driver)
        wait.until(lambda page: updates(page) >= before + 2)
        ActionChains(driver).release().perform()

    async def test_an_administrator_creates_a_user_and_a_token(self) -> None:
        await self.add_user("anna", "admin")
        profile = await self.add_profile(name="Sales")
        await self.add_profile(name="Support")
        await self.add_operations()

        def scenario(driver: Remote) -> None:
            wait = wait_on(driver)
            self.sign_in_by_form(driver, "/console/operations")
            self.screenshots(driver, "operations")
            self.follow(driver, By.LINK_TEXT, "Users")
            self.follow(driver, By.LINK_TEXT, "New user")
            driver.find_element(By.NAME, "name").send_keys("benjamin")
            driver.find_element(By.NAME, "password").send_keys("the phrase of benjamin")
            driver.find_element(By.CSS_SELECTOR, "[name=scope][value=some]").click()
            driver.find_element(By.CSS_SELECTOR, f"[name=profileIds][value='{profile.id}']").click()
            self.send_form(driver)
            wait.until(lambda page: page.find_elements(By.ID, "password-error"))
            self.screenshots(driver, "user-new")
            self.assert_only_refused(driver, 422)
            driver.find_element(By.NAME, "password").send_keys(PASSWORD)
            self.send_form(driver)
            wait.until(lambda page: page.find_elements(By.LINK_TEXT, "benjamin"))
            self.screenshots(driver, "users")
            self.follow(driver, By.LINK_TEXT, "anna")
            self.screenshots(driver, "account")
            driver.get(driver.current_url.replace("/account", "/users"))
            self.follow(driver, By.CSS_SELECTOR, "tbody tr:nth-child(2) a")
            self.screenshots(driver, "user")
            self.follow(driver, By.LINK_TEXT, "Tokens")
            self.follow(driver, By.LINK_TEXT, "New token")
            driver.find_element(By.NAME, "name").send_keys("CRM")
            self.screenshots(driver, "token-new")
            self.send_form(driver)
            wait.until(lambda page: page.find_elements(By.ID, "secret"))
            self.screenshots(driver, "token-created")
            self.follow(driver, By.LINK_TEXT, "Tokens")
            self.screenshots(driver, "tokens")
            self.follow(driver, By.LINK_TEXT, "Webhooks")
            self.follow(driver, By.LINK_TEXT, "New webhook")
            driver.find_element(By.NAME, "url").send_keys("https://crm.example/hook")
            self.screenshots(driver, "webhook-new")
            self.send_form(driver)
            self.follow(driver, By.XPATH, "//button[text()='Send a test']")
            self.screenshots(driver, "webhook")
            self.follow(driver, By.LINK_TEXT, "Audit log")
            self.screenshots(driver, "audit")
            self.assert_quiet(driver)

        await self.drive(scenario)
        (created,) = (await self.request("GET", "/users?name=benjamin")).json
        self.assertEqual(created["profileIds"], [str(profile.id)])

    async def add_operations(self) -> None:
        """Add what the page for operators shows."""
        now = datetime.now(UTC)
        await self.add_recording(created_at=now)
        failed = await self.add_recording(
            created_at=now,
            state=RecordingState.ABSENT,
            from_name="Alice",
            from_="+4930111",
            to="+4930999",
            verdict=Verdict(ok=False, reasons=("disk-full",)),
        )
        self.call_control.calls = [make_call(id=CALL)]
        status = NodeStatus(version="1.2", asterisk_version="22.5.2", live_calls=1, spool_free=10**11)
        await Nodes(self.pool).heartbeat("pbx-1", UUID(int=1), UUID(int=2), status)
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id, dead, attempts, last_error) VALUES "
            "('mail', %s, TRUE, 9, '550 5.1.1 <desk@example.org>: Recipient address rejected: User unknown'), "
            "('upload', %s, FALSE, 2, 'The store does not respond')",
            (failed.id, failed.id),
        )

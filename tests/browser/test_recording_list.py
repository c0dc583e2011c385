"""The list of Recordings in Chromium: words, order, columns, and an action for many Recordings."""

from datetime import timedelta

from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.api.auth.test_sessions import PASSWORD
from tests.api.rest_test_case import CREATED_AT
from tests.browser.page_test_case import PageTestCase, wait_on
from tests.console.console_test_case import ConsoleTestCase
from tests.database import reactor
from tests.recordings.crashing_bulk_actions import make_worker
from voxrec.model import Verdict


class RecordingListTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.worker = make_worker(self.pool, timedelta(minutes=1))
        self.worker.startService()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.worker.stopService()
        await super().tearDown()

    async def test_find_choose_and_delete(self) -> None:
        await self.add_user("anna", "provision")
        profile = await self.add_profile(name="Sales")
        for number in range(12):
            await self.add_recording(
                profile_id=profile.id,
                created_at=CREATED_AT - timedelta(hours=number),
                from_=f"+4930123{number:03}",
                from_name="Jürgen Müller" if number % 2 else "Alice Smith",
                to="+4989700100",
                duration=30.0 + 7 * (number % 5),
                size=300_000 + number,
                node="pbx-1",
                tags=("complaint",) if number % 3 == 0 else (),
                legal_hold=number == 3,
                verdict=Verdict(ok=number != 5, reasons=("one-way audio: callee silent",) if number == 5 else ()),
            )

        def scenario(driver: Remote) -> None:
            self.sign_in_as(driver, "anna", PASSWORD, "/console/recordings")
            driver.find_element(By.NAME, "search").send_keys("muller 030 123")
            self.follow(driver, By.CSS_SELECTOR, ".filters button[type=submit]")
            self.assertEqual(len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")), 6)
            self.follow(driver, By.CSS_SELECTOR, "th:nth-child(6) a")
            self.assertEqual(
                driver.find_element(By.CSS_SELECTOR, "th[aria-sort=descending]").text.rstrip(" ↓"), "Duration"
            )
            driver.find_element(By.XPATH, "//summary[text()='More filters']").click()
            driver.find_element(By.XPATH, "//summary[text()='Columns']").click()
            driver.find_element(By.CSS_SELECTOR, "[name=column][value=node]").click()
            self.screenshots(driver, "recordings-filtered")
            self.follow(driver, By.CSS_SELECTOR, "form[action='/console/recording-columns'] button")
            self.assertIn("pbx-1", driver.find_element(By.TAG_NAME, "tbody").text)
            self.assertIn("search=muller", driver.current_url)
            for box in driver.find_elements(By.CSS_SELECTOR, "[name=recording]")[:4]:
                box.click()
            Select(driver.find_element(By.NAME, "action")).select_by_value("delete")
            driver.find_element(By.NAME, "reason").send_keys("end of the project")
            self.follow(driver, By.CSS_SELECTOR, "#bulk button[type=submit]")
            self.screenshots(driver, "bulk-preview")
            self.follow(driver, By.CSS_SELECTOR, "main form button.danger")
            self.follow_progress(driver)
            self.screenshots(driver, "bulk-results")
            self.assert_quiet(driver)

        await self.drive(scenario)
        left = await self.recordings.page()
        self.assertIn(len(left), (8, 9), "one of the four may be the held one")
        self.assertTrue(any(each.legal_hold for each in left))

    def follow_progress(self, driver: Remote) -> None:
        """Wait until the action has ended: the page says so once, and leaves the focus and the entries of the user."""
        state = driver.find_element(By.CSS_SELECTOR, "select[name=state]")
        Select(state).select_by_value("failed")
        driver.execute_script("document.querySelector('[data-row] a').focus()")
        row = driver.execute_script("return document.activeElement.closest('[data-row]').dataset.row")
        reactor.callFromThread(self.worker.wake)
        ended = driver.find_element(By.ID, "bulk-ended")
        wait_on(driver).until(lambda _page: str(ended.get_attribute("textContent")).startswith("completed"))
        self.assertIn("completed", driver.find_element(By.ID, "bulk-state").text)
        self.assertEqual(Select(state).first_selected_option.get_attribute("value"), "failed")
        place = "const now = document.activeElement; return now.closest('[data-row]')?.dataset.row ?? now.className"
        self.assertIn(driver.execute_script(place), (row, "scroll"), "a deleted recording has no link")

"""What REST rejects, in Chromium: the entry is kept, and the focus is in the field whose entry is wrong."""

from selenium.webdriver import Remote
from selenium.webdriver.common.by import By

from tests.api.auth.test_sessions import PASSWORD
from tests.browser.page_test_case import PageTestCase
from tests.browser.test_console import two_tones
from tests.console.console_test_case import ConsoleTestCase


class RejectedFormTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def test_a_link_for_too_many_days_and_an_invalid_filter(self) -> None:
        await self.add_user("anna", "provision")
        recording = await self.add_audio(two_tones(), channels=2, duration=3.0)

        def scenario(driver: Remote) -> None:
            self.sign_in_as(driver, "anna", PASSWORD, f"/console/recordings/{recording.id}")
            driver.find_element(By.XPATH, "//summary[text()='Create a link']").click()
            driver.find_element(By.NAME, "description").send_keys("for the customer")
            days = driver.find_element(By.NAME, "days")
            days.clear()
            days.send_keys("4000")
            self.follow(driver, By.CSS_SELECTOR, "form[action$='/links'] button[type=submit]")
            focused = driver.switch_to.active_element
            self.assertEqual((focused.get_attribute("name"), focused.get_attribute("value")), ("days", "4000"))
            self.assertTrue(focused.is_displayed())
            described_by = str(focused.get_attribute("aria-describedby")).split()[0]
            self.assertIn("more than 90 days", driver.find_element(By.ID, described_by).text)
            description = driver.find_element(By.NAME, "description")
            self.assertEqual(description.get_attribute("value"), "for the customer")
            self.screenshots(driver, "link-rejected")
            self.assert_only_refused(driver, 422)

            self.show(driver, "/console/recordings?min_duration=soon")
            focused = driver.switch_to.active_element
            self.assertEqual((focused.get_attribute("name"), focused.get_attribute("value")), ("min_duration", "soon"))
            self.screenshots(driver, "filter-rejected")
            self.assert_only_refused(driver, 422)

        await self.drive(scenario)

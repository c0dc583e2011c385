"""Tabs of a browser share the session: another user signs in in one of them while a form is open in another one."""

from selenium.webdriver import Remote
from selenium.webdriver.common.by import By

from tests.api.auth.test_sessions import PASSWORD
from tests.browser.page_test_case import PageTestCase, wait_on
from tests.console.console_test_case import ConsoleTestCase

_PROBLEM_TEXT = """
const [problem, done] = arguments;
import("/console/assets/problem.js").then(async ({ problemOf }) => {
  const headers = { "Content-Type": "application/problem+json" };
  const html = { "Content-Type": "text/html" };
  done([
    await problemOf(new Response(JSON.stringify(problem), { status: 403, headers })),
    await problemOf(new Response("{}", { status: 403, statusText: "Forbidden", headers })),
    await problemOf(new Response("<p>", { status: 502, statusText: "Bad Gateway", headers: html })),
  ]);
});
"""


class SharedSessionTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def test_another_user_signs_in_in_another_tab(self) -> None:
        await self.add_user("anna", "provision")
        await self.add_user("ben", "supervise")
        recording = await self.add_recording()

        def scenario(driver: Remote) -> None:
            wait = wait_on(driver)
            self.sign_in_as(driver, "anna", PASSWORD, f"/console/recordings/{recording.id}")
            driver.find_element(By.XPATH, "//summary[text()='Add a note']").click()
            driver.find_element(By.CSS_SELECTOR, "details[open] textarea").send_keys("of Anna")
            first = driver.current_window_handle
            driver.switch_to.new_window("tab")
            self.sign_in_as(driver, "ben", PASSWORD, "/console/sign-in")
            driver.close()
            driver.switch_to.window(first)
            driver.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
            banner = driver.find_element(By.ID, "session")
            wait.until(lambda _page: "This browser is now signed in as ben." in banner.text)
            self.screenshots(driver, "other-user")
            self.follow(driver, By.CSS_SELECTOR, "details[open] button[type=submit]")
            self.assertIn("signed in as ben", driver.find_element(By.TAG_NAME, "h1").text)
            self.screenshots(driver, "other-user-form")
            self.assert_only_refused(driver, 409)
            self.send_form(driver)
            wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".notes .text"))
            self.assertIn("ben", driver.find_element(By.CSS_SELECTOR, ".notes .muted").text)
            self.assertFalse(driver.find_element(By.ID, "session").is_displayed())
            self.assert_quiet(driver)

        await self.drive(scenario)

    async def test_errors_of_scripts_are_in_the_language_of_the_page(self) -> None:
        problem = {
            "type": "urn:voxrec:problem:not-allowed",
            "title": "Forbidden",
            "status": 403,
            "detail": "in English",
            "code": "not-allowed",
            "reason": "role-required",
            "params": {"role": "provision"},
        }

        def scenario(driver: Remote) -> None:
            self.show(driver, "/console/sign-in")
            texts = driver.execute_async_script(_PROBLEM_TEXT, problem)
            self.assertEqual(texts, ["Dazu ist die Rolle Einrichtung nötig.", "403 Forbidden", "502 Bad Gateway"])

        await self.drive(scenario, language="de")

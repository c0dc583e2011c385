"""Forms in Chromium: files of certificates, messages about what was done, and entries that outlive the session."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By

from tests.api.auth.test_sessions import PASSWORD
from tests.browser.page_test_case import PageTestCase, shared_browser, wait_on
from tests.console.console_test_case import ConsoleTestCase
from tests.mail.key_pairs import make_certificate

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabteilungsverwaltung"


class FormTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def certificate_file(self, name: str, pem: bytes) -> str:
        """Return the path, for the browser, of a file with a certificate."""
        return (await shared_browser()).share(self.written(name, pem))

    def written(self, name: str, content: bytes) -> Path:
        """Return the path of a new file."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / name).write_bytes(content)
        return directory / name

    def said(self, driver: Remote) -> str:
        """Return what the page says was done, where the focus is."""
        wait_on(driver).until(lambda page: page.switch_to.active_element.get_attribute("id") == "done")
        return driver.find_element(By.ID, "done").text

    async def test_certificates_of_recipients(self) -> None:
        await self.add_user("anna", "provision")
        await self.add_profile(name=LONG * 3, email="ann@example.org")
        ann = await self.certificate_file("ann.pem", make_certificate("ann@example.org"))
        renewed = await self.certificate_file("renewed.pem", make_certificate("ann@example.org"))
        key = ec.generate_private_key(ec.SECP256R1())
        elliptic = await self.certificate_file("bob.pem", make_certificate("bob@example.org", key=key))

        def scenario(driver: Remote) -> None:
            self.sign_in_as(driver, "anna", PASSWORD, "/console/certificates")
            self.follow(driver, By.LINK_TEXT, "Add certificates")
            driver.find_element(By.ID, "files").send_keys(f"{ann}\n{elliptic}")
            self.send_form(driver)
            self.assertEqual(driver.switch_to.active_element.get_attribute("id"), "files")
            described = driver.find_element(By.ID, "certificate-error").text
            self.assertIn("bob.pem: The key of the certificate cannot be used.", described)
            self.screenshots(driver, "certificate-refused")
            self.assert_only_refused(driver, 422)

            self.follow(driver, By.LINK_TEXT, "ann@example.org")
            driver.find_element(By.ID, "files").send_keys(renewed)
            self.send_form(driver)
            self.assertEqual(self.said(driver), "The certificate is replaced.")
            self.assertNotIn("done=", driver.current_url)
            self.screenshots(driver, "certificate")
            self.show(driver, "/console/certificates")
            self.screenshots(driver, "certificates-long-name")
            self.follow(driver, By.LINK_TEXT, "ann@example.org")
            driver.find_element(By.XPATH, "//summary[text()='Delete this certificate']").click()
            self.follow(driver, By.XPATH, "//button[text()='Delete for good']")
            self.assertEqual(self.said(driver), "The certificate is deleted.")
            self.assert_quiet(driver)

        await self.drive(scenario)

    async def test_entries_outlive_the_session(self) -> None:
        await self.add_user("anna", "provision")
        recording = await self.add_recording()

        def scenario(driver: Remote) -> None:
            self.sign_in_as(driver, "anna", PASSWORD, f"/console/recordings/{recording.id}")
            driver.find_element(By.XPATH, "//summary[text()='Add a note']").click()
            driver.find_element(By.CSS_SELECTOR, "details[open] textarea").send_keys("line 1\nline 2 <b>")
            driver.delete_all_cookies()
            self.follow(driver, By.CSS_SELECTOR, "details[open] button[type=submit]")
            self.screenshots(driver, "session-ended")
            self.assert_only_refused(driver, 403)

            first = driver.current_window_handle
            driver.find_element(By.LINK_TEXT, "Sign in in another tab").click()
            wait_on(driver).until(lambda page: len(page.window_handles) == 2)
            driver.switch_to.window(next(handle for handle in driver.window_handles if handle != first))
            wait_on(driver).until(lambda page: page.find_elements(By.NAME, "name"))
            driver.find_element(By.NAME, "name").send_keys("anna")
            driver.find_element(By.NAME, "password").send_keys(PASSWORD)
            self.send_form(driver)
            self.assertIn("You are signed in", driver.find_element(By.TAG_NAME, "main").text)
            driver.close()
            driver.switch_to.window(first)
            self.send_form(driver)
            self.assertEqual(self.said(driver), "The note is saved.")
            self.assertEqual(driver.find_element(By.CSS_SELECTOR, ".notes .text").text, "line 1\nline 2 <b>")
            below = driver.find_element(By.CSS_SELECTOR, "#done + #notes")
            self.assertTrue(driver.execute_script("return arguments[0].getBoundingClientRect().top > 0", below))

        await self.drive(scenario)

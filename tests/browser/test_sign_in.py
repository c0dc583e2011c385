"""Signing in in Chromium: at an identity provider that others have written, with a code, and the end of a session."""

import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from oidc_provider_mock import User as ProviderUser
from oidc_provider_mock import run_server_in_thread
from pyotp import TOTP
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.api.auth.test_sessions import PASSWORD
from tests.browser.page_test_case import PageTestCase, requested_hosts, wait_on
from tests.console.console_test_case import ConsoleTestCase
from tests.database import reactor
from voxrec import totp
from voxrec.api.auth.single_sign_on import IdentityProvider
from voxrec.console.sign_in import CALLBACK
from voxrec.model import Role
from voxrec.oidc.flow import AuthorizationFlow, ClientSettings
from voxrec.oidc.http import ProviderHttp
from voxrec.oidc.permissions import ClaimMapping
from voxrec.oidc.provider import Provider


def wait_for(operation: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine, in the thread that drives a browser."""

    def start() -> Deferred[Any]:
        return Deferred.fromCoroutine(operation)

    return blockingCallFromThread(reactor, start)


class SignInPageTests(PageTestCase, ConsoleTestCase):
    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.url = f"http://127.0.0.1:{self.port}"
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        claims = {"preferred_username": "anna", "groups": ["supervisors"]}
        server = run_server_in_thread(user_claims=[ProviderUser(sub="anna-id", claims=claims)])
        self.addCleanup(server.__exit__, None, None, None)
        self.use_provider(f"http://localhost:{server.__enter__().server_port}")

    def use_provider(self, issuer: str) -> None:
        """Let users sign in at a provider, which sends them back to the port of this test."""
        http = ProviderHttp(reactor, 20.0)
        uris = f"{self.url}{CALLBACK}", f"{self.url}/console/signed-out"
        client = ClientSettings("voxrec", "secret", ("openid", "profile"), *uris)
        flow = AuthorizationFlow(reactor, http, Provider(reactor, http, issuer), client)
        self.identity_provider = IdentityProvider(flow, ClaimMapping(roles={"supervisors": Role.SUPERVISE}), "Example")
        self.site.resource = self.make_resource()

    def press(self, driver: Remote, text: str) -> None:
        """Press a button or a link."""
        driver.find_element(By.XPATH, f"//*[self::button or self::a][normalize-space()='{text}']").click()

    def wait_for_text(self, driver: Remote, text: str) -> None:
        """Wait until the page contains a text."""
        wait_on(driver).until(lambda page: text in page.find_element(By.TAG_NAME, "body").text)

    async def test_sign_in_and_out_at_a_provider(self) -> None:
        def scenario(driver: Remote) -> None:
            driver.get(f"{self.url}/console/calls")
            self.wait_for_text(driver, "Sign in at Example")
            self.screenshots(driver, "sign-in-provider")
            self.assert_quiet(driver)
            driver.execute_cdp_cmd("Network.enable", {})  # the provider's page asks another host for its style sheet
            driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*://*.jsdelivr.net/*"]})
            self.assertEqual(requested_hosts(driver), {f"127.0.0.1:{self.port}"})
            self.press(driver, "Sign in at Example")
            wait_on(driver).until(lambda page: "localhost" in page.current_url)
            self.press(driver, "anna-id")
            self.wait_for_text(driver, "supervisor")
            self.assertEqual(driver.current_url, f"{self.url}/console/calls")
            requested_hosts(driver)  # those of the provider's page
            driver.execute("getLog", {"type": "browser"})
            driver.get(f"{self.url}/console/account")
            self.wait_for_text(driver, "identity provider of your organisation")
            self.screenshots(driver, "account-provider")
            self.assert_quiet(driver)
            self.press(driver, "Sign out")
            wait_on(driver).until(lambda page: "/end_session" in page.current_url)
            self.assertIn(f"127.0.0.1:{self.port}", requested_hosts(driver))

        await self.drive(scenario)
        self.assertEqual((await self.request("GET", "/sessions")).json, [])

    async def test_codes_and_the_end_of_a_session(self) -> None:
        await self.add_user("anna", "supervise")
        moment = datetime.now(UTC)  # fixed, so that no time step ends within the test
        matching_step = totp.matching_step
        self.patch(totp, "matching_step", lambda secret, code, _now: matching_step(secret, code, moment))

        def scenario(driver: Remote) -> None:
            driver.get(f"{self.url}/console/account")
            self.enter_password(driver)
            self.wait_for_text(driver, "Two-step sign-in")
            driver.find_elements(By.NAME, "currentPassword")[1].send_keys(PASSWORD)
            self.press(driver, "Set up two-step sign-in")
            self.wait_for_text(driver, "Scan this QR code")
            self.assertGreater(driver.execute_script("return document.querySelector('.qr').naturalWidth"), 100)
            self.screenshots(driver, "second-factor")
            driver.find_element(By.CSS_SELECTOR, "summary").click()
            secret = driver.find_element(By.CSS_SELECTOR, ".steps code").text.replace(" ", "")
            self.enter_code(driver, TOTP(secret).at(moment))
            self.wait_for_text(driver, "I have stored the codes")
            self.screenshots(driver, "recovery-codes")
            self.press(driver, "I have stored the codes")
            self.wait_for_text(driver, "Unused recovery codes: 10.")
            self.screenshots(driver, "account-second-factor")
            self.assert_quiet(driver)
            self.press(driver, "Sign out")
            self.wait_for_text(driver, "Sign in at Example")
            self.enter_password(driver)
            self.wait_for_text(driver, "Enter the code")
            self.screenshots(driver, "sign-in-code")
            self.enter_code(driver, TOTP(secret).at(moment, counter_offset=1))
            self.wait_for_text(driver, "supervisor")
            self.leave_open(driver)
            self.assert_quiet(driver)

        await self.drive(scenario)

    def enter_password(self, driver: Remote) -> None:
        driver.find_element(By.NAME, "name").send_keys("anna")
        driver.find_element(By.NAME, "password").send_keys(PASSWORD)
        self.press(driver, "Sign in")

    def enter_code(self, driver: Remote, code: str) -> None:
        driver.find_element(By.NAME, "code").send_keys(code)
        driver.find_element(By.CSS_SELECTOR, "main form button").click()

    def leave_open(self, driver: Remote) -> None:
        """Leave a page open until its session is about to end, stay, and leave it until the session has ended."""
        driver.get(f"{self.url}/console/account")
        idle = "UPDATE sessions SET last_used_at = now() - interval '29 minutes'"
        wait_for(self.pool.execute(idle))
        self.look_at(driver)
        self.wait_for_text(driver, "Your session ends in less than 1 min")
        self.screenshots(driver, "session-warning")
        driver.find_element(By.NAME, "newPassword").click()
        self.press(driver, "Stay signed in")
        wait_on(driver).until(lambda page: not page.find_element(By.ID, "session").is_displayed())
        self.assertEqual(driver.switch_to.active_element.get_attribute("name"), "newPassword", "as before")
        [(used,)] = wait_for(self.pool.query("SELECT last_used_at > now() - interval '5 minutes' FROM sessions"))
        self.assertTrue(used)
        wait_for(self.pool.execute("DELETE FROM sessions"))
        self.look_at(driver)
        self.wait_for_text(driver, "Your session has ended")
        self.screenshots(driver, "session-ended")

    def look_at(self, driver: Remote) -> None:
        """Return to the page, as from another tab: it then checks the session at once."""
        driver.execute_script("document.dispatchEvent(new Event('visibilitychange'))")

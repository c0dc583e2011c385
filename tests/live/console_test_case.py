"""The base class of tests that use the console of a running voxrec in Chromium, with real calls."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar, cast

from selenium.webdriver import Remote
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.browser.page_test_case import BrowserTestCase
from tests.live.live_test_case import RecordedCallTestCase
from voxrec.sandbox.stack import Stack

PASSWORD: Final = "correct horse battery staple"
T = TypeVar("T")


class LiveConsoleTestCase(BrowserTestCase, RecordedCallTestCase):
    """Calls on the shared stack, whose console a browser shows. ``self.stack`` is that stack.

    A scenario runs in a thread (see `BrowserTestCase.drive`), and calls what needs the reactor with `wait_for`.
    """

    stack: Stack

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.stack = await self.stack_for_calls()
        self.base_url = self.stack.url
        self.addCleanup(self.end_calls, self.stack)

    async def add_user(self, name: str, role: str, **fields: Any) -> None:
        """Create a user of the console with PASSWORD, and delete the user when the test ends."""
        user = await self.stack.request_json(
            "PUT", "/users", {"name": name, "role": role, "password": PASSWORD, **fields}
        )
        self.addCleanup(self.stack.request, "DELETE", f"/users/{user['id']}")

    def wait_for(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
        """Call a coroutine function in the reactor's thread, and return its result. Call this in another thread."""
        call: Callable[[], Any] = partial(Deferred.fromCoroutine, function(*arguments, **options))
        return cast("T", blockingCallFromThread(self.reactor, call))

    def sign_in(self, driver: Remote, name: str, path: str) -> None:
        """Sign in as a user of `add_user`, and show a page."""
        self.sign_in_as(driver, name, PASSWORD, path)

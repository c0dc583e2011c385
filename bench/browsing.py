"""A console with data, and the Chromium that opens its pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg2
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from bench.rest import FILL
from bench.servers import PASSWORD, USER, start_voxrec, temporary_postgresql
from voxrec.postgres.migrate import migrate
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.chromium import Browser

_DATABASE: Final = "console"
_WAIT: Final = 30  # seconds


@dataclass(frozen=True, slots=True)
class Console:
    """A running console: its URL without a path, a browser, and an empty directory for what else is measured."""

    url: str
    browser: Browser
    directory: Path


@asynccontextmanager
async def running_console(reactor: Any, add_data: Callable[[Any, Path], None]) -> AsyncIterator[Console]:
    """Start voxrec with the Profiles and Recordings of `bench.rest`, one administrator, and a browser.

    ``add_data`` gets a cursor of psycopg2 and the directory of the archive, and adds to both.
    """
    with temporary_postgresql() as (directory, cluster):
        cluster.create_database(_DATABASE)
        dsn = cluster.dsn(_DATABASE)
        migrate(dsn)
        daemon = start_voxrec(directory / "voxrec", dsn)
        browser = Browser(directory / "chromium")
        try:
            connection = psycopg2.connect(dsn)
            with connection, connection.cursor() as cursor:
                cursor.execute(FILL)
                add_data(cursor, directory / "voxrec" / "archive")
            connection.close()
            daemon.wait_until_ready("/profiles?limit=1")
            daemon.create_user("admin")
            await browser.start(reactor)
            yield Console(f"http://{LOOPBACK}:{daemon.port}", browser, directory)
        finally:
            browser.kill()
            daemon.stop()


def sign_in(driver: Remote, url: str) -> None:
    """Sign in as the administrator of the console."""
    driver.get(f"{url}/console/sign-in")
    driver.find_element(By.NAME, "name").send_keys(USER)
    driver.find_element(By.NAME, "password").send_keys(PASSWORD)
    driver.find_element(By.CSS_SELECTOR, "form button").click()
    WebDriverWait(driver, _WAIT).until(lambda page: page.find_elements(By.TAG_NAME, "nav"))

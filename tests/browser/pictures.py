"""The pictures in docs/pictures: ``make pictures`` takes them. They show the data of `tests.browser.sample_data`."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.api.auth.test_sessions import PASSWORD
from tests.api.links.test_link_opening import path_of
from tests.browser.page_test_case import DARK, LIGHT, NARROW, VIEWS, PageTestCase, set_view, wait_on
from tests.browser.sample_data import SampleDataTestCase, Samples
from tests.database import reactor
from voxrec.model import LinkOrigin
from voxrec.store.links import NewLink

DIRECTORY: Final = Path(__file__).parents[2] / "docs" / "pictures"
_QUALITY: Final = 78  # of WebP, percent
_DRAWN: Final = (
    "return !document.getElementById('waveform') || document.getElementById('waveform').childElementCount > 0"
)


class Pictures(PageTestCase, SampleDataTestCase):
    timeout = 300

    async def test_take(self) -> None:
        samples = await self.add_samples()
        await self.add_user("anna", "admin")
        link = await self.links.create(
            NewLink(
                recording_id=samples.recording,
                origin=LinkOrigin.REST,
                created_by="anna",
                expires_at=datetime.now(UTC) + timedelta(days=7),
            )
        )
        DIRECTORY.mkdir(exist_ok=True)

        def scenario(driver: Remote) -> None:
            self.show(driver, path_of(link))
            driver.find_element(By.CSS_SELECTOR, "button").click()
            wait_on(driver).until(lambda page: page.find_elements(By.TAG_NAME, "audio"))
            self.take(driver, "link", NARROW)
            self.sign_in_as(driver, "anna", PASSWORD, "/console/recordings")
            self.take_console(driver, samples)

        await self.drive(scenario)

    def take_console(self, driver: Remote, samples: Samples) -> None:
        recording = f"/console/recordings/{samples.recording}"
        for path, name, view in (
            ("/console/recordings", "recordings", LIGHT),
            (recording, "recording", LIGHT),
            (recording, "recording-telephone", NARROW),
            ("/console/calls", "calls", LIGHT),
            (f"/console/profiles/{samples.profile}/edit", "profile", LIGHT),
            ("/console/operations", "operations", DARK),
        ):
            set_view(driver, view)
            blockingCallFromThread(reactor, partial(Deferred.fromCoroutine, self.report_node()))  # type: ignore[arg-type]
            self.show(driver, path)
            wait_on(driver).until(lambda page: page.execute_script(_DRAWN))
            self.take(driver, name, view)

    def take(self, driver: Remote, name: str, view: str) -> None:
        """Write what the window shows to a file."""
        set_view(driver, view)
        width, height, _ = VIEWS[view]
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options: dict[str, Any] = {"format": "webp", "quality": _QUALITY, "clip": clip}
        picture = driver.execute_cdp_cmd("Page.captureScreenshot", options)
        (DIRECTORY / f"{name}.webp").write_bytes(b64decode(picture["data"]))

"""The console: the time until Chromium paints each page, compared with that of an empty page of another server."""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile
from selenium.webdriver import Remote
from selenium.webdriver.support.wait import WebDriverWait
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from bench.browsing import running_console, sign_in
from bench.measure import Spread, interleaved, requested_rounds
from bench.report import BarChart, Section, Table, Target, publish
from bench.rest import profile_id, recording_id
from bench.servers import Server, print_progress
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.chromium import Browser

MAX_PAINT_MS: Final = 300.0
EMPTY: Final = "an empty page (http.server)"
PAGES: Final = {
    "sign-in": "/console/sign-in",
    "recordings, 50 of 10,000": "/console/recordings",
    "one recording, one minute": f"/console/recordings/{recording_id(7)}",
    "live calls": "/console/calls",
    "profiles, 50 of 1,000": "/console/profiles",
    "one profile": f"/console/profiles/{profile_id(7)}",
    "form of a profile": f"/console/profiles/{profile_id(7)}/edit",
    "operations": "/console/operations",
    "webhooks": "/console/webhooks",
    "users": "/console/users",
    "tokens": "/console/tokens",
    "audit log": "/console/audit",
    "account": "/console/account",
    "/docs": "/docs",
}
TITLE: Final = "Console: first paint"
INTRO: Final = (
    "Time from the navigation to the first contentful paint, as Chromium reports it (Paint Timing), with an empty "
    "cache, on loopback. An empty page of Python's http.server is loaded in the same rounds: it shows what the browser "
    "and this machine need for any page."
)
_WAIT: Final = 30  # seconds
_TIMING: Final = """
const [navigation] = performance.getEntriesByType("navigation");
const [paint] = performance.getEntriesByName("first-contentful-paint");
return paint ? [navigation.responseStart - navigation.requestStart, paint.startTime] : null;
"""


class PageLoad(NamedTuple):
    """One load of a page, in ms: from the request to the first byte, and from the navigation to the first paint."""

    response: float
    paint: float


def load(driver: Remote, url: str) -> PageLoad:
    """Load a page with an empty cache. Raises TimeoutException if nothing is painted."""
    driver.get("about:blank")
    driver.get(url)
    return PageLoad(*WebDriverWait(driver, _WAIT).until(lambda page: page.execute_script(_TIMING)))


def measure(browser: Browser, url: str, empty_url: str, rounds: int) -> dict[str, list[PageLoad]]:
    """Load every page in alternation, and return the loads of each."""
    loads: dict[str, list[PageLoad]] = {}
    driver = browser.open_session()
    try:
        sign_in(driver, url)
        driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        variants = {EMPTY: empty_url, **{name: f"{url}{path}" for name, path in PAGES.items()}}
        for address in variants.values():  # what the browser and voxrec prepare only once is not measured
            load(driver, address)
        for number, name in interleaved([*variants], rounds):
            loads.setdefault(name, []).append(load(driver, variants[name]))
            if name == EMPTY:
                print_progress(f"round {number + 1} of {rounds}")
    finally:
        driver.quit()
    return {name: loads[name] for name in variants}


def section(loads: dict[str, list[PageLoad]]) -> Section:
    """Return the report."""
    paints = {name: Spread.of([each.paint for each in of_page]) for name, of_page in loads.items()}
    rows = [
        (
            name,
            Spread.of([each.response for each in of_page]).text(),
            paints[name].text(0),
            f"{paints[name].median / paints[EMPTY].median:.2f}",
        )
        for name, of_page in loads.items()
    ]
    slowest = max((name for name in loads if name != EMPTY), key=lambda name: paints[name].median)
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(Table(("page", "first byte, ms", "first paint, ms", "ratio to the empty page"), tuple(rows)),),
        targets=(
            Target.at_most(f"first paint of the slowest page ({slowest})", paints[slowest].median, MAX_PAINT_MS, " ms"),
        ),
        chart=BarChart(
            "First contentful paint",
            "ms",
            {name if name == EMPTY else f"voxrec: {name}": spread for name, spread in paints.items()},
        ),
    )


def write_audio(path: Path) -> None:
    """Write what every Recording refers to: a minute of two tones."""
    time = np.arange(60 * 8000) / 8000
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * np.outer(time, (440.0, 1000.0))), 8000, subtype="PCM_16")


def start_empty_server(directory: Path) -> Server:
    """Start a server with a page that has a word and nothing else."""
    directory.mkdir()
    (directory / "index.html").write_text("<!doctype html><html lang=en><title>empty</title><p>empty")
    port = free_port(socket.SOCK_STREAM)
    options = ["--bind", LOOPBACK, "--directory", str(directory)]
    log = directory.parent / "empty.log"
    server = Server([sys.executable, "-m", "http.server", *options, str(port)], port, log, "")
    server.wait_until_ready("/")
    return server


async def _run(reactor: Any, arguments: Sequence[str]) -> None:
    rounds = requested_rounds(arguments)
    async with running_console(reactor, lambda _cursor, archive: write_audio(archive / "one.wav")) as console:
        empty = start_empty_server(console.directory / "empty")
        try:
            empty_url = f"http://{LOOPBACK}:{empty.port}/"
            loads = await deferToThread(measure, console.browser, console.url, empty_url, rounds)
        finally:
            empty.stop()
    publish("console", [section(loads)], rounds)


def main() -> None:
    """Measure, and write the section."""
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, sys.argv[1:])))


if __name__ == "__main__":
    main()

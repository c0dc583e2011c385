"""The page of a Recording of three hours: long tasks of Chromium's main thread while its waveform loads."""

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
from bench.report import Section, Table, Target, publish
from bench.rest import recording_id
from bench.servers import print_progress
from voxrec.sandbox.chromium import Browser

HOURS: Final = 3
SECONDS: Final = HOURS * 3600
EVENTS: Final = 2000  # of the timeline; a pause begins at every hundredth
MAX_TASK_MS: Final = 100.0
THROTTLING: Final = (1, 4)  # how much slower the processor of the browser is made, as that of a telephone
TITLE: Final = "Console: waveform of three hours"
INTRO: Final = (
    f"The page of a Recording of {HOURS} hours with two channels, {EVENTS} events and {EVENTS // 100} pauses. A long "
    "task is one that keeps the main thread busy for 50 ms or more (Long Tasks API); the longest one counts, from the "
    "navigation until the waveform, the events and the pauses are drawn. The rows with a slower processor use the "
    "throttling of the DevTools protocol. The time until the waveform is drawn includes decoding the file in voxrec."
)
_WAIT: Final = 120  # seconds
_OBSERVE: Final = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longTasks.push(task.duration);
}).observe({ type: "longtask", buffered: true });
"""
_DRAWN: Final = """
const waveform = document.querySelector("#waveform[role=slider]");
const markers = waveform?.querySelector("div")?.shadowRoot.querySelectorAll("[part~=marker], [part~=region]").length;
return markers ? [Math.max(0, ...window.longTasks), performance.now(), markers] : null;
"""


class Drawing(NamedTuple):
    """One load of the page: the longest task and the time until everything is drawn, in ms; and the marks."""

    longest: float
    drawn: float
    marks: int


def draw(driver: Remote, url: str) -> Drawing:
    """Load the page, and wait until its waveform is drawn. Raises TimeoutException."""
    driver.get("about:blank")
    driver.get(url)
    wait = WebDriverWait(driver, _WAIT, poll_frequency=0.2)
    drawn = wait.until(lambda page: page.execute_script(_DRAWN))
    driver.execute_async_script("setTimeout(arguments[0], 1000)")  # what is drawn after it was marked as ready
    longest, _, marks = driver.execute_script(_DRAWN)
    return Drawing(longest, drawn[1], marks)


def measure(browser: Browser, url: str, rounds: int) -> dict[int, list[Drawing]]:
    """Load the page in alternation with each throttling."""
    drawings: dict[int, list[Drawing]] = {rate: [] for rate in THROTTLING}
    driver = browser.open_session()
    try:
        sign_in(driver, url)
        driver.set_window_size(1280, 900)
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _OBSERVE})
        page = f"{url}/console/recordings/{recording_id(7)}"
        for number, rate in interleaved(THROTTLING, rounds):
            driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": rate})
            drawings[rate].append(draw(driver, page))
            print_progress(f"round {number + 1} of {rounds}, processor / {rate}: {drawings[rate][-1]}")
    finally:
        driver.quit()
    return drawings


def section(drawings: dict[int, list[Drawing]]) -> Section:
    """Return the report."""
    rows = tuple(
        (
            "this processor" if rate == 1 else f"{rate} times slower",
            Spread.of([each.longest for each in of_rate]).text(0),
            Spread.of([each.drawn for each in of_rate]).text(0),
            str(of_rate[-1].marks),
        )
        for rate, of_rate in drawings.items()
    )
    longest = max(each.longest for each in drawings[1])
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(Table(("processor", "longest task, ms", "until drawn, ms", "marks"), rows),),
        targets=(Target.at_most("longest task while a waveform of three hours loads", longest, MAX_TASK_MS, " ms"),),
    )


def write_audio(path: Path) -> None:
    """Write three hours of noise in bursts, as of two people who talk in turns."""
    random = np.random.default_rng(1)
    with soundfile.SoundFile(path, "w", samplerate=8000, channels=2, subtype="PCM_16") as file:
        for minute in range(SECONDS // 60):
            envelope = np.abs(np.sin(np.arange(60 * 8000) / 8000 * (0.7 + minute % 5 / 10)))
            noise = random.standard_normal((60 * 8000, 2)) * 0.08
            file.write(noise * np.column_stack([envelope, 1 - envelope]))


def describe_recording(cursor: Any, audio: Path) -> None:
    """Let one Recording of the database have the audio and a long timeline."""
    cursor.execute(
        """
        UPDATE recordings SET path = %(name)s, size = %(size)s, duration = %(seconds)s, timeline = (
            SELECT jsonb_agg(jsonb_build_object('at', n * %(seconds)s / %(events)s::float, 'event',
                CASE n %% 100 WHEN 50 THEN 'paused' WHEN 51 THEN 'resumed' ELSE 'dtmf' END) ORDER BY n)
            FROM generate_series(0, %(events)s - 1) AS n)
        WHERE id = %(id)s
        """,
        {
            "name": audio.name,
            "size": audio.stat().st_size,
            "seconds": SECONDS,
            "events": EVENTS,
            "id": str(recording_id(7)),
        },
    )


def add_recording(cursor: Any, archive: Path) -> None:
    """Store the audio, and let one Recording of the database have it."""
    audio = archive / "three-hours.wav"
    write_audio(audio)
    describe_recording(cursor, audio)


async def _run(reactor: Any, arguments: Sequence[str]) -> None:
    rounds = requested_rounds(arguments)
    async with running_console(reactor, add_recording) as console:
        drawings = await deferToThread(measure, console.browser, console.url, rounds)
    publish("waveform", [section(drawings)], rounds)


def main() -> None:
    """Measure, and write the section."""
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, sys.argv[1:])))


if __name__ == "__main__":
    main()

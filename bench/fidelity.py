"""Fidelity of calls under impairment: pieces heard and recorded, and the offset between the channels of the recording.

Each scenario is tried with a recorded call, an unrecorded call and a call by Asterisk's dialplan alone.

python -m bench.fidelity [--asterisk 16] [--only TEXT] [--seconds 8] [--jitter-buffer]

``--asterisk 22-noplc`` is the package of Asterisk 22 without Debian's patch 2016_opus_plc.patch, which is built by the
first run (15 minutes); the environment variable VOXREC_ASTERISK selects any other Asterisk.

Both parties use the clock of this machine, so a drift between the channels of a long call without impairments is an
error of the recording: --only none --seconds 600.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.sandbox.fidelity import HeardTrack, Track
from voxrec.sandbox.impaired_call import CallFidelity, Handling, ImpairedCall, Party
from voxrec.sandbox.rebuilt_asterisk import rebuilt_asterisk_22
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, Recipe, asterisk_rootfs
from voxrec.sandbox.rtp import G722_CODEC, PCMA, PCMU, Impairments
from voxrec.sandbox.scripted_peer import CalleeScript
from voxrec.sandbox.stack import Stack

_EARLY: Final = CalleeScript(early_media_seconds=0.5)


def _delayed(seconds: float, **fields: Any) -> Party:
    return Party(impairments=Impairments(first_packet_delay=seconds), **fields)


def _impaired(**fields: Any) -> Party:
    return Party(impairments=Impairments(**fields))


SCENARIOS: Final[dict[str, tuple[Party, Party]]] = {
    "none": (Party(), Party()),
    **{f"caller {ms} ms late": (_delayed(ms / 1000), Party()) for ms in (50, 150, 300, 600, 1000)},
    **{f"callee {ms} ms late": (Party(), _delayed(ms / 1000)) for ms in (150, 600, 1000)},
    "both 300 ms late": (_delayed(0.3), _delayed(0.3)),
    "early media, caller 600 ms late": (_delayed(0.6), Party(script=_EARLY)),
    "comfort noise first, 400 ms": (_impaired(first_packet_delay=0.4, comfort_noise=5), Party()),
    "ptime 10 and 30, 300 ms": (_delayed(0.3, ptime=10), Party(ptime=30)),
    "ptime 60, 300 ms": (_delayed(0.3, ptime=60), Party()),
    "media before ACK": (Party(ack_delay=0.2), Party()),
    "late offer": (Party(late_offer=True, codecs=(PCMU, PCMA, G722_CODEC)), Party(codecs=(PCMU, PCMA, G722_CODEC))),
    "late offer, PCMA": (Party(late_offer=True, codecs=(PCMA,)), Party(codecs=(PCMU, PCMA, G722_CODEC))),
    "late offer, G722": (Party(late_offer=True, codecs=(G722_CODEC,)), Party(codecs=(G722_CODEC, PCMU))),
    "G722": (Party(codecs=(G722_CODEC,)), Party(codecs=(G722_CODEC, PCMU))),
    "5 % one position late": (_impaired(late_every=20), Party()),
    "5 % late, callee": (Party(), _impaired(late_every=20)),
    "5 % three positions late": (_impaired(late_every=20, late_by=3), Party()),
    "jitter 40 ms": (_impaired(jitter=0.04), Party()),
    "jitter 40 ms, callee": (Party(), _impaired(jitter=0.04)),
    "5 % duplicated": (_impaired(duplicate_every=20), Party()),
    "all duplicated, callee": (Party(), _impaired(duplicate_every=1)),
    "5 % lost": (_impaired(lose_every=20), Party()),
    "all of these, both": (
        _impaired(late_every=20, jitter=0.04, duplicate_every=10, lose_every=30),
        _impaired(late_every=20, jitter=0.04, duplicate_every=10, lose_every=30),
    ),
    "timestamp jump": (_impaired(timestamp_jump=(2.0, 80000)), Party()),
    "DTX gaps": (_impaired(gaps=((1.0, 1.5), (2.0, 3.0))), Party()),
    "new source": (_impaired(new_source_at=2.0), Party()),
    "high sequence numbers, 5 % lost": (
        _impaired(first_sequence=40_000, lose_every=20),
        _impaired(first_sequence=40_000),
    ),
    "clock skew 500 ppm": (_impaired(clock_skew_ppm=500), Party()),
}


RECIPES: Final[dict[str, Callable[[], Recipe]]] = {
    "16": lambda: ASTERISK_16,
    "22": lambda: ASTERISK_22,
    "22-noplc": rebuilt_asterisk_22,
}


async def _main(reactor: Any, arguments: argparse.Namespace) -> None:
    root = asterisk_rootfs(print, RECIPES[arguments.asterisk]())
    settings = {"calls": {"jitter_buffer": arguments.jitter_buffer}}
    with tempfile.TemporaryDirectory(prefix="voxrec-fidelity-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # noqa: ASYNC240 - before the reactor has work
        stack = Stack(reactor, directory / "stack", root, settings)
        try:
            await stack.start(print)
            print(_HEADER)
            for scenario, (caller, callee) in SCENARIOS.items():
                if arguments.only not in scenario:
                    continue
                for handling in Handling:
                    call = ImpairedCall(
                        stack, reactor, directory, caller=caller, callee=callee, seconds=arguments.seconds
                    )
                    try:
                        print(_row(scenario, handling, await call.run(handling)), flush=True)
                    finally:
                        await call.close()
        finally:
            await stack.stop()


_HEADER: Final = (
    "scenario | by | caller's pieces: sent, heard, exact, SNR, first and longest delay (ms) | callee's: the same "
    "| left: recorded, exact, displaced, SNR, drift | right: the same | right - left (ms) | verdict | what it knows"
)


def _row(scenario: str, handling: Handling, call: CallFidelity) -> str:
    cells = [scenario, handling, _heard(call.heard_by_callee), _heard(call.heard_by_caller)]
    if call.left is not None and call.right is not None and call.recording is not None:
        reasons = call.recording["verdict"]["reasons"]
        cells += [_recorded(call.left), _recorded(call.right), f"{call.offset:+.0f}", ", ".join(reasons) or "ok"]
        cells.append(_known(call.recording))
    return " | ".join(cells)


def _heard(heard: HeardTrack) -> str:
    track = heard.track
    delays = f"{heard.first_delay:.0f} {heard.max_delay:.0f}"
    return f"{track.sent} {track.found} {track.exact} {track.snr_db:.0f} {delays}"


def _known(recording: Mapping[str, Any]) -> str:
    """Return the figures of the verdict and of the statistics, those of the caller before those of the callee."""
    verdict, statistics = recording["verdict"], recording["rtpStatistics"] or {}
    cells = [f"displacement {verdict['displacementMs']} ms, excess {verdict['excessSeconds']} s"]
    for name, source in (
        *(("gapSeconds", verdict), ("duplicateSeconds", verdict)),
        *(("packetsLost", statistics), ("meanJitterMs", statistics), ("maxJitterMs", statistics)),
    ):
        figures = [str((source.get(side) or {}).get(name)) for side in ("caller", "callee")]
        cells.append(f"{name} {' '.join(figures)}")
    return ", ".join(cells)


def _recorded(track: Track) -> str:
    return f"{track.found} {track.exact} {track.displaced} {track.snr_db:.0f} {track.drift:+.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asterisk", choices=RECIPES, default="22")
    parser.add_argument("--only", default="", help="only the scenarios whose name contains this")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each call")
    parser.add_argument("--jitter-buffer", action="store_true", help="set calls.jitter_buffer")
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, parser.parse_args())))

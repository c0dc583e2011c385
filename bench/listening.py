"""Live listening: the CPU time of Asterisk and voxrec for one recorded call with some listeners, and the delay.

python -m bench.listening [--asterisk 16] [--seconds 10] [--listeners 0,1,4]
"""

import argparse
import statistics
import tempfile
from bisect import bisect_left
from pathlib import Path
from typing import Any, Final

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.measure import cpu_seconds
from voxrec.sandbox.impaired_call import ImpairedCall
from voxrec.sandbox.live_listener import LiveListener
from voxrec.sandbox.noise import find_pieces
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, asterisk_rootfs
from voxrec.sandbox.scripted_peer import ScriptedPeer
from voxrec.sandbox.stack import Stack

_HEADER: Final = 44  # bytes of the WAV header
_FRAME: Final = 4  # bytes of one sample of both channels
_SETTLING: Final = 1.0  # seconds from the last listener to the measurement


def _let_others_read(directory: Path) -> None:
    """Let Asterisk, which is another account, read a directory."""
    directory.chmod(0o755)


def _delays(listener: LiveListener, peer: ScriptedPeer, channel: int) -> list[float]:
    """Return the seconds from when each piece of a party's audio was sent until the client had received it."""
    media = peer.media
    heard = np.ascontiguousarray(listener.samples[:, channel])
    pieces = find_pieces(media.noise, media.codec.rate, heard, listener.rate)
    sizes = [size for _, size in listener.arrivals]
    delays = []
    for piece in pieces:
        arrived = bisect_left(sizes, _HEADER + _FRAME * round(piece.seconds * listener.rate))
        if piece.index in media.piece_times and arrived < len(sizes):
            delays.append(listener.arrivals[arrived][0] - media.piece_times[piece.index])
    return delays


async def _measure(reactor: Any, stack: Stack, directory: Path, token: str, listeners: int, seconds: float) -> str:
    call = ImpairedCall(stack, reactor, directory, seconds=seconds + 2 * _SETTLING + 1)
    profile = await call.place()
    await deferLater(reactor, _SETTLING)
    (live,) = await stack.request_json("GET", "/calls")
    clients = [await LiveListener.listen(reactor, stack, live["id"], token) for _ in range(listeners)]
    await deferLater(reactor, _SETTLING)
    pids = (stack.asterisk.pid, stack.pid)
    before = [cpu_seconds(pid, descendants=False) for pid in pids]
    await deferLater(reactor, seconds)
    spent = [cpu_seconds(pid, descendants=False) - start for pid, start in zip(pids, before, strict=True)]
    for client in clients:
        client.leave()
        await client.ended
    await call.finish(profile)
    await call.close()
    row = f"{listeners} | {1000 * spent[0] / seconds:.1f} | {1000 * spent[1] / seconds:.1f}"
    if clients:
        delays = [
            delay for side, peer in enumerate((call.caller, call.callee)) for delay in _delays(clients[0], peer, side)
        ]
        row += f" | {1000 * statistics.median(delays):.0f}, {1000 * max(delays):.0f}"
    return row


async def _main(reactor: Any, counts: list[int], seconds: float, version: int) -> None:
    recipe = ASTERISK_16 if version == 16 else ASTERISK_22
    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as name:
        directory = Path(name)
        _let_others_read(directory)
        limit = max(counts) + 1
        settings = {"listening": {"enabled": True, "max_listeners": limit, "max_listeners_per_call": limit}}
        stack = Stack(reactor, directory / "stack", asterisk_rootfs(lambda _line: None, recipe), settings)
        await stack.start()
        try:
            body = {"name": "bench", "role": "read", "listenLive": True}
            token = (await stack.request_json("PUT", "/tokens", body))["token"]
            print("listeners | Asterisk: ms of CPU per s | voxrec: ms of CPU per s | delay: median, longest (ms)")
            for count in counts:
                print(await _measure(reactor, stack, directory, token, count, seconds), flush=True)
        finally:
            await stack.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asterisk", type=int, choices=(16, 22), default=22)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--listeners", default="0,1,4", help="numbers of listeners, separated by commas")
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.listeners.split(",")]
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, numbers, arguments.seconds, arguments.asterisk)))

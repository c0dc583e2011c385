"""``make call PROFILE=ID``: a phone calls the Profile through the stack that ``make run`` runs."""

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox import demo_call as scene
from voxrec.sandbox import tones
from voxrec.sandbox.demo import step
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.run import NOTE

TALK_SECONDS = 8.0


async def call(reactor: Any, profile_id: str) -> None:
    """Call, talk, hang up, and tell how it went."""
    if not NOTE.exists():
        raise SandboxError("nothing runs here to call: start 'make run' first")
    running = json.loads(NOTE.read_text())
    to = f"sip:{profile_id or running['profileId']}@{running['sip']}"
    directory = NOTE.parent / "phones"
    tone = tones.make_tone(directory / "caller.tone.wav", scene.CALLER_HZ, 1.0)
    phone = Phone.calling(
        reactor,
        directory,
        to,
        play=tone,
        number="+4930901820",
        display_name="Alice Example",
        seconds=TALK_SECONDS,
    )
    step(f"calling {to} for {TALK_SECONDS:g} s")
    await phone.start()
    end = await phone.ended(120)
    if not phone.happened("confirmed"):
        raise SandboxError(f"not answered: {end.code} {end.reason}")
    step(f"answered after {phone.setup_seconds * 1000:.0f} ms, and hung up; the phone heard {phone.heard}")


def main() -> None:
    """Place one call; exit status 1 where it is not answered."""
    profile_id = sys.argv[1] if len(sys.argv) > 1 else ""

    async def run(reactor: Any) -> None:
        try:
            await call(reactor, profile_id)
        except VoxrecError as error:
            print(f"failed: {error.detail}", file=sys.stderr)
            raise SystemExit(1) from error

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()

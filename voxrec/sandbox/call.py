"""``make call PROFILE=ID``: place a call to a Profile through the stack that ``make run`` started."""

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.console import print_step
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.run import STATE_FILE

CALL_SECONDS = 8.0


async def call(reactor: Any, profile_id: str) -> None:
    """Call the Profile (an empty string: the one that ``make run`` created), hang up after 8 s, print the result.

    Raises SandboxError if ``make run`` does not run or the call is not answered.
    """
    if not STATE_FILE.exists():
        raise SandboxError("no running sandbox found in this directory; start 'make run' first")
    running = json.loads(STATE_FILE.read_text())
    uri = f"sip:{profile_id or running['profileId']}@{running['sip']}"
    directory = STATE_FILE.parent / "phones"
    tone = tones.write_tone(directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
    phone = Phone.make_caller(
        reactor,
        directory,
        uri,
        play=tone,
        number="+4930901820",
        display_name="Alice Example",
        seconds=CALL_SECONDS,
    )
    print_step(f"calling {uri} for {CALL_SECONDS:g} s")
    await phone.start()
    end = await phone.wait_until_ended(120)
    if not phone.has_event("confirmed"):
        raise SandboxError(f"the call was not answered: {end.code} {end.reason}")
    print_step(f"answered after {phone.setup_seconds * 1000:.0f} ms; call ended")
    print_step(f"audio that the caller received: {phone.received_audio}")


def main() -> None:
    """Place one call; exit status 1 if it is not answered."""
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

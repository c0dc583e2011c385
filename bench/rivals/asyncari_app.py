"""A recorded call between two parties, written with asyncari after the originate example that comes with it.

The far end is called from the caller's own task and joins a mixing bridge with the caller, who is answered when the far
end answers; the bridge is recorded; asyncari's HangupBridgeState ends the rest when one party hangs up. There is no
database and no finishing: a WAV file remains in Asterisk's recording directory.

    python asyncari_app.py URL USER PASSWORD APP ENDPOINT

ENDPOINT is the PJSIP endpoint to call through; the port to call is the first argument of Stasis().
"""

import sys

import anyio
import asyncari
from asyncari.state import ChannelState, HangupBridgeState, ToplevelChannelState, as_task

URL, USER, PASSWORD, APP, ENDPOINT = sys.argv[1:]


class CallState(ChannelState):
    """The far end."""


class CallerState(ToplevelChannelState):
    """The caller."""

    port = ""

    @as_task
    async def on_start(self) -> None:
        """Call the far end, record, and wait until one party hangs up."""
        async with HangupBridgeState.new(self.client) as bridge:
            await bridge.add(self.channel)
            await bridge.dial(endpoint=f"PJSIP/{ENDPOINT}/sip:desk@127.0.0.1:{self.port}", State=CallState)
            await bridge.bridge.record(name=f"{APP}-{bridge.bridge.id}", format="wav", ifExists="fail")
            await self.channel.wait_bridged()
            await self.channel.wait_not_bridged()


async def take_calls(client: asyncari.Client) -> None:
    """Start a task for each inbound call."""
    async with client.on_channel_event("StasisStart") as listener:
        print("ready", flush=True)
        async for objects, event in listener:
            if event["args"][0] != "dialed":
                state = CallerState(objects["channel"])
                state.port = event["args"][0]
                await state.start_task()


async def main() -> None:
    """Run until the process is stopped."""
    async with asyncari.connect(URL, APP, USER, PASSWORD) as client:
        await take_calls(client)


anyio.run(main)

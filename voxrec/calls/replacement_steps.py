"""The steps of the call machine for channels that Asterisk has replaced, or that have left the application."""

from typing import Final

from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.channels.ids import owner_of
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.replacements import ReplacingChannel

DEPARTURE_TIMEOUT: Final = 1.0  # seconds that a channel may take to end after it has left the application


def replace_caller(inputs: CallInputs, call: CallCore, channel: ReplacingChannel) -> None:
    """Make a channel the caller's that Asterisk has put in the place of the present one."""
    call.log.info("call {call}: a transfer has replaced the caller", call=call.data.id)
    call.replacements.replace_caller(channel, call.transfer_core.placeholder, inputs.replacement_failed)


def replace_leg(inputs: CallInputs, call: CallCore, channel: ReplacingChannel) -> None:
    """Make a channel the current leg that Asterisk has put in the place of the present one."""
    call.log.info("call {call}: a transfer has replaced the far end", call=call.data.id)
    call.transfer.leg_replaced()
    call.replacements.replace_leg(channel, call.transfer_core.placeholder, inputs.replacement_failed)
    if channel.answered:
        inputs.leg_answered()


def refuse_replacement(_inputs: CallInputs, call: CallCore, channel: ReplacingChannel) -> None:
    """Hang up a channel that has replaced one of a call that cannot continue with it."""
    call.log.info("call {call}: transfer refused: the call is {status}", call=call.data.id, status=call.data.status)
    call.steps.attempt(call.legs.hang_up(channel.id, Cause.REJECTED))


def watch_departed_leg(inputs: CallInputs, call: CallCore) -> None:
    """End the call if the current leg has left the application, but does not hang up.

    Asterisk reports the end of legs that voxrec has created only.
    """
    leg = call.legs.current
    if owner_of(leg) is None:
        inputs.leg_hung_up(Cause.NORMAL)
        return

    def departed() -> None:
        if call.legs.current == leg:
            call.log.info("call {call}: another program has taken the far end's channel", call=call.data.id)
            inputs.leg_hung_up(Cause.NORMAL)

    call.departure.start(DEPARTURE_TIMEOUT, departed)


def watch_departed_caller(call: CallCore) -> None:
    """Close the files of the recording if the caller has left the application, but does not hang up."""

    def departed() -> None:
        call.log.debug("call {call}: another program may have taken the caller's channel", call=call.data.id)
        call.recording.close_files()

    call.departure.start(DEPARTURE_TIMEOUT, departed)

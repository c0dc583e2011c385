"""The AMI actions that voxrec uses, as typed methods. Sources: ``apps/app_mixmonitor.c`` of Asterisk 16.28 and 22.10.

The actions are executed one after the other, in the order in which the methods are called, not in that in which their
Deferreds are awaited. A channel is named by its id, as in ARI.

Unless a method says otherwise, its Deferred fails with `AmiResponseError` if Asterisk refuses the action, with
`CommandNotSent` if the connection is not ready, and with another `AsteriskUnavailable` if no response arrives; then the
action may have been executed.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from voxrec.ami.protocol import AmiResponse, AmiResponseError
from voxrec.errors import FieldError, InvalidInput

# Asterisk joins file, options and command with commas and parses the result: with a comma, parenthesis, quote or
# backslash, a file name could add options, or a command that Asterisk executes.
_FILE: Final = re.compile(r"[A-Za-z0-9/._@:+=~ -]+")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# From Asterisk 18 on, silence replaces missing audio, so that the files have the same length; before, option S does so.
_SILENCE_IS_DEFAULT: Final = 7
_NOT_RECORDING: Final = frozenset({"Could not stop monitoring channel", "Cannot set mute flag"})


class Direction(StrEnum):
    """Audio of a channel: what it receives from its party (READ), what it transmits to it (WRITE), or both."""

    READ = "read"
    WRITE = "write"
    BOTH = "both"


class ActionSender(Protocol):
    """The part of `AmiConnection` that `AmiClient` uses."""

    @property
    def version(self) -> int:
        """See `AmiConnection.version`."""
        ...

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """See `AmiConnection.action`."""
        ...


class AmiClient:
    """Sends actions to one Asterisk."""

    def __init__(self, connection: ActionSender) -> None:
        self._connection = connection

    def mix_monitor(
        self, channel: str, *, received: str, transmitted: str, id_variable: str, append: bool = False
    ) -> Deferred[str]:
        """Record what a channel receives and what it transmits, each to a file, and return the id of the MixMonitor.

        The files are replaced if they exist, or continued with ``append``; a path that is not absolute is below
        Asterisk's monitor directory, and the extension decides the format. Both files have the same length at every
        moment. The id is also stored in the channel variable ``id_variable``. Success does not mean that the files
        could be opened.
        """
        errors = [
            FieldError(name, "invalid file name; allowed are letters, digits, spaces and / . _ @ : + = ~ -")
            for name, file in (("received", received), ("transmitted", transmitted))
            if not _FILE.fullmatch(file)
        ]
        if not _VARIABLE.fullmatch(id_variable):
            errors.append(FieldError("id_variable", "invalid name; allowed are letters, digits and _"))
        if errors:
            return fail(InvalidInput("invalid arguments of MixMonitor", errors))
        silence = "S" if self._connection.version < _SILENCE_IS_DEFAULT else ""
        options = f"r({received})t({transmitted})i({id_variable}){silence}{'a' if append else ''}"
        return self._connection.action("MixMonitor", {"Channel": channel, "Options": options}).addCallback(_started_id)

    def stop_mix_monitor(self, channel: str, mix_monitor: str) -> Deferred[bool]:
        """Stop a MixMonitor; its files are closed when the Deferred fires. Return whether it was recording.

        It is not if the channel does not exist.
        """
        fields = {"Channel": channel, "MixMonitorID": mix_monitor}
        return self._request_if_recording("StopMixMonitor", fields).addErrback(_false_if_channel_gone)

    def mute_mix_monitor(self, channel: str, mix_monitor: str, direction: Direction, *, muted: bool) -> Deferred[bool]:
        """Record silence instead of the audio, or audio again; the files keep their length.

        It sets a state, so it can be repeated. Return whether the MixMonitor was recording; if the channel does not
        exist, the Deferred fails with `AmiResponseError`. Versions of Asterisk that
        do not support ``mix_monitor`` here (such as 16) mute one MixMonitor of the channel, the first one.
        """
        fields = {
            "Channel": channel,
            "MixMonitorID": mix_monitor,
            "Direction": str(direction),
            "State": "1" if muted else "0",
        }
        return self._request_if_recording("MixMonitorMute", fields)

    def _request_if_recording(self, action: str, fields: Mapping[str, str]) -> Deferred[bool]:
        return self._connection.action(action, fields).addCallbacks(lambda _: True, _false_if_not_recording)


def _started_id(response: AmiResponse) -> str:
    mix_monitor = response.fields.get("MixMonitorID", "")
    if not mix_monitor:  # Asterisk reports success even if it could not start it
        raise AmiResponseError("MixMonitor", "it was not started")
    return mix_monitor


def _false_if_not_recording(failure: Failure) -> bool:
    """Return False if the MixMonitor does not exist; raise any other error."""
    if not (isinstance(failure.value, AmiResponseError) and failure.value.message in _NOT_RECORDING):
        failure.raiseException()
    return False


def _false_if_channel_gone(failure: Failure) -> bool:
    if not (isinstance(failure.value, AmiResponseError) and failure.value.channel_gone):
        failure.raiseException()
    return False

"""The commands that record a call: one MixMonitor on the caller's channel, started, muted and stopped through AMI.

It writes what the caller says to one file, and all that the caller hears to another. Both have the same length at every
moment: where one direction has no audio, Asterisk writes silence.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred

from voxrec.ami.client import AmiClient, Direction
from voxrec.ari.client import AriClient
from voxrec.calls.channels.takeover_state import STOPPED_VARIABLE
from voxrec.calls.recording.leg_files import LegFiles
from voxrec.calls.signalling.stasis_args import is_wideband_codec, split_codecs
from voxrec.errors import VoxrecError
from voxrec.model import Side, leg_name

MONITOR_VARIABLE: Final = "VOXREC_MONITOR"
"""Variable of the caller's channel: the id of its MixMonitor. Asterisk sets it when the MixMonitor starts."""
# Linear PCM: lossless for G.711 and G.722, with a header that can be repaired, readable by libsndfile, and without work
# for Asterisk, which has the audio of a MixMonitor as PCM anyway.
NARROWBAND: Final = "wav"
WIDEBAND: Final = "wav16"
_DIRECTORY: Final = "recording"  # below astspooldir, as for recordings of ARI


class RecordingCommands:
    """Records the calls of one Asterisk.

    ``session_directory`` returns the path of the files for the present AMI session, relative to the recording directory
    (`SessionDirectory.path`).
    """

    def __init__(
        self,
        asterisk: AriClient,
        manager: AmiClient,
        files: LegFiles,
        session_directory: Callable[[], str] = lambda: "",
    ) -> None:
        self._asterisk = asterisk
        self._manager = manager
        self._session_directory = session_directory
        self.files = files

    def start(self, channel: str, recording_id: UUID, format_: str, *, append: bool) -> Deferred[str]:
        """Start to record, and return the id of the MixMonitor. Success does not prove that the files were opened.

        With ``append`` the files of the Recording, which must be closed, are continued.
        Fails with `AmiResponseError` if Asterisk refuses, and with `AsteriskUnavailable` if it is not known whether
        Asterisk has executed it.
        """
        directory = PurePosixPath(self._asterisk.spool_directory, _DIRECTORY, self._session_directory())
        files = {side: str(directory / f"{leg_name(recording_id, side)}.{format_}") for side in Side}
        return self._manager.mix_monitor(
            channel,
            received=files[Side.CALLER],
            transmitted=files[Side.CALLEE],
            id_variable=MONITOR_VARIABLE,
            append=append,
        )

    async def agreed_format(self, channel: str) -> str | None:
        """Return the format for the codec that was agreed on a channel; None while several codecs are possible."""
        codecs = split_codecs(await self._asterisk.get_variable(channel, "CHANNEL(audionativeformat)"))
        if len(codecs) != 1:
            return None
        return WIDEBAND if is_wideband_codec(codecs[0]) else NARROWBAND

    async def find(self, channel: str) -> str:
        """Return the id of the MixMonitor that was started last on a channel, or has ended; empty if none was."""
        return await self._asterisk.get_variable(channel, MONITOR_VARIABLE)

    def store(self, channel: str, monitor: str) -> Deferred[bool]:
        """Let another process know that this MixMonitor records a channel, although another one was started later."""
        return self._asterisk.set_variable(channel, MONITOR_VARIABLE, monitor)

    def store_stop(self, channel: str, reason: str) -> None:
        """Let another process know that the recording of a channel ends, so that it does not continue it."""
        self._asterisk.set_variable(channel, STOPPED_VARIABLE, reason).addErrback(
            lambda failure: failure.trap(VoxrecError)
        )

    def set_muted(self, channel: str, monitor: str, *, muted: bool) -> Deferred[bool]:
        """Record silence or audio from now on, in both files. Return whether the MixMonitor was recording."""
        return self._manager.mute_mix_monitor(channel, monitor, Direction.BOTH, muted=muted)

    def stop(self, channel: str, monitor: str) -> Deferred[bool]:
        """End the recording and close its files. Return whether the MixMonitor was recording."""
        return self._manager.stop_mix_monitor(channel, monitor)

"""The announcement for parties that join a recorded call by a transfer: they have not heard the first one.

It is played to all parties while they talk, and does not change the state of the call. If an announcement is being
played already, Asterisk plays it afterwards: the party that has joined may have missed the beginning.
"""

from typing import Final

from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.call_data import CallData
from voxrec.calls.call_recording import CallRecording
from voxrec.calls.channels.ids import ANNOUNCEMENT, owned_id
from voxrec.calls.channels.legs import Legs
from voxrec.calls.channels.steps import Steps
from voxrec.model import ANNOUNCEMENT_FAILED, ANNOUNCEMENT_FINISHED

TRANSFER: Final = "transfer"
"""Detail of the timeline's entries about these announcements."""
_PREFIX: Final = f"{ANNOUNCEMENT}-"


def is_transfer_announcement(role: str) -> bool:
    """Return whether a role is that of the playback of such an announcement."""
    return role.startswith(_PREFIX)


class TransferAnnouncements:
    """Announces the recording of one call to the parties that join it."""

    _log = Logger()

    def __init__(self, asterisk: AriClient, call: CallData, legs: Legs, steps: Steps, recording: CallRecording) -> None:
        self._asterisk = asterisk
        self._call = call
        self._legs = legs
        self._steps = steps
        self._recording = recording
        self._playing: set[str] = set()  # the roles of the playbacks

    def party_joined(self) -> None:
        """Play the announcement, if the Profile requires it and the call is being recorded."""
        if not self._recording.announces_transfers:
            return
        # the time makes the id differ from those of another process from which this one took over the call
        role = f"{_PREFIX}{round(self._call.clock.seconds() * 1000)}"
        self._playing.add(role)
        self._recording.note("announcement.started", detail=TRANSFER)
        media = self._call.settings.announcement(self._call.profile)
        if media is None:
            self.finished(role, complete=False)
            return
        playback = owned_id(self._call.id, role)
        self._steps.run(
            self._asterisk.play_to_bridge(self._legs.bridge, playback, media, language=self._call.profile.language),
            failed=lambda: self.finished(role, complete=False),
        )

    def finished(self, role: str, *, complete: bool) -> None:
        """Handle the end of a playback. Unless a required announcement was played completely, recording ends."""
        if role not in self._playing:
            return
        self._playing.discard(role)
        if not self._recording.is_live:
            return
        self._recording.sound_played()
        self._recording.note(ANNOUNCEMENT_FINISHED if complete else ANNOUNCEMENT_FAILED, detail=TRANSFER)
        if not complete:
            self._call.settings.announcement_failed()
            required = self._call.profile.record_prompt_required
            self._log.error(
                "call {call}: the announcement of Profile {profile} was not played completely after a transfer; the "
                "recording {consequence}",
                call=self._call.id,
                profile=self._call.profile.id,
                consequence="ends here" if required else "continues",
            )
            if required:
                self._recording.stop(ANNOUNCEMENT_FAILED)

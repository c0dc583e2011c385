"""What the Profile of a call requires of its recording: whether there is one, its limit, announcement and beeps."""

from collections import deque
from datetime import datetime
from typing import Final

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.announcements.announcement_state import UNFINISHED, Announcement
from voxrec.calls.announcements.beeper import Beeper
from voxrec.calls.call_data import CallData
from voxrec.calls.channels.ids import ANNOUNCEMENT, WHISPER, owned_id
from voxrec.calls.channels.legs import Legs
from voxrec.calls.channels.takeover_state import ANNOUNCED_VARIABLE
from voxrec.calls.recording.decoder_check import DecoderCheck
from voxrec.calls.recording.holds import HELD, UNHELD, Holds
from voxrec.calls.recording.new_recording import new_recording, requires_prompt
from voxrec.calls.recording.recorder import Recorder
from voxrec.calls.recording.recording_commands import NARROWBAND, WIDEBAND, RecordingCommands
from voxrec.calls.recording.recording_log import RecordingSink
from voxrec.calls.signalling.rtp_report import counters_of
from voxrec.calls.transfers.transfer_core import TRANSFER_REFUSED
from voxrec.model import ANNOUNCEMENT_FAILED, Recording, RecordPrompt, Side
from voxrec.model.reasons import DISK_FULL

DECODER_RESTARTED: Final = "decoder.restarted"
"""Entry of the timeline: until then Asterisk has recorded silence instead of a party."""
MAX_DURATION: Final = "max-duration"
_MAX_REFUSED: Final = 20


class CallRecording:
    """The recording of one call. A call has at most one Recording."""

    _log = Logger()

    def __init__(
        self, asterisk: AriClient, commands: RecordingCommands, sink: RecordingSink, call: CallData, legs: Legs
    ) -> None:
        self._asterisk = asterisk
        self._commands = commands
        self._sink = sink
        self._call = call
        self._legs = legs
        self._beeper: Beeper | None = None
        self._decoder_check: DecoderCheck | None = None
        self.recorder: Recorder | None = None
        """None while the call is not recorded. A recorder whose recording has ended stays here."""
        self._announcement = Announcement.NOT_REQUIRED
        self._holds = Holds()
        self._refused = deque[tuple[Side, str]](maxlen=_MAX_REFUSED)  # the last transfers before the recording
        self.has_recording = False
        """Whether the call has a Recording, which may have ended or have the state ``absent``."""

    @property
    def is_live(self) -> bool:
        """Whether the call is being recorded, or its recording is paused."""
        return self.recorder is not None and self.recorder.is_live

    @property
    def requires_announcement(self) -> bool:
        """Whether the parties are to hear an announcement."""
        return self.recorder is not None and self._announcement is not Announcement.NOT_REQUIRED

    @property
    def lacks_announcement(self) -> bool:
        """Whether Asterisk has yet to play the announcement to the parties of a recording in progress."""
        recorder = self.recorder
        return recorder is not None and recorder.is_open and self._announcement is Announcement.PENDING

    @property
    def is_announcing(self) -> bool:
        """Whether Asterisk has begun to play the announcement, and has not reported its end."""
        return self._announcement is Announcement.PLAYING

    @property
    def announces_transfers(self) -> bool:
        """Whether a party that joins now is to hear the announcement, and would not hear it otherwise."""
        profile = self._call.profile
        required = profile.record_prompt is not RecordPrompt.NONE and profile.record_prompt_on_transfer
        return required and self.is_live and self._announcement is not Announcement.PENDING

    # The beginning.

    def prepare(self) -> None:
        """Create the recorder. Without free disk space, store a Recording with the state ``absent`` instead."""
        recorder = self._make_recorder(new_recording(self._call, self._call.now()))
        self.has_recording = True
        if not self._call.settings.has_disk_space():
            self._log.error("call {call}: not recorded because the disk is full", call=self._call.id)
            recorder.refuse(DISK_FULL)
            return
        recorder.log.note("answered", by=Side.CALLEE)
        for side in self._holds.sides:  # since before the recording
            recorder.log.note(HELD, by=side)
        for side, reason in self._refused:
            recorder.log.note(TRANSFER_REFUSED, by=side, detail=reason)
        self.recorder = recorder
        if self._call.profile.record_prompt is not RecordPrompt.NONE:
            self._announcement = Announcement.PENDING
        self._limit_duration(0.0)

    def begin(self) -> None:
        """Ask Asterisk to record, if there is a recorder."""
        if self.recorder is not None:
            self.recorder.begin()
            self._check_decoders(self.recorder)

    def when_started(self) -> Deferred[None]:
        """Return a Deferred that fires when Asterisk records, or at once if there is no recorder."""
        return succeed(None) if self.recorder is None else self.recorder.started

    def take_over(self, recording: Recording | None, began: datetime, announcement: Announcement) -> Recorder:
        """Create the recorder of a recording that another process began at ``began``.

        ``recording`` is the live Recording as last stored, None if it is not known.
        """
        self._announcement = announcement
        recording = recording or new_recording(self._call, began)
        self._holds.take_over(recording.timeline)
        if self._requires_prompt:
            played = announcement is Announcement.FINISHED
            recording = msgspec.structs.replace(recording, prompt_played=played)
        self.recorder = self._make_recorder(recording)
        assert recording.started_at is not None, "a live Recording has begun"
        self._limit_duration(self._call.seconds_since(recording.started_at))
        self._check_decoders(self.recorder)
        return self.recorder

    def _check_decoders(self, recorder: Recorder) -> None:
        def restart(side: Side) -> None:
            self.note(DECODER_RESTARTED, by=side)
            self._call.settings.decoder_restarted()
            recorder.renew_decoders()

        self._decoder_check = DecoderCheck(
            self._call.clock,
            self._asterisk,
            self._commands.files,
            recorder.recording,
            lambda side: self._call.inbound.channel if side is Side.CALLER else self._legs.current,
            restart,
        )
        self._decoder_check.start()

    def _stop_checking(self) -> None:
        if self._decoder_check is not None:
            self._decoder_check.stop()

    def stop_unannounced(self) -> None:
        """End a recording whose required announcement has failed."""
        if self.recorder is not None and self._announcement is Announcement.FAILED and self._requires_prompt:
            self.recorder.stop(ANNOUNCEMENT_FAILED)

    def _limit_duration(self, elapsed: float) -> None:
        limit = self._call.profile.max_duration_seconds
        if limit is not None and self.recorder is not None:
            self.recorder.stop_after(max(0.0, limit - elapsed), MAX_DURATION)

    @property
    def _requires_prompt(self) -> bool:
        return requires_prompt(self._call.profile)

    def _make_recorder(self, recording: Recording) -> Recorder:
        inbound = self._call.inbound
        return Recorder(
            self._call.clock,
            self._asterisk,
            self._commands,
            self._sink,
            recording,
            inbound.channel,
            WIDEBAND if inbound.wideband else NARROWBAND,
            inbound.late_offer,
            self._call.settings.recording_failed,
        )

    # The announcement.

    async def start_announcement(self) -> bool:
        """Play the announcement in the bridge. Return False if none is required, or none is available."""
        if not self.requires_announcement:
            return False
        self.note("announcement.started")
        media = self._call.settings.announcement(self._call.profile)
        if media is None:
            self._log.error(
                "call {call}: the announcement of Profile {profile} is not available; the call continues without it",
                call=self._call.id,
                profile=self._call.profile.id,
            )
            return False
        playback = owned_id(self._call.id, ANNOUNCEMENT)
        await self._asterisk.play_to_bridge(self._legs.bridge, playback, media, language=self._call.profile.language)
        if self._announcement is Announcement.PENDING:  # its end may have been reported before the response
            self._announcement = Announcement.PLAYING
        return True

    async def announcement_exists(self) -> bool:
        """Return whether Asterisk is playing the announcement. Raises a VoxrecError."""
        return await self._asterisk.playback_exists(owned_id(self._call.id, ANNOUNCEMENT))

    def finish_announcement(self, *, complete: bool) -> None:
        """Note the end of the announcement. If a required one was not played completely, discard the recording."""
        if self.recorder is None or self._announcement not in UNFINISHED:
            return
        self.sound_played()
        if complete:
            self._announcement = Announcement.FINISHED
            self.recorder.log.announced()
            return
        self._announcement = Announcement.FAILED
        self.note(ANNOUNCEMENT_FAILED)
        self._call.settings.announcement_failed()
        required = self._requires_prompt
        self._log.error(
            "call {call}: the announcement of Profile {profile} was not played completely; the recording {consequence}",
            call=self._call.id,
            profile=self._call.profile.id,
            consequence="is discarded" if required else "continues",
        )
        self.stop_unannounced()

    def store_announced(self) -> Deferred[bool]:
        """Let a process that takes over the call know that a required announcement was played completely."""
        if not self._requires_prompt or self._announcement is not Announcement.FINISHED:
            return succeed(True)
        return self._asterisk.set_variable(self._call.inbound.channel, ANNOUNCED_VARIABLE, "1")

    def _end_announcement(self, reason: str) -> None:
        """Note that the recording ends before the announcement has ended, which is not a failure of Asterisk."""
        if self._announcement in UNFINISHED:
            self._announcement = Announcement.FAILED
            self.note(ANNOUNCEMENT_FAILED, detail=reason)

    # Beeps.

    def start_beeps(self) -> None:
        """Start to beep, if the Profile requires beeps."""
        self._beeper = self._make_beeper()
        if self._beeper is not None:
            self._beeper.start(at_start=self._call.profile.record_beep_at_start)

    def take_over_beeps(self, *, whisper_exists: bool) -> None:
        """Continue the beeps of another process; ``whisper_exists``: the channel that plays them exists."""
        self._beeper = self._make_beeper()
        if self._beeper is None or self.recorder is None:
            return
        recording = self.recorder.recording
        assert recording.started_at is not None, "a live Recording has begun"
        last = max((entry.at for entry in recording.timeline if entry.event == "beep"), default=0.0)
        self._beeper.take_over(self._call.seconds_since(recording.started_at) - last, whisper_exists=whisper_exists)

    def leg_replaced(self) -> None:
        """Note that the party is gone that a transfer has replaced, and beep into another channel if necessary."""
        self.unheld(Side.CALLEE)
        if self._beeper is not None and self._call.profile.record_beep_in_recording:
            self._beeper.leg_replaced()

    def leg_joined(self) -> None:
        """Handle that a leg which has replaced another one is in the bridge.

        A decoder that drops late audio compares its RTP sequence numbers with those of the party before.
        """
        self._renew_affected_decoders()

    def sound_played(self) -> None:
        """Handle the end of a sound, such as music on hold, whose frames have no RTP sequence numbers.

        Afterwards, a decoder that drops late audio would record nothing of a far end with numbers above 32,768.
        """
        self._renew_affected_decoders()

    def _renew_affected_decoders(self) -> None:
        if self._asterisk.drops_late_audio and self.recorder is not None:
            self.recorder.renew_decoders()

    def caller_replaced(self) -> Deferred[None]:
        """Handle that another channel is the caller's: it is recorded, and beeps go into it if necessary.

        The Deferred fires when the channel stores whether the recording is paused.
        """
        self.unheld(Side.CALLER)
        stored: Deferred[None] = succeed(None)
        if self.recorder is not None:
            stored = self.recorder.caller_replaced(self._call.inbound.channel)
        if self._beeper is not None and not self._call.profile.record_beep_in_recording:
            self._beeper.leg_replaced()
        return stored

    def _make_beeper(self) -> Beeper | None:
        profile, recorder = self._call.profile, self.recorder
        if recorder is None or not (profile.record_beep_at_start or profile.record_beep_interval):
            return None
        return Beeper(
            self._call.clock,
            self._asterisk,
            self._call.id,
            lambda: self._legs.current if profile.record_beep_in_recording else self._call.inbound.channel,
            media=self._call.settings.beep,
            language=profile.language,
            interval=profile.record_beep_interval,
            is_audible=lambda: recorder.is_audible,
            on_beep=lambda: self.note("beep"),
        )

    # Events.

    def note(self, event: str, *, by: str | None = None, detail: str | None = None) -> None:
        """Add an entry to the timeline, if the call is recorded."""
        if self.recorder is not None:
            self.recorder.log.note(event, by=by, detail=detail)

    async def count_packets(self, side: Side, channel: str) -> None:
        """Count what was received from a party on a replaced channel, if that exists and the call is recorded."""
        recorder = self.recorder
        if recorder is not None and (counters := counters_of(await self._asterisk.rtp_statistics(channel))):
            recorder.log.rtp_reported(side, channel, counters)

    def transfer_refused(self, side: Side, reason: str) -> None:
        """Note that Asterisk has refused a transfer by a party, also if it is not recorded yet."""
        self.note(TRANSFER_REFUSED, by=side, detail=reason)
        if not self.has_recording:
            self._refused.append((side, reason))

    def held(self, side: Side) -> None:
        """Handle ChannelHold of a party."""
        if self._holds.hold(side):
            self.note(HELD, by=side)

    def unheld(self, side: Side) -> None:
        """Handle ChannelUnhold of a party."""
        if self._holds.release(side):
            self.note(UNHELD, by=side)
            self.sound_played()

    def manager_connected(self) -> None:
        """Handle that AMI is connected again."""
        if self.recorder is not None:
            self.recorder.monitor.retry()

    def snoop_entered(self, role: str) -> None:
        """Handle the StasisStart of a snoop channel with this role."""
        if self._beeper is not None and role == WHISPER:
            self._beeper.whisper_entered()

    def beep_finished(self) -> None:
        """Handle PlaybackFinished of a beep."""
        if self._beeper is not None:
            self._beeper.playback_finished()

    # The end.

    def end_early(self) -> None:
        """End the Recording while the call continues: both files are closed."""
        self._stop_checking()
        if self._beeper is not None:
            self._beeper.end()
        if self.recorder is not None:
            self._end_announcement("the recording ended")
            self.recorder.close()
            self.recorder.log.release()

    def close(self, *, cause: int, by: str) -> None:
        """End the Recording with the call. Asterisk closes the files when the caller's channel is gone."""
        self._stop_checking()
        if self._beeper is not None:
            self._beeper.stop()
        if self.recorder is not None:
            self._end_announcement("the call ended")
            self.recorder.close(cause=cause, by=by)

    def stop(self, reason: str) -> None:
        """End the recording, and keep it; the call continues."""
        self._stop_checking()
        if self.recorder is not None:
            self.recorder.stop(reason)

    def close_files(self) -> None:
        """Close the files although the caller's channel exists: another program uses it."""
        self._stop_checking()
        if self.recorder is not None:
            self.recorder.close_files()

    def release(self) -> None:
        """Pass the closed Recording to the finish job, which takes the files as they are."""
        if self.recorder is not None:
            self.recorder.log.release()

    def detach(self) -> None:
        """Leave the recording to another process."""
        self._stop_checking()
        if self._beeper is not None:
            self._beeper.stop()
        if self.recorder is not None:
            self.recorder.detach()

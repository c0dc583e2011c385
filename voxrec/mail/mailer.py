"""A completed recording to its profile's mailboxes: the queue's handler for mail."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from twisted.logger import Logger

from voxrec.errors import DeliveryError, NotFound
from voxrec.mail.message import MessageDefaults, compose
from voxrec.mail.smtp import Refusal, Relay, SendResult, send
from voxrec.model import Job, Profile, Recording, RecordingState, mail_addresses
from voxrec.store.deliveries import Delivery, DeliveryState
from voxrec.threads import DeferToThread


class Recordings(Protocol):
    """Where recordings are looked up."""

    async def get(self, recording_id: UUID, /) -> Recording:
        """Return it; raise `NotFound` where there is none."""


class Profiles(Protocol):
    """Where profiles are looked up."""

    async def get(self, profile_id: UUID, /) -> Profile:
        """Return it; raise `NotFound` where there is none."""


class Deliveries(Protocol):
    """What the relay said about each recipient, as voxrec.store keeps it."""

    async def pending_recipients(self, recording_id: UUID, recipients: Sequence[str]) -> list[str]:
        """Return those of ``recipients`` about whom nothing final is known."""

    async def record_reply(self, recording_id: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        """Write down one more attempt."""

    async def of_recording(self, recording_id: UUID) -> list[Delivery]:
        """Return everything that is known about a recording's deliveries."""


class Archive(Protocol):
    """Where the audio is."""

    def locate(self, relative: str) -> Path:
        """Return a local file with the content; `NotFound` where there is none."""


class Mailer:
    """Handler for `JobKind.MAIL`: sends the recording's letter to everyone of the profile who is still owed it."""

    def __init__(
        self,
        reactor: Any,
        relay: Relay,
        stationery: MessageDefaults,
        *,
        recordings: Recordings,
        profiles: Profiles,
        deliveries: Deliveries,
        archive: Archive,
        audio_url: Callable[[UUID], str],
        defer_to_thread: DeferToThread,
        told: Callable[[str], None] = lambda _state: None,
        logger: Logger | None = None,
    ) -> None:
        """``audio_url`` returns where a recording's audio can be fetched, by its id.

        ``told`` is called with what the relay said about each recipient: accepted, deferred or refused.
        """
        self._reactor = reactor
        self._relay = relay
        self._stationery = stationery
        self._recordings = recordings
        self._profiles = profiles
        self._deliveries = deliveries
        self._archive = archive
        self._audio_url = audio_url
        self._defer_to_thread = defer_to_thread
        self._told = told
        self._log = logger or Logger()

    async def __call__(self, job: Job) -> None:
        """Send what is owed.

        Raises `DeliveryError`: permanent once there is nobody left whom it makes sense to ask again, but somebody did
        not get the letter. Those who got it never get it again on account of the others.
        """
        recording = await self._completed(job.recording_id)
        if recording is None:
            return
        profile = await self._profile(recording)
        recipients = mail_addresses(profile.email)
        if not recipients:
            return
        owed = await self._deliveries.pending_recipients(recording.id, recipients)
        if owed:
            letter = await self._defer_to_thread(self._compose, recording, profile)
            await self._note(recording, await send(self._reactor, self._relay, self._stationery.sender, owed, letter))
        await self._require_all(recording, recipients)

    async def _completed(self, recording_id: UUID) -> Recording | None:
        try:
            recording = await self._recordings.get(recording_id)
        except NotFound:
            self._log.info("recording {id} was deleted before it was mailed", id=recording_id)
            return None
        if recording.state is not RecordingState.COMPLETED or recording.path is None:
            self._log.info("recording {id} is {state}: nothing to mail", id=recording_id, state=recording.state)
            return None
        return recording

    async def _profile(self, recording: Recording) -> Profile:
        try:
            return await self._profiles.get(recording.profile_id)
        except NotFound as error:
            raise DeliveryError(
                f"profile {recording.profile_id} was deleted, so nobody knows whom to mail the recording to",
                permanent=True,
            ) from error

    def _compose(self, recording: Recording, profile: Profile) -> bytes:
        audio = self._archive.locate(recording.path or "")
        now = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        return compose(recording, profile, audio, self._audio_url(recording.id), self._stationery, now)

    async def _note(self, recording: Recording, result: SendResult) -> None:
        # Whoever accepted comes first: should the database fail in between, a refusal is the cheaper one to forget.
        for recipient in result.accepted:
            self._told(DeliveryState.ACCEPTED)
            await self._deliveries.record_reply(recording.id, recipient, DeliveryState.ACCEPTED, result.reply)
        for refusal in result.refused:
            self._told(_state(refusal))
            await self._deliveries.record_reply(recording.id, refusal.recipient, _state(refusal), refusal.reply)
        if result.accepted:
            self._log.info(
                "recording {id} was mailed to {count} of {asked} recipients: {reply}",
                id=recording.id,
                count=len(result.accepted),
                asked=len(result.accepted) + len(result.refused),
                reply=result.reply,
            )

    async def _require_all(self, recording: Recording, recipients: Sequence[str]) -> None:
        known = [one for one in await self._deliveries.of_recording(recording.id) if one.recipient in recipients]
        deferred = [one for one in known if one.state is DeliveryState.DEFERRED]
        refused = [one for one in known if one.state is DeliveryState.REFUSED]
        if deferred or refused:
            told = "; ".join(f"{one.recipient}: {one.last_reply}" for one in deferred or refused)
            raise DeliveryError(f"the relay did not take it for {told}", permanent=not deferred)


def _state(refusal: Refusal) -> DeliveryState:
    return DeliveryState.REFUSED if refusal.permanent else DeliveryState.DEFERRED

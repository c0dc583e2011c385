"""Tests of voxrec.mail.mailer: from the queue's job to what lies in the mailbox."""

import email
import email.policy
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from msgspec.structs import replace
from twisted.internet.threads import deferToThread

from tests.mail.relay import Mailbox, RelayTestCase, reactor
from tests.mail.test_message import AUDIO, BEGAN, PROFILE, RECORDING
from voxrec.errors import DeliveryError, NotFound
from voxrec.mail.mailer import Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smtp import Relay
from voxrec.model import Job, JobKind, JobState, Profile, Recording, RecordingState
from voxrec.store.deliveries import Delivery, DeliveryState

ANN, BOB = "ann@example.org", "bob@example.org"
JOB = Job(
    id=UUID(int=1),
    kind=JobKind.MAIL,
    recording_id=RECORDING.id,
    state=JobState.RUNNING,
    attempts=1,
    due_at=BEGAN,
    created_at=BEGAN,
)
P = ParamSpec("P")
T = TypeVar("T")


class Shelf:
    """One thing, found by its id."""

    def __init__(self, *things: Any) -> None:
        self.things = {thing.id: thing for thing in things}

    async def get(self, wanted: UUID, /) -> Any:
        if wanted not in self.things:
            raise NotFound(f"there is no {wanted}")
        return self.things[wanted]


class RecordingSink:
    """The deliveries table in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Delivery] = {}

    async def pending_recipients(self, _: UUID, recipients: Sequence[str]) -> list[str]:
        return [one for one in recipients if one not in self.rows or self.rows[one].state is DeliveryState.DEFERRED]

    async def record_reply(self, _: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        attempts = self.rows[recipient].attempts + 1 if recipient in self.rows else 1
        self.rows[recipient] = Delivery(
            recipient=recipient, state=state, attempts=attempts, last_reply=reply, updated_at=BEGAN
        )

    async def of_recording(self, _: UUID) -> list[Delivery]:
        return [self.rows[one] for one in sorted(self.rows)]

    @property
    def told(self) -> dict[str, tuple[str, int, str]]:
        return {one.recipient: (one.state.value, one.attempts, one.last_reply) for one in self.rows.values()}


class Files:
    """An archive of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def locate(self, relative: str) -> Path:
        if relative != RECORDING.path:
            raise NotFound(f"the archive has no file {relative!r}")
        return self.path


def defer_to_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    return deferToThread(work, *args, **kwargs)


class MailerTestCase(RelayTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        audio = Path(self.mktemp())
        audio.write_bytes(AUDIO)  # noqa: ASYNC240 - a few bytes
        self.files = Files(audio)
        self.mailbox = Mailbox()
        self.ledger = RecordingSink()
        self.counted: list[str] = []
        self.port = await self.start_relay(self.mailbox)

    def mailer(self, recording: Recording | None = RECORDING, profile: Profile | None = PROFILE) -> Mailer:
        return Mailer(
            reactor,
            Relay("127.0.0.1", self.port, timeout=5),
            MessageDefaults("voxrec@example.org", 1_000_000),
            recordings=Shelf(*filter(None, [recording])),
            profiles=Shelf(*filter(None, [profile])),
            deliveries=self.ledger,
            archive=self.files,
            audio_url=lambda wanted: f"https://voxrec.example.org/recordings/{wanted}/audio",
            defer_to_thread=defer_to_thread,
            told=self.counted.append,
        )

    async def fault(self, mailer: Mailer) -> DeliveryError:
        try:
            await mailer(JOB)
        except DeliveryError as fault:
            return fault
        raise self.failureException("no fault")

    @property
    def got(self) -> list[str]:
        return [recipient for recipient, _ in self.mailbox.letters]


class Sending(MailerTestCase):
    async def test_what_lies_in_the_mailbox(self) -> None:
        await self.mailer()(JOB)
        self.assertEqual(self.got, [ANN, BOB])
        message: Any = email.message_from_bytes(self.mailbox.letters[0][1], policy=email.policy.default)
        (attached,) = message.iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)
        self.assertEqual(message["X-Voxrec-Recording"], str(RECORDING.id))
        self.assertIn(f"https://voxrec.example.org/recordings/{RECORDING.id}/audio", message.get_body().get_content())
        self.assertEqual(self.ledger.told[ANN], ("accepted", 1, "250 Delivery in progress"))

    async def test_what_the_relay_says_is_counted(self) -> None:
        self.mailbox.refusals[BOB] = (550, "no such user")
        await self.fault(self.mailer())
        self.assertEqual(self.counted, ["accepted", "refused"])

    async def test_a_job_done_twice_sends_once(self) -> None:
        await self.mailer()(JOB)
        await self.mailer()(JOB)
        self.assertEqual(self.got, [ANN, BOB])

    async def test_who_is_deferred_is_asked_again_alone(self) -> None:
        self.mailbox.refusals[BOB] = (451, "greylisted")
        fault = await self.fault(self.mailer())
        self.assertFalse(fault.permanent)
        self.assertEqual(fault.detail, "the relay did not take it for bob@example.org: 451 greylisted")
        self.mailbox.refusals.clear()
        await self.mailer()(JOB)
        self.assertEqual(self.got, [ANN, BOB])
        self.assertEqual(self.ledger.told[BOB], ("accepted", 2, "250 Delivery in progress"))

    async def test_a_refusal_is_told_when_nobody_is_left_to_ask(self) -> None:
        self.mailbox.refusals = {ANN: (550, "no such user"), BOB: (451, "greylisted")}
        self.assertFalse((await self.fault(self.mailer())).permanent)
        self.mailbox.refusals = {ANN: (551, "must not be asked again")}
        fault = await self.fault(self.mailer())
        self.assertTrue(fault.permanent)
        self.assertEqual(fault.detail, "the relay did not take it for ann@example.org: 550 no such user")
        self.assertEqual(self.got, [BOB])
        self.assertTrue((await self.fault(self.mailer())).permanent)

    async def test_who_was_refused_but_is_no_longer_wanted(self) -> None:
        self.mailbox.refusals[ANN] = (550, "no such user")
        self.assertTrue((await self.fault(self.mailer())).permanent)
        await self.mailer(profile=replace(PROFILE, email=BOB))(JOB)

    async def test_no_relay(self) -> None:
        self.port = 1
        fault = await self.fault(self.mailer())
        self.assertFalse(fault.permanent)
        self.assertEqual(self.ledger.rows, {})


class NotSending(MailerTestCase):
    async def test_nobody_to_send_to(self) -> None:
        await self.mailer(profile=replace(PROFILE, email=None))(JOB)
        self.assertEqual(self.got, [])

    async def test_no_recording(self) -> None:
        await self.mailer(None)(JOB)
        self.assertEqual(self.got, [])

    async def test_a_recording_that_is_not_completed(self) -> None:
        for state in (RecordingState.ABSENT, RecordingState.FAILED, RecordingState.PROCESSING):
            await self.mailer(replace(RECORDING, state=state))(JOB)
        self.assertEqual(self.got, [])

    async def test_the_profile_was_deleted(self) -> None:
        fault = await self.fault(self.mailer(profile=None))
        self.assertTrue(fault.permanent)
        self.assertIn("was deleted, so nobody knows whom to mail the recording to", fault.detail)

    async def test_no_file(self) -> None:
        with self.assertRaises(NotFound):
            await self.mailer(replace(RECORDING, path="elsewhere.wav"))(JOB)
        self.assertEqual(self.got, [])

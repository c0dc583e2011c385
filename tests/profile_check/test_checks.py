"""Tests of the checks of a Profile, with real files, a real relay and a real receiver of webhooks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import numpy as np
import soundfile
from twisted.internet.threads import deferToThread

from tests.database import DatabaseTestCase, reactor
from tests.mail.smtp_servers import Mailbox, RelayTestCase
from tests.profile_check.test_runner import NOW, PROFILE
from voxrec.archive.local import LocalArchive
from voxrec.ari.options_request import OptionsUnavailable
from voxrec.mail.smtp import Relay, verify
from voxrec.model import CheckState, Profile, ProfileCheck, Prompt, RecordChannels, RecordPrompt, Webhook
from voxrec.profile_check.archive import ArchiveCheck
from voxrec.profile_check.audio import PromptCheck, RecordingCheck
from voxrec.profile_check.deliveries import MailboxCheck, WebhookCheck
from voxrec.profile_check.target import TargetCheck
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import PromptAudio, Prompts
from voxrec.store.webhook_queue import Attempt
from voxrec.store.webhooks import Endpoint, Webhooks

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


def states(rows: Sequence[ProfileCheck]) -> list[CheckState]:
    return [row.state for row in rows]


def profile(**fields: Any) -> Profile:
    return msgspec.structs.replace(PROFILE, **fields)


def set_duration(prompt: Prompt) -> Prompt:
    return msgspec.structs.replace(prompt, duration=1.0)


class FakeOptions:
    """Requests that were sent, and the result of the next ones."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.result: float | Exception | None = 0.012

    async def send(self, uri: str, endpoint: str) -> float | None:
        self.sent.append((uri, endpoint))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class TargetTests(RelayTestCase):
    async def check(
        self, options: FakeOptions, uri: str | None, *, allowed: bool = True, reason: str | None = None
    ) -> ProfileCheck:
        async def explain(_uri: str) -> str | None:
            return reason

        check = TargetCheck(options, lambda _uri: allowed, lambda _uri: "trusted", explain)
        (row,) = await check(profile(remote_sip_uri=uri))
        self.assertEqual((row.name, row.target), ("target", uri))
        return row

    async def test_response(self) -> None:
        options = FakeOptions()
        row = await self.check(options, "sip:desk@far.example")
        self.assertEqual((row.state, row.detail, row.advice), ("ok", "responded to OPTIONS within 12 ms", None))
        self.assertEqual(options.sent, [("sip:desk@far.example", "trusted")])

    async def test_nothing_is_sent_to_a_host_that_must_not_be_called(self) -> None:
        for uri, allowed in ((None, True), ("sip:a@169.254.169.254", False)):
            options = FakeOptions()
            row = await self.check(options, uri, allowed=allowed)
            self.assertEqual((row.state, options.sent), (CheckState.FAILED, []), uri)
            self.assertTrue(row.advice)

    async def test_no_response(self) -> None:
        options = FakeOptions()
        options.result = None
        row = await self.check(options, "sip:desk@far.example")
        self.assertEqual(row.state, CheckState.FAILED)
        self.assertIn("endpoint trusted", row.detail)
        reason = "the host far.example has no address in the DNS"  # it may have SRV records, so OPTIONS is tried before
        self.assertEqual((await self.check(options, "sip:desk@far.example", reason=reason)).detail, reason)

    async def test_asterisk_without_the_section(self) -> None:
        options = FakeOptions()
        options.result = OptionsUnavailable("no section")
        row = await self.check(options, "sip:desk@far.example")
        self.assertEqual(row.state, CheckState.SKIPPED)
        self.assertIn("etc/asterisk/pjsip.conf", row.advice or "")


class MailboxTests(RelayTestCase):
    async def check(self, relay: Relay, email: str | None) -> Sequence[ProfileCheck]:
        check = MailboxCheck(lambda addresses: verify(reactor, relay, "voxrec@example.org", addresses))
        return await check(profile(email=email))

    async def test_each_address_has_a_row_and_nothing_is_sent(self) -> None:
        mailbox = Mailbox()
        mailbox.refusals = {BOB: (550, "no such user"), EVE: (451, "greylisted")}
        relay = Relay("127.0.0.1", await self.start_relay(mailbox))
        rows = await self.check(relay, f"{ANN},{BOB}, {EVE},{ANN}")
        self.assertEqual([row.target for row in rows], [ANN, BOB, EVE])
        self.assertEqual(states(rows), [CheckState.OK, CheckState.FAILED, CheckState.WARNING])
        self.assertIn("550 no such user", rows[1].detail)
        self.assertEqual(mailbox.messages, [])

    async def test_the_session_ends_without_data(self) -> None:
        commands: list[str] = []
        port = await self.start_scripted_server({}, commands)
        rows = await self.check(Relay("127.0.0.1", port, timeout=5), ANN)
        self.assertEqual(states(rows), [CheckState.OK])
        self.assertEqual(
            [command.partition(" ")[0] for command in commands], ["greeting", "EHLO", "MAIL", "RCPT", "QUIT"]
        )

    async def test_relay_that_cannot_be_used(self) -> None:
        relay = Relay("127.0.0.1", await self.start_scripted_server({"MAIL": b"530 log in first"}), timeout=5)
        for broken in (Relay("127.0.0.1", 9, timeout=5), relay):
            rows = await self.check(broken, f"{ANN},{BOB}")
            self.assertEqual(len(rows), 2)
            self.assertNotIn(CheckState.OK, states(rows))
            self.assertTrue(all(row.advice for row in rows))

    async def test_no_address(self) -> None:
        self.assertEqual(states(await self.check(Relay("127.0.0.1", 9), None)), [CheckState.SKIPPED])


class ArchiveTests(RelayTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)

    async def check(self) -> ProfileCheck:
        check = ArchiveCheck(LocalArchive(self.root), self.root / ".work", lambda: NOW, deferToThread)
        (row,) = await check(PROFILE)
        return row

    async def test_nothing_is_left(self) -> None:
        self.assertEqual((await self.check()).state, CheckState.OK)
        self.assertEqual([path for path in self.root.rglob("*") if path.is_file()], [])

    async def test_directory_that_cannot_be_written(self) -> None:
        (self.root / "2026").write_text("a file where the archive needs a directory")
        row = await self.check()
        self.assertEqual(row.state, CheckState.FAILED)
        self.assertIn("2026", row.detail)
        self.assertEqual(sorted(path.name for path in self.root.rglob("*")), [".work", "2026"])


class AudioTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.prompts = Prompts(self.pool)
        self.media: str | None = "sound:prompt"
        self.problem: str | None = None
        self.directory = self.make_directory()

    def make_directory(self) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return directory

    async def find_problem(self) -> str | None:
        return self.problem

    async def check_prompt(self, checked: Profile) -> ProfileCheck:
        check = PromptCheck(self.prompts, lambda _profile: self.media, self.find_problem, deferToThread)
        (row,) = await check(checked)
        return row

    async def check_recording(self, **fields: Any) -> ProfileCheck:
        check = RecordingCheck((self.find_problem,), self.directory, deferToThread)
        (row,) = await check(profile(**{"record": True, **fields}))
        return row

    async def test_archive_that_is_not_mounted(self) -> None:
        self.directory.rmdir()
        self.directory.write_text("a file where the archive needs a directory")
        row = await self.check_recording()
        self.assertEqual(row.state, CheckState.FAILED)
        self.assertIn("audio cannot be stored", row.detail)
        self.assertIn("mount", row.advice or "")

    async def test_first_use_of_the_archive(self) -> None:
        self.directory.rmdir()
        self.assertEqual((await self.check_recording()).state, CheckState.OK)

    async def add_prompt(self, content: bytes | None) -> UUID:
        prompt = await self.prompts.create(Prompt(id=uuid4(), created_at=NOW, updated_at=NOW))
        if content is not None:
            await self.prompts.put_audio(prompt.id, PromptAudio("WAV", "0" * 64, content), set_duration)
        return prompt.id

    def audio(self, seconds: float) -> bytes:
        path = self.directory / "tone.wav"
        soundfile.write(path, np.zeros(int(8000 * seconds), np.int16), 8000)
        return path.read_bytes()

    async def custom(self, prompt_id: UUID) -> ProfileCheck:
        fields = {"record_prompt": RecordPrompt.CUSTOM, "record_prompt_custom_id": prompt_id}
        return await self.check_prompt(profile(**fields))

    async def test_custom_prompt(self) -> None:
        row = await self.custom(await self.add_prompt(self.audio(2.5)))
        self.assertEqual(row.state, CheckState.OK, row)
        self.assertTrue(row.detail.startswith("2.5 s, 8000 Hz"), row.detail)

    async def test_long_prompt(self) -> None:
        self.assertEqual((await self.custom(await self.add_prompt(self.audio(31)))).state, CheckState.WARNING)

    async def test_prompts_that_cannot_be_played(self) -> None:
        for content in (None, b"not audio"):
            row = await self.custom(await self.add_prompt(content))
            self.assertEqual(row.state, CheckState.FAILED, content)
        self.assertEqual((await self.custom(uuid4())).state, CheckState.FAILED)
        self.media = None
        row = await self.custom(await self.add_prompt(self.audio(1)))
        self.assertEqual(row.state, CheckState.FAILED)
        self.assertIn("asterisk.sounds", row.detail)

    async def test_default_prompt(self) -> None:
        default = profile(record_prompt=RecordPrompt.DEFAULT)
        self.assertEqual((await self.check_prompt(default)).state, CheckState.OK)
        self.problem = "Asterisk cannot play the default announcement"
        self.assertEqual((await self.check_prompt(default)).detail, self.problem)
        self.assertEqual((await self.check_prompt(PROFILE)).state, CheckState.SKIPPED)

    async def test_recording(self) -> None:
        self.assertEqual((await self.check_recording()).state, CheckState.OK)
        self.assertEqual((await self.check_recording(record_format="mp3")).state, CheckState.OK)
        self.assertEqual((await self.check_recording(record=False)).state, CheckState.SKIPPED)
        mono = await self.check_recording(record_format="gsm", record_channels=RecordChannels.DUAL)
        self.assertEqual(mono.state, CheckState.WARNING)
        self.assertEqual((await self.check_recording(record_format="wma")).state, CheckState.FAILED)
        self.problem = "calls cannot be recorded: AMI is away"
        self.assertEqual((await self.check_recording()).detail, self.problem)
        self.assertEqual(list(self.directory.iterdir()), [])


class WebhookTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.webhooks = Webhooks(self.pool)
        self.profile = await Profiles(self.pool).create(PROFILE)
        self.status: int | None = 200
        self.tested: list[tuple[str, UUID | None]] = []

    async def send_test(self, endpoint: Endpoint, profile_id: UUID | None) -> Attempt:
        self.tested.append((endpoint.url, profile_id))
        return Attempt(NOW, 0.25, self.status, "no response within 15 s")

    async def add_webhook(self, url: str, **fields: Any) -> Webhook:
        webhook = Webhook(id=uuid4(), url=url, created_at=NOW, updated_at=NOW, **fields)
        return await self.webhooks.create(webhook)

    async def check(self) -> Sequence[ProfileCheck]:
        return await WebhookCheck(self.webhooks, self.send_test)(self.profile)

    async def test_webhooks_of_the_profile_only(self) -> None:
        await self.add_webhook("https://a.example/")
        self.assertEqual(states(await self.check()), [CheckState.SKIPPED])
        await self.add_webhook("https://b.example/", profile_id=self.profile.id)
        (row,) = await self.check()
        self.assertEqual((row.state, row.target, row.seconds), ("ok", "https://b.example/", 0.25))
        self.assertEqual(self.tested, [("https://b.example/", self.profile.id)])

    async def test_receiver_that_does_not_accept(self) -> None:
        await self.add_webhook("https://b.example/", profile_id=self.profile.id)
        for self.status, text in ((503, "HTTP status 503"), (None, "no response within 15 s")):
            (row,) = await self.check()
            self.assertEqual(row.state, CheckState.FAILED)
            self.assertIn(text, row.detail)

    async def test_disabled_webhook(self) -> None:
        await self.add_webhook("https://b.example/", profile_id=self.profile.id, enabled=False)
        self.assertEqual(states(await self.check()), [CheckState.WARNING])

"""Data such as a small company has, for tests that look at pages, and for the pictures in the documentation."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID, uuid4

import numpy as np
import soundfile

from tests.api.calls.test_calls import make_call
from tests.console.console_test_case import ConsoleTestCase
from tests.mail.key_pairs import make_certificate
from voxrec.model import CallState, NodeStatus, Profile, RecordingState, TimelineEntry, Verdict
from voxrec.store.nodes import Nodes

CALL: Final = UUID("55555555-5555-4555-8555-555555555555")
NODE: Final = UUID("66666666-6666-4666-8666-666666666666")
_RATE: Final = 8000
_PAUSED: Final = (24.0, 33.5)  # seconds
_SECONDS: Final = 64.0
_TURNS: Final = (0.4, 1.9, 3.1, 2.2, 4.0, 1.2, 2.7, 3.4, 0.8, 2.9, 5.0, 1.6)  # seconds that a party speaks


def conversation() -> bytes:
    """Return WAV in which two parties speak in turns, with a pause of the recording."""
    with resources.as_file(
        resources.files("voxrec.calls.announcements").joinpath("sounds", "announcement.wav")
    ) as path:
        speech, _ = soundfile.read(path)
    sides = np.zeros((round(_SECONDS * _RATE), 2))
    position, turn = round(0.6 * _RATE), 0
    while position < len(sides) - _RATE:
        length = min(round(_TURNS[turn % len(_TURNS)] * _RATE), len(sides) - position)
        said = np.resize(np.roll(speech, -turn * 1700), length) * (0.9 if turn % 2 else 0.6)
        sides[position : position + length, turn % 2] = said
        position, turn = position + length + round(0.35 * _RATE), turn + 1
    sides[round(_PAUSED[0] * _RATE) : round(_PAUSED[1] * _RATE)] = 0
    file = io.BytesIO()
    soundfile.write(file, sides, _RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


@dataclass(frozen=True)
class Samples:
    """Ids of what was added."""

    profile: UUID
    recording: UUID
    user: UUID
    webhook: UUID
    certificate: UUID


async def _ready() -> str | None:
    return None


class SampleDataTestCase(ConsoleTestCase):
    """Adds the data. Nothing is as long or as strange as a test would try; see the tests of each page for that."""

    probes = MappingProxyType(dict.fromkeys(("postgresql", "asterisk", "ami", "announcement", "archive"), _ready))

    async def add_samples(self) -> Samples:
        """Add Profiles, Recordings, live calls, a node, jobs, users, a token and a webhook."""
        profiles = [
            await self.add_profile(
                name=name,
                numbers=numbers,
                remote_sip_uri=f"sip:{name.split()[0].lower()}@pbx.example",
                email=f"{name.split()[0].lower()}@company.example",
                record=True,
                record_channels="dual",
                record_prompt="default",
                record_beep_at_start=True,
            )
            for name, numbers in (
                ("Sales", ("+4930901820", "+4930901821")),
                ("Support", ("+4930901830", "+4930901831", "+4930901832", "+4930901833")),
                ("Claims department", ("+4930901840",)),
            )
        ]
        recording = await self._add_recordings(profiles)
        await self._add_operations(profiles, recording)
        user = await self.add_user("benjamin", "supervise", profileIds=[str(profiles[0].id)])
        await self.request("PUT", "/tokens", json={"name": "CRM", "role": "provision"})
        webhook = await self.request(
            "PUT", "/webhooks", json={"url": "https://crm.example/voxrec", "description": "Calls for the CRM"}
        )
        self.assertEqual(webhook.status, 201, webhook.body)
        return Samples(profiles[0].id, recording, user, UUID(webhook.json["id"]), await self._add_certificates())

    async def _add_certificates(self) -> UUID:
        """Add certificates of recipients, and return the id of one that expires soon."""
        certificates = []
        for name, days in (("claims", 400), ("sales", 20)):
            expires_at = datetime.now(UTC) + timedelta(days=days)
            pem = make_certificate(f"{name}@company.example", expires_at=expires_at).decode()
            response = await self.request("PUT", "/recipient-certificates", json={"certificate": pem})
            self.assertEqual(response.status, 201, response.body)
            certificates.append(UUID(response.json["id"]))
        return certificates[-1]

    async def report_node(self) -> None:
        """Have the node report now: it counts as unreachable a few seconds later."""
        status = NodeStatus(version="1.0.0", asterisk_version="22.5.2", live_calls=2, spool_free=10**11)
        await Nodes(self.pool).heartbeat("pbx-1", NODE, NODE, status)

    async def _add_recordings(self, profiles: list[Profile]) -> UUID:
        now = datetime.now(UTC).replace(microsecond=0)
        callers = (
            *(("+493023125", "Anna Lehmann"), ("+494087652", "Jonas Weber"), ("+442079460958", "Priya Sharma")),
            *(("+4989123456", None), (None, None), ("+33142685300", "Camille Bernard")),
        )
        for number, (caller, name) in enumerate(callers * 2):
            profile = profiles[number % 3]
            begin = now - timedelta(minutes=17 * number + 40)
            await self.add_recording(
                profile_id=profile.id,
                state=RecordingState.ABSENT if number == 4 else RecordingState.COMPLETED,
                from_=caller,
                from_name=name,
                to=profile.numbers[0],
                channels=2,
                started_at=begin,
                created_at=begin,
                duration=None if number == 4 else 37.0 + 61 * (number % 5),
                verdict=Verdict(ok=False, reasons=("disk-full",)) if number == 4 else Verdict(ok=True),
                tags=("complaint",) if number == 2 else (),
            )
        events: tuple[tuple[float, str, str | None], ...] = (
            *((0.0, "answered", "callee"), (0.01, "announcement.started", None), (2.41, "announcement.finished", None)),
            *((2.42, "beep", None), (_PAUSED[0], "paused", None), (_PAUSED[1], "resumed", None)),
            (_SECONDS, "hangup", "caller"),
        )
        begin = now - timedelta(minutes=3)
        recording = await self.add_audio(
            conversation(),
            profile_id=profiles[0].id,
            from_="+4930555123",
            from_name="Erika Mustermann",
            to="+4930901820",
            remote_sip_uri="sip:sales@pbx.example",
            channels=2,
            duration=_SECONDS,
            started_at=begin,
            created_at=begin,
            timeline=tuple(TimelineEntry(at=at, event=event, by=by) for at, event, by in events),
            tags=("contract", "vip"),
            verdict=Verdict(ok=True),
        )
        note = {"text": "The customer agrees to the new tariff.", "position": 41.5}
        response = await self.request("POST", f"/recordings/{recording.id}/notes", json=note)
        self.assertEqual(response.status, 201, response.body)
        return recording.id

    async def _add_operations(self, profiles: list[Profile], recording: UUID) -> None:
        now = datetime.now(UTC)
        talking: dict[str, Any] = {
            "id": CALL,
            "profile_id": profiles[0].id,
            "to": "+4930901820",
            "from_": "+4930555777",
            "from_name": "Tom Fischer",
            "started_at": now - timedelta(minutes=2, seconds=14),
            "answered_at": now - timedelta(minutes=2, seconds=9),
            "recording_id": uuid4(),
            "recording_state": RecordingState.RECORDING,
            "node": "pbx-1",
        }
        ringing = {
            **talking,
            "id": uuid4(),
            "profile_id": profiles[1].id,
            "to": "+4930901830",
            "from_": "+442079460123",
            "from_name": "Grace Hall",
            "state": CallState.RINGING,
            "started_at": now - timedelta(seconds=4),
            "answered_at": None,
            "recording_id": None,
            "recording_state": None,
        }
        self.call_control.calls = [make_call(**ringing), make_call(**talking)]
        await self.report_node()
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id, dead, attempts, last_error) VALUES "
            "('mail', %s, TRUE, 9, '550 5.1.1 <sales@company.example>: Recipient address rejected: User unknown'), "
            "('upload', %s, FALSE, 2, 'The store does not respond')",
            (recording, recording),
        )

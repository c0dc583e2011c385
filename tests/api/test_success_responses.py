"""The successful response of every route: status, media type and type of the body."""

import io
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
import soundfile

from tests.api.calls.test_calls import make_call
from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.database import until
from tests.mail.key_pairs import make_certificate
from tests.subtest import subtest
from tests.web.raw_connection import open_connection
from voxrec.api.audio.peaks import Peaks
from voxrec.api.auth.sessions import Identity
from voxrec.api.deliveries.mail_preview import MailPreview
from voxrec.api.deliveries.webhooks import WebhookTest
from voxrec.api.links.link_keys import LinkKeyRotationResult
from voxrec.api.operations.health import Liveness, Readiness
from voxrec.api.operations.jobs import JobModel
from voxrec.api.recordings.recording_counts import RecordingStateCounts
from voxrec.api.recordings.recording_neighbors import RecordingNeighbors
from voxrec.api.recordings.recording_representation import RecordingModel
from voxrec.model import (
    AuditEntry,
    BulkAction,
    BulkActionItem,
    Call,
    EffectiveProfile,
    Export,
    Link,
    LinkUse,
    MailRecipient,
    Node,
    Note,
    Profile,
    ProfileCheckResult,
    Prompt,
    RecipientCertificate,
    RecordingAccess,
    RecordingDelivery,
    RecordingState,
    Session,
    Token,
    User,
    Webhook,
    WebhookAttempt,
    WebhookSecret,
)

PROFILE: Final = "11111111-1111-4111-8111-111111111111"
RECORDING: Final = "22222222-2222-4222-8222-222222222222"
PENDING: Final = "33333333-3333-4333-8333-333333333333"
PROMPT_ID: Final = "44444444-4444-4444-8444-444444444444"
JOB: Final = "66666666-6666-4666-8666-666666666666"
WEBHOOK: Final = "77777777-7777-4777-8777-777777777777"
LINK: Final = "88888888-8888-4888-8888-888888888888"
NOTE: Final = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
NOTE_TEXT: Final = {"text": "The caller agrees."}
USER: Final = "99999999-9999-4999-8999-999999999999"
SESSION: Final = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
CREDENTIALS: Final = {"name": "ben", "password": "correct horse battery staple"}
EXPORT: Final = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
BULK_ACTION: Final = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
CERTIFICATE: Final = "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee"
CALL: Final = "55555555-5555-4555-8555-555555555555"


def make_wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(800), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


@dataclass(frozen=True)
class Row:
    """One request. ``model``: the type of the JSON response, the media type of another body, or None for no body."""

    method: str
    path: str
    status: int
    model: Any
    json: Any = None
    data: bytes | None = None
    location: str = ""


ROWS: Final = (
    Row("GET", "/profiles", 200, list[Profile]),
    Row("PUT", "/profiles", 201, Profile, json={}, location="/profiles/"),
    Row("GET", f"/profiles/{PROFILE}", 200, Profile),
    Row("POST", f"/profiles/{PROFILE}", 200, Profile, json={"record": True}),
    Row("POST", f"/profiles/{PROFILE}/test", 200, ProfileCheckResult, json={}),
    Row("GET", f"/profiles/{PROFILE}/effective", 200, EffectiveProfile),
    Row("GET", f"/profiles/{PROFILE}/recipients", 200, list[MailRecipient]),
    Row("GET", f"/profiles/{PROFILE}/mail-preview", 200, MailPreview),
    Row("GET", "/recordings", 200, list[RecordingModel]),
    Row("GET", "/recording-counts", 200, RecordingStateCounts),
    Row("PUT", "/recordings", 201, RecordingModel, json={"profileId": PROFILE}, location="/recordings/"),
    Row("GET", f"/recordings/{RECORDING}", 200, RecordingModel),
    Row("POST", f"/recordings/{RECORDING}", 200, RecordingModel, json={"metadata": {"a": 1}}),
    Row("GET", f"/profiles/{PROFILE}/recordings", 200, list[RecordingModel]),
    Row("PUT", f"/profiles/{PROFILE}/recordings", 201, list[RecordingModel], json={}, location="/recordings/"),
    Row("GET", f"/profiles/{PROFILE}/recordings/{RECORDING}", 200, RecordingModel),
    Row("POST", f"/profiles/{PROFILE}/recordings/{RECORDING}", 200, RecordingModel, json={"legalHold": False}),
    Row("GET", f"/recordings/{RECORDING}/neighbors", 200, RecordingNeighbors),
    Row("GET", f"/profiles/{PROFILE}/recordings/{RECORDING}/neighbors", 200, RecordingNeighbors),
    Row("GET", f"/recordings/{RECORDING}/audio", 200, "audio/wav"),
    Row("HEAD", f"/recordings/{RECORDING}/audio", 200, "audio/wav"),
    Row("GET", f"/recordings/{RECORDING}/accesses", 200, list[RecordingAccess]),
    Row("GET", f"/recordings/{RECORDING}/peaks", 200, Peaks),
    Row("GET", f"/recordings/{RECORDING}/peaks.png", 200, "image/png"),
    Row("PUT", f"/recordings/{PENDING}/audio", 200, RecordingModel, data=make_wav()),
    Row("GET", "/prompts", 200, list[Prompt]),
    Row("PUT", "/prompts", 201, Prompt, json={"id": PROMPT_ID, "name": "Welcome"}, location="/prompts/"),
    Row("GET", f"/prompts/{PROMPT_ID}", 200, Prompt),
    Row("PUT", f"/prompts/{PROMPT_ID}", 200, Prompt, json={"name": "Hello"}),
    Row("PUT", f"/prompts/{PROMPT_ID}/audio", 200, Prompt, data=make_wav()),
    Row("GET", f"/prompts/{PROMPT_ID}/audio", 200, "audio/wav"),
    Row("DELETE", f"/prompts/{PROMPT_ID}/audio", 204, None),
    Row("DELETE", f"/prompts/{PROMPT_ID}", 204, None),
    Row("GET", "/calls", 200, list[Call]),
    Row("GET", f"/calls/{CALL}", 200, Call),
    Row("POST", f"/calls/{CALL}", 200, Call, json={"recording": True}),
    Row("GET", f"/calls/{CALL}/audio", 200, "audio/wav"),
    Row("HEAD", f"/calls/{CALL}/audio", 200, "audio/wav"),
    Row("DELETE", f"/calls/{CALL}", 204, None),
    Row("GET", "/jobs", 200, list[JobModel]),
    Row("GET", f"/jobs/{JOB}", 200, JobModel),
    Row("POST", f"/jobs/{JOB}", 200, JobModel, json={"state": "pending"}),
    Row("GET", "/nodes", 200, list[Node]),
    Row("GET", "/nodes/berlin", 200, Node),
    Row("POST", "/nodes/berlin", 200, Node, json={"draining": True}),
    Row(
        *("PUT", "/recipient-certificates", 201, RecipientCertificate),
        json={"address": "ann@example.org", "certificate": make_certificate("ann@example.org").decode()},
        location="/recipient-certificates/",
    ),
    Row("GET", "/recipient-certificates", 200, list[RecipientCertificate]),
    Row("GET", f"/recipient-certificates/{CERTIFICATE}", 200, RecipientCertificate),
    Row(
        *("POST", f"/recipient-certificates/{CERTIFICATE}", 200, RecipientCertificate),
        json={"certificate": make_certificate("ben@example.org").decode()},
    ),
    Row("DELETE", f"/recipient-certificates/{CERTIFICATE}", 204, None),
    Row("PUT", "/webhooks", 201, Webhook, json={"url": "https://crm.example/x"}, location="/webhooks/"),
    Row("GET", "/webhooks", 200, list[Webhook]),
    Row("GET", f"/webhooks/{WEBHOOK}", 200, Webhook),
    Row("POST", f"/webhooks/{WEBHOOK}", 200, Webhook, json={"description": "CRM"}),
    Row("GET", f"/webhooks/{WEBHOOK}/secret", 200, WebhookSecret),
    Row("POST", f"/webhooks/{WEBHOOK}/secret", 200, WebhookSecret, json={}),
    Row("POST", f"/webhooks/{WEBHOOK}/test", 200, WebhookTest),
    Row("GET", f"/webhooks/{WEBHOOK}/attempts", 200, list[WebhookAttempt]),
    Row("DELETE", f"/webhooks/{WEBHOOK}", 204, None),
    Row("POST", f"/recordings/{RECORDING}/deliveries", 200, RecordingDelivery, json={"target": "desk@example.org"}),
    Row("GET", f"/recordings/{RECORDING}/deliveries", 200, list[RecordingDelivery]),
    Row("POST", f"/recordings/{RECORDING}/links", 201, Link, json={}, location=f"/recordings/{RECORDING}/links/"),
    Row("GET", f"/recordings/{RECORDING}/links", 200, list[Link]),
    Row("GET", f"/recordings/{RECORDING}/links/{LINK}", 200, Link),
    Row("GET", f"/recordings/{RECORDING}/links/{LINK}/uses", 200, list[LinkUse]),
    Row("DELETE", f"/recordings/{RECORDING}/links/{LINK}", 204, None),
    Row(
        "POST", f"/recordings/{RECORDING}/notes", 201, Note, json=NOTE_TEXT, location=f"/recordings/{RECORDING}/notes/"
    ),
    Row("GET", f"/recordings/{RECORDING}/notes", 200, list[Note]),
    Row("GET", f"/recordings/{RECORDING}/notes/{NOTE}", 200, Note),
    Row("POST", f"/recordings/{RECORDING}/notes/{NOTE}", 200, Note, json={"position": 1.5}),
    Row("DELETE", f"/recordings/{RECORDING}/notes/{NOTE}", 204, None),
    Row("POST", "/bulk-actions", 201, BulkAction, json={"action": "export"}, location="/bulk-actions/"),
    Row("GET", "/bulk-actions", 200, list[BulkAction]),
    Row("GET", f"/bulk-actions/{BULK_ACTION}", 200, BulkAction),
    Row("GET", f"/bulk-actions/{BULK_ACTION}/recordings", 200, list[BulkActionItem]),
    Row("POST", f"/bulk-actions/{BULK_ACTION}", 200, BulkAction, json={"state": "canceled"}),
    Row("POST", "/exports", 201, Export, json={}, location="/exports/"),
    Row("GET", "/exports", 200, list[Export]),
    Row("GET", f"/exports/{EXPORT}", 200, Export),
    Row("GET", f"/exports/{EXPORT}/file", 200, "application/zip"),
    Row("DELETE", f"/exports/{EXPORT}", 204, None),
    Row("PUT", "/tokens", 201, Token, json={"name": "crm", "role": "read"}, location="/tokens/"),
    Row("GET", "/tokens", 200, list[Token]),
    Row("PUT", "/users", 201, User, json={**CREDENTIALS, "role": "read"}, location="/users/"),
    Row("GET", "/users", 200, list[User]),
    Row("GET", f"/users/{USER}", 200, User),
    Row("PUT", "/session", 200, Session, json=CREDENTIALS),
    Row("GET", "/session", 200, Identity),
    Row("GET", "/sessions", 200, list[Session]),
    Row("DELETE", f"/sessions/{SESSION}", 204, None),
    Row("POST", f"/users/{USER}", 200, User, json={"role": "provision"}),  # ends the sessions
    Row("DELETE", f"/users/{USER}/second-factor", 204, None),
    Row("DELETE", "/sessions", 204, None),
    Row("POST", "/link-keys", 200, LinkKeyRotationResult, json={}),
    Row("DELETE", f"/users/{USER}", 204, None),
    Row("GET", "/audit", 200, list[AuditEntry]),
    Row("GET", "/health/live", 200, Liveness),
    Row("GET", "/health/ready", 200, Readiness),
    Row("GET", "/metrics", 200, "text/plain"),
    Row("GET", "/openapi.json", 200, dict[str, Any]),
    Row("GET", "/docs", 200, "text/html"),
    # last, because other rows need these resources
    Row("DELETE", f"/profiles/{PROFILE}/recordings/{RECORDING}", 204, None),
    Row("DELETE", f"/recordings/{PENDING}", 204, None),
    Row("DELETE", f"/profiles/{PROFILE}", 204, None),
)


class SuccessResponseTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.add_profile(id=UUID(PROFILE), email="desk@example.org")
        await self.add_audio(make_wav(), id=UUID(RECORDING), profile_id=UUID(PROFILE))
        await self.add_recording(id=UUID(PENDING), profile_id=UUID(PROFILE), state=RecordingState.PENDING)
        await self.pool.execute(
            "INSERT INTO jobs (id, kind, recording_id, dead) VALUES (%s, 'mail', %s, TRUE)", (JOB, RECORDING)
        )
        await self.pool.execute("INSERT INTO nodes (name) VALUES ('berlin')")
        await self.pool.execute("INSERT INTO webhooks (id, url) VALUES (%s, 'https://crm.example')", (WEBHOOK,))
        await self.pool.execute(
            "INSERT INTO recipient_certificates (id, address, mailbox, other_address_allowed, type, certificate, "
            "subject, addresses, fingerprint, algorithm, expires_at, created_at, updated_at) "
            "VALUES (%s, 'ben@example.org', 'ben@example.org', FALSE, 'smime', '', '', '{}', '', '', now(), now(), "
            "now())",
            (CERTIFICATE,),
        )
        await self.add_recording(state=RecordingState.FAILED)
        await self.pool.execute(
            "INSERT INTO webhook_attempts (delivery_id, webhook_id, created_at, seconds, reply) "
            "SELECT id, webhook_id, now(), 1, 'timeout' FROM webhook_deliveries"
        )
        await self.pool.execute(
            "INSERT INTO links (id, recording_id, origin, created_by, expires_at) "
            "VALUES (%s, %s, 'rest', 'crm', now() + interval '1 h')",
            (LINK, RECORDING),
        )
        await self.pool.execute(
            "INSERT INTO link_uses (link_id, address, user_agent) VALUES (%s, '192.0.2.1', 'Firefox')", (LINK,)
        )
        await self.pool.execute("INSERT INTO users VALUES (%s, 'anna', '-', 'read', NULL, TRUE, now(), now())", (USER,))
        await self.pool.execute("INSERT INTO second_factors VALUES (%s, 'SECRET', 0)", (USER,))
        await self.pool.execute(
            "INSERT INTO sessions VALUES (%s, %s, sha256('-'), now(), now(), now() + interval '1 hour', '::1', '')",
            (SESSION, USER),
        )
        await self.pool.execute(
            "INSERT INTO exports (id, created_by, format, audio, query, state, size, sha256, expires_at) "
            "VALUES (%s, 'crm', 'zip', TRUE, '{}', 'completed', 2, %s, now() + interval '1 h')",
            (EXPORT, "0" * 64),
        )
        await self.pool.execute(
            "INSERT INTO bulk_actions (id, action, created_by, address, expires_at) "
            "VALUES (%s, 'delete', 'crm', '::1', now() + interval '1 h')",
            (BULK_ACTION,),
        )
        await self.pool.execute(
            "INSERT INTO bulk_action_items VALUES (%s, 1, %s, 'pending', NULL)", (BULK_ACTION, RECORDING)
        )
        await self.pool.execute(
            "INSERT INTO notes (id, recording_id, text, author, created_at, updated_at) "
            "VALUES (%s, %s, 'x', 'crm', now(), now())",
            (NOTE, RECORDING),
        )
        self.export_access.directory.create()
        self.export_access.directory.file_of(await self.exports.get(UUID(EXPORT))).write_bytes(b"PK")
        self.call_control.calls = [make_call(id=UUID(CALL))]

    async def test_status_and_body(self) -> None:
        for row in ROWS:
            with subtest(f"{row.method} {row.path}"):
                self.check(row, await self.send(row))

    async def test_conditional_requests(self) -> None:
        """Every resource with an ETag honours the same conditions, for GET and HEAD, and documents them."""
        paths = (await self.request("GET", "/openapi.json", token="")).json["paths"]
        tested = set()
        for row in (*ROWS, Row("GET", "/docs/page.css", 200, None)):
            response = await self.send(row)
            if (etag := response.headers.get("etag")) and row.method in ("GET", "HEAD"):
                tested.add(row.path)
                with subtest(f"{row.method} {row.path}"):
                    await self.check_conditions(row.method, row.path, etag, response)
                    operation = paths[self.template(row.path)]["get"]
                    documented = {each["name"] for each in operation["parameters"]}
                    self.assertEqual({"If-Match", "If-None-Match"} - documented, set())
                    self.assertEqual({"304", "412"} - operation["responses"].keys(), set())
        self.assertGreater(len(tested), 15, tested)

    async def check_conditions(self, method: str, path: str, etag: str, current: ClientResponse) -> None:
        for headers, status in (
            ({"If-None-Match": etag}, 304),
            ({"If-None-Match": f'"x", W/{etag}'}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": '"x"'}, 200),
            ({"If-Match": etag}, 200),
            ({"If-Match": "*"}, 200),
            ({"If-Match": f"W/{etag}"}, 412),  # If-Match requires the strong comparison
            ({"If-Match": '"x"'}, 412),
            ({"If-Match": ""}, 412),
            ({"If-Match": '"x"', "If-None-Match": etag}, 412),  # If-Match has precedence
            ({"If-Match": etag, "If-None-Match": etag}, 304),
            ({"If-Match": '"x"', "Range": "bytes=0-0"}, 412),
        ):
            with subtest(headers):
                response = await self.request(method, path, headers=headers)
                self.assertEqual(response.status, status, response.body)
                self.assertEqual(response.headers.get("etag"), etag)
                if status == 304:
                    self.assertEqual(response.body, b"")
                    self.assertEqual(response.headers["cache-control"], current.headers["cache-control"])

    async def send(self, row: Row) -> ClientResponse:
        if row.data is not None:
            return await self.request(row.method, row.path, data=row.data, headers={"Content-Type": "audio/wav"})
        return await self.request(row.method, row.path, **({} if row.json is None else {"json": row.json}))

    def check(self, row: Row, response: ClientResponse) -> None:
        self.assertEqual(response.status, row.status, response.body)
        if row.location:
            self.assertTrue(response.headers["location"].startswith(f"{PUBLIC_URL}{row.location}"))
        if row.model is None:
            self.assertEqual((response.body, response.headers.get("content-type")), (b"", None))
        elif isinstance(row.model, str):
            self.assertEqual(response.headers["content-type"].partition(";")[0], row.model)
            self.assertEqual(bool(response.body), row.method != "HEAD")
        else:
            self.assertEqual(response.headers["content-type"], "application/json")
            msgspec.json.decode(response.body, type=row.model)
            self.assertTrue(response.json or row.path == "/audit", "the list is empty, so its items are not checked")

    async def test_token_until_its_deletion(self) -> None:
        token = (await self.request("PUT", "/tokens", json={"name": "crm", "role": "read"})).json
        for method, status in (("GET", 200), ("DELETE", 204), ("GET", 404)):
            self.assertEqual((await self.request(method, f"/tokens/{token['id']}")).status, status)

    async def test_location_of_created_resources(self) -> None:
        for row in ROWS:
            if row.location and not row.path.startswith(f"/profiles/{PROFILE}"):
                with subtest(row.path):
                    response = await self.send(row)
                    path = response.headers["location"].removeprefix(PUBLIC_URL)
                    self.assertEqual(path, f"{row.location}{response.json['id']}")
                    self.assertEqual((await self.request("GET", path)).status, 200)

    async def test_event_stream(self) -> None:
        connection = await open_connection(self.port)
        connection.transport.write(b"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        await until(lambda: b"\r\n\r\n" in connection.received)
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"text/event-stream", connection.received)
        connection.transport.abortConnection()
        await connection.closed

    async def test_every_documented_route_is_tested(self) -> None:
        paths = (await self.request("GET", "/openapi.json", token="")).json["paths"]
        documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        in_table = {(row.method, self.template(row.path)) for row in ROWS if row.method != "HEAD"}
        tested_elsewhere = {
            ("DELETE", "/jobs/{id}"),
            ("GET", "/events"),
            ("GET", "/tokens/{id}"),
            ("DELETE", "/tokens/{id}"),
            ("DELETE", "/session"),
            ("POST", "/profiles/{id}/calls"),
            ("POST", "/session/password"),
            ("PUT", "/session/code"),
            *((method, "/session/second-factor") for method in ("GET", "PUT", "POST")),
            ("POST", "/session/second-factor/remove"),
            ("POST", "/session/recovery-codes"),
        }
        files = {("GET", "/docs/page.css"), ("GET", "/docs/page.js")}
        tested_elsewhere |= {("GET", "/l/{name}"), ("POST", "/l/{name}"), ("GET", "/l/{name}/audio")}
        self.assertEqual(documented - in_table - tested_elsewhere - files, set())
        self.assertEqual(in_table - documented, set())

    def template(self, path: str) -> str:
        template = path.replace(f"/profiles/{PROFILE}/recordings", "/profiles/{profileId}/recordings")
        template = template.replace(LINK, "{linkId}").replace(NOTE, "{noteId}")
        for resource_id in (
            PROFILE,
            RECORDING,
            PENDING,
            PROMPT_ID,
            CALL,
            JOB,
            WEBHOOK,
            CERTIFICATE,
            USER,
            SESSION,
            EXPORT,
            BULK_ACTION,
        ):
            template = template.replace(resource_id, "{id}")
        return template.replace("/nodes/berlin", "/nodes/{name}")

"""GET /calls/<id>/audio: who may listen to a live call, what is heard, and what the audit log says about it."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import soundfile
from twisted.internet.task import LoopingCall

from tests.api.calls.test_calls import make_call
from tests.api.rest_test_case import ClientResponse, RestTestCase
from tests.database import reactor, until
from tests.web.raw_connection import RawConnection, open_connection
from voxrec.calls.listening.frames import Frame
from voxrec.calls.listening.listener import Listener
from voxrec.calls.listening.live_listening import TooManyListeners
from voxrec.clock import utc_now
from voxrec.errors import StoreUnavailable
from voxrec.model import AuditEntry, ListenSide
from voxrec.store.audit import AuditFilter
from voxrec.web import response_writer
from voxrec.web.auth import Principal

CALL = UUID("55555555-5555-4555-8555-555555555555")
PATH = f"/calls/{CALL}/audio"


class ListeningTestCase(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.call = make_call(id=CALL)
        self.call_control.calls = [self.call]

    async def audit_entries(self) -> list[AuditEntry]:
        entries = [entry async for page in self.audit.pages(AuditFilter(path=PATH)) for entry in page]
        return sorted(entries, key=lambda entry: entry.created_at)

    async def make_token(self, **fields: Any) -> str:
        response = await self.request("PUT", "/tokens", json={"name": "ear", "role": "read", **fields})
        self.assertEqual(response.status, 201, response.body)
        self.token_id = response.json["id"]
        return str(response.json["token"])


class StreamTests(ListeningTestCase):
    async def test_the_stream_is_a_wav_file(self) -> None:
        for query, channels in (("", [1, 2]), ("?side=both", [1, 2]), ("?side=caller", [1]), ("?side=callee", [2])):
            response = await self.request("GET", f"{PATH}{query}", token="read")
            self.assertEqual((response.status, response.headers["content-type"]), (200, "audio/wav"))
            self.assertEqual(response.headers["cache-control"], "no-store")
            self.assertNotIn("content-length", response.headers)
            # the sizes in the header are those of an endless file, so the samples are read as raw ones
            samples, _ = soundfile.read(
                io.BytesIO(response.body[44:]), dtype="int16", always_2d=True,
                samplerate=8000, channels=len(channels), format="RAW", subtype="PCM_16",
            )  # fmt: skip
            self.assertEqual(samples.tolist(), [channels] * 160)
            self.assertEqual(response.body[22:28], bytes([len(channels), 0]) + (8000).to_bytes(4, "little"))

    async def test_head_listens_to_nothing(self) -> None:
        response = await self.request("HEAD", PATH, token="read")
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(await self.audit_entries(), [])

    async def test_unknown_side(self) -> None:
        response = await self.request("GET", f"{PATH}?side=left", token="read")
        self.assertEqual((response.status, response.error_fields), (422, ["side"]))


class PermissionTests(ListeningTestCase):
    async def refused(self, token: str, status: int) -> ClientResponse:
        response = await self.request("GET", PATH, token=token)
        self.assertEqual(response.status, status, response.body)
        self.assertEqual((self.listeners, await self.audit_entries()), ([], []))
        return response

    async def test_no_role_includes_the_permission(self) -> None:
        for role in ("read", "supervise", "provision", "admin"):
            response = await self.refused(await self.make_token(name=f"a {role} token", role=role), 403)
            self.assertIn("listenLive", response.json["detail"])

    async def test_permission_of_a_token(self) -> None:
        token = await self.make_token(listenLive=True)
        self.assertEqual((await self.request("GET", PATH, token=token)).status, 200)
        self.assertTrue((await self.request("GET", f"/tokens/{self.token_id}")).json["listenLive"])

    async def test_disabled(self) -> None:
        self.listening_enabled = False
        response = await self.refused("admin", 403)
        self.assertIn("listening.enabled", response.json["detail"])

    async def test_calls_of_other_profiles_do_not_exist(self) -> None:
        own = await self.add_profile()
        token = await self.make_token(listenLive=True, profileIds=[str(own.id)])
        await self.refused(token, 404)
        self.call_control.calls = [make_call(id=CALL, profile_id=own.id)]
        self.assertEqual((await self.request("GET", PATH, token=token)).status, 200)

    async def test_unknown_call(self) -> None:
        response = await self.request("GET", f"/calls/{uuid4()}/audio", token="read")
        self.assertEqual(response.status, 404)

    async def test_listeners_are_shown_to_supervisors(self) -> None:
        self.call_control.calls = [make_call(id=CALL, listeners=())]
        for path in ("/calls", f"/calls/{CALL}"):
            for token, expected in (("read", None), ("supervise", [])):
                body = (await self.request("GET", path, token=token)).json
                self.assertEqual((body[0] if isinstance(body, list) else body)["listeners"], expected)


class AuditTests(ListeningTestCase):
    def begin_to_talk(self, listener: Listener) -> None:
        """Send audio, and leave the stream open."""
        silence = np.zeros(160, dtype=np.int16)
        for _ in range(3):
            listener.add(Frame(silence, silence))

    async def open_stream(self, token: str = "read") -> RawConnection:
        connection = await open_connection(self.port)
        request = f"GET {PATH}?side=caller HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        connection.transport.write(request.encode())
        await until(lambda: b"WAVE" in connection.received and bool(self.listeners))
        return connection

    async def ended_entry(self) -> AuditEntry:
        entries: list[AuditEntry] = []

        async def ended() -> bool:
            entries[:] = await self.audit_entries()
            return len(entries) == 1 and entries[0].outcome == "done"

        await self.until_async(ended)
        return entries[0]

    async def until_async(self, condition: Callable[[], Any]) -> None:
        while not await condition():
            await until(lambda: True)

    async def test_a_listening_is_audited_from_its_beginning_to_its_end(self) -> None:
        token = await self.make_token(listenLive=True)
        connection = await self.open_stream(token)
        (entry,) = await self.audit_entries()
        self.assertEqual((entry.outcome, entry.seconds, entry.who, entry.kind), ("begun", None, "ear", "call audio"))
        listening = self.listeners[0].listening
        self.assertEqual((entry.target_id, str(entry.token_id), entry.id), (CALL, self.token_id, listening.id))
        self.assertEqual(listening.side, ListenSide.CALLER)
        connection.transport.loseConnection()
        entry = await self.ended_entry()
        self.assertEqual((entry.status, entry.reason), (200, "the client has disconnected"))
        self.assertGreater(entry.seconds or 0, 0)
        self.assertEqual(self.listeners, [])

    async def test_the_end_of_the_call_ends_the_response(self) -> None:
        connection = await self.open_stream()
        self.listeners[0].end("the call has ended")
        await until(lambda: connection.received.endswith(b"0\r\n\r\n"))
        self.assertEqual((await self.ended_entry()).reason, "the call has ended")
        connection.transport.abortConnection()
        await connection.closed

    async def test_a_client_that_does_not_read_is_disconnected(self) -> None:
        self.patch(response_writer, "LIVE_STALL_TIMEOUT", 0.3)
        connection = await self.open_stream()
        connection.transport.pauseProducing()

        def feed() -> None:
            for listener in 30 * self.listeners:
                self.begin_to_talk(listener)

        feeding = LoopingCall(feed)
        feeding.clock = reactor
        feeding.start(0.001)
        entry = await self.ended_entry()
        feeding.stop()
        self.assertEqual(entry.reason, "the client has disconnected")
        connection.transport.resumeProducing()
        await connection.closed

    async def test_a_revoked_token_ends_it(self) -> None:
        token = await self.make_token(listenLive=True)
        connection = await self.open_stream(token)
        self.app.recheck_listeners()  # still permitted
        await self.request("DELETE", f"/tokens/{self.token_id}")
        self.invalidate_tokens()
        self.app.recheck_listeners()
        self.assertEqual((await self.ended_entry()).reason, "the permission to listen has ended")
        connection.transport.abortConnection()
        await connection.closed

    async def test_a_revoked_token_ends_it_while_its_address_has_to_wait(self) -> None:
        token = await self.make_token(listenLive=True)
        connection = await self.open_stream(token)
        await self.request("DELETE", f"/tokens/{self.token_id}")
        self.invalidate_tokens()
        statuses = [(await self.request("GET", "/calls", token="guessed")).status for _ in range(7)]
        self.assertEqual(statuses[-1], 429)
        self.app.recheck_listeners()
        self.assertEqual((await self.ended_entry()).reason, "the permission to listen has ended")
        connection.transport.abortConnection()
        await connection.closed

    async def test_a_token_that_is_revoked_while_the_listening_begins(self) -> None:
        token = await self.make_token(listenLive=True)
        listen = self.app._route_table.listening._listen

        async def revoke(*arguments: Any) -> Any:
            await self.request("DELETE", f"/tokens/{self.token_id}")
            self.invalidate_tokens()
            self.app.recheck_listeners()
            return await listen(*arguments)

        self.app._route_table.listening._listen = revoke
        self.assertEqual((await self.request("GET", PATH, token=token)).status, 200)
        self.assertEqual((await self.ended_entry()).reason, "the permission to listen has ended")

    async def test_a_token_expires_while_postgresql_cannot_be_reached(self) -> None:
        expires_at = utc_now(reactor) + timedelta(seconds=2)
        connection = await self.open_stream(await self.make_token(listenLive=True, expiresAt=expires_at.isoformat()))
        self.disconnect_postgresql()
        self.assertEqual((await self.ended_entry()).reason, "the permission to listen has ended")
        connection.transport.abortConnection()
        await connection.closed

    async def test_disabling_ends_it_while_postgresql_cannot_be_reached(self) -> None:
        connection = await self.open_stream()
        self.disconnect_postgresql()
        self.app.recheck_listeners()  # not known
        self.listening_enabled = False
        self.app.recheck_listeners()
        self.assertEqual((await self.ended_entry()).reason, "the permission to listen has ended")
        connection.transport.abortConnection()
        await connection.closed

    def disconnect_postgresql(self) -> None:
        """Let no client be authenticated."""

        async def fail(_token: str) -> Principal:
            raise StoreUnavailable("PostgreSQL does not respond.")

        self.patch(self.authenticator, "authenticate", fail)

    async def test_disabling_ends_it(self) -> None:
        connection = await self.open_stream()
        self.listening_enabled = False
        self.app.recheck_listeners()
        self.assertEqual((await self.ended_entry()).reason, "the permission to listen has ended")
        connection.transport.abortConnection()
        await connection.closed

    async def test_refusals_are_audited(self) -> None:
        async def refuse(*_arguments: object) -> Listener:
            raise TooManyListeners("This node has 10 listeners.")

        self.app._route_table.listening._listen = refuse
        response = await self.request("GET", PATH, token="read")
        self.assertEqual((response.status, response.json["code"]), (409, "too-many-listeners"))
        (entry,) = await self.audit_entries()
        self.assertEqual((entry.outcome, entry.status), ("refused", 409))

    async def test_the_call_of_another_node(self) -> None:
        self.call_control.other_node = "berlin"
        response = await self.request("GET", PATH, token="read")
        self.assertEqual((response.status, response.json["code"]), (409, "other-node"))
        self.assertIn("berlin", response.json["detail"])

    def invalidate_tokens(self) -> None:
        """Do what the notification of PostgreSQL does."""
        self.stored_tokens.invalidate()

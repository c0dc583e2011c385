"""/calls/<id>/audio: the audio of a live call, for persons who may listen."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.api.audit_entries import begun_entry, failed_entry, store_outcome
from voxrec.api.calls.call_control import CallControl
from voxrec.clock import UtcNow, utc_now
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NotFound, OtherNode, VoxrecError
from voxrec.model import AuditEntry, AuditOutcome, Call, ListenSide
from voxrec.store.audit import Audit
from voxrec.web.auth import AccessControl, Principal, Role
from voxrec.web.errors import NotAllowed, NotAuthenticated, TooManyAttempts
from voxrec.web.parameters import one_of
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response, unsent_body
from voxrec.web.route import Route

PATH: Final = "/calls/<id>/audio"
WAV: Final = "audio/wav"
NOT_PERMITTED: Final = "the permission to listen has ended"
_RECHECK_INTERVAL: Final = 30.0  # seconds; a session that listens is in use
_SHORTEST_INTERVAL: Final = 1.0  # seconds; by PostgreSQL's clock, a session may end later than by the local one
_HEADERS: Final = {"Content-Type": WAV, "X-Accel-Buffering": "no"}  # nginx would buffer the stream
_PARAMETERS: Final[dict[str, QueryParameter[Any]]] = {
    "side": one_of(
        [*ListenSide],
        "Who is heard: both, the caller on the left and the far end on the right, or one of them. Without it, both.",
        title="ListenSide",
    )
}


class LiveAudio(Protocol):
    """The audio of a live call, which is the body of a response."""

    @property
    def seconds(self) -> float:
        """The duration until now, or until the end."""

    @property
    def reason(self) -> str:
        """Why it has ended."""

    def end(self, reason: str) -> None:
        """End it, because of ``reason``."""

    def __aiter__(self) -> "LiveAudio":
        """Return the body itself."""

    async def __anext__(self) -> bytes:
        """Return the next part, or raise StopAsyncIteration."""

    def close(self) -> None:
        """End it now, because the client has disconnected."""

    async def aclose(self) -> None:
        """End it, if it has not ended."""


Listen = Callable[[UUID, str, ListenSide, UUID], Awaitable[LiveAudio]]
"""Begins to listen to a call: the id of the call, the listener's name, the side, and the id of the listening.

Raises NotFound if this node has no such call, and Conflict if it cannot be heard.
"""


async def no_listening(call_id: UUID, _who: str, _side: ListenSide, _listening_id: UUID) -> LiveAudio:
    """Find no call."""
    raise NotFound(f"There is no live call {call_id} in this process.")


class ListeningRoutes:
    """Listening to live calls. Each listening has an audit entry, from its beginning to its end."""

    def __init__(
        self,
        clock: IReactorTime,
        calls: CallControl,
        listen: Listen,
        audit: Audit,
        access_control: AccessControl,
        now: UtcNow,
        is_enabled: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._calls = calls
        self._listen = listen
        self._audit = audit
        self._access_control = access_control
        self._now = now
        self._is_enabled = is_enabled
        self._streams: set[_AuditedStream] = set()
        self._rechecks = 0

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", PATH, Role.READ, self._stream, WAV),
                profile_scoped=True,
                response_model=(WAV,),
                query=_PARAMETERS,
                errors=(Conflict, OtherNode),
                summary="Listen to a live call",
                tag="calls",
            ),
        )

    async def _stream(self, request: Request) -> Response:
        """A WAV stream without end: 16-bit PCM, 8 or 16 kHz, until the call ends or the client disconnects.

        The user or the token needs the permission `listenLive`, which no role includes, and the settings must permit
        listening. While a recording is paused, the stream is silent. A client that is too slow misses audio. Another
        node's call is refused with the name of that node.
        """
        self._require_permission(request.principal)
        rechecks = self._rechecks
        call = await self._calls.get_call(request.id)
        if not request.principal.may_access(call.profile_id):
            raise NotFound(f"There is no live call {request.id}.")
        if request.method == "HEAD":
            return Response(200, _HEADERS, unsent_body())
        entry = begun_entry(request, PATH, self._now())
        await self._audit.begin(entry)
        side = request.query.get("side", ListenSide.BOTH)
        try:
            audio = await self._calls.on_this_node(
                call.id, lambda: self._listen(call.id, request.principal.name, side, entry.id)
            )
        except Exception as error:
            await store_outcome(self._audit.end, failed_entry(entry, error))
            raise
        stream = _AuditedStream(self._clock, audio, entry, self._audit, lambda: self._may_listen(request, call))
        self._streams.add(stream)
        stream.when_over.addCallback(lambda _: self._streams.discard(stream))
        stream.check_later(request.principal)
        if rechecks != self._rechecks:  # the client was authenticated before the change
            stream.check()
        return Response(200, _HEADERS, stream, is_live=True)

    def recheck(self) -> None:
        """End the streams of clients that may not listen any more: tokens, users or settings have changed."""
        self._rechecks += 1
        for stream in tuple(self._streams):
            stream.check()

    def _require_permission(self, principal: Principal) -> None:
        self._require_enabled()
        if not principal.listen_live:
            detail = f"{principal.name!r} does not have the permission listenLive, which no role includes."
            raise NotAllowed(detail, reason=ProblemReason.LISTENING_NOT_PERMITTED)

    def _require_enabled(self) -> None:
        if not self._is_enabled():
            detail = "Live listening is disabled (setting listening.enabled)."
            raise NotAllowed(detail, reason=ProblemReason.LISTENING_DISABLED)

    async def _may_listen(self, request: Request, call: Call) -> Principal | None:
        """Return the principal of a request if it may still listen to a call."""
        try:
            self._require_enabled()  # also while PostgreSQL cannot say who the client is
            principal = await self._access_control.admit(request.address, "GET", request.headers, Role.READ)
            self._require_permission(principal)
        except (NotAuthenticated, NotAllowed, TooManyAttempts):  # a valid token is never told to wait
            return None
        return principal if principal.may_access(call.profile_id) else None


class _AuditedStream:
    """The body of a response, which ends when the client may not listen any more, and whose end is audited.

    ``may_listen`` returns the client's principal, None if the permission has ended, and raises a VoxrecError if that
    cannot be found out now.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        audio: LiveAudio,
        entry: AuditEntry,
        audit: Audit,
        may_listen: Callable[[], Awaitable[Principal | None]],
    ) -> None:
        self._clock = clock
        self._audio = audio
        self._entry = entry
        self._audit = audit
        self._may_listen = may_listen
        self._next_check: IDelayedCall | None = None
        self._expires_at: datetime | None = None
        self.when_over: Deferred[None] = Deferred()
        """Fires when the body is closed."""

    def check_later(self, principal: Principal) -> None:
        """Find out after 30 s, or when the principal expires, whether the client may still listen."""
        self._expires_at = principal.expires_at
        self._schedule_check()

    def _schedule_check(self) -> None:
        self._cancel_check()
        delay = max(_SHORTEST_INTERVAL, min(_RECHECK_INTERVAL, self._seconds_left))
        self._next_check = self._clock.callLater(delay, self.check)

    @property
    def _seconds_left(self) -> float:
        """The time until the client's token or session expires."""
        return math.inf if self._expires_at is None else (self._expires_at - utc_now(self._clock)).total_seconds()

    def check(self) -> None:
        """Find out whether the client may still listen."""
        if not self.when_over.called:
            Deferred.fromCoroutine(self._check()).addErrback(self._check_failed)

    async def _check(self) -> None:
        principal = await self._may_listen()
        if self.when_over.called:
            return
        if principal is None:
            self._audio.end(NOT_PERMITTED)
        else:
            self.check_later(principal)

    def _check_failed(self, failure: Failure) -> None:
        if not failure.check(VoxrecError):
            self._log.failure("the permission of a listener could not be checked; retrying in 30 s", failure)
        if self.when_over.called:
            return
        if self._seconds_left > 0:
            self._schedule_check()
        else:
            self._audio.end(NOT_PERMITTED)

    def _cancel_check(self) -> None:
        if self._next_check is not None and self._next_check.active():
            self._next_check.cancel()

    # The body of the response.

    def __aiter__(self) -> "_AuditedStream":
        return self

    async def __anext__(self) -> bytes:
        """Return the next part of the audio."""
        return await anext(self._audio)

    def close(self) -> None:
        """End the audio now, because the client has disconnected."""
        self._audio.close()

    async def aclose(self) -> None:
        """End the audio, if it has not ended, and store in the audit log why and after how long it has ended."""
        if self.when_over.called:
            return
        self._cancel_check()
        self.when_over.callback(None)
        await self._audio.aclose()
        entry = msgspec.structs.replace(
            self._entry,
            outcome=AuditOutcome.DONE,
            status=200,
            reason=self._audio.reason,
            seconds=round(self._audio.seconds, 3),
        )
        await store_outcome(self._audit.end, entry)

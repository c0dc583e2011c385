"""What REST reads and changes of the live calls of this process."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import msgspec
from twisted.logger import Logger

from voxrec.calls.admission import Admission, Refusal
from voxrec.calls.call_data import InboundCall
from voxrec.calls.channels.invited_caller import invited_call
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.signalling.causes import Cause
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import AsteriskUnavailable, Conflict, FieldError, InvalidInput, NotFound, Unavailable
from voxrec.model import Call, CallState, EventType, Listening, PauseBehavior, Profile, Recording

Reserve = Callable[[Profile], Awaitable[bool | None]]
Commit = Callable[[Call], Awaitable[None]]
"""Stores the outcome of a request for a call."""


async def no_reservation(_profile: Profile) -> None:
    """Reserve nothing."""


class CallControl:
    """Lists, ends and records live calls, and pauses and resumes their recordings."""

    _log = Logger()

    def __init__(self, live_calls: LiveCalls, admission: Admission, is_connected: Callable[[], bool]) -> None:
        """``is_connected`` returns whether Asterisk is connected."""
        self._live_calls = live_calls
        self._admission = admission
        self._is_connected = is_connected
        self.reserve: Reserve = no_reservation
        """Reserves a call of a Profile that has a maximum, as that of the `Router`."""
        self.listeners_of: Callable[[UUID], tuple[Listening, ...]] = lambda _call_id: ()
        """Returns who listens to a call."""

    def list_calls(self) -> list[Call]:
        """Return the live calls, newest first."""
        return [self._with_listeners(call) for call in reversed(tuple(self._live_calls))]

    def get_call(self, call_id: UUID) -> Call:
        """Return one live call. Raises NotFound."""
        return self._with_listeners(self._require_call(call_id))

    def _with_listeners(self, call: LiveCall) -> Call:
        return msgspec.structs.replace(call.representation(), listeners=self.listeners_of(call.id))

    def release(self, call_id: UUID) -> None:
        """End a live call; one that is ending already is not changed. Raises NotFound."""
        self._require_call(call_id).inputs.release(Cause.NORMAL)

    async def request(self, profile: Profile, uri: str, commit: Commit) -> Call:
        """Call a person at a SIP URI, to be connected with the far end of a Profile, and return the call.

        ``commit`` is called when the call is accepted, before the person is called, so that a repeated request does not
        call the person twice; if it raises, the person is not called. Raises InvalidInput if the person must not be
        called, Conflict if the Profile does not permit the call, and Unavailable if this process cannot place it.
        """
        if not self._admission.is_allowed(uri):
            problem = "the settings do not permit calls to this host (calls.allowed_hosts)"
            field_error = FieldError("from", problem, FieldErrorCode.HOST_NOT_ALLOWED)
            raise InvalidInput("1 field is invalid.", [field_error])
        if not self._is_connected():
            raise AsteriskUnavailable("Asterisk is not connected, or another node has it.")
        call = self._accept(invited_call(uuid4(), uri, profile), profile, await self._reserved(profile))
        representation = msgspec.structs.replace(call.representation(), state=CallState.CALLING)
        try:
            await commit(representation)
        except BaseException:
            self._live_calls.forget([call])
            raise
        if call.id in self._live_calls:  # it may have been left to another process meanwhile
            self._live_calls.publish(EventType.CALL_STARTED, call)
            call.inputs.invite()
            self._log.info("call {call}: requested for Profile {profile}", call=call.id, profile=profile.id)
        return representation

    async def _reserved(self, profile: Profile) -> bool | None:
        return None if profile.max_calls is None else await self.reserve(profile)

    def _accept(self, inbound: InboundCall, profile: Profile, reserved: bool | None) -> LiveCall:
        decision = self._admission.admit(inbound, profile, reserved)
        if isinstance(decision, Refusal):
            error = Unavailable if decision.cause is Cause.CONGESTION else Conflict
            raise error(f"The call was refused: {decision.reason}.", reason=ProblemReason.CALL_REFUSED)
        return self._live_calls.open(inbound, profile)

    def record(self, call_id: UUID) -> Call:
        """Record a live call from now on, and return it. Raises NotFound, and Conflict if it cannot be recorded."""
        call = self._require_call(call_id)
        call.record()
        return self._with_listeners(call)

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None) -> Recording:
        """Pause a live Recording until it is resumed, or for ``seconds``, and return it. Raises Conflict."""
        return await self._require_recording(recording_id).pause(behavior, seconds)

    async def resume(self, recording_id: UUID) -> Recording:
        """Resume a live Recording, and return it. Raises Conflict."""
        return await self._require_recording(recording_id).resume()

    def is_recording(self, recording_id: UUID) -> bool:
        """Return whether a live call has the Recording."""
        return self._live_calls.is_recording(recording_id)

    def _require_call(self, call_id: UUID) -> LiveCall:
        call = self._live_calls.get(call_id)
        if call is None:
            raise NotFound(f"There is no live call {call_id} in this process.")
        return call

    def _require_recording(self, recording_id: UUID) -> LiveCall:
        call = self._live_calls.of_recording(recording_id)
        if call is None:
            detail = f"Recording {recording_id} belongs to no live call of this process."
            raise Conflict(detail, reason=ProblemReason.NOT_LIVE)
        return call

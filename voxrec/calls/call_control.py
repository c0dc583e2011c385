"""What REST reads and changes of the live calls of this process."""

from uuid import UUID

from voxrec.calls.causes import Cause
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.errors import Conflict, NotFound
from voxrec.model import Call, PauseBehavior, Recording


class CallControl:
    """Lists, ends and records live calls, and pauses and resumes their recordings."""

    def __init__(self, live_calls: LiveCalls) -> None:
        self._live_calls = live_calls

    def list_calls(self) -> list[Call]:
        """Return the live calls, newest first."""
        return [call.representation() for call in reversed(tuple(self._live_calls))]

    def get_call(self, call_id: UUID) -> Call:
        """Return one live call. Raises NotFound."""
        return self._require_call(call_id).representation()

    def release(self, call_id: UUID) -> None:
        """End a live call; one that is ending already is not changed. Raises NotFound."""
        self._require_call(call_id).inputs.release(Cause.NORMAL)

    def record(self, call_id: UUID) -> Call:
        """Record a live call from now on, and return it. Raises NotFound, and Conflict if it cannot be recorded."""
        call = self._require_call(call_id)
        call.record()
        return call.representation()

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
            raise Conflict(f"Recording {recording_id} belongs to no live call of this process.")
        return call

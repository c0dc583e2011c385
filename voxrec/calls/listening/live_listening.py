"""Live listening to all calls of this process: who may still listen, and what happens in Asterisk for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.ids import ANNOUNCEMENT, owner_of
from voxrec.calls.listening.call_audio import ListeningContext
from voxrec.calls.listening.call_listeners import CALL_ENDED, CallListeners
from voxrec.calls.listening.listener import Listener
from voxrec.calls.listening.media_port import UdpReactor
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.clock import utc_now
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NotFound, Unavailable
from voxrec.model import (
    Call,
    CallState,
    EventType,
    Listening,
    ListeningEvent,
    ListeningEventType,
    ListenSide,
    Side,
)

_AUDIBLE: Final = (CallState.ANNOUNCING, CallState.TALKING)
_CHECK_INTERVAL: Final = 1.0  # seconds
_STOP_TIMEOUT: Final = 5.0  # seconds that stopService waits for Asterisk
STOPPING: Final = "voxrec is stopping"
FAILED: Final = "the audio could not be requested from Asterisk"


class TooManyListeners(Conflict):
    """The maximum number of listeners, of this node or of the call, is reached."""

    code = "too-many-listeners"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSettings:
    """The settings of live listening.

    ``address`` is that of this process, as Asterisk reaches it. ``notice`` is the media URI of a sound that the parties
    hear when a listener begins; empty: none.
    """

    enabled: bool = False
    max_listeners: int = 10
    max_listeners_per_call: int = 3
    notice: str = ""
    silent_in_pauses: bool = True
    address: str = "127.0.0.1"


class LiveListening(Service):
    """Lets persons hear the calls of this process. It observes the events of Asterisk (`event_received`) and of calls.

    ``publish`` is called with the beginning and the end of each listening; neither blocks nor fails.
    """

    name = "live listening"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        udp: UdpReactor,
        asterisk: AriClient,
        live_calls: LiveCalls,
        settings: ListeningSettings,
    ) -> None:
        self._clock = clock
        self._udp = udp
        self._asterisk = asterisk
        self._live_calls = live_calls
        self.settings = settings
        self.publish: Callable[[ListeningEvent], object] = lambda _event: None
        self.count_ended: Callable[[Listener], object] = lambda _listener: None
        """Called with each listener that has ended."""
        self._by_call: dict[UUID, CallListeners] = {}  # those that accept listeners
        self._all: set[CallListeners] = set()  # also those that are being removed from Asterisk
        self._begun: set[Listener] = set()
        self._check = LoopingCall(self._check_all)
        self._check.clock = clock
        self._emptied: list[Deferred[None]] = []
        self._stopped = False
        live_calls.is_listening_object = self.owns
        live_calls.add_listener(self)

    def stopService(self) -> Deferred[None]:
        """End all listeners, and remove everything from Asterisk."""
        super().stopService()
        self._stopped = True  # REST stops later
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for listeners in tuple(self._by_call.values()):
            listeners.end_all(STOPPING)
        if not self._all:
            return
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        try:
            await emptied.addTimeout(_STOP_TIMEOUT, self._clock)
        except TimeoutError:
            self._log.warn("channels of live listening are left in Asterisk; the next process removes them")

    # Listeners.

    @property
    def count(self) -> int:
        """The number of listeners."""
        return sum(map(len, self._by_call.values()))

    def of_call(self, call_id: UUID) -> tuple[Listening, ...]:
        """Return who listens to a call."""
        return tuple(listener.listening for listener in self._by_call.get(call_id, ()))

    async def listen(self, call_id: UUID, who: str, side: ListenSide, listening_id: UUID) -> Listener:
        """Begin to listen to a call, as ``who``; close the listener at the end.

        Raises NotFound; Conflict if the parties are not connected, or TooManyListeners; and Unavailable.
        """
        if self._stopped:
            raise Unavailable(STOPPING)
        call = self._live_calls.get(call_id)
        if call is None:
            raise NotFound(f"There is no live call {call_id} in this process.")
        self._require_audible(call)
        listening = Listening(id=listening_id, who=who, side=side, started_at=utc_now(self._clock))
        listener = Listener(self._clock, call_id, call.profile.id, listening, self._ended)
        try:
            await self._listeners_of(call).add(listener)
        except AriResponseError as error:
            listener.end(FAILED)
            if error.channel_gone:
                detail = f"Call {call_id} cannot be heard any more: a party has hung up."
                raise Conflict(detail, reason=ProblemReason.CALL_NOT_AUDIBLE) from error
            raise Unavailable(f"Asterisk does not send the audio of the call (module chan_rtp.so): {error}") from error
        except Exception:
            listener.end(FAILED)
            raise
        if listener.has_ended:
            detail = f"Call {call_id} cannot be heard any more: {listener.reason}."
            raise Conflict(detail, reason=ProblemReason.CALL_NOT_AUDIBLE)
        self._began(call, listener)
        return listener

    def _require_audible(self, call: LiveCall) -> None:
        if call.status not in _AUDIBLE:
            states = " or ".join(_AUDIBLE)
            detail = f"Call {call.id} is {call.status}: only a call that is {states} can be heard."
            raise Conflict(detail, reason=ProblemReason.CALL_NOT_AUDIBLE)
        if self.count >= self.settings.max_listeners:
            raise TooManyListeners(f"This node has {self.count} listeners, the maximum (listening.max_listeners).")
        listeners = len(self._by_call.get(call.id, ()))
        if listeners >= self.settings.max_listeners_per_call:
            raise TooManyListeners(
                f"Call {call.id} has {listeners} listeners, the maximum (listening.max_listeners_per_call)."
            )

    def _listeners_of(self, call: LiveCall) -> CallListeners:
        listeners = self._by_call.get(call.id)
        if listeners is None:
            listeners = self._by_call[call.id] = CallListeners(
                ListeningContext(self._clock, self._udp, self._asterisk, self.settings.address),
                call,
                lambda: self.settings.silent_in_pauses,
                self._closed,
            )
            self._all.add(listeners)
            if not self._check.running:
                self._check.start(_CHECK_INTERVAL, now=False)
        return listeners

    def _began(self, call: LiveCall, listener: Listener) -> None:
        self._begun.add(listener)
        self._log.info(
            "call {call}: {who} listens to {side}",
            call=call.id,
            who=listener.listening.who,
            side=listener.listening.side,
        )
        self._publish(ListeningEventType.JOINED, listener)
        if self.settings.notice:
            for side in Side:
                call.confirmations.play(side, self.settings.notice)

    def _ended(self, listener: Listener) -> None:
        listeners = self._by_call.get(listener.call_id)
        if listeners is not None:
            if len(listeners) == 1:  # the next listener needs others: these are removed from Asterisk
                del self._by_call[listener.call_id]
            listeners.remove(listener)
        if listener not in self._begun:
            return
        self._begun.discard(listener)
        self._log.info(
            "call {call}: {who} has listened for {seconds:.1f} s; {reason}",
            call=listener.call_id,
            who=listener.listening.who,
            seconds=listener.seconds,
            reason=listener.reason,
        )
        self.count_ended(listener)
        self._publish(ListeningEventType.LEFT, listener)

    def _publish(self, type_: ListeningEventType, listener: Listener) -> None:
        at = utc_now(self._clock)
        self.publish(ListeningEvent(type=type_, at=at, profile_id=listener.profile_id, data=listener.report()))

    def _closed(self, listeners: CallListeners) -> None:
        self._all.discard(listeners)
        if not self._all:
            if self._check.running:
                self._check.stop()
            emptied, self._emptied = self._emptied, []
            for each in emptied:
                each.callback(None)

    # Events of calls and of Asterisk. A defect of this package must not keep them from the call.

    def owns(self, object_id: str) -> bool:
        """Return whether a channel or bridge in Asterisk is in use, or is being removed."""
        return any(listeners.owns(object_id) for listeners in self._all)

    def call_changed(self, event: EventType, call: Call) -> None:
        """End the listeners of a call that has ended."""
        if event is not EventType.CALL_ENDED or call.id not in self._by_call:
            return
        try:
            self._by_call[call.id].end_all(CALL_ENDED)
        except Exception:
            self._log.failure("live listening could not process the end of call {call}", call=call.id)

    def call_refused(self, cause: int) -> None:
        """Ignore a refused call."""

    def event_received(self, event: events.Event) -> None:
        """Handle an event of Asterisk, before the call does. Does not raise."""
        if not self._all:
            return
        try:
            self._handle(event)
        except Exception:
            self._log.failure("live listening could not process {event}", event=type(event).__name__)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.StasisStart(channel, _, replaced):
                for listeners in tuple(self._all):
                    listeners.channel_entered(channel.id)
                if replaced is not None:
                    self._renew_decoders(self._live_calls.of_caller(replaced.id))
            case events.StasisEnd(channel) | events.ChannelDestroyed(channel):
                for listeners in tuple(self._all):
                    listeners.channel_gone(channel.id)
            case events.ChannelUnhold(channel):
                of_caller = self._live_calls.of_caller(channel.id)
                self._renew_decoders(of_caller or self._live_calls.of_leg(channel.id))
            case events.PlaybackFinished(playback):
                owner = owner_of(playback.id)
                if owner is not None and owner[1].startswith(ANNOUNCEMENT):
                    self._renew_decoders(self._live_calls.get(owner[0]))
            case _:
                pass

    def _renew_decoders(self, call: LiveCall | None) -> None:
        if call is not None and call.id in self._by_call:
            self._by_call[call.id].decoders_outdated()

    def _check_all(self) -> None:
        for listeners in tuple(self._by_call.values()):
            if self._live_calls.get(listeners.call.id) is not listeners.call:  # another process has it
                listeners.end_all(CALL_ENDED)
            else:
                listeners.check()

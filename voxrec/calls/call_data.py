"""The data of one call: what came in, the settings of all calls, and the facts that REST and the store show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from voxrec.calls.signalling.hops import NO_HOPS, Hops
from voxrec.clock import utc_now
from voxrec.model import Attempt, CallState, Profile


@dataclass(frozen=True, slots=True)
class CallSettings:
    """The settings that all calls share. Times are in seconds; ``beep`` is a media URI.

    ``announcement`` returns the media URI of a Profile's announcement, None if it cannot be played.
    ``has_disk_space`` returns whether there is free space for another recording. ``endpoint`` and ``trusted_endpoint``
    are the PJSIP endpoints for untrusted and for trusted far ends; ``is_trusted`` returns whether a SIP URI is trusted.
    ``announcement_failed`` is called when an announcement was not played completely, ``recording_failed`` when a call
    that is to be recorded, or one side of it, is not, ``decoder_restarted`` when Asterisk had recorded silence
    instead of a party that spoke. ``max_redirects`` is the number of redirections that are followed in one call, and
    ``is_allowed`` returns whether a SIP URI may be called.
    ``pause_sound`` and ``resume_sound`` are the media URIs that confirm DTMF codes, or empty; ``count_code`` is called
    with what each code was to do and its outcome.
    ``node`` is the name of this node.
    ``jitter_buffer``: both channels of a call that is to be recorded have a jitter buffer.
    ``far_end_unreachable`` is called with a call and the SIP URI of its far end, which Asterisk may not have called.
    """

    endpoint: str
    ring_timeout: float
    setup_timeout: float
    max_call: float
    announcement: Callable[[Profile], str | None]
    beep: str
    jitter_buffer: bool = False
    has_disk_space: Callable[[], bool] = lambda: True
    trusted_endpoint: str = ""
    is_trusted: Callable[[str], bool] = lambda _uri: False
    announcement_failed: Callable[[], object] = lambda: None
    max_redirects: int = 0
    is_allowed: Callable[[str], bool] = lambda _uri: True
    far_end_unreachable: Callable[[UUID, str], object] = lambda _call_id, _uri: None
    pause_sound: str = ""
    resume_sound: str = ""
    count_code: Callable[[str, str], object] = lambda _change, _outcome: None
    node: str | None = None
    recording_failed: Callable[[], object] = lambda: None
    decoder_restarted: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class InboundCall:
    """A call accepted from the trunk: the id of its channel, the caller's number and name, and the dialled number.

    ``headers`` are the SIP headers of its INVITE that are copied to the far end, but not to an untrusted one if the
    caller's number is ``withheld``. ``wideband`` says whether its audio has more than 8 kHz; with a ``late_offer``
    that is known after the ACK only. ``hops`` limits loops. ``invited`` is the SIP URI of a caller whom voxrec
    calls first, because a client has requested the call; empty for a call from the trunk. ``attempt`` is which attempt
    of a SIP proxy to pass the call to a node this is; None without a proxy. ``dialog`` is the same for an INVITE to
    one number that arrives by several ways; empty if that is not known.
    """

    channel: str
    number: str
    name: str
    dialled: str
    headers: Mapping[str, str] = field(default_factory=dict)
    wideband: bool = False
    late_offer: bool = False
    withheld: bool = False
    hops: Hops = NO_HOPS
    invited: str = ""
    attempt: Attempt | None = None
    dialog: str = ""


@dataclass
class CallData:
    """The facts about one call. ``status`` follows the call machine; ``callee`` is the SIP URI of the far end.

    The channel of ``inbound`` changes if Asterisk replaces it.
    """

    clock: IReactorTime
    settings: CallSettings
    id: UUID
    recording_id: UUID
    inbound: InboundCall
    profile: Profile
    started_at: datetime
    callee: str
    status: CallState = CallState.NEW
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    hangup_cause: int | None = None
    hangup_by: str | None = None
    sip_status: int | None = None

    @property
    def ring_timeout(self) -> float:
        """Seconds for which the far end may ring."""
        return self.profile.ring_timeout_seconds or self.settings.ring_timeout

    @property
    def remaining_duration(self) -> float:
        """Seconds until the call has reached its maximum duration, which counts from the answer."""
        longest = min(self.profile.max_call_seconds or self.settings.max_call, self.settings.max_call)
        return max(0.0, longest - (0.0 if self.answered_at is None else self.seconds_since(self.answered_at)))

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return utc_now(self.clock)

    def seconds_since(self, moment: datetime) -> float:
        """Return the seconds from ``moment`` until now."""
        return max(0.0, (self.now() - moment).total_seconds())

"""Decides which inbound calls are accepted, and which far ends may be called."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from voxrec import sipuri
from voxrec.calls.call_data import InboundCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.hops import DEFAULT_MAX_PASSAGES, check_hops
from voxrec.model import Profile


class ProfileDirectory(Protocol):
    """Finds Profiles in memory."""

    @property
    def confirmed(self) -> bool:
        """Whether all Profiles were loaded. Before that, it is not known that a Profile does not exist."""
        ...

    def find(self, dialled: str) -> Profile | None:
        """Return the Profile with this id or number, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an inbound call is refused: the Q.850 cause for the caller, and the reason for the log.

    ``unknown_profile``: no Profile is known for what was dialled, although all Profiles were loaded.
    ``status`` is the SIP status for the caller; None: the one to which Asterisk maps the cause.
    """

    cause: Cause
    reason: str
    unknown_profile: bool = False
    status: int | None = None


class Admission:
    """Accepts an inbound call if its Profile, the limits and the state of this process permit it.

    ``allowed_hosts``: the hosts that may be called; empty: all. ``max_calls``: of this process; 0: unlimited.
    ``max_passages``: the number of Profiles through which one call may pass.
    """

    def __init__(
        self,
        directory: ProfileDirectory,
        live_calls: LiveCalls,
        *,
        allowed_hosts: tuple[str, ...] = (),
        max_calls: int = 0,
        max_passages: int = DEFAULT_MAX_PASSAGES,
    ) -> None:
        self._directory = directory
        self._live_calls = live_calls
        self._allowed_hosts = allowed_hosts
        self._max_calls = max_calls
        self._max_passages = max_passages
        self._stopping = False
        self._draining = False
        self.opened_or_closed: Callable[[], object] = lambda: None
        """Called when `is_open` may have changed."""

    def set_limits(self, *, allowed_hosts: tuple[str, ...], max_calls: int, max_passages: int) -> None:
        """Change the limits for the following calls."""
        self._allowed_hosts = allowed_hosts
        self._max_calls = max_calls
        self._max_passages = max_passages

    def refuse_new_calls(self) -> None:
        """Refuse all inbound calls from now on (503): the process stops."""
        self._stopping = True
        self.opened_or_closed()

    @property
    def is_open(self) -> bool:
        """Whether inbound calls are considered: the process does not stop, and the node does not drain."""
        return not (self._stopping or self._draining)

    def set_draining(self, draining: bool) -> None:
        """Refuse all inbound calls (503), or accept them again: an operator takes the node out of service."""
        self._draining = draining
        self.opened_or_closed()

    def is_allowed(self, uri: str) -> bool:
        """Return whether a SIP URI may be called (`is_allowed`)."""
        return is_allowed(uri, self._allowed_hosts)

    def decide(self, inbound: InboundCall, reserved: bool | None = None) -> Profile | Refusal:
        """Return the Profile of an inbound call that is accepted, or why it is refused; ``reserved`` as in `admit`."""
        if self._stopping or self._draining:
            return self._closed()
        profile = self._directory.find(inbound.dialled)
        if profile is None and not self._directory.confirmed:
            return Refusal(Cause.CONGESTION, "the Profiles are not loaded yet")
        if profile is None:
            return Refusal(Cause.UNALLOCATED, "no Profile has this id or number", unknown_profile=True)
        return self.admit(inbound, profile, reserved)

    def admit(self, inbound: InboundCall, profile: Profile, reserved: bool | None = None) -> Profile | Refusal:
        """Return the Profile if its rules and the limits permit the call, or why it is refused.

        ``reserved`` is whether the Profile's maximum permits the call, counted over all nodes; None: that is not known,
        and only the calls of this process are counted.
        """
        if self._stopping or self._draining:
            return self._closed()
        if profile.remote_sip_uri is None:
            return Refusal(Cause.NO_ANSWER, f"Profile {profile.id} has no remoteSipUri")
        if not self.is_allowed(profile.remote_sip_uri):
            return Refusal(Cause.REJECTED, f"remoteSipUri of Profile {profile.id} must not be called")
        if (limit := check_hops(inbound.hops, profile.id, self._max_passages)) is not None:
            return Refusal(Cause.ROUTING_ERROR, limit.reason, status=limit.status)
        if self._max_calls and len(self._live_calls) >= self._max_calls:
            return Refusal(Cause.CONGESTION, f"the maximum of {self._max_calls} live calls is reached")
        if profile.max_calls is None:
            return profile
        within = reserved if reserved is not None else self.count_calls(profile.id) < profile.max_calls
        if not within:
            return Refusal(
                Cause.BUSY, f"the maximum of {profile.max_calls} live calls of Profile {profile.id} is reached"
            )
        return profile

    def _closed(self) -> Refusal:
        return Refusal(Cause.CONGESTION, "voxrec is stopping" if self._stopping else "the node is draining")

    def count_calls(self, profile_id: UUID) -> int:
        """Return the number of live calls of a Profile in this process."""
        return sum(call.profile.id == profile_id for call in self._live_calls)


def is_allowed(uri: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Return whether a SIP URI may be called: Asterisk calls its host and no other, and that host is allowed.

    A Profile that was stored by an earlier version may have a URI that `voxrec.sipuri.parse` rejects. An empty
    ``allowed_hosts`` allows all hosts.
    """
    try:
        host = sipuri.parse(uri).host
    except sipuri.SipUriError:
        return False
    return sipuri.is_host_allowed(host, allowed_hosts)


def is_trusted(uri: str, trusted_hosts: tuple[str, ...]) -> bool:
    """Return whether the host of a SIP URI is among ``trusted_hosts``: it may get numbers that callers withhold."""
    try:
        host = sipuri.parse(uri).host
    except sipuri.SipUriError:
        return False
    return sipuri.is_host_listed(host, trusted_hosts)

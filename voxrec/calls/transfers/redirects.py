"""Decides whether a redirection (a 3xx response) by the far end of a call is followed."""

from typing import Final

from twisted.logger import Logger

from voxrec import sipuri
from voxrec.calls.call_data import CallData
from voxrec.calls.signalling.sip_status import FORBIDDEN, LOOP_DETECTED, UNAVAILABLE

# 305 and 380 name a proxy and another service, not another address of the callee (RFC 3261 sections 21.3.4, 21.3.5).
_FOLLOWED: Final = frozenset({300, 301, 302})
_ENDPOINT_PARTS: Final = 2  # PJSIP/<endpoint>/ is before the URI


class Redirects:
    """The redirections of one call.

    Asterisk does not follow them itself (``redirect_method = uri_core`` in etc/asterisk/pjsip.conf): it reports the
    contact with the highest priority (q), and the call then continues here.

    The report can be missing: the thread of the leg's bridge sends it, and the thread that has dialled removes the leg
    from the bridge if it finds it hung up first, which happens when the far end redirects at once and the machine is
    busy (Asterisk 16 and 22: stasis_app_exec in res_stasis.c, bridge_handle_trip in bridge_channel.c). The same far
    end is then called once more. It cannot be known whether the redirection had a contact.
    """

    _log = Logger()

    def __init__(self, call: CallData) -> None:
        self._call = call
        self._contact = ""
        self._called: set[tuple[str | None, str, int | None]] = set()
        self._called_again: set[str] = set()

    def reported(self, forward: str) -> None:
        """Handle Asterisk's report that the current leg was redirected to ``PJSIP/<endpoint>/<URI>``."""
        parts = forward.split("/", _ENDPOINT_PARTS)
        self._contact = parts[-1] if len(parts) > _ENDPOINT_PARTS else ""

    def decide(self, status: int) -> str | int:
        """Return the URI to call instead if the current leg ended with ``status``, else the status for the caller.

        The status is 0 if it was no redirection.
        """
        contact, self._contact = self._contact, ""
        if not 300 <= status < 400:
            return 0
        callee = self._call.callee
        if not contact and status in _FOLLOWED and self._may_call_again(callee):
            self._called_again.add(callee)
            self._log.info(
                "call {call}: redirected ({status}) to a contact that Asterisk has not reported; calling the same far "
                "end once more",
                call=self._call.id,
                status=status,
            )
            return callee
        self._called.add(_address(callee))
        refusal, reason = self._refusal(contact, status)
        if refusal:
            self._log.info(
                "call {call}: not following the redirection ({status}): {reason}",
                call=self._call.id,
                status=status,
                reason=reason,
            )
            return refusal
        self._log.info(
            "call {call}: redirected ({status}) to {host}",
            call=self._call.id,
            status=status,
            host=sipuri.parse(contact).host,
        )
        return contact

    def _may_call_again(self, callee: str) -> bool:
        return self._call.settings.max_redirects > 0 and callee not in self._called_again

    def _refusal(self, contact: str, status: int) -> tuple[int, str]:
        """Return the status for the caller, and the reason for the log; 0 if the redirection is followed."""
        limit = self._call.settings.max_redirects
        if status not in _FOLLOWED:
            return UNAVAILABLE, "only 300, 301 and 302 are followed"
        if not limit:
            return UNAVAILABLE, "calls.max_redirects is 0"
        if not contact:
            return UNAVAILABLE, "it has no SIP URI as its contact"
        if not self._call.settings.is_allowed(contact):
            return FORBIDDEN, "its contact must not be called (calls.allowed_hosts)"
        if _address(contact) in self._called:
            return LOOP_DETECTED, "its contact was called before"
        if len(self._called) > limit:
            return UNAVAILABLE, f"the call was redirected {limit} times already (calls.max_redirects)"
        return 0, ""


def _address(uri: str) -> tuple[str | None, str, int | None]:
    """Return what a SIP URI has to differ in to be another address: the user, the host and the port."""
    try:
        parsed = sipuri.parse(uri)
    except sipuri.SipUriError:
        return None, uri, None
    return parsed.user, parsed.host, parsed.port

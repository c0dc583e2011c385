"""Checks the far end of a Profile by a SIP OPTIONS request that Asterisk sends."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from voxrec.ari.options_request import OptionsUnavailable
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck

Explain = Callable[[str], Awaitable[str | None]]
"""Returns why a SIP URI cannot be called: no address in the DNS, no transport; None if no reason is known."""


class OptionsRequests(Protocol):
    """See `voxrec.ari.options_request.OptionsRequests`."""

    async def send(self, uri: str, endpoint: str, /) -> float | None:
        """Send OPTIONS, and return the seconds until the response, None without one."""


class TargetCheck:
    """Sends OPTIONS to the far end. A host that must not be called gets none."""

    def __init__(
        self,
        options: OptionsRequests,
        is_allowed: Callable[[str], bool],
        endpoint_of: Callable[[str], str],
        explain: Explain,
    ) -> None:
        """``endpoint_of`` returns the PJSIP endpoint through which a SIP URI is called."""
        self._options = options
        self._is_allowed = is_allowed
        self._endpoint_of = endpoint_of
        self._explain = explain

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return one row."""
        uri = profile.remote_sip_uri
        if uri is None:
            return [_row(None, CheckState.FAILED, "the Profile has no remoteSipUri", "set remoteSipUri")]
        if not self._is_allowed(uri):
            return [
                _row(
                    uri,
                    CheckState.FAILED,
                    "the settings do not permit calls to this host; callers receive 403",
                    "change remoteSipUri, or add the host to calls.allowed_hosts",
                )
            ]
        return [await self._send_options(uri)]

    async def _send_options(self, uri: str) -> ProfileCheck:
        endpoint = self._endpoint_of(uri)
        try:
            seconds = await self._options.send(uri, endpoint)
        except OptionsUnavailable as error:
            advice = "compare pjsip.conf of Asterisk with etc/asterisk/pjsip.conf of this version, or repeat the test"
            return _row(uri, CheckState.SKIPPED, f"Asterisk cannot send OPTIONS: {error.detail}", advice)
        if seconds is None:
            if (reason := await self._explain(uri)) is not None:
                return _row(uri, CheckState.FAILED, reason, "correct remoteSipUri, the DNS or pjsip.conf")
            return _row(
                uri,
                CheckState.FAILED,
                f"no response to OPTIONS that Asterisk sent through the endpoint {endpoint}",
                "check the host, the port, the firewall and whether the far end is running; place a call if it is "
                "known to ignore OPTIONS",
            )
        return _row(uri, CheckState.OK, f"responded to OPTIONS within {max(seconds, 0.001) * 1000:.0f} ms")


def _row(uri: str | None, state: CheckState, detail: str, advice: str | None = None) -> ProfileCheck:
    return ProfileCheck(name=CheckName.TARGET, target=uri, state=state, detail=detail, advice=advice)

"""Explains to the operator why a far end could not be called, where Asterisk says no more than 503."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voxrec import sipuri
from voxrec.errors import VoxrecError

ResolveHost = Callable[[str], Awaitable[object]]
"""Looks a host name up in the DNS; raises OSError if it has no address."""
GetConfig = Callable[[str, str], Awaitable[Mapping[str, str]]]
"""Returns the settings of an object of a type in Asterisk's PJSIP configuration. Raises VoxrecError."""
CountUnreachable = Callable[[str], object]
"""Counts a far end that could not be reached, with the reason: ``dns`` or ``transport``."""
MAX_CONCURRENT: Final = 20  # diagnoses; further ones are omitted, since many calls fail for the same reason


class UnreachableFarEnds:
    """Logs why calls fail that Asterisk did not even send: an unknown host, or no transport for the protocol."""

    _log = Logger()

    def __init__(
        self,
        resolve_host: ResolveHost,
        get_config: GetConfig,
        endpoint_of: Callable[[str], str],
        count: CountUnreachable,
    ) -> None:
        """``endpoint_of`` returns the PJSIP endpoint through which a SIP URI is called."""
        self._resolve_host = resolve_host
        self._get_config = get_config
        self._endpoint_of = endpoint_of
        self._count = count
        self._running = 0

    def explain(self, call_id: UUID, callee: str) -> None:
        """Find out in the background why the SIP URI ``callee`` could not be called, and log it."""
        if self._running < MAX_CONCURRENT:
            self._running += 1
            Deferred.fromCoroutine(self._explain(call_id, callee))

    async def reason(self, callee: str) -> str | None:
        """Return why the SIP URI ``callee`` cannot be called; None if no reason is known. Raises VoxrecError."""
        uri = sipuri.parse(callee)
        if not await self._resolves(uri.host):
            return f"the host {uri.host} has no address in the DNS"
        if (missing := await self._missing_transport(callee, uri)) is not None:
            return "the URI requires {protocol}, but the endpoint {endpoint} has a transport for {configured}".format(
                **missing
            )
        return None

    async def _explain(self, call_id: UUID, callee: str) -> None:
        try:
            uri = sipuri.parse(callee)
            if not await self._resolves(uri.host):
                self._count("dns")
                self._log.warn("call {call}: the host {host} has no address in the DNS", call=call_id, host=uri.host)
            elif (missing := await self._missing_transport(callee, uri)) is not None:
                self._count("transport")
                self._log.warn(
                    "call {call}: the far end is called over {protocol}, but the endpoint {endpoint} has a transport"
                    " for {configured}",
                    call=call_id,
                    **missing,
                )
        except (VoxrecError, sipuri.SipUriError) as error:
            self._log.debug("call {call}: it is not known why it failed: {error}", call=call_id, error=error)
        except Exception:
            self._log.failure("call {call}: it is not known why it failed", call=call_id)
        finally:
            self._running -= 1

    async def _resolves(self, host: str) -> bool:
        try:
            await self._resolve_host(host)
        except OSError:
            return False
        return True

    async def _missing_transport(self, callee: str, uri: sipuri.SipUri) -> Mapping[str, str] | None:
        """Return what to log if the endpoint has a transport of another protocol than the URI; None if not."""
        wanted = (dict(uri.parameters).get("transport") or ("tls" if uri.scheme == "sips" else "udp")).lower()
        endpoint = self._endpoint_of(callee)
        transport = (await self._get_config("endpoint", endpoint)).get("transport", "")
        if not transport:
            return None  # Asterisk chooses one by the URI
        configured = (await self._get_config("transport", transport)).get("protocol", wanted)
        return None if configured == wanted else {"protocol": wanted, "endpoint": endpoint, "configured": configured}

"""A second ARI client of the stack's Asterisk, to inspect it independently of voxrec."""

from typing import Any

from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool

from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError, HttpTransport
from voxrec.sandbox.stack import Stack

TIMEOUT_SECONDS = 10


def observe_asterisk(stack: Stack, reactor: Any) -> AriClient:
    """Return an ARI client over HTTP that registers no Stasis application and keeps no connection open."""
    http = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
    asterisk = stack.asterisk
    transport = HttpTransport(
        reactor, http, asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, TIMEOUT_SECONDS
    )
    return AriClient(transport, "observer")


async def existing_bridges(asterisk: AriClient) -> list[str]:
    """Return the ids of the bridges that exist: Asterisk 16 can also list some that were destroyed."""
    listed = [bridge.id for bridge in await asterisk.list_bridges()]
    return [bridge for bridge in listed if await _bridge_exists(asterisk, bridge)]


async def _bridge_exists(asterisk: AriClient, bridge: str) -> bool:
    try:
        await asterisk.add_to_bridge(bridge, ("no-such-channel",))  # Asterisk looks for the bridge first
    except AriResponseError as error:
        return not error.not_found
    return True

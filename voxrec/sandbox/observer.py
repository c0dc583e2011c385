"""A second ARI client of the stack's Asterisk, to inspect it independently of voxrec."""

from typing import Any

from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool

from voxrec.ari.client import AriClient
from voxrec.ari.transport import HttpTransport
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

"""The AMI connection to Asterisk."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from voxrec.ami.client import AmiClient
from voxrec.ami.connection import AmiConnection, endpoint_for
from voxrec.composition.environment import Environment


@dataclass(frozen=True)
class Ami:
    """The connection, and the client that uses it."""

    connection: AmiConnection
    client: AmiClient


def build_ami(env: Environment, before_ready: Callable[[], Awaitable[None]]) -> Ami:
    """Build the AMI connection; see `AmiConnection` for ``before_ready``."""
    settings = env.config.asterisk
    connection = AmiConnection(
        env.reactor,
        endpoint_for(env.reactor, settings.ami_url, settings.request_timeout),
        user=settings.ami_user,
        password=settings.ami_secret,
        request_timeout=settings.request_timeout,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        before_ready=before_ready,
    )
    return Ami(connection, AmiClient(connection))

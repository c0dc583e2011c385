"""The address at which REST listens, from the description of a Twisted server endpoint."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_ANY: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to compare with


class RestAddress(NamedTuple):
    """The kind of an endpoint, such as ``ssl``, its named parameters, and host and port; the port is 0 if unknown.

    ``target`` is an address at which this machine reaches the host.
    """

    kind: str
    options: Mapping[str, str]
    host: str
    port: int

    @property
    def target(self) -> str:
        """An address of this machine at which the endpoint can be reached."""
        return _ANY.get(self.host, self.host)


def parse_listen(listen: str) -> RestAddress:
    """Parse the description of an endpoint. A backslash precedes a colon that separates nothing (IPv6)."""
    kind, *parameters = (part.replace("\\:", ":") for part in re.split(r"(?<!\\):", listen))
    options = dict(each.split("=", 1) for each in parameters if "=" in each)
    port = options.get("port") or next((each for each in parameters if each.isdigit()), "")
    host = options.get("interface", "0.0.0.0")  # noqa: S104 - as Twisted does
    return RestAddress(kind, options, host, int(port) if kind in ("tcp", "ssl") and port else 0)

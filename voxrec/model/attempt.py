"""The attempts of a SIP proxy to pass a call to one node after the other."""

import re
from typing import Final, NamedTuple, Self

_VALUE: Final = re.compile(r"([0-9A-Za-z]{1,64})/([0-9]{1,3})")


class Attempt(NamedTuple):
    """One attempt to pass an INVITE to a node, as the header X-Voxrec-Attempt says (etc/kamailio/kamailio.cfg).

    ``invite`` identifies the INVITE that the proxy has received: all its attempts have the same, and an INVITE by
    which the trunk tries again has another one. ``number`` is the number of nodes before that did not respond to it.
    """

    invite: str
    number: int

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Parse ``invite/number``; return None for anything else."""
        matched = _VALUE.fullmatch(value)
        return None if matched is None else cls(matched[1], int(matched[2]))

    def __str__(self) -> str:
        return f"{self.invite}/{self.number}"

    def supersedes(self, other: "Attempt") -> bool:
        """Return whether this is a later attempt to pass on the same INVITE."""
        return self.invite == other.invite and self.number > other.number

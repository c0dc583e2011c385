"""What exists of one call in Asterisk and has to be gone before the call is over."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed

RECORDING = "recording"
"""The recording, as long as at least one of its files is open. Every other resource is the id of a channel."""


class Resources:
    """The caller's channel, the outgoing legs and the recording of one call, as far as they exist."""

    def __init__(self, existing: Iterable[str]) -> None:
        self._existing = dict.fromkeys(existing)  # in the order in which they were added
        self._all_gone: Deferred[None] | None = None

    def __contains__(self, resource: str) -> bool:
        return resource in self._existing

    @property
    def channels(self) -> list[str]:
        """The ids of the channels, oldest first."""
        return [resource for resource in self._existing if resource != RECORDING]

    def add(self, resource: str) -> None:
        """Remember that a resource exists, or is about to exist."""
        self._existing[resource] = None

    def gone(self, resource: str) -> None:
        """Forget a resource that does not exist any more."""
        self._existing.pop(resource, None)
        if not self._existing and self._all_gone is not None:
            all_gone, self._all_gone = self._all_gone, None
            all_gone.callback(None)

    def when_gone(self) -> Deferred[None]:
        """Return a Deferred that fires when no resource exists any more. To be called once."""
        if not self._existing:
            return succeed(None)
        self._all_gone = Deferred()
        return self._all_gone

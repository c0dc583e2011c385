"""Tests of voxrec.composition.rest."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.rest import RestApi


class FakeRecipients:
    """The cache of tokens, the broadcaster of events, and the REST application."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def invalidate(self, token_id: str) -> None:
        self.log.append(f"invalidate {token_id!r}")

    def disconnect_all(self) -> None:
        self.log.append("disconnect all")

    def recheck_listeners(self) -> None:
        self.log.append("recheck listeners")


class RestApiTests(SynchronousTestCase):
    def test_a_changed_token_invalidates_the_cache_before_clients_reconnect(self) -> None:
        fake: Any = FakeRecipients()
        unused: Any = None
        rest = RestApi(
            app=fake,
            server=unused,
            site=unused,
            audio_threads=unused,
            password_threads=unused,
            static_tokens=unused,
            broadcaster=fake,
            event_listener=unused,
            stored_tokens=fake,
            profile_checks=unused,
            probes={},
        )
        rest.token_changed("7")
        rest.token_changed()
        self.assertEqual(
            fake.log,
            [
                *("invalidate '7'", "disconnect all", "recheck listeners"),
                *("invalidate ''", "disconnect all", "recheck listeners"),
            ],
        )

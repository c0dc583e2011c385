"""Tests of voxrec.store.links."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase
from tests.store.samples import recording
from voxrec.errors import NotFound
from voxrec.link_token import SignedToken, SigningKey
from voxrec.model import AuditEntry, Link, LinkOrigin, LinkState
from voxrec.store.audit import Audit
from voxrec.store.links import Links, NewLink, ResolvedLink
from voxrec.store.recordings import Recordings

PUBLIC_URL = "https://rec.example"
MONTH = timedelta(days=30)


def audit_entry() -> AuditEntry:
    return AuditEntry(
        id=uuid4(),
        created_at=datetime.now(UTC),
        who="link",
        address="192.0.2.1",
        method="POST",
        path="/l",
        kind="link",
        user_agent="Firefox",
    )


class LinkTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.recording = await self.recordings.create(recording())
        self.links = self.make_links()

    def make_links(self, key_lifetime: timedelta = MONTH) -> Links:
        """Return the repository as another node, or the next process, has it."""
        return Links(self.pool, PUBLIC_URL, key_lifetime)

    async def create(self, **fields: Any) -> Link:
        defaults: dict[str, Any] = {
            "recording_id": self.recording.id,
            "origin": LinkOrigin.REST,
            "created_by": "crm",
            "expires_at": datetime.now(UTC) + timedelta(days=1),
        }
        return await self.links.create(NewLink(**{**defaults, **fields}))

    async def use(self, link: Link) -> UUID | None:
        return await self.links.use(link.id, "192.0.2.1", "Firefox", audit_entry)

    async def resolved(self, text: str, links: Links | None = None) -> ResolvedLink:
        resolved = await (links or self.links).resolve(text)
        assert resolved is not None
        return resolved

    async def key_ids(self) -> list[int]:
        return [key_id for (key_id,) in await self.pool.query("SELECT id FROM link_keys ORDER BY id")]


def token_of(link: Link) -> str:
    assert link.url is not None
    return link.url.removeprefix(f"{PUBLIC_URL}/l/")


class TokenTests(LinkTestCase):
    async def test_every_node_resolves_a_link(self) -> None:
        link = await self.create(description="for the lawyer", max_uses=3)
        found = (await self.resolved(token_of(link), self.make_links())).link
        assert found is not None
        self.assertEqual((found.id, found.recording_id, found.state), (link.id, self.recording.id, LinkState.ACTIVE))
        self.assertEqual((found.description, found.max_uses, found.uses), ("for the lawyer", 3, 0))

    async def test_every_changed_character_makes_a_token_invalid(self) -> None:
        token = token_of(await self.create())
        for position, character in enumerate(token):
            for other in {"A", "_", "z"} - {character}:
                changed = f"{token[:position]}{other}{token[position + 1 :]}"
                self.assertIsNone(await self.links.resolve(changed), changed)

    async def test_text_that_is_no_token(self) -> None:
        token = token_of(await self.create())
        for text in ("", token[:-1], f"{token}A", f"{token}=", f" {token}", "\u00e4" * 48, "A" * 48, "-" * 48):
            self.assertIsNone(await self.links.resolve(text), text)

    async def test_a_token_of_a_visit_is_not_one_of_a_link_and_belongs_to_one_link(self) -> None:
        link, other = await self.create(), await self.create()
        visit = await self.use(link)
        assert visit is not None
        resolved = await self.resolved(token_of(link))
        text = resolved.visit_token(link, visit)
        self.assertEqual(resolved.visit_id(link, text), visit)
        self.assertIsNone(resolved.visit_id(other, text))
        self.assertIsNone(resolved.visit_id(link, token_of(link)))
        self.assertIsNone(await self.links.resolve(text))
        parsed = SignedToken.parse(text)
        assert parsed is not None
        self.assertEqual(parsed.id, visit)


class KeyTests(LinkTestCase):
    async def test_links_share_a_key_until_it_is_too_old_to_sign(self) -> None:
        first, second = token_of(await self.create()), token_of(await self.create())
        self.assertEqual(await self.key_ids(), [1])
        await self.pool.execute("UPDATE link_keys SET created_at = now() - interval '31 days'")
        third = token_of(await self.create())
        self.assertEqual(await self.key_ids(), [1, 2])
        for token in (first, second, third):
            self.assertIsNotNone((await self.resolved(token)).link)

    async def test_a_key_is_kept_until_its_last_link_has_expired(self) -> None:
        old = await self.create(expires_at=datetime.now(UTC) + timedelta(days=90))
        await self.pool.execute("UPDATE link_keys SET created_at = now() - interval '31 days'")
        await self.create()
        await self.links.delete_expired(timedelta(days=90))
        self.assertEqual(await self.key_ids(), [1, 2])
        await self.pool.execute("UPDATE links SET expires_at = now() WHERE id = %s", (old.id,))
        await self.links.delete_expired(timedelta(days=90))
        self.assertEqual(await self.key_ids(), [2])
        self.assertIsNone(await self.links.resolve(token_of(old)))
        self.assertEqual((await self.links.get(self.recording.id, old.id)).state, LinkState.EXPIRED)

    async def test_the_newest_key_is_kept(self) -> None:
        await self.create(expires_at=datetime.now(UTC))
        await self.pool.execute("UPDATE link_keys SET created_at = now() - interval '31 days'")
        await self.links.delete_expired(timedelta(days=90))
        self.assertEqual(await self.key_ids(), [1])


class KeyRotationTests(LinkTestCase):
    async def test_without_revocation_links_stay_valid(self) -> None:
        link = await self.create()
        self.assertEqual(await self.links.rotate_keys(None), 0)
        later = await self.create()
        self.assertEqual(len(await self.key_ids()), 2)
        for one in (link, later):
            self.assertIsNotNone((await self.resolved(token_of(one))).link)
        first, second = (SignedToken.parse(token_of(one)) for one in (link, later))
        assert first is not None
        assert second is not None
        self.assertNotEqual(first.key_id, second.key_id)

    async def test_all_links_can_be_revoked_at_once(self) -> None:
        link, revoked = await self.create(), await self.create()
        await self.links.revoke(self.recording.id, revoked.id)
        visit = await self.use(link)
        assert visit is not None
        self.assertEqual(await self.links.rotate_keys(datetime.now(UTC)), 1)
        self.assertIsNone(await self.links.resolve(token_of(link)))
        self.assertIs((await self.links.get(self.recording.id, link.id)).state, LinkState.REVOKED)
        self.assertIsNone(await self.use(link))
        later = await self.create()
        self.assertIsNotNone((await self.resolved(token_of(later))).link)

    async def test_a_key_that_became_known_forges_nothing_any_more(self) -> None:
        await self.create()
        ((key_id, secret),) = await self.pool.query("SELECT id, secret FROM link_keys")
        await self.links.rotate_keys(datetime.now(UTC))
        later = await self.create()
        forged = SigningKey(key_id, bytes(secret)).sign(b"link", later.id)
        self.assertIsNone(await self.links.resolve(forged))

    async def test_only_links_of_earlier_keys(self) -> None:
        old = await self.create()
        await self.pool.execute("UPDATE link_keys SET created_at = now() - interval '10 days'")
        await self.links.rotate_keys(None)
        new = await self.create()
        self.assertEqual(await self.links.rotate_keys(datetime.now(UTC) - timedelta(days=5)), 1)
        self.assertIsNone(await self.links.resolve(token_of(old)))
        self.assertIsNotNone((await self.resolved(token_of(new))).link)

    async def test_links_that_are_created_meanwhile(self) -> None:
        """Each is either revoked, or signed by the new key."""
        created = [Deferred.fromCoroutine(self.create()) for _ in range(20)]
        rotation = Deferred.fromCoroutine(self.links.rotate_keys(datetime.now(UTC) + timedelta(hours=1)))
        created += [Deferred.fromCoroutine(self.create()) for _ in range(20)]
        await gatherResults(created)
        await rotation
        for link in await self.links.of_recording(self.recording.id).page(limit=100):
            self.assertIn(link.state, (LinkState.REVOKED, LinkState.ACTIVE))
            self.assertEqual(link.url is None, link.state is LinkState.REVOKED)

    async def test_mails_get_new_links(self) -> None:
        month = timedelta(days=30)
        former = await self.links.for_delivery(self.recording.id, LinkOrigin.MAIL, month, datetime.now(UTC))
        await self.links.rotate_keys(datetime.now(UTC))
        link = await self.links.for_delivery(self.recording.id, LinkOrigin.MAIL, month, datetime.now(UTC))
        self.assertNotEqual(link.id, former.id)
        self.assertIsNotNone(link.url)


class UseTests(LinkTestCase):
    async def test_uses_are_counted_and_audited(self) -> None:
        link = await self.create(max_uses=2)
        self.assertIsNotNone(await self.use(link))
        self.assertIsNotNone(await self.use(link))
        self.assertIsNone(await self.use(link))
        stored = await self.links.get(self.recording.id, link.id)
        self.assertEqual((stored.state, stored.uses, stored.url), (LinkState.USED_UP, 2, None))
        self.assertIsNotNone(stored.last_used_at)
        uses = await self.links.uses(link.id).page()
        self.assertEqual([(use.address, use.user_agent) for use in uses], [("192.0.2.1", "Firefox")] * 2)
        self.assertEqual([entry.user_agent for entry in await Audit(self.pool).page()], ["Firefox"] * 2)

    async def test_simultaneous_uses_do_not_exceed_the_limit(self) -> None:
        link = await self.create(max_uses=1)
        used = await gatherResults([Deferred.fromCoroutine(self.use(link)) for _ in range(4)])
        self.assertEqual(sum(visit is not None for visit in used), 1)

    async def test_expired_and_revoked_links_cannot_be_used(self) -> None:
        expired = await self.create(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        revoked = await self.create()
        await self.links.revoke(self.recording.id, revoked.id)
        for link, state in ((expired, LinkState.EXPIRED), (revoked, LinkState.REVOKED)):
            self.assertIsNone(await self.use(link))
            self.assertEqual((await self.links.get(self.recording.id, link.id)).state, state)
        self.assertEqual(await Audit(self.pool).page(), [])

    async def test_a_visit_lasts_for_a_time(self) -> None:
        link = await self.create()
        visit = await self.use(link)
        assert visit is not None
        self.assertTrue(await self.links.is_visited(link.id, visit, timedelta(hours=1)))
        self.assertFalse(await self.links.is_visited(uuid4(), visit, timedelta(hours=1)))
        self.assertFalse(await self.links.is_visited(link.id, uuid4(), timedelta(hours=1)))
        await self.pool.execute("UPDATE link_uses SET created_at = created_at - interval '61 min'")
        self.assertFalse(await self.links.is_visited(link.id, visit, timedelta(hours=1)))


class DeletionTests(LinkTestCase):
    async def test_the_links_of_a_deleted_recording_are_genuine_and_nothing_of_them_remains(self) -> None:
        link = await self.create()
        await self.use(link)
        await self.recordings.delete(self.recording.id)
        self.assertIsNone((await self.resolved(token_of(link))).link)
        (counts,) = await self.pool.query("SELECT (SELECT count(*) FROM links), (SELECT count(*) FROM link_uses)")
        self.assertEqual(counts, (0, 0))

    async def test_a_link_of_an_unknown_recording(self) -> None:
        with self.assertRaises(NotFound):
            await self.create(recording_id=uuid4())

    async def test_links_are_deleted_some_time_after_their_expiry(self) -> None:
        await self.create(expires_at=datetime.now(UTC) - timedelta(days=91))
        kept = await self.create(expires_at=datetime.now(UTC) - timedelta(days=89))
        await self.links.delete_expired(timedelta(days=90))
        self.assertEqual([link.id for link in await self.links.of_recording(self.recording.id).page()], [kept.id])


class DeliveryTests(LinkTestCase):
    async def for_mail(self) -> Link:
        return await self.links.for_delivery(self.recording.id, LinkOrigin.MAIL, MONTH, datetime.now(UTC))

    async def test_attempts_share_a_link(self) -> None:
        first = await self.for_mail()
        self.assertEqual((first.origin, first.created_by, first.max_uses), (LinkOrigin.MAIL, "mail", None))
        self.assertEqual(await self.for_mail(), first)
        webhook = await self.links.for_delivery(self.recording.id, LinkOrigin.WEBHOOK, MONTH, datetime.now(UTC))
        self.assertNotEqual(webhook.id, first.id)

    async def test_a_link_that_was_revoked_or_expires_soon_is_replaced(self) -> None:
        first = await self.for_mail()
        await self.links.revoke(self.recording.id, first.id)
        second = await self.for_mail()
        self.assertNotEqual(second.id, first.id)
        await self.pool.execute("UPDATE links SET expires_at = now() + interval '14 days'")
        self.assertNotEqual((await self.for_mail()).id, second.id)

"""Tests of voxrec.store.tokens."""

from typing import Any
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, later, profile
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, InvalidInput, NotFound
from voxrec.model import Role, Token
from voxrec.store.profiles import Profiles
from voxrec.store.tokens import (
    ALL_TOKENS,
    SECRET_PREFIX,
    TokenFilter,
    Tokens,
    generate_secret,
    hash_secret,
)  # fmt: skip


def token(**fields: Any) -> Token:
    return Token(**{"id": uuid4(), "name": "crm", "role": Role.READ, "created_at": NOON, **fields})


class GenerateSecretTests(SynchronousTestCase):
    def test_secrets_differ_and_have_the_same_length(self) -> None:
        self.assertEqual(len({generate_secret() for _ in range(1000)}), 1000)
        self.assertEqual(len(generate_secret()), len(SECRET_PREFIX) + 43)

    def test_secrets_are_recognisable(self) -> None:
        self.assertTrue(generate_secret().startswith(SECRET_PREFIX))


class TokensTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.tokens = Tokens(self.pool)
        self.secret = generate_secret()
        self.token = await self.tokens.create(token(), self.secret)

    async def test_found_by_hash_and_by_id(self) -> None:
        self.assertEqual(await self.tokens.find(hash_secret(self.secret)), self.token)
        self.assertIsNone(await self.tokens.find(hash_secret("vxr_other")))
        self.assertEqual(await self.tokens.get(self.token.id), self.token)
        with self.assertRaises(NotFound):
            await self.tokens.get(uuid4())

    async def test_limited_to_profiles_that_exist(self) -> None:
        known = await Profiles(self.pool).create(profile())
        limited = await self.tokens.create(token(profile_ids=(known.id,)), generate_secret())
        self.assertEqual((await self.tokens.get(limited.id)).profile_ids, (known.id,))
        unknown = uuid4(), uuid4()
        with self.assertRaises(InvalidInput) as raised:
            await self.tokens.create(token(profile_ids=(unknown[0], known.id, unknown[1])), generate_secret())
        expected = tuple(
            FieldError(
                *("profileIds", f"there is no profile {id_}"), FieldErrorCode.DOES_NOT_EXIST, {"value": str(id_)}
            )
            for id_ in unknown
        )
        self.assertEqual(raised.exception.field_errors, expected)

    async def test_revoked_token_does_not_exist(self) -> None:
        def refuse(_: Token) -> None:
            raise Conflict("changed meanwhile")

        with self.assertRaises(Conflict):
            await self.tokens.revoke(self.token.id, refuse)
        self.assertEqual(await self.tokens.revoke(self.token.id), self.token)
        self.assertIsNone(await self.tokens.find(hash_secret(self.secret)))
        for attempt in (self.tokens.get(self.token.id), self.tokens.revoke(self.token.id)):
            with self.assertRaises(NotFound):
                await attempt

    async def test_lists(self) -> None:
        newer = await self.tokens.create(token(created_at=later(1)), generate_secret())
        await self.tokens.revoke(self.token.id)
        self.assertEqual(await self.tokens.page(), [newer])
        self.assertEqual([each.id for each in await self.tokens.page(ALL_TOKENS)], [newer.id, self.token.id])
        self.assertEqual([each.id for each in await self.tokens.page(TokenFilter(revoked=True))], [self.token.id])

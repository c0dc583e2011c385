"""Tests of voxrec.model.token."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.model import Role, Token


class RoleTests(SynchronousTestCase):
    def test_each_role_includes_itself_and_those_before(self) -> None:
        roles = [Role.READ, Role.SUPERVISE, Role.PROVISION, Role.ADMIN]
        self.assertEqual(roles, [*Role])
        for rank, role in enumerate(roles):
            self.assertEqual([other for other in roles if role.includes(other)], roles[: rank + 1])


class TokenFieldErrorsTests(SynchronousTestCase):
    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    def errors(self, **fields: Any) -> list[str]:
        return [
            str(error)
            for error in Token(
                **{"id": UUID(int=1), "name": "crm", "role": Role.READ, "created_at": self.NOW, **fields}
            ).field_errors()
        ]

    def test_expiry(self) -> None:
        self.assertEqual(self.errors(expires_at=self.NOW + timedelta(days=1)), [])
        self.assertEqual(self.errors(expires_at=self.NOW), ["expiresAt: is not in the future"])
        self.assertEqual(self.errors(expires_at=datetime(2027, 1, 1)), ["expiresAt: has no UTC offset, such as Z"])

    def test_profile_ids(self) -> None:
        profile_id = UUID(int=7)
        self.assertEqual(self.errors(profile_ids=(profile_id,)), [])
        self.assertEqual(self.errors(profile_ids=(profile_id,) * 2), [f"profileIds: duplicate id {profile_id}"])
        self.assertIn(
            "profileIds: not allowed for the role admin", self.errors(role=Role.ADMIN, profile_ids=(profile_id,))[0]
        )

    def test_names_that_resemble_the_administrators(self) -> None:
        for name in (
            *("admin", "Admin", "ADMIN", "a d m i n", "admin.", "[admin]", "adm1n", "@dmin", "admln", "adrnin"),
            *("\uff41\uff44\uff4d\uff49\uff4e", "\u0430dmin", "adm\u0456n", "\u00e1dm\u00ed\u00f1", "\U0001d41admin"),
        ):
            with subtest(name):
                (error,) = self.errors(name=name)
                self.assertIn("could be confused with 'admin', the name of the configured administrator", error)

    def test_names_with_invisible_characters(self) -> None:
        for name in ("ad\u200bmin", "crm\u202e", "\u202enimda", "a\u2066b", "c\ufeffrm", "c\u00adrm"):
            with subtest(name):
                self.assertEqual(self.errors(name=name), ["name: must not contain invisible characters"])

    def test_other_names(self) -> None:
        for name in ("crm", "admin of the crm", "administrator", "admin-2", "\u00dcbersicht", "\u65e5\u672c", "dmin"):
            with subtest(name):
                self.assertEqual(self.errors(name=name), [])

"""Tests of voxrec.model.token."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.model import Role, Token


class RoleTests(SynchronousTestCase):
    def test_each_role_includes_itself_and_those_before(self) -> None:
        included = {role: [other for other in Role if role.includes(other)] for role in Role}
        self.assertEqual(
            included,
            {
                Role.READ: [Role.READ],
                Role.PROVISION: [Role.READ, Role.PROVISION],
                Role.ADMIN: [Role.READ, Role.PROVISION, Role.ADMIN],
            },
        )


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

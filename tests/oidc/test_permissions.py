"""Names, roles and Profiles from claims."""

from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.model import Role
from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.oidc.permissions import ClaimMapping

FIRST, SECOND = UUID(int=1), UUID(int=2)


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        for claims, name in (
            ({"preferred_username": "Anna.Example@EXAMPLE.org"}, "anna.example@example.org"),
            ({"preferred_username": "CORP\\anna b"}, "corp-anna-b"),
            ({"preferred_username": "Zoë"}, "zo"),
            ({"preferred_username": "李", "email": "li@example.org"}, "li@example.org"),
            ({"preferred_username": 7, "sub": "7"}, "7"),
            ({"preferred_username": "x" * 100}, "x" * 64),
            ({"email": "-_.", "sub": "auth0|7"}, "auth0-7"),
        ):
            with subtest(claims):
                self.assertEqual(ClaimMapping().name({**claims}), name)
        error = self.assertRaises(ProviderSignInError, ClaimMapping().name, {"sub": "李"})
        self.assertIs(error.reason, Reason.NAME)


class RoleTests(SynchronousTestCase):
    def test_the_highest_role_applies(self) -> None:
        mapping = ClaimMapping(roles={"a": Role.READ, "b": Role.PROVISION, "c": Role.SUPERVISE})
        for groups, role in ((["a"], Role.READ), (["a", "b", "c"], Role.PROVISION), ("c", Role.SUPERVISE)):
            self.assertIs(mapping.role({"groups": groups}), role)
        values: tuple[Any, ...] = (None, [], ["d"], "a b", {"a": 1}, 7, [["a"]], True)
        for value in values:
            with subtest(value):
                error = self.assertRaises(ProviderSignInError, mapping.role, {"groups": value})
                self.assertIs(error.reason, Reason.NO_ROLE)
                default = ClaimMapping(roles=mapping.roles, default_role=Role.READ)
                self.assertIs(default.role({"groups": value}), Role.READ)

    def test_nested_claims_and_claims_with_dots(self) -> None:
        for claim, claims in (
            ("realm_access.roles", {"realm_access": {"roles": ["a"]}}),
            ("https://example.org/roles", {"https://example.org/roles": ["a"]}),
        ):
            mapping = ClaimMapping(role_claim=claim, roles={"a": Role.ADMIN})
            self.assertIs(mapping.role(claims), Role.ADMIN)


class ProfileTests(SynchronousTestCase):
    def test_profiles(self) -> None:
        mapping = ClaimMapping(profile_claim="teams", profiles={"a": (SECOND,), "b": (FIRST, SECOND), "all": None})
        for teams, ids in ((["a"], (SECOND,)), (["a", "b", "c"], (FIRST, SECOND)), (["a", "all"], None)):
            with subtest(teams):
                self.assertEqual(mapping.profile_ids({"teams": teams}, Role.READ), ids)
        self.assertIsNone(mapping.profile_ids({}, Role.ADMIN))
        for role in (Role.READ, Role.SUPERVISE, Role.PROVISION):
            self.assertRaises(ProviderSignInError, mapping.profile_ids, {"teams": ["c"]}, role)
        self.assertIsNone(ClaimMapping().profile_ids({}, Role.READ))

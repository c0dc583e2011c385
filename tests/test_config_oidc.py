"""Tests of voxrec.config_oidc, and of the provider that is built from the settings."""

from pathlib import Path
from typing import Any, cast
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec import config
from voxrec.composition.environment import Environment
from voxrec.composition.sign_in import build_identity_provider
from voxrec.errors import ConfigError
from voxrec.model import Role

PROFILE = "11111111-1111-4111-8111-111111111111"
VALID = "issuer: https://sso.example/realms/a, client_id: voxrec, roles: {staff: read}"


class SettingsTests(SynchronousTestCase):
    def test_invalid_settings(self) -> None:
        for text, setting in (
            ("rest: {passwords: none}", "rest.passwords"),
            ("oidc: {client_id: voxrec}", "oidc.issuer"),
            ("oidc: {issuer: 'https://sso.example', roles: {staff: read}}", "oidc.client_id"),
            ("oidc: {issuer: 'http://sso.example', client_id: a, roles: {staff: read}}", "oidc.issuer"),
            ("oidc: {issuer: 'https://sso.example?a=b', client_id: a, roles: {staff: read}}", "oidc.issuer"),
            ("oidc: {issuer: 'https://sso.example', client_id: a}", "oidc.roles"),
            (f"oidc: {{{VALID}, scopes: [email]}}", "oidc.scopes"),
            (f"oidc: {{{VALID}, profiles: {{staff: ['*']}}}}", "oidc.profile_claim"),
            (f"oidc: {{{VALID}, profile_claim: groups, profiles: {{staff: [sales]}}}}", "oidc.profiles"),
            ("oidc: {issuer: 'https://sso.example', client_id: a, roles: {staff: boss}}", "oidc.roles"),
            ("rest: {second_factor: [boss]}", "rest.second_factor"),
        ):
            with subtest(text):
                error = self.assertRaises(ConfigError, config.parse, text)
                self.assertEqual([each.field for each in error.field_errors], [setting], str(error))

    def test_a_secret_from_a_file(self) -> None:
        Path("client").write_text("hush\n")
        settings = config.parse(f"oidc: {{{VALID}, client_secret_file: client}}").oidc
        self.assertEqual(settings.client_secret, "hush")
        self.assertNotIn("hush", repr(settings))

    def test_the_provider(self) -> None:
        unused = cast("Any", None)
        self.assertIsNone(build_identity_provider(Environment(unused, config.parse(""), unused, unused)))
        text = f"oidc: {{{VALID}, profile_claim: team, profiles: {{staff: [{PROFILE}], all: ['*']}}}}"
        provider = build_identity_provider(Environment(unused, config.parse(text), unused, unused))
        assert provider is not None
        self.assertEqual(provider.label, "sso.example")
        self.assertIs(provider.mapping.role({"groups": ["staff"]}), Role.READ)
        self.assertEqual(provider.mapping.profile_ids({"team": ["staff"]}, Role.READ), (UUID(PROFILE),))
        self.assertIsNone(provider.mapping.profile_ids({"team": ["staff", "all"]}, Role.READ))
        self.assertEqual(provider.mapping.claims, {"preferred_username", "groups", "team"})

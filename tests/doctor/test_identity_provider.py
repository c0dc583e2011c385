"""Tests of voxrec.doctor.identity_provider against a real HTTP server."""

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.server import Request

from tests.oidc.fake_provider import started_provider
from voxrec.config import Config, OpenIdConnect
from voxrec.doctor.finding import Finding, Status
from voxrec.doctor.identity_provider import check_identity_provider

DISCOVERY = "/.well-known/openid-configuration"


class IdentityProviderTests(TestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        self.provider = await started_provider()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.provider.stop()

    async def check(self, issuer: str = "") -> Finding:
        config = Config(oidc=OpenIdConnect(issuer=issuer or self.provider.issuer))
        (finding,) = await deferToThread(lambda: [*check_identity_provider(config)])
        return finding

    async def assert_failed(self, part: str, issuer: str = "") -> None:
        finding = await self.check(issuer)
        self.assertEqual((finding.check, finding.status), ("identity provider", Status.FAILED))
        self.assertIn(part, finding.detail)

    async def test_a_provider_that_works(self) -> None:
        finding = await self.check()
        self.assertEqual((finding.status, finding.remedy), (Status.OK, ""))
        self.assertEqual(self.provider.requested, [DISCOVERY, "/keys"])

    async def test_without_the_setting(self) -> None:
        self.assertEqual([*check_identity_provider(Config())], [])

    async def test_another_issuer(self) -> None:
        await self.assert_failed("the metadata is that of the issuer", f"{self.provider.issuer}/")

    async def test_no_provider(self) -> None:
        self.provider.answers[DISCOVERY] = lambda _: b"<html>"
        await self.assert_failed("the metadata is invalid")
        self.provider.answers[DISCOVERY] = self._redirect
        await self.assert_failed("status 302")
        await self.provider.stop()
        await self.assert_failed("refused")

    async def test_without_keys_for_signatures(self) -> None:
        self.provider.answers["/keys"] = lambda _: b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'
        await self.assert_failed("/keys has no key for signatures")

    def _redirect(self, request: Request) -> bytes:
        request.redirect(f"{self.provider.issuer}/elsewhere".encode())
        return b""

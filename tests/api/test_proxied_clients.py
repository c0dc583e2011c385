"""Clients behind reverse proxies and NATs: their address in the audit log, and the limits of invalid tokens."""

from tests.api.rest_test_case import ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.web.proxies import TrustedProxies

ATTEMPTS = 12


class ProxiedClientTests(RestTestCase):
    def trust_proxy(self) -> None:
        self.site.trusted_proxies = TrustedProxies.parse(["127.0.0.1"])

    async def request_from(self, address: str, token: str = "admin") -> ClientResponse:
        headers = {"X-Forwarded-For": f"203.0.113.9, {address}"}
        return await self.request("PUT", "/profiles", token=token, headers=headers, json={})

    async def audited_address(self) -> str:
        address: str = (await self.request("GET", "/audit?limit=1")).json[0]["address"]
        return address

    async def test_audit_log_has_the_address_of_the_client(self) -> None:
        self.trust_proxy()
        for address in ("192.0.2.1", "2001:db8::1"):
            with subtest(address):
                await self.request_from(address)
                self.assertEqual(await self.audited_address(), address)

    async def test_header_of_an_untrusted_peer_is_ignored(self) -> None:
        await self.request_from("192.0.2.1")
        self.assertEqual(await self.audited_address(), "127.0.0.1")

    async def test_invalid_tokens_of_a_client_do_not_affect_others(self) -> None:
        self.trust_proxy()
        statuses = [(await self.request_from("192.0.2.1", f"guess {n}")).status for n in range(ATTEMPTS)]
        self.assertEqual((statuses[0], statuses[-1]), (401, 429))
        self.assertEqual((await self.request_from("192.0.2.2", "guess")).status, 401)
        self.assertEqual((await self.request_from("192.0.2.1")).status, 201, "the token is valid")

    async def test_valid_token_is_never_refused(self) -> None:
        """Without trusted_proxies, as behind a NAT, all clients have one address."""
        for n in range(ATTEMPTS):
            await self.request_from("192.0.2.1", f"guess {n}")
        refused = await self.request_from("192.0.2.1", "guess")
        self.assertEqual((refused.status, refused.json["code"]), (429, "too-many-attempts"))
        for token in ("admin", "provision"):
            self.assertEqual((await self.request_from("192.0.2.1", token)).status, 201)

    async def test_upload(self) -> None:
        """The client of an upload is authenticated before its body is received."""
        self.trust_proxy()
        for n in range(ATTEMPTS):
            await self.request_from("192.0.2.1", f"guess {n}")
        prompt = (await self.request("PUT", "/prompts", json={})).json
        for address, status in (("192.0.2.1", 429), ("192.0.2.2", 401)):
            headers = {"X-Forwarded-For": address, "Content-Type": "audio/wav"}
            path = f"/prompts/{prompt['id']}/audio"
            response = await self.request("PUT", path, token="guess", headers=headers, data=b"x")
            self.assertEqual(response.status, status)

    async def test_protocol(self) -> None:
        header = "strict-transport-security"
        for trusted, protocol, expected in ((True, "https", True), (True, "http", False), (False, "https", False)):
            self.site.trusted_proxies = TrustedProxies.parse(["127.0.0.1"] if trusted else [])
            response = await self.request("GET", "/profiles", headers={"X-Forwarded-Proto": protocol})
            self.assertEqual(header in response.headers, expected)

"""Tests of voxrec.api.deliveries.recipient_certificates."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from cryptography import x509

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.mail.key_pairs import make_certificate, private_pem, rsa_key
from tests.subtest import subtest

ANN = "ann@example.org"
PATH = "/recipient-certificates"


class RecipientCertificateTests(RestTestCase):
    async def create(self, pem: bytes | None = None, *, token: str = "provision", **fields: Any) -> ClientResponse:
        certificate = (pem or make_certificate(ANN)).decode()
        document = {"address": ANN, "certificate": certificate, **fields}
        return await self.request("PUT", PATH, json=document, token=token)

    async def created(self, pem: bytes | None = None, **fields: Any) -> Any:
        response = await self.create(pem, **fields)
        self.assertEqual(response.status, 201, response.body)
        return response.json

    async def listed(self, query: str = "", token: str = "read") -> list[str]:
        return [one["id"] for one in (await self.request("GET", f"{PATH}{query}", token=token)).json]

    async def test_creation(self) -> None:
        pem = make_certificate(ANN)
        response = await self.create(pem)
        document = response.json
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}{PATH}/{document['id']}")
        shown = ("address", "type", "certificate", "addresses", "algorithm", "profileId", "subject", "issuer")
        self.assertEqual(
            [document[key] for key in shown],
            [ANN, "smime", pem.decode(), [ANN], "RSA 2048", None, "CN=Ann Example", "CN=Ann Example"],
        )
        parsed = x509.load_pem_x509_certificate(pem)
        self.assertEqual(int(document["serialNumber"], 16), parsed.serial_number)
        self.assertEqual(datetime.fromisoformat(document["startsAt"]), parsed.not_valid_before_utc)
        self.assertEqual((await self.request("GET", f"{PATH}/{document['id']}", token="read")).json, document)
        (entry,) = await self.audit.page()
        self.assertEqual((entry.kind, str(entry.target_id)), ("recipient-certificate", document["id"]))

    async def test_list_by_profile_and_address(self) -> None:
        profile = await self.add_profile()
        of_all = (await self.created())["id"]
        of_profile = (await self.created(profileId=str(profile.id)))["id"]
        other = (await self.created(make_certificate("bob@example.org"), address="bob@example.org"))["id"]
        self.assertEqual(await self.listed(), [other, of_profile, of_all])
        self.assertEqual(await self.listed(f"?profileId={profile.id}"), [of_profile])
        self.assertEqual(await self.listed("?address=Ann@EXAMPLE.org"), [of_profile, of_all])
        await self.request("DELETE", f"/profiles/{profile.id}")
        self.assertEqual(await self.listed(), [other, of_all])

    async def test_search(self) -> None:
        ann = await self.created()
        bob = await self.created(make_certificate("bob@example.org"), address="bob@example.org")
        colons = ":".join(ann["fingerprint"][at : at + 2] for at in range(0, 64, 2))
        for search, found in (
            ("BOB@", [bob]),
            ("ann example", [bob, ann]),
            (ann["fingerprint"][:10].upper(), [ann]),
            (colons.upper(), [ann]),
            (bob["serialNumber"], [bob]),
            (f"0{bob['serialNumber']}", [bob]),  # as openssl writes one with an odd number of digits
            (ann["fingerprint"][5:], []),
            ("%", []),
            (":", []),
        ):
            with subtest(search):
                self.assertEqual(await self.listed(f"?search={quote(search)}"), [one["id"] for one in found])
        for search in ("", "%20"):
            self.assertEqual((await self.request("GET", f"{PATH}?search={search}")).status, 422)

    async def test_validity(self) -> None:
        ids = {}
        for validity, days in (("valid", 31), ("expiring", 29), ("expired", -1)):
            ids[validity] = (await self.created(make_certificate(ANN)))["id"]
            expires_at = datetime.now(UTC) + timedelta(days=days)
            await self.pool.execute(
                "UPDATE recipient_certificates SET expires_at = %s WHERE id = %s", (expires_at, ids[validity])
            )
        for validity, id_ in ids.items():
            self.assertEqual(await self.listed(f"?validity={validity}"), [id_])
        self.assertEqual((await self.request("GET", f"{PATH}?validity=new")).status, 422)

    async def test_certificates_of_an_earlier_version(self) -> None:
        document = await self.created()
        await self.pool.execute(
            "UPDATE recipient_certificates SET issuer = NULL, serial_number = NULL, starts_at = NULL"
        )
        self.assertEqual(await self.listed("?search=nothing"), [])
        stored = (await self.request("GET", f"{PATH}/{document['id']}")).json
        self.assertEqual((stored["issuer"], stored["serialNumber"], stored["startsAt"]), (None, None, None))

    async def test_the_address_in_the_certificate(self) -> None:
        document = await self.created(address=None)
        self.assertEqual(document["address"], ANN)
        for addresses, problem in (((), "no mail address"), ((ANN, "bob@example.org"), f"{ANN}, bob@example.org")):
            response = await self.create(make_certificate(*addresses), address=None)
            self.assertEqual((response.status, response.error_fields), (422, ["address"]))
            self.assertIn(f"is required: the certificate names {problem}", response.json["errors"][0]["message"])

    async def test_invalid_certificates_are_refused(self) -> None:
        expired = make_certificate(ANN, expires_at=datetime.now(UTC) - timedelta(minutes=1))
        for certificate, problem in (
            (expired, b"expired on "),
            (b"", b"certificate"),
            (make_certificate("bob@example.org"), b"is for bob@example.org, not for ann@example.org"),
        ):
            response = await self.request("PUT", PATH, json={"address": ANN, "certificate": certificate.decode()})
            self.assertEqual((response.status, response.error_fields), (422, ["certificate"]), response.body)
            self.assertIn(problem, response.body)
        allowed = await self.create(make_certificate("bob@example.org"), otherAddressAllowed=True)
        self.assertEqual(allowed.status, 201)
        response = await self.create(address="ann")
        self.assertEqual((response.status, response.error_fields), (422, ["address"]))
        response = await self.request("PUT", PATH, json={})
        self.assertEqual((response.status, response.error_fields), (422, ["certificate"]))

    async def test_a_private_key_is_neither_stored_nor_repeated(self) -> None:
        pem = make_certificate(ANN) + private_pem(rsa_key())
        secret = private_pem(rsa_key())[100:140]
        for certificate in (pem.decode(), [pem.decode()], pem.decode() * 200):
            response = await self.request("PUT", PATH, json={"address": ANN, "certificate": certificate})
            self.assertIn(response.status, (413, 422))
            self.assertNotIn(secret, response.body)
        self.assertEqual(await self.listed(), [])
        tables = await self.pool.query("SELECT relname FROM pg_stat_user_tables")
        for (table,) in tables:
            rows = await self.pool.query(f"SELECT row_to_json(t)::text FROM {table} AS t")  # noqa: S608
            self.assertNotIn(secret.decode().strip(), "".join(row for (row,) in rows), table)

    async def test_the_same_certificate_is_stored_once_for_each_profile(self) -> None:
        profile, pem = await self.add_profile(), make_certificate(ANN)
        await self.created(pem)
        response = await self.create(pem, address="ANN@example.org")
        self.assertEqual((response.status, response.error_fields), (409, ["certificate"]))
        await self.created(pem, profileId=str(profile.id))
        await self.created(make_certificate(ANN))
        response = await self.create(profileId=str(uuid4()))
        self.assertEqual((response.status, response.error_fields), (422, ["profileId"]))

    async def test_replacement_and_deletion(self) -> None:
        document = await self.created()
        path, renewed = f"{PATH}/{document['id']}", make_certificate(ANN).decode()
        response = await self.request("POST", path, json={"certificate": renewed})
        self.assertEqual((response.status, response.json["certificate"]), (200, renewed))
        self.assertEqual(response.json["createdAt"], document["createdAt"])
        other = make_certificate("bob@example.org").decode()
        refused = await self.request("POST", path, json={"certificate": other})
        self.assertEqual((refused.status, refused.error_fields), (422, ["certificate"]))
        stale = {"If-Match": '"old"'}
        self.assertEqual((await self.request("POST", path, json={"certificate": renewed}, headers=stale)).status, 412)
        self.assertEqual((await self.request("DELETE", path, headers=stale)).status, 412)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual((await self.request("POST", path, json={"certificate": renewed})).status, 404)

    async def test_a_token_that_is_limited_to_a_profile(self) -> None:
        profile, other = await self.add_profile(), await self.add_profile()
        token = await self.scoped_token(profile.id)
        hidden = [await self.created(), await self.created(profileId=str(other.id))]
        for one in hidden:
            self.assertEqual((await self.request("GET", f"{PATH}/{one['id']}", token=token)).status, 404)
        own = await self.create(token=token, profileId=str(profile.id))
        self.assertEqual(own.status, 201, own.body)
        self.assertEqual(await self.listed(token=token), [own.json["id"]])
        for profile_id in (None, str(other.id)):
            refused = await self.create(token=token, profileId=profile_id)
            self.assertEqual((refused.status, refused.error_fields), (422, ["profileId"]))

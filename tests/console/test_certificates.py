"""The pages for the certificates of mail recipients."""

import base64
import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.api.rest_test_case import ClientResponse
from tests.console.console_test_case import SAME_ORIGIN, ConsoleTestCase
from tests.mail.key_pairs import make_certificate, private_pem, rsa_key
from tests.subtest import subtest
from voxrec.console import certificates
from voxrec.model import MailEncryption
from voxrec.web.dispatcher import Dispatcher

PAGE = "/console/certificates"
NEW = f"{PAGE}/new"
ANN, BOB = "ann@example.org", "bob@example.org"
BOUNDARY = "----WebKitFormBoundaryx"


def multipart(fields: dict[str, str], files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a form as browsers send it; each file has a name and a content."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    for name, content in files or [("", b"")]:  # a browser sends an empty part if no file was chosen
        head = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content)
    delimiter = f"--{BOUNDARY}".encode()
    return b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


class CertificatePageTestCase(ConsoleTestCase):
    async def upload(self, cookie: str, *files: tuple[str, bytes], path: str = NEW, **fields: str) -> ClientResponse:
        headers = {"Cookie": cookie, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **SAME_ORIGIN}
        data = multipart(fields, files)
        return await self.request("POST", path, token="", headers=headers, data=data, allow_redirects=False)

    async def add_certificate(self, address: str = ANN, pem: bytes | None = None, **fields: Any) -> dict[str, Any]:
        document = {"address": address, "certificate": (pem or make_certificate(address)).decode(), **fields}
        response = await self.request("PUT", "/recipient-certificates", json=document)
        self.assertEqual(response.status, 201, response.body)
        certificate: dict[str, Any] = response.json
        return certificate

    async def stored(self) -> list[dict[str, Any]]:
        certificates: list[dict[str, Any]] = (await self.request("GET", "/recipient-certificates")).json
        return certificates

    async def body(self, path: str, cookie: str) -> str:
        response = await self.open(path, cookie)
        self.assertEqual(response.status, 200, response.body)
        return response.body.decode()


class CertificateListTests(CertificatePageTestCase):
    async def test_what_each_certificate_shows(self) -> None:
        profile = await self.add_profile(name="Sales", email=f"{ANN}, {BOB}", mail_encryption=MailEncryption.REQUIRED)
        certificate = await self.add_certificate()
        own = await self.add_certificate(BOB, profileId=str(profile.id))
        body = await self.body(PAGE, await self.signed_in())
        for text in (
            *(f'href="{PAGE}/{certificate["id"]}"', ANN, "CN=Ann Example", certificate["serialNumber"], ">valid<"),
            *(f'href="{PAGE}/{own["id"]}"', f'href="/console/profiles/{profile.id}"><bdi>Sales<', "all Profiles"),
            "(always, or else no mail)",
        ):
            with subtest(text):
                self.assertIn(text, body)
        self.assertNotIn(NEW, body)

    async def test_number_of_rest_requests(self) -> None:
        """The senders of all certificates are one request, however many certificates there are."""
        senders = [await self.add_profile(name=f"Sales {index}", email=f"{ANN},{BOB}") for index in range(4)]
        ann, bob = await self.add_certificate(), await self.add_certificate(BOB, profileId=str(senders[0].id))
        unused = await self.add_certificate("eve@example.org")
        cookie, called = await self.signed_in(), []
        call = Dispatcher.call

        async def counting(dispatcher: Dispatcher, principal: Any, method: str, target: str, **options: Any) -> Any:
            called.append(target.partition("?")[0])
            return await call(dispatcher, principal, method, target, **options)

        self.patch(Dispatcher, "call", counting)
        body = await self.body(PAGE, cookie)
        self.assertLessEqual(called.count("/profiles"), 2, called)  # the senders, and the names of Profiles
        self.assertEqual([path for path in called if path.startswith("/profiles/")], [])
        rows = {one["id"]: body.partition(f'href="{PAGE}/{one["id"]}"')[2].partition("</tr>")[0] for one in (ann, bob)}
        self.assertEqual(rows[ann["id"]].count("<bdi>Sales"), 3)
        self.assertIn("#senders", rows[ann["id"]])
        self.assertIn("<bdi>Sales 0<", rows[bob["id"]])
        self.assertNotIn("Sales 1", rows[bob["id"]])
        row = body.partition(f'href="{PAGE}/{unused["id"]}"')[2].partition("</tr>")[0]
        self.assertNotIn("Sales", row)

    async def test_more_senders_than_one_request_returns(self) -> None:
        self.patch(certificates, "_MAX_SENDERS", 1)
        for index in range(2):
            await self.add_profile(name=f"Sales {index}", email=ANN)
        await self.add_certificate()
        body = await self.body(PAGE, await self.signed_in())
        self.assertIn("<bdi>Sales 0<", body)
        self.assertIn("<bdi>Sales 1<", body)

    async def test_validity(self) -> None:
        cookie = await self.signed_in()
        expected = []
        for days, text in ((31, "valid"), (29, "expires in 28 days"), (1.5, "expires in 1 day"), (0.5, "within a day")):
            await self.add_certificate(pem=make_certificate(ANN, expires_at=datetime.now(UTC) + timedelta(days=days)))
            expected.append(text)
        await self.pool.execute(
            "UPDATE recipient_certificates SET expires_at = now() - interval '1 day' "
            "WHERE expires_at > now() + interval '30 days'"
        )
        body = await self.body(PAGE, cookie)
        for text in (*expected[1:], "expired"):
            with subtest(text):
                self.assertIn(text, body)
        self.assertIn("Some certificates have expired.", body)
        for validity in ("expired", "expiring"):
            self.assertIn(f'href="{PAGE}?validity={validity}"', body)
        for validity, count in (("expired", 1), ("expiring", 3), ("valid", 0)):
            body = await self.body(f"{PAGE}?validity={validity}", cookie)
            self.assertNotIn("Some certificates", body)
            self.assertEqual(body.count(f'href="{PAGE}/'), count, validity)
        self.assertIn("No certificate matches the filter.", body)

    async def test_search_and_pages(self) -> None:
        for number in range(26):
            await self.add_certificate(f"person{number:02}@example.org")
        cookie = await self.signed_in()
        body = await self.body(f"{PAGE}?search=PERSON0", cookie)
        self.assertEqual(body.count("@example.org</bdi></a>"), 10)
        body = await self.body(PAGE, cookie)
        self.assertNotIn("person00@", body)
        link = body.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        body = await self.body(link, cookie)
        self.assertIn("person00@", body)
        self.assertNotIn('rel="next"', body)

    async def test_what_the_filter_refuses(self) -> None:
        response = await self.open(f"{PAGE}?validity=new", await self.signed_in())
        self.assertEqual(response.status, 422)
        self.assertIn(b'id="validity-error"', response.body)

    async def test_without_certificates(self) -> None:
        body = await self.body(PAGE, await self.signed_in("provision"))
        self.assertIn("There are no certificates.", body)
        self.assertIn(f'href="{NEW}"', body)


class UploadTests(CertificatePageTestCase):
    async def test_one_file(self) -> None:
        cookie, pem = await self.signed_in("provision"), make_certificate(ANN)
        for name, content in (("ann.pem", pem), ("ann.cer", base64.b64encode(der(pem))), ("ann.der", der(pem))):
            with subtest(name):
                response = await self.upload(cookie, (name, content))
                (certificate,) = await self.stored()
                path = f"{PAGE}/{certificate['id']}"
                self.assertEqual(response.headers["location"], f"{path}?done=certificate_added")
                self.assertIn("The certificate is stored.", await self.body(response.headers["location"], cookie))
                self.assertEqual((certificate["address"], certificate["profileId"]), (ANN, None))
                await self.request("DELETE", f"/recipient-certificates/{certificate['id']}")

    async def test_what_is_pasted_for_one_profile(self) -> None:
        cookie, profile = await self.signed_in("provision"), await self.add_profile(name="Sales")
        pem = make_certificate(BOB).decode()
        fields = {"address": ANN, "profileId": str(profile.id), "certificate": pem}
        response = await self.upload(cookie, **fields)
        self.assertEqual(response.status, 422)
        body = response.body.decode()
        for text in ("is for bob@example.org, not for ann@example.org", f'value="{ANN}"', pem.splitlines()[3]):
            self.assertIn(text.replace("+", "&#43;"), body.replace("+", "&#43;"))
        response = await self.upload(cookie, **fields, otherAddressAllowed="true")
        self.assertEqual(response.status, 303, response.body)
        (certificate,) = await self.stored()
        self.assertEqual((certificate["address"], certificate["profileId"]), (ANN, str(profile.id)))

    async def test_several_files_of_which_some_are_refused(self) -> None:
        cookie, now = await self.signed_in("provision"), datetime.now(UTC)
        refused = {
            "elliptic.pem": (
                make_certificate(BOB, key=ec.generate_private_key(ec.SECP256R1())),
                "The key of the certificate cannot be used",
            ),
            "old.pem": (make_certificate(BOB, expires_at=now - timedelta(minutes=1)), "The certificate expired on"),
            "server.pem": (
                make_certificate(BOB, extended_usage=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
                "The certificate is not for the encryption of mails",
            ),
            "nobody.pem": (make_certificate(), "Enter the mail address of the recipient."),
            "two.pem": (
                make_certificate(ANN, BOB),
                f"The certificate names: {ANN}, {BOB}",
            ),
            "text.pem": (b"hello", "This is no X.509 certificate"),
            "<b>.pem": (b"\x30\xff", "This is no X.509 certificate"),
        }
        files = [("ann.pem", make_certificate(ANN)), *((name, content) for name, (content, _) in refused.items())]
        response = await self.upload(cookie, *files)
        self.assertEqual(response.status, 422)
        body = response.body.decode()
        (certificate,) = await self.stored()
        self.assertIn(f'Stored:</p>\n<ul><li><a href="{PAGE}/{certificate["id"]}"><bdi>{ANN}</bdi>', body)
        for name, (_, problem) in refused.items():
            with subtest(name):
                self.assertRegex(body, f"{re.escape(html.escape(name))}: [^<]*{re.escape(problem)}")
        for field in ("certificate", "address"):
            self.assertIn(f'id="{field}-error"', body)

    async def test_several_files(self) -> None:
        cookie = await self.signed_in("provision")
        response = await self.upload(cookie, *((name, make_certificate(f"{name}@example.org")) for name in ("a", "b")))
        self.assertEqual(response.headers["location"], f"{PAGE}?done=certificates_added")
        self.assertEqual(len(await self.stored()), 2)
        response = await self.upload(cookie, *[("a.pem", b"x")] * 51)
        self.assertIn(b"Choose at most 50 files at once.", response.body)

    async def test_nothing_was_chosen(self) -> None:
        response = await self.upload(await self.signed_in("provision"), address=ANN)
        self.assertEqual(response.status, 422)
        self.assertIn(b"Choose a file, or paste a certificate.", response.body)
        self.assertIn(f'value="{ANN}"'.encode(), response.body)

    async def test_a_private_key_is_neither_stored_nor_shown(self) -> None:
        cookie, key = await self.signed_in("provision"), private_pem(rsa_key())
        secret = key.splitlines()[3].decode()
        both = (make_certificate(ANN) + key).decode()
        for fields, files in (({"certificate": both}, []), ({"certificate": secret}, []), ({}, [("a.pem", key)])):
            response = await self.upload(cookie, *files, **fields)
            self.assertEqual(response.status, 422)
            self.assertNotIn(secret[:30], response.body.decode())
        self.assertEqual(await self.stored(), [])
        path = f"{PAGE}/{(await self.add_certificate())['id']}"
        response = await self.upload(cookie, ("a.pem", key), path=path, certificate=both)
        self.assertEqual(response.status, 422)
        self.assertNotIn(secret[:30], response.body.decode())

    async def test_bodies_that_are_no_form(self) -> None:
        cookie = await self.signed_in("provision")
        for content_type, data in (
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
            ("multipart/form-data; boundary=\u00e4".encode().decode("latin-1"), b"x"),
        ):
            with subtest(content_type):
                headers = {"Cookie": cookie, "Content-Type": content_type, **SAME_ORIGIN}
                response = await self.request("POST", NEW, token="", headers=headers, data=data)
                self.assertEqual(response.status, 400, response.body)
                self.assertIn(b"</html>", response.body)

    async def test_the_form_of_an_address(self) -> None:
        cookie = await self.signed_in("provision")
        self.assertIn(f'name="address" type="text" value="{ANN}"', await self.body(f"{NEW}?address={ANN}", cookie))

    async def test_a_user_who_is_limited_to_a_profile(self) -> None:
        own, other = await self.add_profile(name="Own", email=ANN), await self.add_profile(name="Other", email=ANN)
        hidden = await self.add_certificate()
        cookie = await self.signed_in("provision", profileIds=[str(own.id)])
        body = await self.body(NEW, cookie)
        self.assertIn("Own", body)
        for text in ("Other", "all Profiles"):
            self.assertNotIn(text, body)
        for profile_id in ("", str(other.id)):
            response = await self.upload(cookie, ("ann.pem", make_certificate(ANN)), profileId=profile_id)
            self.assertEqual(response.status, 422)
            self.assertIn(b'id="profileId-error"', response.body)
        response = await self.upload(cookie, ("ann.pem", make_certificate(ANN)), profileId=str(own.id))
        self.assertEqual(response.status, 303, response.body)
        body = await self.body(PAGE, cookie)
        self.assertNotIn(hidden["id"], body)
        self.assertNotIn("Other", body)
        self.assertEqual((await self.open(f"{PAGE}/{hidden['id']}", cookie)).status, 404)
        body = await self.body(f"/console/profiles/{own.id}", cookie)
        self.assertNotIn(hidden["id"], body)


class CertificatePageTests(CertificatePageTestCase):
    async def test_what_the_page_shows(self) -> None:
        certificate = await self.add_certificate()
        names = {}
        for mode in (*MailEncryption, None):
            profile = await self.add_profile(name=f"Profile {mode}", email=ANN.upper(), mail_encryption=mode)
            names[mode] = profile
        await self.add_profile(name="Unrelated", email=BOB)
        own = await self.add_certificate(profileId=str(names[MailEncryption.NOTICE].id))
        body = await self.body(f"{PAGE}/{certificate['id']}", await self.signed_in("provision"))
        for text in (
            *("CN=Ann Example", certificate["serialNumber"], certificate["fingerprint"], "RSA 2048", "Valid from"),
            *("encrypted to other certificates", ">not encrypted<", ">encrypted<", "BEGIN CERTIFICATE"),
            *(f"Profile {mode}" for mode in names),
        ):
            with subtest(text):
                self.assertIn(text, body)
        self.assertNotIn("Unrelated", body)
        body = await self.body(f"{PAGE}/{own['id']}", (await self.sign_in("anna")).partition(";")[0])
        self.assertIn("Profile notice", body)
        self.assertNotIn("Profile required", body)

    async def test_replacement(self) -> None:
        certificate, cookie = await self.add_certificate(), await self.signed_in("provision")
        path, renewed = f"{PAGE}/{certificate['id']}", make_certificate(ANN)
        version = (await self.request("GET", f"/recipient-certificates/{certificate['id']}")).etag
        response = await self.upload(cookie, ("bob.pem", make_certificate(BOB)), path=path, version=version)
        self.assertEqual(response.status, 422)
        self.assertIn(b"is for bob@example.org", response.body)
        response = await self.upload(cookie, path=path, version=version)
        self.assertIn(b"Choose a file", response.body)
        response = await self.upload(cookie, ("ann.pem", renewed), path=path, version=version)
        self.assertEqual(response.headers["location"], f"{path}?done=certificate_replaced")
        (stored,) = await self.stored()
        self.assertEqual((stored["id"], stored["certificate"]), (certificate["id"], renewed.decode()))
        response = await self.upload(cookie, ("ann.pem", make_certificate(ANN)), path=path, version=version)
        self.assertEqual(response.status, 412)
        kept = version.replace('"', "&#34;")
        self.assertIn(f'name="version" value="{kept}"', response.body.decode(), "sending it again changes nothing")
        self.assertIn(b"Another user has changed this", response.body)

    async def test_deletion(self) -> None:
        certificate, cookie = await self.add_certificate(), await self.signed_in("provision")
        path = f"{PAGE}/{certificate['id']}"
        self.assertEqual((await self.submit(f"{path}/delete", cookie, version='"old"')).status, 412)
        version = (await self.request("GET", f"/recipient-certificates/{certificate['id']}")).etag
        response = await self.submit(f"{path}/delete", cookie, version=version)
        self.assertEqual(response.headers["location"], f"{PAGE}?done=certificate_deleted")
        self.assertEqual(await self.stored(), [])
        entries = [entry for entry in (await self.request("GET", "/audit")).json if entry["method"] == "DELETE"]
        self.assertEqual(
            [(entry["who"], entry["outcome"], entry["targetId"]) for entry in entries],
            [("anna", "done", certificate["id"]), ("anna", "refused", certificate["id"])],
        )

    async def test_a_listener_reads_only(self) -> None:
        certificate, cookie = await self.add_certificate(), await self.signed_in("supervise")
        path = f"{PAGE}/{certificate['id']}"
        body = await self.body(path, cookie)
        self.assertNotIn('enctype="multipart/form-data"', body)
        self.assertNotIn(f"{path}/delete", body)
        for form in (NEW, path, f"{path}/delete"):
            self.assertEqual((await self.submit(form, cookie, certificate="x")).status, 403)
        self.assertEqual((await self.open(f"{PAGE}/{uuid4()}", cookie)).status, 404)


class RecipientTests(CertificatePageTestCase):
    async def test_the_recipients_of_a_profile(self) -> None:
        cookie = await self.signed_in("provision")
        certificate = await self.add_certificate()
        expired = await self.add_certificate(BOB)
        await self.pool.execute(
            "UPDATE recipient_certificates SET expires_at = '2026-01-31T09:30Z' WHERE id = %s", (expired["id"],)
        )
        for mode, of_bob in (
            (MailEncryption.NONE, "not encrypted"),
            (MailEncryption.OPTIONAL, "not encrypted"),
            (MailEncryption.NOTICE, "only a notice"),
            (MailEncryption.REQUIRED, "not sent"),
        ):
            profile = await self.add_profile(email=f"{ANN}, {BOB}, carol@example.org", mail_encryption=mode)
            for path in (f"/console/profiles/{profile.id}", f"/console/profiles/{profile.id}/edit"):
                with subtest((path, mode)):
                    body = await self.body(path, cookie)
                    rows = body.partition('id="recipients"')[2].partition("</table>")[0].split("<tr>")[2:]
                    states = [
                        row.partition('<span class="state')[2].partition(">")[2].partition("<")[0] for row in rows
                    ]
                    of_ann = "not encrypted" if mode is MailEncryption.NONE else "encrypted"
                    self.assertEqual(states, [of_ann, of_bob, of_bob])
                    self.assertIn("31 January 2026", rows[1])
                    self.assertIn("There is no certificate.", rows[2])
                    self.assertIn(f'href="{NEW}?address=carol%40example.org', rows[2])
                    self.assertEqual(f'href="{PAGE}/{certificate["id"]}"' in rows[0], mode is not MailEncryption.NONE)

    async def test_a_profile_without_mail(self) -> None:
        profile, cookie = await self.add_profile(), await self.signed_in("provision")
        for path in (
            f"/console/profiles/{profile.id}",
            f"/console/profiles/{profile.id}/edit",
            "/console/profiles/new",
        ):
            self.assertNotIn("Recipients of mails", await self.body(path, cookie))

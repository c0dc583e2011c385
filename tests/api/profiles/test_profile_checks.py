"""Tests of /profiles/<id>/test, /profiles/<id>/effective and /profiles/<id>/recipients."""

from uuid import uuid4

from tests.api.rest_test_case import CREATED_AT, RestTestCase
from tests.mail.key_pairs import make_certificate
from voxrec.model import Profile, Role, Token
from voxrec.store.tokens import generate_secret


class ProfileCheckTests(RestTestCase):
    async def test_result(self) -> None:
        profile = await self.add_profile()
        response = await self.request("POST", f"/profiles/{profile.id}/test", token="provision")
        self.assertEqual(response.status, 200)
        self.assertEqual(
            response.json,
            {
                "profileId": str(profile.id),
                "node": "pbx-1",
                "checkedAt": "2026-01-31T09:30:00Z",
                "state": "ok",
                "checks": [
                    {
                        "name": "archive",
                        "target": None,
                        "state": "ok",
                        "detail": "a file was written",
                        "advice": None,
                        "seconds": 0.5,
                    }
                ],
            },
        )

    async def test_effective_settings(self) -> None:
        profile = await self.add_profile(record=True)
        response = await self.request("GET", f"/profiles/{profile.id}/effective", token="read")
        self.assertEqual((response.status, response.json["profileId"]), (200, str(profile.id)))
        settings = {each["name"]: each for each in response.json["settings"]}
        self.assertEqual(settings["record"], {"name": "record", "value": True, "source": "profile", "setting": None})
        self.assertEqual(
            settings["ringTimeoutSeconds"],
            {"name": "ringTimeoutSeconds", "value": 60.0, "source": "default", "setting": "calls.ring_timeout"},
        )

    async def test_recipients(self) -> None:
        profile = await self.add_profile(email="ann@example.org, BOB@example.org")
        path, certificates = f"/profiles/{profile.id}/recipients", "/recipient-certificates"
        document = {"certificate": make_certificate("bob@example.org").decode()}
        certificate = (await self.request("PUT", certificates, json=document)).json
        response = await self.request("GET", path, token="read")
        self.assertEqual(response.status, 200)
        of_bob = {
            "address": "BOB@example.org",
            "protection": "encrypted",
            "certificateIds": [certificate["id"]],
            "expiresAt": certificate["expiresAt"],
            "validity": "valid",
        }
        missing: dict[str, object] = {
            "protection": "unencrypted",
            "certificateIds": [],
            "expiresAt": None,
            "validity": None,
        }
        self.assertEqual(response.json, [{"address": "ann@example.org", **missing}, of_bob])
        limited = await self.limited_token(profile)
        response = await self.request("GET", path, token=limited)
        self.assertEqual(response.json[1], {**of_bob, "certificateIds": []})  # it is one of all Profiles
        own = (
            await self.request("PUT", certificates, token=limited, json={**document, "profileId": str(profile.id)})
        ).json
        for token in (limited, "read"):
            response = await self.request("GET", path, token=token)
            self.assertEqual(response.json[1], {**of_bob, "certificateIds": [own["id"]]})
        await self.request("POST", f"/profiles/{profile.id}", json={"mailEncryption": "required", "email": None})
        self.assertEqual((await self.request("GET", path)).json, [])

    async def limited_token(self, profile: Profile) -> str:
        secret = generate_secret()
        token = Token(id=uuid4(), created_at=CREATED_AT, name="limited", role=Role.PROVISION, profile_ids=(profile.id,))
        await self.tokens.create(token, secret)
        return secret

    async def test_access(self) -> None:
        own, other = await self.add_profile(), await self.add_profile()
        limited = await self.limited_token(own)
        for path, method in (("test", "POST"), ("effective", "GET"), ("recipients", "GET")):
            for profile_id, secret, status in (
                (own.id, limited, 200),
                (other.id, limited, 404),
                (uuid4(), "provision", 404),
                (own.id, "", 401),
            ):
                response = await self.request(method, f"/profiles/{profile_id}/{path}", token=secret)
                self.assertEqual(response.status, status, (path, profile_id))
        self.assertEqual((await self.request("POST", f"/profiles/{own.id}/test", token="read")).status, 403)

    async def test_audit(self) -> None:
        profile = await self.add_profile()
        await self.request("POST", f"/profiles/{profile.id}/test", token="provision")
        (entry,) = (await self.request("GET", "/audit", token="admin")).json
        self.assertEqual(
            (entry["kind"], entry["targetId"], entry["outcome"]), ("profile test", str(profile.id), "done")
        )

    async def test_rate_limit(self) -> None:
        profile = await self.add_profile()
        path = f"/profiles/{profile.id}/test"
        statuses = [(await self.request("POST", path, token="provision")).status for _ in range(21)]
        self.assertEqual(statuses, [200] * 20 + [429])
        response = await self.request("POST", path, token="provision")
        self.assertTrue(1 <= int(response.headers["retry-after"]) <= 60)
        self.assertEqual((await self.request("POST", path, token="admin")).status, 200)

"""/profiles/<id>/mail-preview: the texts of a mail about a Recording, and who may see them."""

from uuid import uuid4

from tests.api.rest_test_case import PUBLIC_URL, RestTestCase
from voxrec.model import MailContent


class MailPreviewTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile = await self.add_profile(name="Front desk", numbers=("+4955",))
        self.path = f"/profiles/{self.profile.id}/mail-preview"

    async def test_recording(self) -> None:
        recording = await self.add_recording(profile_id=self.profile.id, from_="+49123", to="+4955", size=1000)
        response = await self.request("GET", f"{self.path}?recordingId={recording.id}", token="read")
        self.assertEqual(response.status, 200)
        self.assertIn("+49123 called +4955", response.json["subject"])
        self.assertIn(
            f"attached. You can also listen to it here:\n{PUBLIC_URL}/recordings/{recording.id}/audio",
            response.json["text"],
        )
        self.assertIn(f'href="{PUBLIC_URL}/recordings/{recording.id}/audio"', response.json["html"])
        self.assertIsNone(response.json["problem"])

    async def test_example(self) -> None:
        response = await self.request("GET", self.path, token="read")
        self.assertIn("Ann Example (+4930123456) called +4955", response.json["subject"])

    async def test_notice_has_no_link(self) -> None:
        notice = await self.add_profile(mail_content=MailContent.NOTICE)
        response = await self.request("GET", f"/profiles/{notice.id}/mail-preview")
        self.assertNotIn("https://", response.json["text"] + response.json["html"])

    async def test_problem(self) -> None:
        broken = await self.add_profile(mail_template="sales")
        response = await self.request("GET", f"/profiles/{broken.id}/mail-preview")
        self.assertEqual(response.status, 200)
        self.assertIn("mail.templates is not set", response.json["problem"])
        self.assertIn("Ann Example", response.json["subject"])

    async def test_what_does_not_exist(self) -> None:
        other = await self.add_recording(profile_id=uuid4())
        for path in (
            f"{self.path}?recordingId={other.id}",
            f"{self.path}?recordingId={uuid4()}",
            f"/profiles/{uuid4()}/mail-preview",
        ):
            self.assertEqual((await self.request("GET", path)).status, 404)
        self.assertEqual((await self.request("GET", f"{self.path}?recordingId=x")).status, 422)

    async def test_scope(self) -> None:
        created = await self.request(
            "PUT", "/tokens", json={"name": "scoped", "role": "read", "profileIds": [str(self.profile.id)]}
        )
        token = created.json["token"]
        self.assertEqual((await self.request("GET", self.path, token=token)).status, 200)
        other = await self.add_profile()
        self.assertEqual((await self.request("GET", f"/profiles/{other.id}/mail-preview", token=token)).status, 404)
        self.assertEqual((await self.request("GET", self.path, token="")).status, 401)

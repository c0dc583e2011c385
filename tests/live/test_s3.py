"""Recordings of real calls in a real S3 store, also while the store is down and voxrec is killed."""

import hashlib
from typing import Any

import treq
from twisted.web.http_headers import Headers

from tests.live.live_test_case import RecordedCallTestCase, make_stack
from voxrec.sandbox.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, client_of
from voxrec.sandbox.stack import Stack


class S3ArchiveTests(RecordedCallTestCase):
    timeout = 180

    async def stack_for_calls(self) -> Stack:
        return self.stack

    async def start_stack(self) -> SeaweedFS:
        """Start a store of its own, which the test stops, and a stack that uses it."""
        store = SeaweedFS(self.directory / "store")
        self.addCleanup(store.kill)
        store.start()
        self.client = client_of(store)
        self.client.create_bucket(Bucket="recordings")
        settings = {
            "bucket": "recordings",
            "prefix": "live/",
            "endpoint": store.endpoint,
            "addressing": "path",
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "retry_first": 0.5,
            "retry_limit": 2.0,
        }
        self.stack = make_stack({"s3": settings})
        self.addCleanup(self.stack.stop)
        await self.stack.start()
        return store

    async def record_call(self) -> dict[str, Any]:
        stack, profile_id, caller, _ = await self.start_call(2.0)
        await caller.wait_until_ended(30)
        recording = await stack.wait_for_recording(profile_id)
        self.assertEqual(recording["state"], "completed", recording)
        return recording

    def local_files(self) -> list[str]:
        return [path.name for path in self.stack.archive_directory.rglob("*.wav") if path.is_file()]

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket="recordings")
        return [entry["Key"] for entry in listed.get("Contents", ())]

    async def wait_until_uploaded(self) -> None:
        async def uploaded() -> bool:
            return not self.local_files()

        self.assertTrue(await self.stack.wait_until(uploaded, 60), self.stack.voxrec_log_tail())

    async def assert_playable(self, recording: dict[str, Any]) -> None:
        """Read the audio in two ranges, as a player does, and compare it with the digest of the Recording."""
        audio = b""
        for requested in ("bytes=0-999", "bytes=1000-"):
            response = await treq.get(
                f"{self.stack.url}/recordings/{recording['id']}/audio",
                headers=Headers({"Authorization": [f"Bearer {self.stack.token}"], "Range": [requested]}),
                persistent=False,
            )
            self.assertEqual(response.code, 206)
            audio += await treq.content(response)
        self.assertEqual(hashlib.sha256(audio).hexdigest(), recording["sha256"])

    async def test_call_and_outage(self) -> None:
        store = await self.start_stack()
        first = await self.record_call()
        await self.wait_until_uploaded()
        await self.assert_playable(first)
        peaks = await self.stack.request("GET", f"/recordings/{first['id']}/peaks?points=10")
        self.assertEqual(peaks.status, 200)

        store.kill()
        second = await self.record_call()
        await self.assert_playable(second)  # from the local archive
        gone = await self.stack.request("GET", f"/recordings/{first['id']}/audio")
        self.assertEqual((gone.status, gone.json()["code"]), (503, "archive-unavailable"))

        async def failing() -> bool:
            return await self.metric(self.stack, "voxrec_upload_buckets_failing") == 1

        self.assertTrue(await self.stack.wait_until(failing, 20))
        self.assertEqual(await self.stack.readiness_status(), 200)  # calls are recorded
        self.stack.kill_voxrec()
        store.start()
        await self.stack.start_voxrec()
        await self.wait_until_uploaded()
        for recording in (first, second):
            await self.assert_playable(recording)
            await self.stack.request("DELETE", f"/recordings/{recording['id']}")

        async def erased() -> bool:
            return not self.keys()

        self.assertTrue(await self.stack.wait_until(erased, 20))

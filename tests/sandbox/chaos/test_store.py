"""Tests of voxrec.sandbox.chaos.store: the faults of its proxy, as the S3 client of voxrec meets them."""

import hashlib
import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.temporary import temporary_directory
from voxrec.archive.interface import ObjectLock, StoreError
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_settings import S3Settings
from voxrec.model import StoredObject
from voxrec.sandbox.chaos.store import BUCKET, ChaosStore
from voxrec.sandbox.chaos.store_faults import StoreProxyFault, store_faults

CONTENT = os.urandom(200_000)
ID = "11111111-2222-4333-8444-555555555555"


class ChaosStoreTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        directory = temporary_directory("chaos-store")
        self.store = ChaosStore(reactor, directory / "store")
        self.addCleanup(self.store.stop)
        await self.store.start()
        names = ("endpoint", "addressing", "access_key", "secret_key")
        settings = {name: self.store.settings[name] for name in names}
        self.client = S3Store(S3Settings(**settings, timeout=20.0))
        self.source = directory / "audio"
        self.source.write_bytes(CONTENT)
        self.downloads = directory / "downloads"

    async def upload(self) -> StoredObject:
        target = StoredObject(bucket=BUCKET, key=f"2026/05/06/{ID}.wav")
        stored: StoredObject = await deferToThread(
            self.client.upload, self.source, target, None, "audio/wav", ObjectLock()
        )
        return stored

    async def download(self, content: bytes = CONTENT) -> dict[str, str]:
        recordings = [{"id": ID, "sha256": hashlib.sha256(content).hexdigest()}]
        return await deferToThread(self.store.download, recordings, self.downloads)

    def fault(self, name: str) -> StoreProxyFault:
        (fault,) = [each for each in store_faults() if each.kind.name == name]
        assert isinstance(fault, StoreProxyFault)
        return fault

    async def test_faults_of_the_proxy_end(self) -> None:
        environment: Any = type("Environment", (), {"store": self.store})()
        for name, reason in (("store-refuses", "SlowDown"), ("uploads-interrupted", "ConnectionClosedError")):
            fault = self.fault(name)
            await fault.inject(environment)
            with self.assertRaises(StoreError) as raised:
                await self.upload()
            self.assertEqual(raised.exception.reason, reason)
            await fault.recover(environment)
        self.assertEqual(await self.download(), {ID: "the store has no object"})
        await self.upload()
        self.assertEqual(await self.download(), {ID: ""})
        self.assertEqual((self.downloads / f"{ID}.wav").read_bytes(), CONTENT)
        self.assertIn("the object has the SHA-256", (await self.download(b"other"))[ID])

    async def test_slow_store_accepts_uploads(self) -> None:
        self.store.proxy.rate = 200_000.0
        await self.upload()
        self.assertEqual(await self.download(), {ID: ""})

    async def test_store_that_was_killed_has_what_it_had_confirmed(self) -> None:
        await self.upload()
        self.store.kill()
        with self.assertRaises(StoreError):
            await self.upload()
        await self.store.launch()
        self.assertEqual(await self.download(), {ID: ""})

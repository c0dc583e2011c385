"""Tests of voxrec.composition.webhooks."""

from pathlib import Path

from tests.database import reactor
from tests.webhooks.receivers import ReceiverTestCase
from voxrec.composition.database import build_database
from voxrec.composition.environment import build_environment
from voxrec.composition.webhooks import build_webhooks
from voxrec.config import parse
from voxrec.errors import DeliveryError


class ReloadTests(ReceiverTestCase):
    async def test_changed_settings_apply_to_the_next_request(self) -> None:
        directory = f"data_directory: {Path(self.mktemp())}"
        env = build_environment(reactor, parse(directory))
        services = build_webhooks(env, build_database(env, "host=/nowhere"))
        services.threads.startService()
        self.addCleanup(services.threads.stopService)
        receiver, url = await self.start_receiver()
        with self.assertRaises(DeliveryError):
            await services.client.post(url, {}, b"{}")
        services.reconfigure(parse(f"{directory}\nwebhooks: {{allowed_networks: [127.0.0.0/8]}}").webhooks)
        self.assertEqual((await services.client.post(url, {}, b"{}")).status, 200)
        services.reconfigure(env.config.webhooks)
        with self.assertRaises(DeliveryError):
            await services.client.post(url, {}, b"{}")
        self.assertEqual(len(receiver.requests), 1)

"""The test of a Profile by the running daemon: OPTIONS through a real Asterisk, the relay, a receiver, the archive."""

from typing import Any

from twisted.web.server import Site

from tests.live.live_test_case import LiveTestCase, shared_stack
from tests.webhooks.receivers import Receiver, ReceiverTestCase
from voxrec.sandbox import demo_call
from voxrec.sandbox.rootfs import ASTERISK_16

SILENT = "sip:desk@127.0.0.1:9"
"""No program listens on the port ``discard``."""


class ProfileCheckTests(LiveTestCase, ReceiverTestCase):
    timeout = 120

    async def test_profile(self) -> None:
        stack = await shared_stack(self.recipe)
        receiver = Receiver()
        site = Site(receiver)
        site.noisy = False
        url = f"http://127.0.0.1:{await self.listen(site)}/hook"
        profile, callee = await demo_call.create_profile_and_callee(
            stack,
            self.reactor,
            self.directory,
            record=True,
            recordPrompt="default",
            webhookUrl=url,
            email="ann@example.org",
        )
        self.kill_at_end(callee)
        path = f"/profiles/{profile['id']}"
        result = await stack.request_json("POST", f"{path}/test")
        found = self.by_name(result)
        others = {name: check["state"] for name, check in found.items() if check["state"] != "ok"}
        self.assertEqual(others, {"encryption": "skipped"}, result)  # there is no certificate of the recipient
        self.assertEqual(result["state"], "ok")
        self.assertEqual([*found], ["target", "prompt", "recording", "mailbox", "encryption", "webhook", "archive"])
        self.assertRegex(found["target"]["detail"], r"^responded to OPTIONS within [0-9]+ ms$")
        self.assertEqual([request.unverified["type"] for request in receiver.requests], ["webhook.test"])

        await stack.request_json("POST", path, {"remoteSipUri": SILENT, "email": None, "webhookUrl": None})
        found = self.by_name(await stack.request_json("POST", f"{path}/test"))
        self.assertEqual({name: check["state"] for name, check in found.items() if check["state"] != "ok"}, {
            "target": "failed", "mailbox": "skipped", "encryption": "skipped", "webhook": "skipped",
        })  # fmt: skip
        self.assertIn("no response to OPTIONS", found["target"]["detail"])
        await self.assert_asterisk_is_idle(stack)

        settings = {each["name"]: each for each in (await stack.request_json("GET", f"{path}/effective"))["settings"]}
        self.assertEqual(
            (settings["ringTimeoutSeconds"]["value"], settings["ringTimeoutSeconds"]["source"]), (3.0, "installation")
        )
        self.assertEqual(settings["endpoint"]["value"], "trusted")

    def by_name(self, result: dict[str, Any]) -> dict[str, Any]:
        return {check["name"]: check for check in result["checks"]}


class ProfileCheck16Tests(ProfileCheckTests):
    recipe = ASTERISK_16

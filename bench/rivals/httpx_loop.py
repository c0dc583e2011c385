"""A plain loop that signs and sends messages with httpx: nothing is stored, and a failure would lose the message.

Arguments: the URL, the number of messages, and the number of requests at the same time. Prints the seconds and the
seconds of CPU.
"""

import asyncio
import base64
import hmac
import sys
import time
from uuid import uuid4

import httpx

KEY = b"k" * 32
BODY = b'{"type":"recording.failed","timestamp":"2026-01-31T09:30:00Z","sequence":1,"data":{"padding":"%s"}}' % (
    b"x" * 700
)


async def send(client: httpx.AsyncClient, url: str, slots: asyncio.Semaphore) -> None:
    """Send one message."""
    async with slots:
        message_id, timestamp = str(uuid4()), str(int(time.time()))
        content = f"{message_id}.{timestamp}.".encode() + BODY
        signature = base64.b64encode(hmac.digest(KEY, content, "sha256")).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }
        (await client.post(url, content=BODY, headers=headers)).raise_for_status()


async def main(url: str, count: int, concurrency: int) -> None:
    """Send all messages, on connections that are kept open."""
    slots = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient() as client:
        await send(client, url, slots)
        began, used = time.monotonic(), time.process_time()
        await asyncio.gather(*(send(client, url, slots) for _ in range(count)))
        print(time.monotonic() - began, time.process_time() - used)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

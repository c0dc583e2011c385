"""Lets Asterisk send a SIP OPTIONS request to any URI, as it would send an INVITE.

ARI and AMI have no command for it: AMI's PJSIPQualify only knows configured endpoints. But Asterisk sends OPTIONS to a
contact that is added to an address of record with a ``qualify_frequency``, at once, through the endpoint that the
contact names. A contact can be added through ARI, because Asterisk stores contacts in its own database. The state of
an endpoint with that address of record then is the result; the pair is reserved for this in etc/asterisk/pjsip.conf.
Sources: ``sip_options_contact_add_task`` and ``sip_options_qualify_contact`` in res_pjsip/pjsip_options.c,
``contact_alloc`` in res_pjsip/location.c, Asterisk 16.28 and 22.10.
"""

from typing import Final
from uuid import uuid4

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.clock import utc_now
from voxrec.deferreds import shielded
from voxrec.errors import Unavailable

NAME: Final = "voxrec-options"
"""The name of the endpoint and of its address of record in etc/asterisk/pjsip.conf."""

_POLL_INTERVAL: Final = 0.1  # seconds
_MARGIN: Final = 0.5  # seconds that Asterisk may need in addition to its time limit
_MAX_WAITING: Final = 1  # another one would wait longer than a check may take
_EXPIRY: Final = 30  # seconds after which Asterisk deletes the contact if voxrec could not


class OptionsUnavailable(Unavailable):
    """Asterisk cannot send OPTIONS now: a section of pjsip.conf is missing, or another request is in progress."""

    code = "options-unavailable"


class OptionsRequests:
    """Sends OPTIONS requests through one Asterisk, one at a time."""

    def __init__(self, clock: IReactorTime, asterisk: AriClient) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._lock = DeferredLock()

    async def send(self, uri: str, endpoint: str) -> float | None:
        """Send OPTIONS to ``uri`` through an endpoint; return the seconds until the response, None without one.

        Any response counts, whatever its status. The wait is limited by ``qualify_timeout`` in pjsip.conf. Raises
        OptionsUnavailable, and what `AriClient` raises.
        """
        if len(self._lock.waiting) >= _MAX_WAITING:
            raise OptionsUnavailable("other requests are in progress")
        await self._lock.acquire()
        try:
            time_limit = await self._time_limit()
            if await self._asterisk.is_online(NAME):
                raise OptionsUnavailable("another program has Asterisk send OPTIONS now")
            return await self._send(uri, endpoint, time_limit)
        finally:
            self._lock.release()

    async def _time_limit(self) -> float:
        try:
            settings = await self._asterisk.pjsip_settings("aor", NAME)
        except AriResponseError as error:
            if not error.not_found:
                raise
            raise OptionsUnavailable(f"Asterisk has no address of record {NAME} in pjsip.conf") from None
        if settings.get("qualify_frequency", "0") == "0":
            raise OptionsUnavailable(f"qualify_frequency of {NAME} in Asterisk's pjsip.conf is 0")
        return float(settings.get("qualify_timeout", "3"))

    async def _send(self, uri: str, endpoint: str, time_limit: float) -> float | None:
        contact = f"{NAME};@{uuid4().hex}"  # ";@" is behind the address of record
        settings = {
            "uri": uri,
            "endpoint": endpoint,
            "expiration_time": str(int(utc_now(self._clock).timestamp()) + _EXPIRY),
            "prune_on_boot": "yes",
        }
        sent_at = self._clock.seconds()
        try:
            await self._asterisk.put_pjsip_settings("contact", contact, settings)
            while True:
                online = await self._asterisk.is_online(NAME)
                elapsed = self._clock.seconds() - sent_at
                if online or elapsed > time_limit + _MARGIN:
                    return elapsed if online else None
                await deferLater(self._clock, _POLL_INTERVAL)
        finally:
            await shielded(self._asterisk.delete_pjsip_settings("contact", contact))

"""The channels and bridges in Asterisk that send the audio of one call to this process.

For each side: a snoop channel on the far end's channel, a channel that sends RTP to a UDP port of this process, and a
bridge with both. They are on the far end's channel because a recording has its hooks on the caller's: a decoder belongs
to all hooks of a channel, and a recording could not renew its own while another hook remains (docs/asterisk.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient, Direction
from voxrec.calls.channels.channel_ready import ChannelReady
from voxrec.calls.channels.ids import listening_role, owned_id
from voxrec.calls.listening.frames import Frame, FrameMixer
from voxrec.calls.listening.media_port import MediaPort, UdpReactor
from voxrec.calls.listening.rtp import NARROWBAND, WIDEBAND, Encoding, RtpPacket
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.stasis_args import is_wideband_codec, split_codecs
from voxrec.deferreds import Operation, gather, gather_failures, shielded
from voxrec.errors import AsteriskUnavailable, Unavailable
from voxrec.model import Side

# variables of the sending channel (channels/chan_rtp.c)
_SOURCE_ADDRESS: Final = "UNICASTRTP_LOCAL_ADDRESS"
_SOURCE_PORT: Final = "UNICASTRTP_LOCAL_PORT"
_DIRECTIONS: Final[dict[Side, Direction]] = {Side.CALLER: "out", Side.CALLEE: "in"}  # seen from the far end's channel

FrameReceiver = Callable[[Frame], None]
PacketReceiver = Callable[[Side, RtpPacket], None]


@dataclass(frozen=True, slots=True)
class ListeningContext:
    """What receives the audio of any call.

    - ``udp``: opens the ports for RTP
    - ``address``: that of this process, as Asterisk reaches it
    """

    clock: IReactorTime
    udp: UdpReactor
    asterisk: AriClient
    address: str


async def encoding_of(asterisk: AriClient, channel: str) -> Encoding:
    """Return the format in which the audio of a channel is sent: wide-band if one of its codecs is."""
    codecs = split_codecs(await asterisk.get_variable(channel, "CHANNEL(audionativeformat)"))
    return WIDEBAND if any(map(is_wideband_codec, codecs)) else NARROWBAND


class CallAudio:
    """Sends both sides of a call to ``received``, from `open` until `remove`."""

    _log = Logger()

    def __init__(self, context: ListeningContext, call_id: UUID, key: str, received: FrameReceiver) -> None:
        """``key`` makes the ids unique."""
        self._asterisk = context.asterisk
        self._call_id = call_id
        self._encoding = NARROWBAND
        self._received = received
        self._mixer = FrameMixer(NARROWBAND.rate, received)
        self._sides = [_SideAudio(context, call_id, f"{key}-{side}", side, self._packet_received) for side in Side]
        self._opening: Deferred[list[BaseException]] | None = None
        self._removed = False

    def owns(self, object_id: str) -> bool:
        """Return whether a channel or bridge is one of these."""
        return any(object_id in side.ids for side in self._sides)

    def is_channel(self, object_id: str) -> bool:
        """Return whether an id is that of one of the channels."""
        return any(object_id in (side.snoop, side.sender) for side in self._sides)

    def channel_entered(self, channel: str) -> None:
        """Handle the StasisStart of one of the channels."""
        for side in self._sides:
            side.channel_entered(channel)

    async def open(self, leg: str, encoding: Encoding) -> None:
        """Start to send what is heard on the channel ``leg``. Raises a VoxrecError; call `remove` in any case."""
        if self._removed:
            raise Unavailable("The audio of the call is not needed any more.")
        self._encoding = encoding
        self._mixer = FrameMixer(encoding.rate, self._received)
        opening = gather_failures(*(side.open(leg, encoding) for side in self._sides))
        self._opening = Deferred.fromCoroutine(opening)
        if failures := await shielded(self._opening):
            raise failures[0]

    async def remove(self) -> None:
        """Remove everything from Asterisk; what cannot be removed now is found later as belonging to no call."""
        self._removed = True
        for side in self._sides:
            side.close_port()
        if self._opening is None:
            return
        if not self._opening.called:  # what is being created now can be removed afterwards only
            await shielded(self._opening)
            for side in self._sides:
                side.close_port()
        removing: list[Operation[Any]] = []
        for side in self._sides:
            removing += [self._asterisk.hang_up(channel, Cause.NORMAL) for channel in (side.snoop, side.sender)]
            removing.append(self._asterisk.destroy_bridge(side.bridge))
        for failure in await gather_failures(*removing):
            self._log.warn(
                "call {call}: a channel or bridge of live listening could not be removed and stays until the next "
                "search for stale channels: {error}",
                call=self._call_id,
                error=failure,
            )

    def _packet_received(self, side: Side, packet: RtpPacket) -> None:
        self._mixer.add(side, packet, self._encoding.decode(packet.payload))


class _SideAudio:
    """The channels, the bridge and the UDP port of one side."""

    def __init__(
        self, context: ListeningContext, call_id: UUID, key: str, side: Side, received: PacketReceiver
    ) -> None:
        self._udp = context.udp
        self._asterisk = context.asterisk
        self._address = context.address
        self._side = side
        self._port = MediaPort(lambda packet: received(side, packet))
        self.snoop, self.sender, self.bridge = (
            owned_id(call_id, listening_role(f"{key}-{kind}")) for kind in ("snoop", "sender", "bridge")
        )
        self.ids = frozenset((self.snoop, self.sender, self.bridge))
        self._ready = {channel: ChannelReady(context.clock) for channel in (self.snoop, self.sender)}

    def channel_entered(self, channel: str) -> None:
        """Handle the StasisStart of a channel."""
        if channel in self._ready:
            self._ready[channel].entered()

    async def open(self, leg: str, encoding: Encoding) -> None:
        """Create everything. Raises a VoxrecError."""
        target = self._port.open(self._udp, self._address)
        failures = await gather_failures(
            self._asterisk.snoop(leg, self.snoop, "listen", spy=_DIRECTIONS[self._side]),
            self._asterisk.create_external_media(self.sender, target, encoding.name),
            self._asterisk.create_bridge(self.bridge, "voxrec live listening"),
        )
        if failures:
            raise failures[0]
        for ready in self._ready.values():
            await ready.wait()
        address, port = await gather(
            self._asterisk.get_variable(self.sender, _SOURCE_ADDRESS),
            self._asterisk.get_variable(self.sender, _SOURCE_PORT),
        )
        try:
            self._port.accept_from(address, int(port))
        except ValueError:
            raise AsteriskUnavailable(
                f"Asterisk does not say from where it sends the audio of the call: {address!r}, port {port!r}."
            ) from None
        await self._asterisk.add_to_bridge(self.bridge, (self.snoop, self.sender))

    def close_port(self) -> None:
        """Accept nothing more."""
        self._port.close()

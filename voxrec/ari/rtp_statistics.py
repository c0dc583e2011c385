"""The RTP statistics of a channel (``GET /channels/{id}/rtp_statistics``)."""

import msgspec


class RtpStatistics(msgspec.Struct, frozen=True):
    """What Asterisk has received on a channel.

    ``rxcount`` are packets; ``rxploss`` those that were lost according to the last RTCP report, among which Asterisk
    counts a jump of the sequence numbers; ``remote_ssrc`` identifies the stream.
    """

    rxcount: int = 0
    rxploss: int = 0
    remote_ssrc: int = 0
    local_maxjitter: float | None = None  # the greatest one, in seconds
    local_normdevjitter: float | None = None  # the mean, in seconds

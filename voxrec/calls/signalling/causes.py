"""Q.850 cause codes with which voxrec ends calls."""

from enum import IntEnum


class Cause(IntEnum):
    """A Q.850 cause code. The comment is the SIP status of an unanswered call (Asterisk's ``hangup_cause2sip``)."""

    UNALLOCATED = 1  # 404
    NORMAL = 16  # BYE after the answer
    BUSY = 17  # 486
    NO_RESPONSE = 18  # 408
    NO_ANSWER = 19  # 480
    REJECTED = 21  # 403
    ROUTING_ERROR = 25  # 482 or 483 (`AriClient.refuse`)
    CONGESTION = 34  # 503: this node does not accept the call; another one may (etc/kamailio/kamailio.cfg)
    FAR_END_CONGESTION = 42  # 503 of the far end, which was called

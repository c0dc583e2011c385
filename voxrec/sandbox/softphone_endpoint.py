"""The configuration of the pjsip endpoint of `voxrec.sandbox.softphone`."""

import json

import pjsua2 as pj

from voxrec.sandbox.phone import parse_codec_list

# Large enough for a busy machine. Nothing is ever discarded: both ends have one clock, so there is no drift to
# compensate, while each discarded packet would be a gap in what a test measures.
JITTER_MILLISECONDS = 80
JITTER_DISCARD_NONE = 0  # PJMEDIA_JB_DISCARD_NONE
LOG_LEVEL_WITH_MESSAGES = 4


def endpoint_config(codec: str, log: str) -> pj.EpConfig:
    """Return the configuration for codecs by preference (comma-separated), with the SIP trace in the file ``log``."""
    # Through JSON, because the binding has no enumeration for the jitter buffer's discard algorithm.
    document = pj.JsonDocument()
    document.writeObject(pj.EpConfig())
    settings = json.loads(document.saveString())
    # No thread of pjsip calls Python: run() handles the events, and audio stays in C.
    settings["EpConfig"]["UaConfig"].update(threadCnt=0, mainThreadOnly=True, userAgent="voxrec-sandbox-phone")
    settings["EpConfig"]["LogConfig"].update(level=LOG_LEVEL_WITH_MESSAGES, consoleLevel=0, filename=log)
    settings["EpConfig"]["MediaConfig"].update(
        clockRate=max(one.rate for one in parse_codec_list(codec)),
        # No voice activity detection and no echo canceller: the audio must arrive unchanged.
        noVad=True,
        ecOptions=0,
        ecTailLen=0,
        jbInit=JITTER_MILLISECONDS,
        jbMinPre=JITTER_MILLISECONDS,
        jbMaxPre=2 * JITTER_MILLISECONDS,
        jbMax=10 * JITTER_MILLISECONDS,
        jbDiscardAlgo=JITTER_DISCARD_NONE,
        sndAutoCloseTime=-1,
    )
    changed = pj.JsonDocument()
    changed.loadString(json.dumps(settings))
    config = pj.EpConfig()
    changed.readObject(config)
    return config

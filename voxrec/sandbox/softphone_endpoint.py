"""The configuration of the pjsip endpoint of `voxrec.sandbox.softphone`."""

import argparse
import json

import pjsua2 as pj

from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.phone import Network, parse_codec_list

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


def network_of(options: argparse.Namespace) -> Network:
    """Return the network of the command line."""
    return Network(options.transport, options.srtp, options.certificate)


def own_uri(options: argparse.Namespace) -> str:
    """Return the SIP URI of the phone itself."""
    return network_of(options).uri(options.number, options.port)


def transport_config(options: argparse.Namespace) -> tuple[int, pj.TransportConfig]:
    """Return the type and the configuration of the SIP transport."""
    config = pj.TransportConfig()
    config.port = options.port
    config.boundAddress = config.publicAddress = LOOPBACK
    config.tlsConfig.certFile = config.tlsConfig.privKeyFile = options.certificate
    types = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
    return types[options.transport], config


def configure_media(media: pj.AccountMediaConfig, options: argparse.Namespace) -> None:
    """Set the address and ports of RTP, and whether it is encrypted."""
    media.transportConfig.boundAddress = LOOPBACK
    media.transportConfig.port = 10000
    media.transportConfig.portRange = 9998
    media.transportConfig.randomizePort = True
    if options.srtp:
        media.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
        media.srtpSecureSignaling = 0  # a test may want SRTP without TLS

"""Checks of Asterisk, through ARI."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from voxrec.ari.versions import WITH_SAFE_SNOOPS, drops_late_audio, predates
from voxrec.config import Asterisk, Config
from voxrec.doctor.finding import Finding, failed, ok, skipped, warning
from voxrec.doctor.http import Reply, get

_OLDEST: Final = 16
_TRANSPORT: Final = "transport-udp"
_MODULES: Final = (
    "app_exec.so", "app_stack.so", "app_stasis.so", "app_userevent.so",
    "bridge_simple.so", "bridge_softmix.so", "chan_pjsip.so", "format_wav.so",
    "func_callerid.so", "func_channel.so", "func_hangupcause.so", "func_pjsip_endpoint.so", "func_strings.so",
    "func_uri.so", "pbx_config.so", "pbx_loopback.so",
    "res_ari_applications.so", "res_ari_bridges.so", "res_ari_channels.so", "res_ari_events.so", "res_ari_playbacks.so",
    "res_pjsip_caller_id.so", "res_pjsip_endpoint_identifier_ip.so", "res_pjsip_header_funcs.so",
    "res_pjsip_sdp_rtp.so", "res_rtp_asterisk.so", "res_stasis_playback.so", "res_stasis_snoop.so",
)  # fmt: skip
_MODULES_OF_LISTENING: Final = ("chan_rtp.so",)
_TRUE: Final = frozenset(("yes", "true", "y", "t", "1", "on"))  # ast_true
_MODULE_OF_JITTER_BUFFER: Final = ("func_jitterbuffer.so",)
_MODULES_OF_CODECS: Final = {
    "alaw": "codec_alaw.so", "g722": "codec_g722.so", "g726": "codec_g726.so", "gsm": "codec_gsm.so",
    "ulaw": "codec_ulaw.so",
}  # fmt: skip
_CODECS: Final = frozenset(("ulaw", "alaw", "g722"))
# The contexts of etc/asterisk/extensions.conf, and what they must contain
_CONTEXTS: Final = {
    "from-trunk": "Goto(voxrec-incoming",
    "voxrec-incoming": "Stasis(",
    "voxrec-refuse": "hangup_handler_push",
    "voxrec-status": "PJSIPHangup",
    "voxrec-report": "UserEvent(",
    "voxrec-transfer": "voxrec-transferred",
    "voxrec-transferred": "Stasis(",
}
_LOAD: Final = "install and load them (modules.conf); module load MODULE in the console of Asterisk says what they lack"
_INCLUDE: Final = "include voxrec/{file}.conf in /etc/asterisk/{file}.conf as the README says, and restart Asterisk"


def check_asterisk(config: Config) -> Iterator[Finding]:
    """Check that ARI responds and that Asterisk's configuration is voxrec's."""
    client = _Client(config.asterisk)
    try:
        reply = client.get("asterisk/info")
    except OSError as error:
        yield failed(
            "asterisk",
            f"ARI does not respond at {config.asterisk.url}: {error}",
            "start Asterisk, check asterisk.url, and " + _INCLUDE.format(file="http"),
        )
        return
    if reply.status != 200:
        yield _explain_refusal(config.asterisk, reply)
        return
    version = str(reply.content["system"]["version"])
    yield _check_version(version)
    yield from check_build(version)
    yield check_recording_cache(Path(client.get_variable("ASTETCDIR") or "/etc/asterisk"))
    yield _check_application(client, config.asterisk.app)
    yield check_modules(client, _modules(config))
    yield from _check_endpoint(client, config.asterisk.endpoint)
    yield _check_transport(client)
    yield _check_identify(client, config.asterisk.endpoint)
    yield _check_dialplan()


def _modules(config: Config) -> tuple[str, ...]:
    listening = _MODULES_OF_LISTENING if config.listening.enabled else ()
    return (*_MODULES, *listening, *(_MODULE_OF_JITTER_BUFFER if config.calls.jitter_buffer else ()))


class Ari(Protocol):
    """Requests to ARI."""

    def get(self, path: str) -> Reply:
        """Return the response to GET of a path below that of ARI."""


class _Client:
    """Requests to ARI as voxrec."""

    def __init__(self, settings: Asterisk) -> None:
        self._settings = settings

    def get(self, path: str) -> Reply:
        return get(f"{self._settings.url.rstrip('/')}/{path}", self._settings.user, self._settings.password)

    def get_variable(self, name: str) -> str:
        """Return a global variable, or an empty string."""
        reply = self.get(f"asterisk/variable?variable={name}")
        return str(reply.content["value"]) if reply.status == 200 else ""

    def get_object(self, kind: str, name: str) -> dict[str, str] | None:
        """Return the attributes of an object of res_pjsip, or None if it does not exist."""
        reply = self.get(f"asterisk/config/dynamic/res_pjsip/{kind}/{quote(name, safe='')}")
        if reply.status != 200:
            return None
        return {str(each["attribute"]): str(each["value"]) for each in reply.content}


def _explain_refusal(settings: Asterisk, reply: Reply) -> Finding:
    if reply.status == 401:
        return failed(
            "asterisk",
            f"ARI does not accept the user {settings.user} with asterisk.password",
            f"set the same password in the section [{settings.user}] of /etc/asterisk/ari.conf, and reload res_ari.so",
        )
    return failed(
        "asterisk",
        f"ARI responds with status {reply.status}",
        "ARI is disabled, or asterisk.url is not its address (it ends with /ari); " + _INCLUDE.format(file="ari"),
    )


def _check_version(version: str) -> Finding:
    match = re.match(r"(?:certified/)?(\d+)", version)
    if match is not None and int(match[1]) < _OLDEST:
        return failed("asterisk", f"version {version} is too old", f"install Asterisk {_OLDEST} or later")
    return ok("asterisk", f"version {version}, credentials accepted")


def check_build(version: str) -> Iterator[Finding]:
    """Warn of the known faults of a version of Asterisk that concern recorded calls."""
    if drops_late_audio(version):
        yield warning(
            "asterisk decoders",
            f"{version} has Debian's patch 2016_opus_plc.patch: RTP packets that arrive late are not recorded",
            'if the network reorders packets, install Asterisk without it: docs/limitations.md, "Late packets"',
        )
    if predates(version, WITH_SAFE_SNOOPS):
        yield warning(
            "asterisk snoops",
            f"{version} can end if a party hangs up at the moment at which a beep, a confirmation of a DTMF code or"
            " live listening begins",
            "install Asterisk 18.17, 20.2 or later, or use none of them: recordBeepAtStart false, recordBeepInterval 0,"
            " calls.pause_sound and calls.resume_sound empty, listening.enabled false",
        )


def check_recording_cache(directory: Path) -> Finding:
    """Check that Asterisk writes recordings where they belong; ``directory`` is that of its configuration.

    With ``cache_record_files``, it writes below ``record_cache_dir``, and replaces the file by that when it closes it
    (``ast_writefile`` and ``filestream_destructor`` in ``main/file.c``): a MixMonitor that continues a file deletes
    what is in it, and one whose AMI session has ended cannot replace it.
    """
    name, option = "recording cache", "cache_record_files"
    try:
        lines = list(_read_configuration(directory, "asterisk.conf"))
    except OSError as error:
        return skipped(name, f"{error.filename} cannot be read; it must not set {option} = yes")
    values = [match[1] for line in lines if (match := re.match(rf"\s*{option}\s*=>?\s*(\w+)", line, re.IGNORECASE))]
    if values and values[-1].lower() in _TRUE:
        return failed(
            name,
            f"{option} is {values[-1]}: recordings are lost that voxrec continues, or during which it connects to AMI",
            f"set {option} = no in [options] of {directory / 'asterisk.conf'}, and restart Asterisk",
        )
    return ok(name, f"{option} is not set to yes")


def _read_configuration(directory: Path, file: str) -> Iterator[str]:
    """Yield the lines of a configuration file, and of the files that it includes directly. Raises OSError."""
    for line in (directory / file).read_text(errors="replace").splitlines():
        yield line
        if included := re.match(r"\s*#(?:try)?include\s+[\"<]?([^\">;]+)", line):
            for path in sorted(glob(str(directory / included[1].strip()))):  # noqa: PTH207 - it may be absolute
                yield from Path(path).read_text(errors="replace").splitlines()


def _check_application(client: _Client, app: str) -> Finding:
    if client.get(f"applications/{quote(app, safe='')}").status == 200:
        return ok("application", f"{app} is registered")
    return failed(
        "application",
        f"no program has registered the Stasis application {app}; calls are refused",
        "start voxrec, and see its log for messages of ARI",
    )


def check_modules(client: Ari, modules: Iterable[str]) -> Finding:
    """Check that Asterisk runs these modules."""
    if missing := _not_running(client, modules):
        return failed("modules", f"not running: {', '.join(missing)}", _LOAD)
    return ok("modules", "all that voxrec needs are running")


def check_codecs(client: Ari, endpoint: str, codecs: Iterable[str]) -> Finding:
    """Check that the endpoint has a codec that voxrec can use, and that Asterisk can decode all to record them."""
    name, allowed = "endpoint codecs", list(codecs)
    if not _CODECS.intersection(allowed):
        return failed(name, f"allow is {allowed}", f"set allow = !all,ulaw,alaw,g722 in [{endpoint}]")
    if missing := _not_running(client, (_MODULES_OF_CODECS[each] for each in allowed if each in _MODULES_OF_CODECS)):
        detail = f"not running: {', '.join(missing)}; calls with these codecs cannot be recorded"
        return failed(name, detail, f"{_LOAD}, or remove the codecs from allow in [{endpoint}] of pjsip.conf")
    return ok(name, ", ".join(allowed))


def _not_running(client: Ari, modules: Iterable[str]) -> list[str]:
    replies = ((module, client.get(f"asterisk/modules/{module}")) for module in modules)
    return [module for module, reply in replies if reply.status != 200 or reply.content.get("status") != "Running"]


def _check_endpoint(client: _Client, name: str) -> Iterator[Finding]:
    endpoint = client.get_object("endpoint", name)
    if endpoint is None:
        yield failed(
            "endpoint",
            f"there is no PJSIP endpoint {name}",
            _INCLUDE.format(file="pjsip") + "; Asterisk's log names errors in it (two sections of the same name)",
        )
        return
    yield ok("endpoint", f"{name} exists, context {endpoint.get('context')}")
    if endpoint.get("identify_by") == "ip":
        yield ok("endpoint identify_by", "ip")
    else:
        yield failed(
            "endpoint identify_by",
            f"is {endpoint.get('identify_by')}: anyone who knows the name of the endpoint can call as the trunk",
            f"set identify_by = ip in the section [{name}] of pjsip.conf, then module reload res_pjsip.so",
        )
    yield check_codecs(client, name, re.findall(r"[a-z0-9]+", endpoint.get("allow", "")))
    for setting, value in (
        ("direct_media", "false"),
        ("message_context", "voxrec-nowhere"),
        ("allow_subscribe", "false"),
        ("redirect_method", "uri_core"),  # with uri_pjsip, Asterisk would call any host to which a far end redirects
        ("ignore_183_without_sdp", "true"),
        ("max_video_streams", "0"),
    ):
        if endpoint.get(setting) != value:
            yield warning(
                f"endpoint {setting}",
                f"is {endpoint.get(setting) or 'not set'}, not {value}",
                f"set it in [{name}] of pjsip.conf as etc/asterisk/pjsip.conf does",
            )


def _check_transport(client: _Client) -> Finding:
    """Check that Asterisk has opened its port of SIP: an object whose port cannot be opened does not exist."""
    name = "SIP transport"
    transport = client.get_object("transport", _TRANSPORT)
    if transport is None:
        return failed(
            name,
            f"Asterisk has no transport {_TRANSPORT}, so that no call arrives over UDP",
            "stop the program that has the port (ss -ulpn 'sport = :5060'), or "
            + _INCLUDE.format(file="pjsip")
            + "; Asterisk's log says why",
        )
    return ok(name, f"{_TRANSPORT} has {transport.get('bind')}")


def _check_identify(client: _Client, endpoint: str) -> Finding:
    name, section = "trunk addresses", f"{endpoint}-identify"
    identify: dict[str, Any] | None = client.get_object("identify", section)
    if identify is None:
        return failed(
            name,
            f"there is no section [{section}] with a line match = ... in pjsip.conf, so Asterisk rejects all calls",
            f"add the addresses of the trunk: [{section}](+) with match = ...",
        )
    if not identify.get("match"):
        return failed(name, f"[{section}] has no match", f"add the addresses of the trunk to [{section}]: match = ...")
    return ok(name, str(identify["match"]))


def _check_dialplan() -> Finding:
    name = "dialplan"
    command = "asterisk -rx 'dialplan show CONTEXT'"
    program = shutil.which("asterisk")
    if program is None:
        return skipped(name, f"ARI cannot tell; contexts are needed: {', '.join(_CONTEXTS)} (see {command})")
    missing = []
    for context, content in _CONTEXTS.items():
        done = subprocess.run(  # noqa: S603
            [program, "-rx", f"dialplan show {context}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return skipped(name, f"only root can ask the console of Asterisk: {command}")
        if content not in done.stdout:
            missing.append(context)
    if missing:
        return failed(name, f"not up to date: {', '.join(missing)}", _INCLUDE.format(file="extensions"))
    return ok(name, f"contexts {', '.join(_CONTEXTS)}")

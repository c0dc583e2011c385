"""Inspect a running stack from outside: voxrec's metrics, and what is left in Asterisk."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from voxrec.errors import VoxrecError
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.observer import existing_bridges, observe_asterisk
from voxrec.sandbox.stack import Stack


async def read_metrics(stack: Stack) -> dict[str, float]:
    """Return the samples of /metrics by name and labels but ``node``, such as ``voxrec_jobs_waiting{kind=mail}``."""
    response = await stack.request("GET", "/metrics")
    samples = {}
    for family in text_string_to_metric_families(response.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if name != "node")
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


async def asterisk_leftovers(stack: Stack, reactor: Any) -> list[str]:
    """Return a description of each channel, bridge and recording file in Asterisk.

    There should be none when no call is live. Raises SandboxError if Asterisk does not respond.
    """
    asterisk = observe_asterisk(stack, reactor)
    try:
        channels = [f"channel {channel.name}" for channel in await asterisk.list_channels()]
        bridges = [f"bridge {bridge}" for bridge in await existing_bridges(asterisk)]
    except VoxrecError as error:
        raise SandboxError(f"cannot list Asterisk's channels and bridges: {error.detail}") from error
    files = [f"file {path.name}" for path in stack.asterisk.recording_directory.glob("[!.]*")]
    return [f"left in Asterisk: {item}" for item in (*channels, *bridges, *sorted(files))]

"""What every builder needs."""

from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

from twisted.internet.threads import deferToThreadPool

from voxrec.config import Config
from voxrec.metrics import Metrics
from voxrec.threads import DeferToThread


@dataclass(frozen=True)
class Environment:
    """The reactor, the settings, the metrics, and the thread pool for blocking functions."""

    reactor: Any
    config: Config
    metrics: Metrics
    defer_to_thread: DeferToThread


def build_environment(reactor: Any, config: Config) -> Environment:
    """Build the environment; blocking functions run in the thread pool of ``reactor``."""
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    return Environment(reactor, config, Metrics(metadata.version("voxrec"), config.node_name), threads)

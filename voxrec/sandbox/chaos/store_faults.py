"""Faults of the S3 store, and of the network to it: none may affect a call or a mail, or lose audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxrec.sandbox.chaos.environment import Environment, Fault
from voxrec.sandbox.chaos.schedule import FaultKind
from voxrec.sandbox.chaos.store import ChaosStore

COMPONENT = "store"
"""The component of these faults; a run with one of them stores Recordings in S3."""


@dataclass
class StoreDown:
    """The connections to the store are dropped, and refused until the fault ends."""

    kind = FaultKind("store-down", COMPONENT, 3, 20)

    async def inject(self, environment: Environment) -> None:
        """Drop the connections."""
        await required_store(environment).proxy.stop()

    async def recover(self, environment: Environment) -> None:
        """Accept connections."""
        required_store(environment).connect()


@dataclass
class StoreKilled:
    """The store is killed (SIGKILL), and started again some seconds later with what it had written."""

    kind = FaultKind("store-killed", COMPONENT, 0, 10)

    async def inject(self, environment: Environment) -> None:
        """Kill the store."""
        required_store(environment).kill()

    async def recover(self, environment: Environment) -> None:
        """Start the store."""
        await required_store(environment).launch()


@dataclass
class StoreProxyFault:
    """The proxy to the store shows one of the faults in `voxrec.sandbox.chaos.store.StoreProxy`."""

    kind: FaultKind
    fault: str
    value: Any

    async def inject(self, environment: Environment) -> None:
        """Enable the fault. Connections that wait for a request are dropped, so that each upload meets the fault."""
        proxy = required_store(environment).proxy
        setattr(proxy, self.fault, self.value)
        proxy.drop_connections()

    async def recover(self, environment: Environment) -> None:
        """Disable the fault."""
        delattr(required_store(environment).proxy, self.fault)


def store_faults() -> Sequence[Fault[Environment]]:
    """Return one fault of each kind, apart from those of processes."""
    return (
        StoreDown(),
        StoreKilled(),
        StoreProxyFault(FaultKind("store-slow", COMPONENT, 5, 20), "rate", 20_000.0),
        StoreProxyFault(FaultKind("store-refuses", COMPONENT, 3, 20), "refuses", True),
        StoreProxyFault(FaultKind("uploads-interrupted", COMPONENT, 3, 20), "limit", 65_536),
    )


def required_store(environment: Environment) -> ChaosStore:
    """Return the store of a run that has one."""
    assert environment.store is not None, "a run with these faults has a store"
    return environment.store

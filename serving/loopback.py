"""Serve's replicas take each other's calls at a port of their own and unpickle what comes: whoever reaches it is obeyed, and it
asks nobody for a key. Serve opens it on every interface and gives no choice of address."""

from typing import Any, Final

from ray._common.tls_utils import add_port_to_grpc_server
from ray.serve._private import replica
from ray.util import get_node_ip_address

LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = "[::]"


def keep_calls_here() -> None:
    """Call in a deployment's `__init__`, before its replica listens: the port is then on loopback, where the node's own address
    is (`serve_settings.keep_on_loopback`). Elsewhere nothing changes: other nodes must reach it."""
    if get_node_ip_address() == LOOPBACK:  # type: ignore[no-untyped-call]
        replica.add_port_to_grpc_server = _on_loopback  # type: ignore[attr-defined]  # looked up by that name when it listens


def _on_loopback(server: Any, address: str) -> int:
    port: int = add_port_to_grpc_server(server, address.replace(EVERYWHERE, LOOPBACK))  # type: ignore[no-untyped-call]
    return port

"""Which replica of Ray Serve this process is, and how all replicas of a deployment are asked for their metrics."""

from collections.abc import Iterable
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serving.observe.replicas import TIMEOUT_S, Ask, Snapshot

OUTSIDE = "alone"


def replica_id() -> str:
    """Unique among all replicas that ever were; "alone" in a process that is none."""
    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return OUTSIDE


def my_deployment() -> DeploymentHandle[Any]:
    """The handle of the deployment this replica belongs to."""
    context = serve.get_replica_context()
    return serve.get_deployment_handle(context.deployment, context.app_name)


def asking(handle: DeploymentHandle[Any]) -> Ask:
    """Asks every running replica behind `handle` at once, past its queue: an overloaded replica still tells."""

    async def ask() -> Iterable[Snapshot | None]:
        answers = await handle.broadcast("snapshot").results_async(timeout_s=TIMEOUT_S, return_exceptions=True)
        return [answer if isinstance(answer, Snapshot) else None for answer in answers]

    return ask

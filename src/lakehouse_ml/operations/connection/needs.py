"""What a target needs of a workspace, by its bundle or by its conf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import shell_word

if TYPE_CHECKING:
    from lakehouse_ml.operations.bundle.bundle import Bundle

READ_VOLUME, WRITE_VOLUME = "READ_VOLUME", "WRITE_VOLUME"


@dataclass(frozen=True)
class Folder:
    """A folder with files.

    Attributes:
        label: What it is for: files or landing.
        address: `/Volumes/<catalog>/<schema>/<volume>…`, or another address.
        privileges: What a run does there.
    """

    label: str
    address: str
    privileges: tuple[str, ...]

    @property
    def volume(self) -> str:
        """Its Volume, `catalog.schema.name`; empty where it is in none."""
        parts = self.address.split("/")
        return ".".join(parts[2:5]) if self.address.startswith("/Volumes/") and len(parts) > 4 else ""


@dataclass(frozen=True)
class Needs:
    """What a target needs.

    Attributes:
        schema: `catalog.schema` of the tables.
        models: `catalog.schema` of the models.
        folders: Files and landing.
        experiment: Its path.
        service_principal: Who runs the jobs; empty: whoever is signed in.
        creates: Schemas, Volumes and experiments that a deployment makes.
        deploy: The command that deploys; empty for an environment without a bundle.
        target: The target of the bundle; empty without one.
        runtimes: Spark versions of its clusters.
        node_types: Node types of its clusters.
        policies: Ids of their policies.
        pools: Ids of their pools.
        warehouses: Ids of the SQL warehouses of its dashboards.
        cluster: The id of an all-purpose cluster that it computes on; empty for none.
        is_serverless: Whether something runs on serverless compute.
    """

    schema: str
    models: str
    folders: tuple[Folder, ...]
    experiment: str
    service_principal: str = ""
    creates: frozenset[str] = frozenset()
    deploy: str = ""
    target: str = ""
    runtimes: tuple[str, ...] = ()
    node_types: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    warehouses: tuple[str, ...] = ()
    cluster: str = ""
    is_serverless: bool = False

    @property
    def catalog(self) -> str:
        """The catalog of the schema."""
        return self.schema.partition(".")[0]


def list_needs(
    addresses: Mapping[str, str], compute: str | None, bundle: Bundle | None, variables: Mapping[str, str]
) -> Needs:
    """List what an environment needs.

    Args:
        addresses: Lake, models, files, landing and experiment, as conf and bundle resolve them.
        compute: The compute of conf: `serverless`, the id of a cluster, or None.
        bundle: The target of the environment's name; None if there is none.
        variables: Values of its variables that were typed, for the commands in messages.
    """
    folders = (
        Folder("files", addresses["files"], (READ_VOLUME, WRITE_VOLUME)),
        Folder("landing", addresses["landing"], (READ_VOLUME,)),
    )
    schema, models, experiment = addresses["lake"], addresses["models"], addresses["experiment"]
    if bundle is None:
        cluster = "" if compute in (None, "serverless", "classic") else str(compute)
        return Needs(schema, models, folders, experiment, cluster=cluster, is_serverless=compute == "serverless")
    clusters = _list_clusters(bundle)
    typed = "".join(f" --var {shell_word(f'{name}={value}')}" for name, value in variables.items())
    return Needs(
        schema,
        models,
        folders,
        experiment,
        service_principal=str(bundle.run_as.get("service_principal_name") or ""),
        creates=frozenset(_list_created(bundle.resources)),
        deploy=f"databricks bundle deploy -t {bundle.source.target}{typed}",
        target=bundle.source.target,
        runtimes=_collect(clusters, "spark_version"),
        node_types=_collect(clusters, "node_type_id", "driver_node_type_id"),
        policies=_collect(clusters, "policy_id"),
        pools=_collect(clusters, "instance_pool_id", "driver_instance_pool_id"),
        warehouses=_collect(list((bundle.resources.get("dashboards") or {}).values()), "warehouse_id"),
        is_serverless=any(task.is_serverless for job in bundle.jobs.values() for task in job.tasks),
    )


def _list_clusters(bundle: Bundle) -> list[Mapping[str, Any]]:
    clusters = [cluster for job in bundle.jobs.values() for cluster in job.clusters.values()]
    return [*clusters, *(bundle.resources.get("clusters") or {}).values()]


def _collect(clusters: Sequence[Mapping[str, Any]], *fields: str) -> tuple[str, ...]:
    values = (str(cluster[name]) for cluster in clusters for name in fields if cluster.get(name))
    return tuple(dict.fromkeys(values))


def _list_created(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    schemas = (f"{one['catalog_name']}.{one['name']}" for one in (resources.get("schemas") or {}).values())
    volumes = (
        f"{one['catalog_name']}.{one['schema_name']}.{one['name']}" for one in (resources.get("volumes") or {}).values()
    )
    return [*schemas, *volumes, *(str(one["name"]) for one in (resources.get("experiments") or {}).values())]

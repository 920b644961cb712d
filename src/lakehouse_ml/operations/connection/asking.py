"""Ask a workspace for everything that a judgement needs. Each question may fail on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from lakehouse_ml.operations.connection.client import Answer, Connection, Identity, ask, is_denied

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from lakehouse_ml.operations.connection.needs import Needs

T = TypeVar("T")
# Everybody of the account is in it; the workspace doesn't list it.
EVERYBODY = "account users"
# The server's own size of a page, which may be empty and not the last.
_USUAL_PAGE = 0
ALL_PRIVILEGES = "ALL_PRIVILEGES"
# Each is a request for each thing.
_MOST_GROUPS = 10


@dataclass(frozen=True)
class Securable:
    """A catalog, schema or Volume, as its judge sees it.

    Attributes:
        owner: Its owner; None if it can't be read.
        privileges: What an identity may do with it, by grants to itself and to its groups, and inherited ones.
        hidden: Why some grants may be unknown; empty if all are known.
    """

    owner: Answer[str]
    privileges: frozenset[str] = frozenset()
    hidden: str = ""


@dataclass(frozen=True)
class Object:
    """An experiment or a folder.

    Attributes:
        identity: Its id.
        levels: Permission levels of an identity.
    """

    identity: Answer[str]
    levels: Answer[frozenset[str]] = field(default_factory=Answer)


@dataclass(frozen=True)
class Facts:
    """What a workspace says.

    Attributes:
        user: Who asked.
        runner: Who runs jobs, and is judged.
        securables: By kind (`catalog`, `schema`, `volume`) and name.
        experiment: The experiment.
        folder: The folder of an experiment that does not exist yet.
        runtimes: Spark versions.
        node_types: Why one can't be used (empty: it can), by node type.
        policies: Ids of the policies that may be used.
        pools: Names by id.
        warehouses: Names of SQL warehouses by id.
        cluster: The name of the all-purpose cluster.
        metastore: The id of the metastore.
    """

    user: Identity
    runner: Answer[Identity]
    securables: Mapping[tuple[str, str], Securable]
    experiment: Object
    folder: Object | None
    runtimes: Answer[list[str]]
    node_types: Answer[dict[str, str]]
    policies: Answer[list[str]]
    pools: Mapping[str, Answer[str]]
    warehouses: Mapping[str, Answer[str]]
    cluster: Answer[str]
    metastore: Answer[str]


@dataclass
class Interview:
    """Questions to one workspace, within one time limit.

    Attributes:
        connection: The workspace.
        needs: What is asked for.
    """

    connection: Connection
    needs: Needs

    def __post_init__(self) -> None:
        """Start the clock."""
        self._end = self.connection.limits.waits.time() + self.connection.limits.total

    def ask_everything(self) -> Facts:
        """Ask for everything that the needs name."""
        client, needs = self.connection.client, self.needs
        runner = self._ask_runner()
        subject = runner.value or Identity(needs.service_principal)
        securables = {key: self._ask_securable(*key, subject) for key in self._list_securables()}
        experiment = self._ask_experiment(subject)
        folder = self._ask_folder(subject) if experiment.identity.is_absent else None
        nothing: Answer[Any] = Answer()
        return Facts(
            self.connection.user,
            runner,
            securables,
            experiment,
            folder,
            runtimes=self._ask(lambda: _list_runtimes(client)) if needs.runtimes else nothing,
            node_types=self._ask(lambda: _list_node_types(client)) if needs.node_types else nothing,
            policies=self._ask(lambda: _list_policies(client)) if needs.policies else nothing,
            pools={one: self._ask(partial(_name_pool, client, one)) for one in needs.pools},
            warehouses={one: self._ask(partial(_name_warehouse, client, one)) for one in needs.warehouses},
            cluster=self._ask(lambda: _name_cluster(client, needs.cluster)) if needs.cluster else nothing,
            metastore=self._ask(lambda: str(client.metastores.current().metastore_id)),
        )

    def _ask(self, call: Callable[[], T]) -> Answer[T]:
        return ask(call, is_late=self.connection.limits.waits.time() > self._end)

    def _ask_runner(self) -> Answer[Identity]:
        """Who is judged: the service principal of the target's jobs with its groups, or whoever is signed in."""
        user, name = self.connection.user, self.needs.service_principal
        if not name or name == user.name:
            return Answer(user)
        answer = self._ask(lambda: _find_service_principal(self.connection.client, name))
        if answer.refusal:
            return Answer(Identity(name, None, is_service_principal=True), refusal=answer.refusal)
        return Answer(answer.value, is_absent=answer.value is None)

    def _list_securables(self) -> list[tuple[str, str]]:
        needs = self.needs
        schemas = dict.fromkeys([needs.schema, needs.models])
        catalogs = dict.fromkeys(name.partition(".")[0] for name in schemas)
        volumes = dict.fromkeys(one.volume for one in needs.folders if one.volume)
        names = {"catalog": catalogs, "schema": schemas, "volume": volumes}
        return [(kind, name) for kind, entries in names.items() for name in entries]

    def _ask_securable(self, kind: str, name: str, subject: Identity) -> Securable:
        client = self.connection.client
        owner = self._ask(lambda: _read_owner(client, kind, name))
        if owner.is_absent:
            return Securable(owner)
        grants = self._ask(lambda: _list_grants(client, kind, name, subject))
        if grants.value is None:
            return Securable(owner, hidden=grants.refusal)
        hidden = "" if subject.groups is not None else f"the groups of {subject.name} can't be read"
        return Securable(owner, grants.value.privileges, grants.value.hidden or hidden)

    def _ask_experiment(self, subject: Identity) -> Object:
        client, name = self.connection.client, self.needs.experiment
        identity = self._ask(lambda: _find_experiment(client, name))
        if identity.value is None:
            return Object(identity)
        return Object(
            identity,
            self._ask(lambda: _list_levels(client.experiments.get_permissions(str(identity.value)), subject)),
        )

    def _ask_folder(self, subject: Identity) -> Object:
        client, path = self.connection.client, str(PurePosixPath(self.needs.experiment).parent)
        identity = self._ask(lambda: str(client.workspace.get_status(path).object_id))
        if identity.value is None:
            return Object(identity)
        return Object(
            identity,
            self._ask(
                lambda: _list_levels(
                    client.workspace.get_permissions("directories", str(identity.value)),
                    subject,
                )
            ),
        )


@dataclass(frozen=True)
class _Grants:
    privileges: frozenset[str]
    hidden: str = ""


def _find_service_principal(client: WorkspaceClient, name: str) -> Identity | None:
    for one in client.service_principals.list(filter=f'applicationId eq "{name}"'):
        groups = frozenset(str(group.display) for group in one.groups or ())
        return Identity(name, groups, is_service_principal=True)
    return None


def _read_owner(client: WorkspaceClient, kind: str, name: str) -> str:
    if kind == "catalog":
        return str(client.catalogs.get(name).owner or "")
    if kind == "schema":
        return str(client.schemas.get(name).owner or "")
    return str(client.volumes.read(name).owner or "")


def _list_grants(client: WorkspaceClient, kind: str, name: str, subject: Identity) -> _Grants:
    """What a subject may do by grants to itself and to its groups; not everybody may read all of them."""
    privileges = {privilege for _, privilege in _walk_grants(client, kind, name, subject.name)}
    groups = [EVERYBODY, *sorted(subject.groups or ())]
    try:
        entries = list(_walk_grants(client, kind, name, None))
    except Exception as error:
        if not is_denied(error):
            raise
        return _list_grants_of_groups(client, kind, name, privileges, groups)
    return _Grants(frozenset(privileges | {privilege for principal, privilege in entries if principal in groups}))


def _list_grants_of_groups(
    client: WorkspaceClient, kind: str, name: str, privileges: set[str], groups: list[str]
) -> _Grants:
    """Grants to groups, one by one: who doesn't own a thing reads grants to itself and to its groups."""
    if len(groups) > _MOST_GROUPS:
        return _Grants(frozenset(privileges), f"grants to {len(groups)} groups can't be read at once")
    for group in groups:
        try:
            privileges |= {privilege for _, privilege in _walk_grants(client, kind, name, group)}
        except Exception as error:
            if not is_denied(error):
                raise
            return _Grants(frozenset(privileges), f"grants to the group {group} can't be read")
    return _Grants(frozenset(privileges))


def _walk_grants(client: WorkspaceClient, kind: str, name: str, principal: str | None) -> Iterator[tuple[str, str]]:
    token = None
    while True:
        page = client.grants.get_effective(kind, name, max_results=_USUAL_PAGE, page_token=token, principal=principal)
        for assignment in page.privilege_assignments or ():
            for one in assignment.privileges or ():
                if one.privilege is not None:
                    yield str(assignment.principal), one.privilege.value
        token = page.next_page_token
        if not token:
            return


def _find_experiment(client: WorkspaceClient, name: str) -> str:
    experiment = client.experiments.get_by_name(name).experiment
    return str(experiment.experiment_id if experiment else "")


def _list_levels(permissions: Any, subject: Identity) -> frozenset[str]:
    names = {subject.name, EVERYBODY, "users", *(subject.groups or ())}
    entries = permissions.access_control_list or ()
    mine = [one for one in entries if {one.user_name, one.service_principal_name, one.group_name} & names]
    return frozenset(
        level.permission_level.value for one in mine for level in one.all_permissions or () if level.permission_level
    )


def _list_runtimes(client: WorkspaceClient) -> list[str]:
    return [str(one.key) for one in client.clusters.spark_versions().versions or ()]


def _list_node_types(client: WorkspaceClient) -> dict[str, str]:
    types = client.clusters.list_node_types().node_types or ()
    return {
        one.node_type_id: ", ".join(state.value for state in (one.node_info.status if one.node_info else None) or ())
        for one in types
    }


def _list_policies(client: WorkspaceClient) -> list[str]:
    return [str(one.policy_id) for one in client.cluster_policies.list()]


def _name_pool(client: WorkspaceClient, identity: str) -> str:
    return str(client.instance_pools.get(identity).instance_pool_name)


def _name_warehouse(client: WorkspaceClient, identity: str) -> str:
    return str(client.warehouses.get(identity).name)


def _name_cluster(client: WorkspaceClient, identity: str) -> str:
    return str(client.clusters.get(identity).cluster_name)

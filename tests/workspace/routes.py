"""The state of a workspace, and the endpoints that read and change it.

Written to the documented behaviour of the REST API. To add an endpoint, write a function below `@route`; it gets the
workspace, the request and the parts of the path, returns the body, and raises a `Refusal` for an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

Handler = Callable[..., Any]
_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
# What a securable lies in.
_LEVELS = {"volume": "schema", "table": "schema", "function": "schema", "schema": "catalog", "catalog": ""}


class Refusal(Exception):  # noqa: N818 - it is an answer of the platform
    """An error of the platform."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass(frozen=True)
class Request:
    """A request, without its headers."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    token: str


@dataclass
class Identity:
    """A user, or a service principal by its application id."""

    name: str
    groups: tuple[str, ...] = ()
    is_service_principal: bool = False
    id: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether it administers the workspace."""
        return "admins" in self.groups


@dataclass
class Workspace:
    """A workspace: who is there, what is there, and who may do what with it.

    Attributes:
        identities: By token.
        securables: Owners by type (`catalog`, `schema`, `volume`, `table`) and full name.
        grants: Privileges by type, full name and principal.
        experiments: Ids by name.
        folders: Ids by path.
        permissions: Levels by type, id and principal, of objects outside of Unity Catalog.
        policies: Cluster policies by id.
        runtimes: Keys of Spark versions.
        node_types: States of the cloud provider by node type; usable ones have none.
        pools: Instance pools by id.
        warehouses: SQL warehouses by id.
        clusters: Names of all-purpose clusters by id.
        metastore: The id of the metastore; empty for none.
        page_size: Entries of a page, where an endpoint has pages.
    """

    identities: dict[str, Identity] = field(default_factory=dict)
    securables: dict[tuple[str, str], str] = field(default_factory=dict)
    grants: dict[tuple[str, str], dict[str, set[str]]] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    permissions: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    runtimes: list[str] = field(default_factory=list)
    node_types: dict[str, list[str]] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)
    warehouses: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)
    metastore: str = "metastore-1"
    page_size: int = 100
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def add(self, kind: str, name: str, owner: str = "platform-team") -> None:
        """Add a securable."""
        self.securables[kind, name] = owner

    def grant(self, kind: str, name: str, principal: str, *privileges: str) -> None:
        """Grant privileges, as `GRANT … ON … TO …` does."""
        self.grants.setdefault((kind, name), {}).setdefault(principal, set()).update(privileges)

    def find_identity(self, request: Request) -> Identity:
        """Who sends a request."""
        if request.token not in self.identities:
            raise Refusal(403, "PERMISSION_DENIED", "Invalid access token.")
        return self.identities[request.token]

    def list_chain(self, kind: str, name: str) -> list[tuple[str, str]]:
        """A securable and what it lies in."""
        chain = []
        while kind:
            chain.append((kind, name))
            kind, name = _LEVELS[kind], name.rpartition(".")[0]
        return chain

    def is_owner(self, identity: Identity, kind: str, name: str) -> bool:
        """Whether an identity owns a securable or what it lies in."""
        names = {identity.name, *identity.groups}
        return any(self.securables.get(one) in names for one in self.list_chain(kind, name))

    def find_securable(self, request: Request, kind: str, name: str) -> None:
        """Refuse a securable that is not there, and one that its reader has no privilege on."""
        if (kind, name) not in self.securables:
            raise Refusal(404, f"{kind.upper()}_DOES_NOT_EXIST", f"{kind.capitalize()} '{name}' does not exist.")
        identity = self.find_identity(request)
        names = {identity.name, *identity.groups, "account users"}
        if identity.is_admin or self.is_owner(identity, kind, name):
            return
        if not any(names & set(self.grants.get(one, {})) for one in self.list_chain(kind, name)):
            privilege = "READ VOLUME" if kind == "volume" else f"USE {kind.upper()}"
            message = f"User does not have {privilege} on {kind.capitalize()} '{name}'."
            raise Refusal(403, "PERMISSION_DENIED", message)

    def take_page(self, entries: list[Any], token: str | None) -> tuple[list[Any], str | None]:
        """A page of entries, and the token of the next one."""
        start = int(token or 0)
        end = start + self.page_size
        return entries[start:end], str(end) if end < len(entries) else None


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Answer requests of a method and a path; `{part}` is an argument of the function."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def register(handler: Handler) -> Handler:
        _ROUTES.append((method, pattern, handler))
        return handler

    return register


def find_handler(method: str, path: str) -> tuple[Handler | None, dict[str, str]]:
    """The function that answers a request, and the parts of the path."""
    for verb, pattern, handler in _ROUTES:
        match = pattern.fullmatch(path)
        if verb == method and match:
            return handler, match.groupdict()
    return None, {}


def _find(entries: Mapping[str, Any], key: str, message: str, code: str = "RESOURCE_DOES_NOT_EXIST") -> Any:
    if key not in entries:
        raise Refusal(404, code, message)
    return entries[key]


# --- identities


@route("GET", "/")
def _open_page(workspace: Workspace, request: Request) -> dict[str, str]:
    return {}


@route("GET", "/.well-known/databricks-config")
def _read_metadata(workspace: Workspace, request: Request) -> dict[str, str]:
    return {"cloud": "AWS", "workspace_id": "900800700"}


def _describe(identity: Identity) -> dict[str, Any]:
    name = {"applicationId": identity.name} if identity.is_service_principal else {"userName": identity.name}
    groups = [{"display": group, "value": str(n), "type": "direct"} for n, group in enumerate(identity.groups)]
    return {"id": identity.id or "1", "active": True, "displayName": identity.name, "groups": groups, **name}


@route("GET", "/api/2.0/preview/scim/v2/Me")
def _read_me(workspace: Workspace, request: Request) -> dict[str, Any]:
    identity = workspace.find_identity(request)
    # Of a service principal, too, the endpoint gives the application id as userName.
    return {**_describe(identity), "userName": identity.name}


@route("GET", "/api/2.0/preview/scim/v2/ServicePrincipals")
def _list_service_principals(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    wanted = re.fullmatch(r'applicationId eq "(.*)"', request.query.get("filter", ""))
    entries = [
        _describe(one)
        for one in workspace.identities.values()
        if one.is_service_principal and (not wanted or one.name == wanted[1])
    ]
    start = int(request.query.get("startIndex", "1"))
    resources = entries[start - 1 : start - 1 + workspace.page_size]
    return {
        "Resources": resources,
        "totalResults": len(entries),
        "startIndex": start,
        "itemsPerPage": len(resources),
    }


# --- Unity Catalog


@route("GET", "/api/2.1/unity-catalog/current-metastore-assignment")
def _read_metastore(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    if not workspace.metastore:
        raise Refusal(404, "METASTORE_DOES_NOT_EXIST", "No metastore assigned for the current workspace.")
    return {"metastore_id": workspace.metastore, "workspace_id": 900800700, "default_catalog_name": "main"}


def _read_securable(workspace: Workspace, request: Request, kind: str, name: str) -> dict[str, Any]:
    workspace.find_securable(request, kind, name)
    parts = name.split(".")
    parents = dict(zip(("catalog_name", "schema_name"), parts[:-1], strict=False))
    return {"name": parts[-1], "full_name": name, "owner": workspace.securables[kind, name], **parents}


@route("GET", "/api/2.1/unity-catalog/catalogs/{name}")
def _read_catalog(workspace: Workspace, request: Request, name: str) -> dict[str, Any]:
    return _read_securable(workspace, request, "catalog", name)


@route("GET", "/api/2.1/unity-catalog/schemas/{name}")
def _read_schema(workspace: Workspace, request: Request, name: str) -> dict[str, Any]:
    return _read_securable(workspace, request, "schema", name)


@route("GET", "/api/2.1/unity-catalog/volumes/{name}")
def _read_volume(workspace: Workspace, request: Request, name: str) -> dict[str, Any]:
    return _read_securable(workspace, request, "volume", name)


@route("GET", "/api/2.1/unity-catalog/tables/{name}")
def _read_table(workspace: Workspace, request: Request, name: str) -> dict[str, Any]:
    return _read_securable(workspace, request, "table", name)


@route("GET", "/api/2.1/unity-catalog/effective-permissions/{kind}/{name}")
def _read_effective_permissions(workspace: Workspace, request: Request, kind: str, name: str) -> dict[str, Any]:
    """Owners read all of it, others what is granted to them and their groups. A page may be empty and not the last."""
    workspace.find_securable(request, kind, name)
    identity, principal = workspace.find_identity(request), request.query.get("principal")
    is_own = principal in {identity.name, *identity.groups, "account users"}
    if not is_own and not identity.is_admin and not workspace.is_owner(identity, kind, name):
        raise Refusal(403, "PERMISSION_DENIED", f"User is not an owner of {kind.capitalize()} '{name}'.")
    entries = []
    for level, (of_kind, of_name) in enumerate(workspace.list_chain(kind, name)):
        for grantee, privileges in sorted(workspace.grants.get((of_kind, of_name), {}).items()):
            if principal in (None, grantee):
                source = {"inherited_from_type": of_kind.upper(), "inherited_from_name": of_name} if level else {}
                entries.append(
                    {
                        "principal": grantee,
                        "privileges": [{"privilege": one, **source} for one in sorted(privileges)],
                    }
                )
    if "max_results" not in request.query:
        return {"privilege_assignments": entries}
    if int(request.query["max_results"]) not in (0, *range(150, 100_000)):
        raise Refusal(400, "INVALID_PARAMETER_VALUE", "max_results must be 0 or at least 150.")
    shown, token = workspace.take_page([{}, *entries] if workspace.page_size == 1 else entries, _token(request))
    body: dict[str, Any] = {"privilege_assignments": [one for one in shown if one]}
    return {**body, "next_page_token": token} if token else body


def _token(request: Request) -> str | None:
    return request.query.get("page_token")


@route("PATCH", "/api/2.1/unity-catalog/permissions/{kind}/{name}")
def _change_permissions(workspace: Workspace, request: Request, kind: str, name: str) -> dict[str, Any]:
    workspace.find_securable(request, kind, name)
    identity = workspace.find_identity(request)
    if not workspace.is_owner(identity, kind, name):
        raise Refusal(403, "PERMISSION_DENIED", f"User is not an owner of {kind.capitalize()} '{name}'.")
    granted = workspace.grants.setdefault((kind, name), {})
    for change in request.body.get("changes", []):
        privileges = granted.setdefault(change["principal"], set())
        privileges |= set(change.get("add", []))
        privileges -= set(change.get("remove", []))
    return {"privilege_assignments": [{"principal": one, "privileges": sorted(granted[one])} for one in granted]}


# --- experiments, folders, and who may do what with them


@route("GET", "/api/2.0/mlflow/experiments/get-by-name")
def _read_experiment(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    name = request.query["experiment_name"]
    identity = _find(workspace.experiments, name, f"Node {name} does not exist.")
    return {"experiment": {"experiment_id": identity, "name": name, "lifecycle_stage": "active"}}


@route("GET", "/api/2.0/workspace/get-status")
def _read_object(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    path = request.query["path"]
    identity = _find(workspace.folders, path, f"Path ({path}) doesn't exist.")
    return {"object_type": "DIRECTORY", "path": path, "object_id": int(identity)}


@route("GET", "/api/2.0/permissions/{kind}/{identity}")
def _read_permissions(workspace: Workspace, request: Request, kind: str, identity: str) -> dict[str, Any]:
    """Who has no level on an object does not read who has one."""
    reader, levels = workspace.find_identity(request), workspace.permissions.get((kind, identity), {})
    if not reader.is_admin and not {reader.name, *reader.groups} & set(levels):
        raise Refusal(403, "PERMISSION_DENIED", f"{reader.name} does not have permission to view {kind} {identity}.")
    kinds = {
        one.name: "service_principal_name" if one.is_service_principal else "user_name"
        for one in workspace.identities.values()
    }
    entries = [
        {
            kinds.get(principal, "group_name"): principal,
            "all_permissions": [{"permission_level": level, "inherited": False}],
        }
        for principal, level in levels.items()
    ]
    return {"object_id": f"/{kind}/{identity}", "object_type": kind, "access_control_list": entries}


# --- compute


@route("GET", "/api/2.1/clusters/spark-versions")
def _list_runtimes(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    return {"versions": [{"key": key, "name": f"Runtime {key}"} for key in workspace.runtimes]}


@route("GET", "/api/2.1/clusters/list-node-types")
def _list_node_types(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    return {
        "node_types": [
            {
                "node_type_id": name,
                "memory_mb": 32768,
                "num_cores": 8.0,
                "description": name,
                "instance_type_id": name,
                "category": "General Purpose",
                "is_deprecated": False,
                "node_info": {"status": states},
            }
            for name, states in workspace.node_types.items()
        ]
    }


@route("GET", "/api/2.1/clusters/get")
def _read_cluster(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    identity = request.query["cluster_id"]
    if identity not in workspace.clusters:
        raise Refusal(400, "INVALID_PARAMETER_VALUE", f"Cluster {identity} does not exist")
    return {"cluster_id": identity, "cluster_name": workspace.clusters[identity], "state": "TERMINATED"}


@route("GET", "/api/2.0/instance-pools/get")
def _read_pool(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    identity = request.query["instance_pool_id"]
    name = _find(workspace.pools, identity, f"Can't find an instance pool with id: {identity}")
    return {"instance_pool_id": identity, "instance_pool_name": name, "state": "ACTIVE"}


@route("GET", "/api/2.0/sql/warehouses/{identity}")
def _read_warehouse(workspace: Workspace, request: Request, identity: str) -> dict[str, Any]:
    workspace.find_identity(request)
    name = _find(workspace.warehouses, identity, f"SQL warehouse {identity} does not exist.")
    return {"id": identity, "name": name, "state": "STOPPED"}


@route("GET", "/api/2.0/policies/clusters/list")
def _list_policies(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.find_identity(request)
    return {"policies": list(workspace.policies.values()), "total_count": len(workspace.policies)}


@route("GET", "/api/2.0/policies/clusters/get")
def _read_policy(workspace: Workspace, request: Request) -> Any:
    workspace.find_identity(request)
    identity = request.query["policy_id"]
    return _find(workspace.policies, identity, f"Can't find a cluster policy with id: {identity}.")


@route("POST", "/api/2.0/policies/clusters/create")
def _create_policy(workspace: Workspace, request: Request) -> dict[str, Any]:
    _check_policy(workspace, request, "")
    identity = f"{next(workspace.numbers):016X}"
    creator = workspace.find_identity(request).name
    workspace.policies[identity] = {**request.body, "policy_id": identity, "creator_user_name": creator}
    return {"policy_id": identity}


@route("POST", "/api/2.0/policies/clusters/edit")
def _edit_policy(workspace: Workspace, request: Request) -> dict[str, Any]:
    """What the request leaves out is empty afterwards."""
    identity = str(request.body.get("policy_id"))
    policy = _find(workspace.policies, identity, f"Can't find a cluster policy with id: {identity}.")
    _check_policy(workspace, request, identity)
    workspace.policies[identity] = {**request.body, "creator_user_name": policy["creator_user_name"]}
    return {}


@route("POST", "/api/2.0/policies/clusters/delete")
def _delete_policy(workspace: Workspace, request: Request) -> dict[str, Any]:
    workspace.policies.pop(str(request.body.get("policy_id")), None)
    return {}


def _check_policy(workspace: Workspace, request: Request, identity: str) -> None:
    if not workspace.find_identity(request).is_admin:
        raise Refusal(403, "PERMISSION_DENIED", "Only administrators can create or edit cluster policies.")
    name = str(request.body.get("name", ""))
    if any(one["name"] == name for other, one in workspace.policies.items() if other != identity):
        raise Refusal(400, "INVALID_PARAMETER_VALUE", f"Policy with name {name} already exists.")
    try:
        json.loads(request.body.get("definition", ""))
    except json.JSONDecodeError as error:
        raise Refusal(400, "INVALID_PARAMETER_VALUE", f"The definition is no JSON: {error}") from error

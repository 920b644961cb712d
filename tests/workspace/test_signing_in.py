"""Signing in: who that is, and for each way in which it fails a sentence, soon, and without a secret."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from lakehouse_ml.errors import EngineError
from lakehouse_ml.operations.connection import client
from lakehouse_ml.operations.connection.client import Answer, Identity, Limits, ask, connect
from workspace.conftest import ADA, ROBOT, VirtualWaits
from workspace.server import WorkspaceServer, broken, busy, denied, lost, page, slow, unavailable

ME = "GET /api/2.0/preview/scim/v2/Me"
RUNTIMES = "GET /api/2.1/clusters/spark-versions"


def ask_for_runtimes(limits: Limits | None = None) -> Answer[list[str]]:
    """Ask for Spark versions, as a question that any identity may ask."""
    connection = connect(limits)
    return ask(lambda: [str(one.key) for one in connection.client.clusters.spark_versions().versions or ()])


def test_the_workspace_says_who_is_signed_in(server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    user = connect()
    assert user.user == Identity(ADA, frozenset({"ds"}))
    assert (user.sign_in.host, user.sign_in.method) == (server.host, "personal token")
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-robot")
    assert connect().user == Identity(ROBOT, frozenset({"robots"}), is_service_principal=True)


def test_a_profile_signs_in_like_variables(
    server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    (tmp_path / "databrickscfg").write_text(
        f"[other]\nhost = https://other.example\n[work]\nhost = {server.host}\ntoken = token-of-ada\n"
    )
    with pytest.raises(EngineError, match=r"^No workspace is named: neither DATABRICKS_HOST nor a profile"):
        connect()
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "work")
    connection = connect()
    assert connection.user.name == ADA
    assert connection.sign_in.origin == f"profile work of {tmp_path / 'databrickscfg'}"


def test_without_settings_the_message_says_how_to_name_a_workspace(
    server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    with pytest.raises(EngineError, match=r"auth login --host https://<your workspace> --profile <name>; then set "):
        connect()
    assert server.requests == []


def test_a_host_without_a_way_to_sign_in_is_named(server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(EngineError, match=r"nothing says how to sign in .+ Sign in: databricks auth login --host"):
        connect()


def test_settings_that_contradict_each_other_are_named_without_their_values(
    server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "some-id")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "secret-of-robot")
    with pytest.raises(EngineError, match=r"more than one authorization method configured: oauth and pat") as caught:
        connect()
    assert "secret-of-robot" not in str(caught.value)
    assert "token-of-ada" not in str(caught.value)


def test_a_host_that_is_not_there_is_named_at_once(
    server: WorkspaceServer, waits: VirtualWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    begin = time.monotonic()
    with pytest.raises(
        EngineError, match=r"^http://127.0.0.1:9 can't be reached: the connection was refused. Check th"
    ):
        connect()
    assert time.monotonic() - begin < client.RETRY_SECONDS
    assert waits.pauses == []


def test_an_address_that_is_none_is_named(server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "https://[workspace")
    with pytest.raises(EngineError, match=r"DATABRICKS_… can't be used|can't be reached"):
        connect()


def test_a_host_that_is_no_workspace_is_named(server: WorkspaceServer) -> None:
    server.plant(ME, page())
    with pytest.raises(EngineError, match=r"the answer is no JSON, so not a workspace's. Check the address"):
        connect()


def test_a_refused_token_is_no_part_of_the_message(server: WorkspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-nobody")
    with pytest.raises(EngineError, match=r"refuses to sign in \(personal token\): .+Invalid access token") as caught:
        connect()
    assert "token-of-nobody" not in str(caught.value)
    assert "Config:" not in str(caught.value)


def test_a_token_that_the_workspace_repeats_is_hidden(server: WorkspaceServer) -> None:
    server.plant(ME, denied("token-of-ada has expired"))
    with pytest.raises(EngineError, match=r"PERMISSION_DENIED: \*\*\* has expired"):
        connect()


def test_signing_in_ends_after_its_time(server: WorkspaceServer) -> None:
    server.plant(ME, slow(30))
    with pytest.raises(EngineError, match=r"signing in \(personal token\) took longer than 0.3 s"):
        connect(Limits(sign_in=0.3))


def test_a_busy_workspace_is_asked_again_after_the_time_that_it_names(
    server: WorkspaceServer, waits: VirtualWaits
) -> None:
    server.plant(RUNTIMES, busy(retry_after=2, times=1))
    assert ask_for_runtimes().value == ["17.3.x-scala2.13", "18.x-scala2.13"]
    assert [int(pause) for pause in waits.pauses] == [2]


def test_who_is_asked_to_wait_for_a_minute_does_not_wait(server: WorkspaceServer, waits: VirtualWaits) -> None:
    server.plant(RUNTIMES, busy(retry_after=60))
    answer = ask_for_runtimes()
    assert answer.refusal == "the workspace limits requests (Too many requests)"
    assert waits.pauses == []
    assert server.count(RUNTIMES) == 1


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (unavailable(), "TEMPORARILY_UNAVAILABLE: The service is unavailable"),
        (broken(), "INTERNAL_ERROR: Something went wrong"),
        (lost(), "the connection was lost"),
        (busy(retry_after=None), "the workspace limits requests (Too many requests)"),
        (denied("No."), "PERMISSION_DENIED: No"),
        (page(), "the answer is no JSON, so not a workspace's"),
    ],
)
def test_a_fault_that_stays_is_an_answer_within_seconds(
    server: WorkspaceServer, waits: VirtualWaits, fault: object, why: str
) -> None:
    server.plant(RUNTIMES, fault)  # type: ignore[arg-type]
    answer = ask_for_runtimes()
    assert (answer.value, answer.is_absent, answer.refusal) == (None, False, why)
    assert sum(waits.pauses) < client.RETRY_SECONDS + client.RETRY_SECONDS + 1


@pytest.mark.parametrize("fault", [unavailable(times=1), lost(times=1), busy(times=1)])
def test_a_fault_that_passes_is_no_fault(server: WorkspaceServer, waits: VirtualWaits, fault: object) -> None:
    server.plant(RUNTIMES, fault)  # type: ignore[arg-type]
    assert ask_for_runtimes().value
    assert len(waits.pauses) == 1


def test_an_answer_that_takes_too_long_is_none(server: WorkspaceServer, waits: VirtualWaits) -> None:
    server.plant(RUNTIMES, slow(30))
    assert ask_for_runtimes(replace(client.LIMITS, answer=0.4, retry=1)).refusal == "no answer in time"


def test_the_usual_limits_are_seconds_and_reach_the_sdk(server: WorkspaceServer) -> None:
    config = connect().client.config
    assert (config.http_timeout_seconds, config.retry_timeout_seconds) == (5, 5)
    assert (client.SIGN_IN_SECONDS, client.TOTAL_SECONDS) == (30, 60)


def test_an_endpoint_that_the_workspace_lacks_says_nothing_about_a_thing(server: WorkspaceServer) -> None:
    connection = connect()
    answer = ask(lambda: connection.client.jobs.get(7))
    assert (answer.is_absent, answer.refusal[:18]) == (False, "ENDPOINT_NOT_FOUND")
    server.unknown.clear()

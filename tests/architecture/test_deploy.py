"""What lies in docs/deploy is well formed, and says what the code says: limits, exit codes, places, commands."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from actors.runtime.events import BAD_CONFIG, OVER_BUDGET, RESUMABLE, USAGE
from actors.runtime.ports import MAX_OUTAGE_S
from actors.runtime.sections import MonitorOptions, RunOptions
from actors.runtime.topology import expand
from actors.settings import Settings, load
from actors.telemetry.readiness import SILENT_S
from tests.deployment import DEPLOY, INSTALLED, MANIFESTS, PROBES, configuration, documents, merged, one, unit

#: Kubernetes versions whose schemas the manifests have to fit. PodMonitor is no kind of Kubernetes itself.
VERSIONS = ["1.29", "1.33"]
WORKLOADS = [("statefulset.yaml", "StatefulSet"), ("job.yaml", "Job")]
CONFIG_MAPS = ["configmap.yaml", "job.yaml"]
UNITS = ["thresher.service", "thresher@.service"]
TOKEN = "0123456789abcdef"


def _pod(name: str, kind: str) -> dict[str, Any]:
    pod: dict[str, Any] = one(name, kind)["spec"]["template"]["spec"]
    return pod


def _container(name: str, kind: str) -> dict[str, Any]:
    (container,) = _pod(name, kind)["containers"]
    return dict(container)


def _settings(tmp_path: Path, text: str, **environ: str) -> Settings:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    if "/run/secrets/thresher/token" in text:
        text = text.replace("/run/secrets/thresher/token", str(tmp_path / "token"))
    return load(str(configuration(tmp_path, text, {})), environ=environ, state=str(tmp_path / "state"))


def _longest_end_s(settings: Settings) -> float:
    """How long a run may take from SIGTERM to its end: the drain, then each layer by itself."""
    limits = settings.manifest.limits
    layers = {spec.layer for spec in expand(settings.manifest)}
    return limits.drain_s + limits.stop_s * len(layers)


# Kubernetes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_fits_the_schema(path: Path, version: str) -> None:
    for document in documents(path.name):
        if "kind" in document and document["kind"] != "PodMonitor":
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_would_find_a_misspelt_field() -> None:
    wrong = copy.deepcopy(one("statefulset.yaml", "StatefulSet"))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_patch_puts_http_probes_in_the_place_of_the_others() -> None:
    patched = merged(one("statefulset.yaml", "StatefulSet"), documents("statefulset-http-probes.yaml")[0])
    kubernetes_validate.validate(patched, VERSIONS[-1], strict=True)
    (container,) = patched["spec"]["template"]["spec"]["containers"]
    assert [container[probe]["httpGet"]["path"] for probe in PROBES] == ["/startupz", "/livez", "/readyz"]
    assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {"monitor"}
    assert not any("exec" in container[probe] for probe in PROBES)
    assert container["startupProbe"]["failureThreshold"] == 60


@pytest.mark.parametrize("name", CONFIG_MAPS)
def test_the_configuration_in_a_manifest_is_right(tmp_path: Path, name: str) -> None:
    settings = _settings(tmp_path, one(name, "ConfigMap")["data"]["pipeline.toml"])
    assert settings.pipeline.name == "appsinstalled"


@pytest.mark.parametrize(("name", "kind"), WORKLOADS)
def test_a_pod_has_time_to_drain(tmp_path: Path, name: str, kind: str) -> None:
    config = "configmap.yaml" if kind == "StatefulSet" else name
    settings = _settings(tmp_path, one(config, "ConfigMap")["data"]["pipeline.toml"])
    assert _longest_end_s(settings) < _pod(name, kind)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(("name", "kind"), WORKLOADS)
def test_every_place_that_a_container_uses_is_mounted(name: str, kind: str) -> None:
    pod, container = _pod(name, kind), _container(name, kind)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    claims = [claim["metadata"]["name"] for claim in one(name, kind)["spec"].get("volumeClaimTemplates", [])]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in mounts.values()} == {*volumes, *claims}
    state = container["args"][container["args"].index("--state") + 1]
    (run,) = [variable["value"] for variable in container["env"] if variable["name"] == "XDG_RUNTIME_DIR"]
    assert mounts[state]["name"] == "state"
    assert "emptyDir" in volumes[mounts[run]["name"]]
    assert len(run) <= 50  # sockets need short paths: see actors/runtime/rundir.py
    assert container["securityContext"]["readOnlyRootFilesystem"]
    for probe in PROBES:
        if probe in container:
            assert container[probe]["exec"]["command"][-2:] == ["--state", state]
    assert container["args"][1].removesuffix("/pipeline.toml") in mounts


@pytest.mark.parametrize(("name", "kind"), WORKLOADS)
def test_a_workload_finds_its_pods_and_its_configuration(name: str, kind: str) -> None:
    workload, pod = one(name, kind), _pod(name, kind)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"].get("selector", {"matchLabels": labels})["matchLabels"] == labels
    config = one("configmap.yaml" if kind == "StatefulSet" else name, "ConfigMap")["metadata"]["name"]
    assert {"name": "config", "configMap": {"name": config}} in pod["volumes"]


def test_one_state_directory_has_one_pod() -> None:
    assert one("statefulset.yaml", "StatefulSet")["spec"]["replicas"] == 1
    job = one("job.yaml", "Job")["spec"]
    assert job.get("parallelism", 1) == 1
    assert job["podReplacementPolicy"] == "Failed"


def test_the_monitor_is_found_where_it_listens_with_the_token_that_it_wants() -> None:
    container, service = _container("statefulset.yaml", "StatefulSet"), one("service.yaml", "Service")["spec"]
    assert container["ports"] == [{"name": "monitor", "containerPort": MonitorOptions().port}]
    assert service["ports"][0]["targetPort"] == "monitor"
    labels = one("statefulset.yaml", "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    scraped = one("podmonitor.yaml", "PodMonitor")["spec"]
    assert service["selector"] == labels == scraped["selector"]["matchLabels"]
    (endpoint,) = scraped["podMetricsEndpoints"]
    (secret,) = [volume["secret"]["secretName"] for volume in _pod("statefulset.yaml", "StatefulSet")["volumes"]
                 if "secret" in volume]
    assert (endpoint["port"], endpoint["authorization"]["credentials"]) == ("monitor", {"name": secret, "key": "token"})


def test_a_job_is_tried_again_when_that_can_help() -> None:
    rules = one("job.yaml", "Job")["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {"FailJob": [USAGE, OVER_BUDGET, BAD_CONFIG], "Ignore": [RESUMABLE]}
    assert _pod("job.yaml", "Job")["restartPolicy"] == "Never"


def test_a_liveness_probe_has_more_patience_than_the_judgement_behind_it() -> None:
    for name, kind in WORKLOADS:
        probe = _container(name, kind)["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] > SILENT_S


# systemd ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_what_systemd_takes(tmp_path: Path, name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    path = tmp_path / name.replace("@", "@instance")
    path.write_text((DEPLOY / name).read_text().replace(INSTALLED, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True,
                          timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_gives_a_run_the_time_that_it_needs(tmp_path: Path, name: str) -> None:
    options = unit(name)
    settings = _settings(tmp_path, (DEPLOY / "pipeline.toml").read_text())
    assert settings.manifest.limits == RunOptions(max_outage_s=MAX_OUTAGE_S)
    assert _longest_end_s(settings) < float(options["TimeoutStopSec"][0])
    assert float(options["WatchdogSec"][0]) > SILENT_S
    # A crash loop is stopped, an outage is not, however long it lasts.
    tries, within = int(options["StartLimitBurst"][0]), float(options["StartLimitIntervalSec"][0])
    pause = float(options["RestartSec"][0])
    assert tries * pause < within < tries * (pause + MAX_OUTAGE_S)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_again_when_that_can_help(name: str) -> None:
    options = unit(name)
    assert options["SuccessExitStatus"] == options["RestartForceExitStatus"] == [str(RESUMABLE)]
    assert options["RestartPreventExitStatus"] == [f"{USAGE} {OVER_BUDGET} {BAD_CONFIG}"]
    assert options["Restart"] == ["on-failure"]
    assert (options["Type"], options["KillMode"], options["NotifyAccess"]) == (["notify"], ["mixed"], ["main"])


def test_a_unit_shows_the_secret_where_the_configuration_looks_for_it(tmp_path: Path) -> None:
    credential, _, _ = unit("thresher.service")["LoadCredential"][0].partition(":")
    (said,) = [value for value in unit("thresher.service")["Environment"] if value.startswith("THRESHER_")]
    name, _, value = said.partition("=")
    (tmp_path / credential).write_text(TOKEN)
    settings = _settings(tmp_path, (DEPLOY / "pipeline.toml").read_text(),
                         **{name: value.replace("%d", str(tmp_path))})
    assert settings.manifest.monitor.token_secret == TOKEN
    assert settings.manifest.monitor.enabled


def test_the_template_is_the_same_unit_with_a_name() -> None:
    single, template = (re.sub("#.*\n", "", (DEPLOY / name).read_text()) for name in UNITS)
    assert single == template.replace("Thresher pipeline %i", "Thresher").replace("/%i.toml", "/pipeline.toml").replace(
        "/%i.monitor_token", "/monitor_token").replace("thresher/%i", "thresher")


# Docker -----------------------------------------------------------------------------------------------------------


def test_the_image_runs_what_the_manifests_expect() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    container, pod = _container("statefulset.yaml", "StatefulSet"), _pod("statefulset.yaml", "StatefulSet")
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"USER {user}\n" in text
    assert f"XDG_RUNTIME_DIR={container['env'][0]['value']}\n" in text
    assert 'ENTRYPOINT ["thresher"]\n' in text
    words = re.findall(r'^CMD \[(.*)\]$|^    CMD \[(.*)\]$', text, re.MULTILINE)
    run, health = ([word.strip(' "') for word in (a or b).split(",")] for a, b in words)
    assert container["args"][:len(run)] == run
    assert health == container["livenessProbe"]["exec"]["command"]

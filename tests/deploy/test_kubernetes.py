"""The manifests: rendered, valid, and true of the code that they run."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from rendering import ROOT, Manifest, Manifests, run, tool

from headsaw import config, http
from headsaw.config import ServiceSettings
from headsaw.telemetry.metrics import BATCHES_UNFINISHED, QUEUE_MESSAGES, Metrics

Refusals = Callable[[list[Manifest]], list[str]]

KEDA_GROUP = "keda.sh/v1alpha1"
EXIT_SECONDS = 10
"""What the worker may need, after its drain, to report and exit."""

SCALER_PARAMETERS = {
    "aws-sqs-queue": {
        "queueURL", "queueURLFromEnv", "queueLength", "activationQueueLength", "awsRegion", "awsEndpoint",
        "identityOwner", "scaleOnInFlight", "scaleOnDelayed",
    },
    "prometheus": {
        "serverAddress", "query", "queryParameters", "namespace", "customHeaders", "threshold", "activationThreshold",
        "ignoreNullValues", "unsafeSsl", "timeout",
    },
}  # fmt: skip
"""A trigger's metadata has no schema. Source: the scalers' pages in KEDA's documentation, 2.16."""


def settings(manifests: Manifests, directory: Path) -> ServiceSettings:
    """What the worker in the pod would read: its ConfigMap's file, under its environment."""
    path = directory / "config.yaml"
    path.write_text(manifests.one("ConfigMap", "headsaw-config")["data"]["config.yaml"])
    return config.load(path, manifests.environment)


# ------------------------------------------------------------------------------------------------------------- validity


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_every_object_is_valid_to_the_api_server(manifests: Manifests, version: str, tmp_path: Path) -> None:
    """Strict: an unknown field is an error. Custom resources are another test's."""
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(item for item in manifests.objects if item["apiVersion"] != KEDA_GROUP))
    result = run(tool("kubernetes-validate"), "--strict", "--quiet", "--kubernetes-version", version, path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_unknown_field_would_be_found(tmp_path: Path) -> None:
    deployment = Manifests("base").one("Deployment")
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 75
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(deployment))
    result = run(tool("kubernetes-validate"), "--strict", path)
    assert result.returncode != 0


def test_every_keda_object_is_valid_to_keda(
    keda: Manifests, keda_refusals: Callable[[list[Manifest]], list[str]]
) -> None:
    objects = [item for item in keda.objects if item["apiVersion"] == KEDA_GROUP]
    assert {item["kind"] for item in objects} == {"ScaledObject", "TriggerAuthentication"}
    assert keda_refusals(objects) == []


def test_a_wrong_keda_object_would_be_found(keda_refusals: Refusals) -> None:
    scaled = Manifests("base").one("ScaledObject")
    scaled["spec"]["minReplicas"] = 1
    scaled["spec"]["triggers"][0]["metadata"]["queueLength"] = 1000
    (refusal,) = keda_refusals([scaled])
    assert "queueLength" in refusal
    scaled["spec"]["triggers"][0]["metadata"]["queueLength"] = "1000"
    assert keda_refusals([scaled]) == ["ScaledObject/headsaw.spec.minReplicas: unknown field"]


def test_the_triggers_use_only_parameters_that_their_scalers_have(keda: Manifests) -> None:
    for trigger in keda.one("ScaledObject")["spec"]["triggers"]:
        assert set(trigger["metadata"]) <= SCALER_PARAMETERS[trigger["type"]]


def test_the_variant_without_keda_has_nothing_of_keda() -> None:
    objects = Manifests("hpa").objects
    assert not [item for item in objects if item["apiVersion"] == KEDA_GROUP]
    assert [item["metadata"]["name"] for item in objects if item["kind"] == "HorizontalPodAutoscaler"] == ["headsaw"]


# -------------------------------------------------------------------------------------------------- agreement with code


def test_the_configuration_and_the_environment_are_valid_together(manifests: Manifests, tmp_path: Path) -> None:
    """A variable that begins with HEADSAW_ and names no setting would be refused here too."""
    assert settings(manifests, tmp_path).datasets


def test_the_configuration_is_valid_without_the_environment(tmp_path: Path) -> None:
    for directory in ("base", "example"):
        assert config.load(ROOT / "deploy" / "k8s" / directory / "config.yaml", {}).datasets


def test_the_file_and_the_environment_name_the_same_queue(manifests: Manifests, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(manifests.one("ConfigMap", "headsaw-config")["data"]["config.yaml"])
    assert config.load(path, {}).queue_urls == settings(manifests, tmp_path).queue_urls


def test_the_queues_are_in_the_region_that_the_worker_speaks_to(manifests: Manifests, tmp_path: Path) -> None:
    found = settings(manifests, tmp_path)
    assert all(
        url.startswith(f"https://sqs.{found.region}.amazonaws.com/") for url in (*found.queue_urls, found.dlq_url)
    )


def test_the_drain_ends_before_the_kubelet_kills(manifests: Manifests, tmp_path: Path) -> None:
    drain = settings(manifests, tmp_path).drain_seconds
    assert drain + EXIT_SECONDS <= manifests.pod["terminationGracePeriodSeconds"]


def test_the_worker_listens_where_the_port_is(manifests: Manifests, tmp_path: Path) -> None:
    http = settings(manifests, tmp_path).http
    (port,) = manifests.container["ports"]
    assert (http.host, http.port) == ("0.0.0.0", port["containerPort"])
    annotations = manifests.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(http.port)


def test_the_probes_ask_what_the_worker_answers(manifests: Manifests) -> None:
    container = manifests.container
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert probes == {
        "startup": {"path": http.LIVEZ, "port": "http"},
        "liveness": {"path": http.LIVEZ, "port": "http"},
        "readiness": {"path": http.READYZ, "port": "http"},
    }
    assert [port["name"] for port in container["ports"]] == ["http"]


def test_prometheus_is_told_where_the_metrics_are(manifests: Manifests) -> None:
    annotations = manifests.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == http.METRICS


def test_the_conversions_fit_the_memory(manifests: Manifests, tmp_path: Path) -> None:
    """Half of the limit is for everything else: the interpreter, the libraries, buffers that are being sent."""
    limit = manifests.container["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    assert settings(manifests, tmp_path).memory_bytes * 2 <= int(limit.removesuffix("Gi")) * 1024**3


def test_workers_outstay_the_lull_between_two_flushes(manifests: Manifests, tmp_path: Path) -> None:
    """Between them a buffer's files are in neither backlog; taking a worker away then only returns its messages."""
    longest = max(dataset.batch.max_age for dataset in settings(manifests, tmp_path).datasets)
    assert behavior(manifests)["scaleDown"]["stabilizationWindowSeconds"] > longest


def test_the_image_is_tagged_with_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert Manifests("base").container["image"].endswith(f"/headsaw:{version}")


# -------------------------------------------------------------------------------------------------------------- scaling


def behavior(manifests: Manifests) -> Manifest:
    if manifests.all("ScaledObject"):
        found = manifests.one("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        found = manifests.one("HorizontalPodAutoscaler")["spec"]["behavior"]
    assert isinstance(found, dict)
    return found


def trigger(manifests: Manifests, name: str) -> Manifest:
    """The trigger's metadata."""
    (found,) = [item for item in manifests.one("ScaledObject")["spec"]["triggers"] if item["name"] == name]
    metadata: Manifest = found["metadata"]
    return metadata


def test_there_is_always_a_worker(manifests: Manifests) -> None:
    """Claimed batches are no longer in the queue: with none, nobody would finish them, or tell of them."""
    if manifests.all("ScaledObject"):
        assert manifests.one("ScaledObject")["spec"]["minReplicaCount"] >= 1
    else:
        assert manifests.one("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 1


def test_applying_the_deployment_again_leaves_the_number_of_workers_alone(manifests: Manifests) -> None:
    assert "replicas" not in manifests.one("Deployment")["spec"]


def test_keda_asks_the_queue_that_the_worker_polls(keda: Manifests, tmp_path: Path) -> None:
    queue = trigger(keda, "queue")
    found = settings(keda, tmp_path)
    assert (keda.environment[queue["queueURLFromEnv"]],) == found.queue_urls
    assert queue["awsRegion"] == found.region


def test_keda_asks_prometheus_for_the_unfinished_batches_of_the_same_namespace(keda: Manifests) -> None:
    """The largest of the workers' numbers: each of them tells the whole ledger's."""
    namespace = keda.one("Deployment")["metadata"]["namespace"]
    assert trigger(keda, "batches")["query"] == f'max({BATCHES_UNFINISHED}{{namespace="{namespace}"}})'


def test_the_variant_without_keda_scales_on_the_same_two_backlogs() -> None:
    base, hpa = Manifests("base"), Manifests("hpa").one("HorizontalPodAutoscaler")
    external = [item["external"] for item in hpa["spec"]["metrics"] if item["type"] == "External"]
    assert {item["metric"]["name"]: item["target"]["averageValue"] for item in external} == {
        QUEUE_MESSAGES: trigger(base, "queue")["queueLength"],
        BATCHES_UNFINISHED: trigger(base, "batches")["threshold"],
    }
    scaled = base.one("ScaledObject")["spec"]
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (
        scaled["minReplicaCount"],
        scaled["maxReplicaCount"],
    )
    assert hpa["spec"]["behavior"] == behavior(base)


def test_every_series_that_scales_is_told_by_the_worker() -> None:
    """Down to the labels."""
    text, _ = Metrics().exposition()
    told = {
        (sample.name, *sorted(sample.labels.items()))
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    hpa = Manifests("hpa").one("HorizontalPodAutoscaler")
    metrics = [item["external"]["metric"] for item in hpa["spec"]["metrics"] if item["type"] == "External"]
    asked = {(metric["name"], *sorted(metric.get("selector", {}).get("matchLabels", {}).items())) for metric in metrics}
    assert asked <= told
    assert (BATCHES_UNFINISHED,) in told


def test_the_metrics_adapter_serves_what_the_variant_without_keda_asks_for() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "k8s" / "hpa" / "prometheus-adapter-rules.yaml").read_text())
    assert [rule["seriesQuery"] for rule in rules["rules"]["external"]] == [QUEUE_MESSAGES, BATCHES_UNFINISHED]
    assert all(rule["metricsQuery"].startswith("max(") for rule in rules["rules"]["external"])


def test_what_scales_is_the_deployment(manifests: Manifests) -> None:
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        for scaler in manifests.all(kind):
            assert scaler["spec"]["scaleTargetRef"]["name"] == manifests.one("Deployment")["metadata"]["name"]


# ------------------------------------------------------------------------------------------------------------- security


def test_the_pod_has_no_privilege_to_lose(manifests: Manifests) -> None:
    pod, container = manifests.pod["securityContext"], manifests.container["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 10_000
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(manifests.pod)


def test_the_namespace_refuses_less(manifests: Manifests) -> None:
    assert manifests.one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_only_place_to_write_is_a_bounded_tmp(manifests: Manifests) -> None:
    writable = [mount["mountPath"] for mount in manifests.container["volumeMounts"] if not mount.get("readOnly")]
    (tmp,) = [volume for volume in manifests.pod["volumes"] if volume["name"] == "tmp"]
    assert writable == ["/tmp"]
    assert tmp["emptyDir"]["sizeLimit"]


def test_there_are_no_credentials_but_the_role(manifests: Manifests) -> None:
    account = manifests.one("ServiceAccount")
    assert re.fullmatch(
        r"arn:aws:iam::\d{12}:role/.+", account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    )
    assert manifests.pod["serviceAccountName"] == account["metadata"]["name"]
    assert manifests.pod["automountServiceAccountToken"] is False
    assert not manifests.all("Secret")
    assert not [name for name in manifests.environment if "KEY" in name or "SECRET" in name or "TOKEN" in name]


def test_every_selector_selects_the_workers(manifests: Manifests) -> None:
    """An empty or misspelled selector would silently protect nothing, or everything."""
    deployment = manifests.one("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"],
        manifests.one("PodDisruptionBudget")["spec"]["selector"],
        manifests.one("NetworkPolicy")["spec"]["podSelector"],
        *(spread["labelSelector"] for spread in manifests.pod["topologySpreadConstraints"]),
    ]
    assert all(selector == {"matchLabels": labels} for selector in selectors)


def test_a_single_worker_can_still_be_moved_to_another_node(manifests: Manifests) -> None:
    assert manifests.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_everything_is_in_one_namespace(manifests: Manifests) -> None:
    namespace = manifests.one("Namespace")["metadata"]["name"]
    assert {item["metadata"].get("namespace", namespace) for item in manifests.objects} == {namespace}

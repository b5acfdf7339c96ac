"""The manifests of deploy/kubernetes, overlay by overlay: their schemas, who may do what, and that they fit
the programs they start. No cluster is needed; where a kubectl with Kustomize 5 is at hand it must put
the overlays together as we do."""

import copy
import json
import os
import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

from deploy_files import (KUBERNETES, OVERLAYS, SERVICES, containers, kubectl_with_kustomize_5, pod,
                          render, render_with_kubectl, seconds, selects, stages, target_of, template)
from mesh import REPO

# The oldest that is promised, and the newest whose schemas are at hand.
VERSIONS = ["1.30", "1.37"]
CUSTOM = json.loads((pathlib.Path(__file__).parent / "crd_schemas.json").read_text())
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def check_custom(example, value, path):
    """That `value` has no other fields than the example, and the example's types."""
    assert type(value) is type(example), f"{path}: {value!r}"
    if isinstance(value, dict):
        for name, entry in value.items():
            assert name in example, f"{path}.{name}: no such field"
            check_custom(example[name], entry, f"{path}.{name}")
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            check_custom(example[0], entry, f"{path}[{i}]")


def check_schema(resource):
    schema = f"{resource['apiVersion']} {resource['kind']}"
    if schema in CUSTOM:
        assert set(resource) == {"apiVersion", "kind", "metadata", "spec"}
        check_custom(CUSTOM[schema], resource["spec"], resource["kind"])
        return
    for version in VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


def workloads(resources):
    return [resource for resource in resources.values() if template(resource)]


def deployments(resources):
    return {name: r for (kind, name), r in resources.items() if kind == "Deployment"}


def policies(resources):
    return [r["spec"] for (kind, _), r in resources.items() if kind == "NetworkPolicy"]


def labels_of(resource):
    return template(resource)["metadata"]["labels"]


class Program:
    """A container of ours as it would start: its binary, its environment, its files."""

    def __init__(self, resources, name, build_dir, folder):
        self.spec = pod(resources["Deployment", name])
        (self.container,) = self.spec["containers"]
        self.target, self.version = target_of(self.container["image"])
        self.binary = build_dir / "bin" / SERVICES[name]
        self.stage = stages()[self.target]
        self.folder = folder / name
        self.own_env = {e["name"]: e["value"] for e in self.container["env"]}
        self.env = self.stage.env | self.own_env
        self._write_files(resources)

    def _write_files(self, resources):
        volumes = {v["name"]: v for v in self.spec.get("volumes", [])}
        self.folder.mkdir()
        for i, mount in enumerate(self.container.get("volumeMounts", [])):
            here = self.folder / str(i)
            here.mkdir()
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                data = resources["ConfigMap", volume["configMap"]["name"]]["data"]
                for name, text in data.items():
                    (here / name).write_text(text)
            for key, value in self.env.items():
                if value.startswith(mount["mountPath"] + "/"):
                    inside = here / value[len(mount["mountPath"]) + 1:]
                    if "secret" in volume:
                        inside.write_text("a-secret\n")
                    self.env[key] = str(inside)

    def run(self, *flags):
        return subprocess.run([str(self.binary), *self.container.get("args", []), *flags],
                              env={"PATH": os.environ["PATH"], **self.env}, capture_output=True,
                              text=True, timeout=60)

    def settings(self):
        said = self.run("--print-config")
        assert said.returncode == 0, said.stderr
        return yaml.safe_load(said.stdout)


@pytest.fixture(scope="module")
def build_dir(request):
    return pathlib.Path(request.config.getoption("--build-dir")).resolve()


@pytest.fixture(params=OVERLAYS)
def programs(request, build_dir, tmp_path):
    resources = render(request.param)
    return resources, {name: Program(resources, name, build_dir, tmp_path) for name in SERVICES}


# --- that they are manifests ------------------------------------------------------------------------------
@each_overlay
def test_kubectl_puts_overlays_together_as_we_do(overlay):
    if not kubectl_with_kustomize_5():
        pytest.skip("no kubectl with Kustomize 5: overlays were put together here alone")
    assert render_with_kubectl(overlay) == render(overlay)


@each_overlay
def test_resources_fit_their_schemas(overlay):
    for resource in render(overlay).values():
        check_schema(resource)


def test_the_schema_check_sees_unknown_fields_and_wrong_types():
    resources = render("prod")
    for kind, break_it in [
        ("Deployment", lambda spec: spec["template"]["spec"].update(hostNetworks=False)),
        ("Deployment", lambda spec: spec.update(replicas="two")),
        ("NetworkPolicy", lambda spec: spec.update(podSelectors={})),
        ("ScaledObject", lambda spec: spec.update(maxReplicas=3)),
        ("ScaledObject", lambda spec: spec.update(maxReplicaCount="3")),
    ]:
        name = next(n for k, n in resources if k == kind)
        broken = copy.deepcopy(resources[kind, name])
        check_schema(broken)
        break_it(broken["spec"])
        with pytest.raises((kubernetes_validate.ValidationError, AssertionError)):
            check_schema(broken)


# --- that pods may do little --------------------------------------------------------------------------------
@each_overlay
def test_every_pod_is_restricted(overlay):
    resources = render(overlay)
    namespace = resources["Namespace", "conclave"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    for resource in workloads(resources):
        spec = pod(resource)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["automountServiceAccountToken"] is False
        # Addresses of services would come in as variables, under names that could be options'.
        assert spec["enableServiceLinks"] is False
        account = resources["ServiceAccount", spec["serviceAccountName"]]
        assert account["automountServiceAccountToken"] is False
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
        for container in containers(resource):
            context = container["securityContext"]
            assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                               "capabilities": {"drop": ["ALL"]}}
            assert not any("hostPort" in port for port in container["ports"])


@each_overlay
def test_every_workload_is_looked_after(overlay):
    resources = render(overlay)
    for resource in workloads(resources):
        spec, labels = pod(resource), labels_of(resource)
        assert selects(resource["spec"]["selector"], labels)
        for container in containers(resource):
            named = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "httpGet" in container[probe]:
                    assert container[probe]["httpGet"]["port"] in named
            resources_of = container["resources"]
            assert {"cpu", "memory"} <= set(resources_of["requests"])
            # No more memory than was asked for: a node does not promise the same twice.
            assert resources_of["requests"]["memory"] == resources_of["limits"]["memory"]
            for name, amount in resources_of["limits"].items():
                if name.count("/"):
                    assert resources_of["requests"][name] == amount
        assert any(selects(policy["podSelector"], labels) and policy["podSelector"]
                   and "ingress" in policy for policy in policies(resources))
        if resource["kind"] != "Deployment":
            continue
        (container,) = containers(resource)
        assert container["startupProbe"]["httpGet"]["path"] == "/livez"
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        budgets = [r["spec"] for (kind, _), r in resources.items() if kind == "PodDisruptionBudget"]
        assert [b["maxUnavailable"] for b in budgets if selects(b["selector"], labels)] == [1]
        spread = spec["topologySpreadConstraints"]
        assert {s["topologyKey"] for s in spread} == {"kubernetes.io/hostname",
                                                      "topology.kubernetes.io/zone"}
        assert all(selects(s["labelSelector"], labels) for s in spread)


@each_overlay
def test_what_is_mounted_and_scaled_exists(overlay):
    resources = render(overlay)
    made = {r["spec"]["secretName"] for (kind, _), r in resources.items() if kind == "Certificate"}
    if ("Cluster", "postgres") in resources:
        made.add("postgres-app")
    told = (KUBERNETES / "README.md").read_text()
    for resource in workloads(resources):
        volumes = {v["name"]: v for v in pod(resource).get("volumes", [])}
        claimed = {c["metadata"]["name"] for c in resource["spec"].get("volumeClaimTemplates", [])}
        mounts = [m for c in containers(resource) for m in c.get("volumeMounts", [])]
        assert {m["name"] for m in mounts} == set(volumes) | claimed
        for volume in volumes.values():
            if "secret" in volume:
                name = volume["secret"]["secretName"]
                assert name in made or f"create secret generic {name} " in told, name
                assert volume["secret"].get("defaultMode", 0o440) == 0o440
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in resources
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in resources
    scaled = {r["spec"]["scaleTargetRef"]["name"] for (kind, _), r in resources.items()
              if kind in ("HorizontalPodAutoscaler", "ScaledObject")}
    for name, deployment in deployments(resources).items():
        # A number here would undo the scaler's at every apply.
        assert ("replicas" in deployment["spec"]) != (name in scaled)


# --- that they fit the programs ---------------------------------------------------------------------------
def test_images_are_those_of_the_recipe(programs):
    _, found = programs
    version = re.search(r"project\(conclave VERSION (\S+)", (REPO / "CMakeLists.txt").read_text())
    for name, program in found.items():
        assert program.version == version.group(1)
        assert program.stage.entrypoint == [f"/usr/bin/{SERVICES[name]}"]
        context = program.spec["securityContext"]
        assert program.stage.user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_every_setting_is_one_of_the_program(programs):
    resources, found = programs
    sources = "".join(path.read_text() for path in REPO.glob("inference-worker/engine/**/*.c[cu]"))
    for program in found.values():
        said = program.run("--help")
        flags = set(re.findall(r"(?m)^  --([a-z][a-z0-9-]*)", said.stdout))
        assert len(flags) > 10
        for name in program.env:
            if name.startswith("CONCLAVE_"):
                flag = name.removeprefix("CONCLAVE_").lower().replace("_", "-")
                assert flag in flags or f'getenv("{name}")' in sources, name
        checked = program.run("--check-config")
        assert checked.returncode == 0, checked.stderr


def test_ports_are_where_programs_listen(programs):
    resources, found = programs
    for name, program in found.items():
        settings = program.settings()
        listens = {int(settings[key].rsplit(":", 1)[1]) for key in ("listen", "probe-listen")}
        assert all(settings[key].startswith("0.0.0.0:") for key in ("listen", "probe-listen"))
        ports = {port["name"]: port["containerPort"] for port in program.container["ports"]}
        assert set(ports.values()) == listens == program.stage.ports
        service = resources["Service", name]["spec"]
        for port in service["ports"]:
            # Callers of a headless service come to the pods themselves.
            assert port["port"] == ports[port["targetPort"]]
        labels = labels_of(resources["Deployment", name])
        assert selects({"matchLabels": service["selector"]}, labels)
        for policy in policies(resources):
            if selects(policy["podSelector"], labels):
                for rule in policy.get("ingress", []):
                    assert {port["port"] for port in rule["ports"]} <= listens


def test_pods_are_given_the_time_they_drain(programs):
    _, found = programs
    for program in found.values():
        settings = program.settings()
        before = seconds(settings.get("settle", settings.get("drain-settle", "0s")))
        # Callers are told meanwhile that it goes.
        assert before >= 5
        assert program.spec["terminationGracePeriodSeconds"] >= before + seconds(
            settings["drain"]) + 5
        assert program.stage.stop_signal == "SIGTERM"


def test_who_is_called_may_be_called_and_nobody_else(programs):
    resources, found = programs
    calls = set()
    for name, program in found.items():
        settings = program.settings()
        addresses = settings.get("inference-workers", []) + settings.get("embedding-workers", [])
        if settings.get("store"):
            # The client library takes all replicas behind such a name.
            assert settings["store"].startswith("dns:///")
            addresses.append(settings["store"].removeprefix("dns:///"))
        for address in addresses:
            host, port = address.rsplit(":", 1)
            service = resources["Service", host]["spec"]
            assert [p["port"] for p in service["ports"]] == [int(port)]
            if name == "assistant-store" or host != "gateway":
                assert service["clusterIP"] == "None"
            calls.add((name, host, int(port)))
    # What deploys as docs/architecture.md draws it.
    assert calls == {("gateway", "inference-worker", 50051), ("gateway", "embedding-worker", 50052),
                     ("gateway", "assistant-store", 50053),
                     ("assistant-store", "inference-worker", 50051)}

    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert everything in policies(resources)
    pods = {name: labels_of(resources["Deployment", name]) for name in SERVICES}

    def allowed(direction, key):
        """(whose rule, the other side, port) for all rules that name pods of ours."""
        edges = set()
        for policy in policies(resources):
            for name, labels in pods.items():
                if not selects(policy["podSelector"], labels):
                    continue
                for rule in policy.get(direction, []):
                    for peer in rule.get(key, []):
                        if "namespaceSelector" in peer or "podSelector" not in peer:
                            continue
                        edges |= {(name, other, port["port"]) for other, theirs in pods.items()
                                  if selects(peer["podSelector"], theirs) for port in rule["ports"]}
        return edges

    assert allowed("egress", "to") == calls
    assert {(caller, called, port) for called, caller, port in allowed("ingress", "from")} == calls


@each_overlay
def test_what_comes_from_outside_is_named(overlay):
    resources = render(overlay)
    store = labels_of(resources["Deployment", "assistant-store"])
    open_doors = set()
    for (kind, name), resource in resources.items():
        if kind != "NetworkPolicy":
            continue
        for rule in resource["spec"].get("ingress", []):
            if "from" not in rule:
                open_doors |= {(name, port["port"]) for port in rule["ports"]}
    assert open_doors == {("gateway", 8080)}
    leaves = [rule for policy in policies(resources) if selects(policy["podSelector"], store)
              for rule in policy.get("egress", []) if "to" not in rule]
    assert leaves == [{"ports": [{"protocol": "TCP", "port": 5432}]}]
    # Where a database is part of the overlay it takes the store in, and none of the others.
    database = resources.get(("NetworkPolicy", "postgres"))
    if database is not None:
        taken = [name for name in SERVICES for rule in database["spec"]["ingress"]
                 for peer in rule["from"] if "podSelector" in peer
                 and selects(peer["podSelector"], labels_of(resources["Deployment", name]))]
        assert taken == ["assistant-store"]


# --- components ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("overlay", ["gpu", "prod"])
def test_gpu_overlays_ask_for_a_gpu_and_use_it(overlay, build_dir, tmp_path):
    resources = render(overlay)
    worker = Program(resources, "inference-worker", build_dir, tmp_path)
    assert worker.target == "worker-cuda"
    assert worker.settings()["device"] == "cuda"
    wanted = worker.container["resources"]
    assert wanted["requests"]["nvidia.com/gpu"] == "1" and wanted["requests"] == wanted["limits"]
    # The old pod gives its GPU back before a new one asks for it.
    rolling = resources["Deployment", "inference-worker"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}
    assert any(t["key"] == "nvidia.com/gpu" for t in worker.spec["tolerations"])
    # What the component leaves alone is the base's.
    base = containers(render("cpu")["Deployment", "inference-worker"])[0]
    assert worker.container["livenessProbe"] == base["livenessProbe"]
    assert "nvidia.com/gpu" not in str(base)


def test_tls_is_on_at_both_ends_of_every_call(build_dir, tmp_path):
    resources = render("prod")
    certificates = {name: r["spec"] for (kind, name), r in resources.items() if kind == "Certificate"}
    for name in SERVICES:
        program = Program(resources, name, build_dir, tmp_path)
        settings = program.settings()
        volume = next(v for v in program.spec["volumes"] if v["name"] == "tls")
        certificate = certificates[volume["secret"]["secretName"]]
        if name != "gateway":
            assert all(settings[key] for key in ("tls-cert-file", "tls-key-file", "tls-client-ca-file"))
            assert "server auth" in certificate["usages"]
            assert certificate["dnsNames"] == ["conclave-mesh"]
        if name in ("gateway", "assistant-store"):
            assert all(settings[f"mesh-tls-{key}-file"] for key in ("ca", "cert", "key"))
            # Workers are called by the addresses of their pods.
            assert settings["mesh-tls-server-name"] == "conclave-mesh"
            assert "client auth" in certificate["usages"]


def test_a_public_name_is_a_host_of_the_gateway(build_dir, tmp_path):
    resources = render("prod")
    route = resources["HTTPRoute", "gateway"]["spec"]
    hosts = Program(resources, "gateway", build_dir, tmp_path).settings()["allowed-hosts"]
    assert set(route["hostnames"]) < set(hosts)
    inside = Program(render("cpu"), "gateway", build_dir, tmp_path / "..").settings()["allowed-hosts"]
    assert set(inside) < set(hosts)
    (reference,) = route["rules"][0]["backendRefs"]
    service = resources["Service", reference["name"]]["spec"]
    assert reference["port"] in {port["port"] for port in service["ports"]}

"""What deploy/ says, read as the tools read it: the container recipe as a builder does, and the overlays
of Kubernetes put onto their base as kustomize does what these use of it."""

import copy
import functools
import pathlib
import re
import shutil
import subprocess

import yaml

from mesh import REPO

DEPLOY = REPO / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DOCKERFILE = DEPLOY / "containers/Dockerfile"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
SERVICES = {"gateway": "conclave-gateway", "inference-worker": "conclave-worker",
            "embedding-worker": "conclave-embed", "assistant-store": "conclave-store"}


# --- the recipe -----------------------------------------------------------------------------------------
def instructions():
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


class Stage:
    def __init__(self, base):
        self.base = base
        self.steps = []
        self.env = dict(base.env) if base else {}
        self.ports = set(base.ports) if base else set()
        self.packages = set(base.packages) if base else set()
        self.files = dict(base.files) if base else {}
        self.user = base.user if base else None
        self.entrypoint = base.entrypoint if base else None
        self.stop_signal = base.stop_signal if base else None

    def add(self, word, rest):
        self.steps.append((word, rest))
        if word == "ENV":
            self.env.update(re.findall(r"(\w+)=(\S+)", rest))
        elif word == "EXPOSE":
            self.ports |= {int(port) for port in rest.split()}
        elif word == "USER":
            self.user = rest
        elif word == "STOPSIGNAL":
            self.stop_signal = rest
        elif word == "ENTRYPOINT":
            self.entrypoint = yaml.safe_load(rest)
        elif word == "COPY":
            *sources, target = [part for part in rest.split() if not part.startswith("--")]
            for source in sources:
                inside = target + pathlib.Path(source).name if target.endswith("/") else target
                self.files[inside] = source
        elif word == "RUN":
            for packages in re.findall(r"apt-get install -y --no-install-recommends ([^&]+)", rest):
                self.packages |= set(packages.split())


@functools.cache
def stages():
    found = {}
    current = None
    for word, rest in instructions():
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            current = found[name] = Stage(found.get(image))
        elif current is not None:
            current.add(word, rest)
    return found


def target_of(image):
    """conclave-worker:0.1.0-cuda is built by the target worker-cuda: (target, version)."""
    name, tag = re.fullmatch(r"conclave-([a-z]+):(\S+)", image).groups()
    version, dash, variant = tag.partition("-")
    return name + dash + variant, version


# --- kustomize ------------------------------------------------------------------------------------------
# Lists of these fields are merged by a key of their entries, all others are replaced.
MERGE_KEYS = {"containers": "name", "volumes": "name", "ports": "containerPort",
              "volumeMounts": "mountPath", "env": "name"}
CLUSTER_WIDE = {"Namespace"}


def merge(base, patch, field=""):
    """A strategic merge: null deletes, maps are merged, keyed lists by their key, in the patch's order."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = dict(base)
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged.get(key), value, key)
        return merged
    if isinstance(base, list) and isinstance(patch, list) and field in MERGE_KEYS:
        key = MERGE_KEYS[field]
        known = {entry[key]: entry for entry in base}
        patched = [merge(known.pop(entry[key], None), entry) for entry in patch]
        return patched + list(known.values())
    if isinstance(patch, dict):
        return {key: merge(None, value, key) for key, value in patch.items() if value is not None}
    return copy.deepcopy(patch)


def key_of(resource):
    return resource["kind"], resource["metadata"]["name"]


def accumulate(folder, resources):
    """Adds what the kustomization of a folder says to `resources`."""
    text = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(text) <= {"apiVersion", "kind", "namespace", "resources", "components", "images",
                         "patches", "configMapGenerator"}, folder
    assert text["kind"] in ("Kustomization", "Component")
    for path in text.get("resources", []):
        target = (folder / path).resolve()
        if target.is_dir():
            accumulate(target, resources)
            continue
        for resource in yaml.safe_load_all(target.read_text()):
            assert key_of(resource) not in resources, f"twice: {key_of(resource)}"
            resources[key_of(resource)] = resource
    for generated in text.get("configMapGenerator", []):
        files = dict(entry.split("=") for entry in generated["files"])
        resource = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]},
                    "data": {name: (folder / path).read_text() for name, path in files.items()}}
        if labels := generated.get("options", {}).get("labels"):
            resource["metadata"]["labels"] = labels
        resources[key_of(resource)] = resource
    for path in text.get("components", []):
        accumulate((folder / path).resolve(), resources)
    for patch in text.get("patches", []):
        for change in yaml.safe_load_all((folder / patch["path"]).read_text()):
            assert key_of(change) in resources, f"{patch['path']} patches what is not there"
            resources[key_of(change)] = merge(resources[key_of(change)], change)
    for image in text.get("images", []):
        uses = [container for resource in resources.values() for container in containers(resource)
                if container["image"].partition(":")[0] == image["name"]]
        assert uses, f"no image {image['name']}"
        for container in uses:
            container["image"] = f"{image['name']}:{image['newTag']}"
    if "namespace" in text:
        for kind, name in resources:
            if kind not in CLUSTER_WIDE:
                resources[kind, name]["metadata"]["namespace"] = text["namespace"]
    return resources


def render(overlay):
    """The resources of an overlay by (kind, name), put together here."""
    resources = accumulate(KUBERNETES / "overlays" / overlay, {})
    return copy.deepcopy(resources)


def kubectl_with_kustomize_5():
    """Whether there is one: older ones know no components or print other things."""
    if shutil.which("kubectl") is None:
        return False
    said = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True,
                          timeout=60)
    return said.returncode == 0 and "Kustomize Version: v5" in said.stdout


def render_with_kubectl(overlay):
    said = subprocess.run(["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)],
                          capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    # Generated names end with a digest of what is inside.
    generated = re.findall(r"(?m)^  name: (\S+)-([a-z0-9]{10})$", said.stdout)
    text = said.stdout
    for name, digest in generated:
        text = text.replace(f"{name}-{digest}", name)
    return {key_of(resource): resource for resource in yaml.safe_load_all(text)}


# --- what manifests hold ----------------------------------------------------------------------------------
def template(resource):
    """The pod template of a workload, or nothing."""
    if resource["kind"] not in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return {}
    return resource["spec"]["template"]


def pod(resource):
    return template(resource).get("spec", {})


def containers(resource):
    return pod(resource).get("containers", []) + pod(resource).get("initContainers", [])


def selects(selector, labels):
    """Whether a label selector takes these labels in."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def seconds(duration):
    value, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(value) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]

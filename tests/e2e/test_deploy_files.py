"""Container recipes and Kubernetes manifests, held against the programs they start. No cluster, no
container builder: overlays are put onto the base here, as kustomize merges what these use."""

import copy
import json
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

from mesh import REPO

DEPLOY = REPO / "deploy"
DOCKERFILE = DEPLOY / "containers/inference-worker.Dockerfile"
# Lists of these fields are merged by a key of their entries, all others are replaced.
MERGE_KEYS = {"containers": "name", "volumes": "name", "ports": "containerPort",
              "volumeMounts": "mountPath", "env": "name"}


def merge(base, patch, field=""):
    """A strategic merge: null deletes, maps are merged, keyed lists by their key."""
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
        merged = [merge(entry, next((p for p in patch if p[key] == entry[key]), {}))
                  for entry in base]
        known = [entry[key] for entry in base]
        return merged + [p for p in patch if p[key] not in known]
    if isinstance(patch, dict):
        return {key: merge(None, value, key) for key, value in patch.items() if value is not None}
    return copy.deepcopy(patch)


def build(folder):
    """The resources of a kustomization, by (kind, name)."""
    text = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(text) <= {"apiVersion", "kind", "resources", "images", "patches"}
    resources = {}
    for path in text.get("resources", []):
        target = (folder / path).resolve()
        found = build(target) if target.is_dir() else {
            (r["kind"], r["metadata"]["name"]): r for r in yaml.safe_load_all(target.read_text())}
        assert not resources.keys() & found.keys()
        resources.update(found)
    for patch in text.get("patches", []):
        for change in yaml.safe_load_all((folder / patch["path"]).read_text()):
            key = (change["kind"], change["metadata"]["name"])
            assert key in resources, f"{patch['path']} patches what is not there: {key}"
            resources[key] = merge(resources[key], change)
    for image in text.get("images", []):
        used = 0
        for resource in resources.values():
            for container in pod(resource).get("containers", []):
                if container["image"].rsplit(":", 1)[0] == image["name"]:
                    container["image"] = f"{image['name']}:{image['newTag']}"
                    used += 1
        assert used, f"no image {image['name']}"
    return resources


def pod(resource):
    return resource.get("spec", {}).get("template", {}).get("spec", {})


def worker(overlay):
    resources = build(DEPLOY / "kubernetes" / overlay)
    return resources[("Deployment", "inference-worker")], resources[("Service", "inference-worker")]


def flags_of_worker(build_dir):
    text = subprocess.run([str(build_dir / "bin/conclave-worker"), "--help"], capture_output=True,
                          text=True, timeout=60, check=True)
    return set(re.findall(r"--([a-z][a-z0-9-]*)", text.stdout + text.stderr))


def seconds(duration):
    value, unit = re.fullmatch(r"(\d+)(ms|s|m)", duration).groups()
    return int(value) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def instructions():
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


@pytest.fixture(scope="module")
def flags(request):
    return flags_of_worker(pathlib.Path(request.config.getoption("--build-dir")).resolve())


@pytest.mark.parametrize("overlay", ["overlays/cpu", "overlays/gpu"])
def test_pods_start_what_the_image_holds(overlay, flags):
    deployment, service = worker(overlay)
    spec = pod(deployment)
    (container,) = spec["containers"]
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in container["args"])
    assert set(options) <= flags
    grace = spec["terminationGracePeriodSeconds"]
    assert grace > seconds(options["settle"]) + seconds(options["drain"])
    # The image's entry point says where it listens.
    entry = json.loads(next(rest for word, rest in instructions() if word == "ENTRYPOINT"))
    listens = {int(argument.rsplit(":", 1)[1]) for argument in entry if ":" in argument}
    assert {port["containerPort"] for port in container["ports"]} == listens
    assert {port["port"] for port in service["spec"]["ports"]} == listens
    named = {port["name"] for port in container["ports"]}
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"),
                        ("readinessProbe", "/readyz")]:
        assert container[probe]["httpGet"]["path"] == path
        assert container[probe]["httpGet"]["port"] in named
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts <= {volume["name"] for volume in spec["volumes"]}
    assert options["model-dir"] in {mount["mountPath"] for mount in container["volumeMounts"]}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"]):
        assert selector.items() <= labels.items()
    tag = container["image"].rsplit(":", 1)[1]
    assert any(word == "FROM" and rest.endswith(f" AS {tag}") for word, rest in instructions())


def test_the_gpu_overlay_asks_for_a_gpu_and_uses_it():
    deployment, _ = worker("overlays/gpu")
    spec = pod(deployment)
    (container,) = spec["containers"]
    assert container["image"] == "conclave-worker:cuda"
    assert "--device=cuda" in container["args"]
    resources = container["resources"]
    # Kubernetes wants both to be the same.
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "1"
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert any(t["key"] == "nvidia.com/gpu" for t in spec["tolerations"])
    # What the overlay leaves alone is the base's.
    base, _ = worker("overlays/cpu")
    assert container["livenessProbe"] == pod(base)["containers"][0]["livenessProbe"]
    assert "nvidia.com/gpu" not in str(base)


def test_the_recipe_copies_and_builds_what_there_is():
    presets = json.loads((REPO / "CMakePresets.json").read_text())
    configured = {preset["name"] for preset in presets["configurePresets"]}
    built = {preset["name"] for preset in presets["buildPresets"]}
    stages, arguments = set(), set()
    for word, rest in instructions():
        if word == "ARG":
            arguments.add(rest.partition("=")[0])
        for name in re.findall(r"\$\{(\w+)\}", rest):
            assert name in arguments, name
        if word == "FROM":
            image, _, stage = rest.partition(" AS ")
            assert stage and (image in stages or ":" in image or image.startswith("$")), rest
            stages.add(stage)
        elif word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (REPO / source).exists(), source
        elif word == "COPY":
            source = re.match(r"--from=(\S+)", rest).group(1)
            assert source in stages, rest
        elif word == "RUN":
            words = shlex.split(rest)
            for i, one in enumerate(words):
                if one == "--preset":
                    assert words[i + 1] in (built if "--build" in words[:i][-1:] else configured)
    assert {"cpu", "cuda"} <= stages
    text = DOCKERFILE.read_text()
    lists = "".join(path.read_text() for path in REPO.glob("inference-worker/**/CMakeLists.txt"))
    for target in re.findall(r"--target ([\w -]+?)\s*\\?\n", text):
        for name in target.split():
            assert re.search(rf"\b{name}\b", lists), name
    # The module lies where the loader looks beside the program.
    assert "/usr/lib/" in text and '"/../lib/"' in (
        REPO / "inference-worker/engine/kernels/cuda/loader.cc").read_text()

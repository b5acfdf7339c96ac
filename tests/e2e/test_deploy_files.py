"""The recipe of the images and what is said to Prometheus and Grafana, held against the programs and the
repository. No container builder is needed: deploy/containers/check.sh is for who has one."""

import fnmatch
import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import requests
import yaml

from deploy_files import (DEPLOY, DOCKERFILE, OVERLAYS, SERVICES, containers, instructions, render,
                          stages, target_of)
from mesh import REPO

TARGETS = {"gateway": "gateway", "worker": "inference-worker", "worker-cuda": "inference-worker",
           "embed": "embedding-worker", "store": "assistant-store"}


@pytest.fixture(scope="module")
def build_dir(request):
    return pathlib.Path(request.config.getoption("--build-dir")).resolve()


# --- the recipe -----------------------------------------------------------------------------------------
def test_the_recipe_copies_and_builds_what_there_is():
    presets = json.loads((REPO / "CMakePresets.json").read_text())
    configured = {preset["name"] for preset in presets["configurePresets"]}
    built = {preset["name"] for preset in presets["buildPresets"]}
    names, arguments = set(), set()
    for word, rest in instructions():
        if word == "ARG":
            arguments.add(rest.partition("=")[0])
        for name in re.findall(r"\$\{(\w+)\}", rest):
            assert name in arguments, name
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            assert name and (image in names or ":" in image or image.startswith("$")), rest
            names.add(name)
        elif word == "COPY" and rest.startswith("--from="):
            assert re.match(r"--from=(\S+)", rest).group(1) in names, rest
        elif word == "COPY":
            for source in rest.split()[:-1]:
                assert (REPO / source).exists(), source
        elif word == "RUN":
            for stage in re.findall(r"--mount=\S*from=([^,\s]+)", rest):
                assert stage in names, rest
            words = shlex.split(rest)
            for i, one in enumerate(words):
                if one == "--preset":
                    assert words[i + 1] in (built if "--build" in words[:i][-1:] else configured)
    assert set(TARGETS) <= names
    text = DOCKERFILE.read_text()
    lists = "".join(path.read_text() for path in REPO.glob("*/**/CMakeLists.txt")
                    if "build" not in path.parts)
    targets = {name for found in re.findall(r"--target ([\w -]+?)\s*\\?\n", text)
               for name in found.split()}
    assert targets == set(SERVICES.values()) | {"conclave_cuda"}
    for name in targets:
        assert re.search(rf"\b{name}\b", lists), name
    # The module lies where the loader looks beside the program.
    assert "/usr/lib/libconclave_cuda.so" in stages()["worker-cuda"].files
    assert '"/../lib/"' in (REPO / "inference-worker/engine/kernels/cuda/loader.cc").read_text()


def test_what_the_recipe_copies_is_let_in():
    rules = [line for line in (REPO / ".dockerignore").read_text().splitlines()
             if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [rule.removeprefix("!") for rule in rules[1:]]
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert any(source == rule or source.startswith(rule + "/") for rule in let_in), source
    assert not any(fnmatch.fnmatch("build", rule) or fnmatch.fnmatch(".git", rule) for rule in let_in)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_what_its_program_needs(target):
    stage = stages()[target]
    name = SERVICES[TARGETS[target]]
    assert stage.entrypoint == [f"/usr/bin/{name}"]
    assert stage.files[f"/usr/bin/{name}"] == f"/out/{name}"
    uid, gid = stage.user.split(":")
    assert int(uid) > 0 and int(gid) > 0 and stage.stop_signal == "SIGTERM"
    listens = {int(value.rsplit(":", 1)[1]) for key, value in stage.env.items()
               if key in ("CONCLAVE_LISTEN", "CONCLAVE_PROBE_LISTEN")}
    assert stage.ports == listens and len(listens) == 2
    if "CONCLAVE_MODEL" in stage.env:
        assert stage.env["CONCLAVE_MODEL"] in stage.files
    labels = dict(re.findall(r'(org\.opencontainers\.image\.\w+)="([^"]*)"',
                             " ".join(rest for word, rest in stage.steps + stages()["runtime"].steps
                                      if word == "LABEL")))
    version = re.search(r"project\(conclave VERSION (\S+)", (REPO / "CMakeLists.txt").read_text())
    if target != "worker-cuda":
        assert labels["org.opencontainers.image.title"] == name
    assert labels["org.opencontainers.image.version"] == version.group(1)
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def with_dependencies(packages):
    """These Debian packages and all that they bring in, as this machine has them."""
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\t${Depends},${Pre-Depends}\n"],
                          capture_output=True, text=True, timeout=60, check=True).stdout
    depends = dict(line.split("\t") for line in said.splitlines())
    found, waiting = set(), set(packages)
    while waiting:
        package = waiting.pop()
        found.add(package)
        waiting |= {part.split()[0].partition(":")[0]
                    for part in re.split("[,|]", depends.get(package, "")) if part.strip()} - found
    return found


@pytest.mark.parametrize("target", ["gateway", "worker", "embed", "store"])
def test_an_image_installs_the_libraries_of_its_program(target, build_dir):
    if shutil.which("dpkg-query") is None or shutil.which("readelf") is None:
        pytest.skip("neither dpkg nor readelf: nobody to ask for libraries and their packages")
    binary = build_dir / "bin" / SERVICES[TARGETS[target]]
    said = subprocess.run(["readelf", "-d", str(binary)], capture_output=True, text=True, timeout=60,
                          check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", said)
    assert "libgrpc++.so.1.51" in needed
    brought = with_dependencies(stages()[target].packages)
    linked = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, timeout=60).stdout
    paths = {pathlib.Path(path).name: path for path in re.findall(r"(/\S+) \(0x", linked)}
    # /lib may be a link to /usr/lib, and packages know either name.
    names = [name for library in needed
             for name in (paths[library], "/usr" + paths[library], paths[library].removeprefix("/usr"))]
    said = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True, timeout=60)
    owners = {}
    for package, path in re.findall(r"(?m)^([^:,\s]+)\S*: (\S+)$", said.stdout):
        owners.setdefault(pathlib.Path(path).name, set()).add(package)
    for library in needed:
        assert owners[library] & brought, f"{library} is in none of the image's packages: {owners}"


def test_manifests_use_the_images_of_the_recipe():
    used = {target_of(container["image"])[0] for overlay in OVERLAYS
            for resource in render(overlay).values() for container in containers(resource)
            if container["image"].startswith("conclave-")}
    assert used == set(TARGETS)
    told = (DEPLOY / "containers/README.md").read_text()
    for target in TARGETS:
        assert f"--target {target} " in told


# --- observability ------------------------------------------------------------------------------------------
def expressions():
    """(where, PromQL) of everything that asks Prometheus."""
    rules = yaml.safe_load((DEPLOY / "observability/rules.yaml").read_text())
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert", rule.get("record")), rule["expr"]
    dashboard = json.loads((DEPLOY / "observability/dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
            legend = re.findall(r"{{(\w+)}}", target["legendFormat"])
            by = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert set(legend) <= set(re.findall(r"\w+", " ".join(by))), panel["title"]
    scaled = yaml.safe_load((DEPLOY / "kubernetes/components/keda/scaled-object.yaml").read_text())
    for trigger in scaled["spec"]["triggers"]:
        yield "ScaledObject", trigger["metadata"]["query"]


def scrape(mesh):
    """{metric: its labels} of what all four services say."""
    ports = [mesh.internal_port + 10 + i for i in range(3)]
    seen = {}
    for url in [mesh.url] + [f"http://127.0.0.1:{port}" for port in ports]:
        try:
            text = requests.get(url + "/metrics", timeout=10).text
        except requests.ConnectionError:
            assert url.endswith(str(ports[1])) and not mesh.runs("embed")
            continue
        for name, labels in re.findall(r"(?m)^([a-zA-Z0-9_:]+)(?:{(.*)})? \S+$", text):
            seen.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return seen


def test_what_is_asked_of_prometheus_is_exported(mesh):
    model = mesh.wait_for_model("conclave")
    said = requests.post(mesh.url + "/v1/chat/completions", timeout=60, json={
        "model": model, "stream": True, "messages": [{"role": "user", "content": "What is 2 + 3?"}]})
    assert said.ok
    # Refused before a handler sees it.
    assert requests.get(mesh.url + "/nowhere", timeout=10).status_code == 404
    exported = scrape(mesh)
    recorded = {name for name, _ in expressions() if name.startswith("conclave:")}
    # What Prometheus adds to every series.
    added = {"namespace", "pod", "le"}
    asked = set()
    for where, expression in expressions():
        names = re.findall(r"(?:conclave[_:]|vllm:)[a-z0-9_:]+", expression)
        assert names, where
        labels = set()
        for name in names:
            assert name in recorded or name in exported, f"{where}: nobody exports {name}"
            labels |= exported.get(name, set())
        asked |= set(names)
        for name, matchers in re.findall(r"([a-z0-9_:]+){([^}]*)}", expression):
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
            assert used <= exported[name] | added, f"{where}: {name} has no {used - exported[name]}"
        for by in re.findall(r"\bby \(([^)]*)\)", expression):
            assert set(re.findall(r"\w+", by)) <= labels | added, where
    assert len(asked) > 20


def test_prometheus_of_one_machine_asks_where_up_sh_listens():
    text = (DEPLOY / "local/up.sh").read_text()
    first = int(re.search(r"(?m)^internal_port=(\d+)$", text).group(1))
    ports = {name: first + int(re.search(rf"(?m)^{name}_probe=\$\(\(internal_port \+ (\d+)\)\)",
                                         text).group(1)) for name in ("worker", "embed", "store")}
    ports["gateway"] = int(re.search(r"(?m)^port=(\d+)$", text).group(1))
    config = yaml.safe_load((DEPLOY / "observability/prometheus.yml").read_text())
    asked = [target for job in config["scrape_configs"] for part in job["static_configs"]
             for target in part["targets"]]
    assert sorted(asked) == sorted(f"127.0.0.1:{port}" for port in ports.values())


def test_dashboard_panels_are_apart():
    panels = json.loads((DEPLOY / "observability/dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(p["gridPos"]["x"] + i, p["gridPos"]["y"]) for p in panels
              for i in range(p["gridPos"]["w"])]
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24

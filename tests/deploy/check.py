"""Starts the images from an overlay's manifests and uses them: probes, rights, chat, embeddings, a run, and
replicas that go and come while requests are answered. run.sh calls it."""

import argparse
import concurrent.futures
import contextlib
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import requests

from node import HOST, Node, image_of, run, wait_until
from deploy_files import SERVICES, pod as pod_spec, render, template

KEY = "sk-" + secrets.token_hex(16)


def step(text):
    print(f"{time.strftime('%T')}  {text}", flush=True)


def certificates(resources, folder):
    """{secret: {file: text}} for the certificates that cert-manager would make."""
    made = {}
    issued = [r["spec"] for (kind, _), r in resources.items() if kind == "Certificate"]
    for spec in issued:
        here = folder / spec["secretName"]
        key, request, certificate = (here.with_suffix(s) for s in (".key", ".csr", ".crt"))
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        name = spec.get("commonName", spec["secretName"])
        if spec.get("isCA"):
            authority = (certificate, key)
            run("openssl", "req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-days", "1",
                "-out", certificate)
            continue
        run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        usages = ",".join({"server auth": "serverAuth", "client auth": "clientAuth"}[u]
                          for u in spec["usages"])
        extensions = here.with_suffix(".ext")
        extensions.write_text(f"subjectAltName=DNS:{spec['dnsNames'][0]}\nextendedKeyUsage={usages}\n")
        run("openssl", "x509", "-req", "-in", request, "-CA", authority[0], "-CAkey", authority[1],
            "-CAcreateserial", "-days", "1", "-extfile", extensions, "-out", certificate)
        made[spec["secretName"]] = {"tls.crt": certificate.read_text(), "tls.key": key.read_text(),
                                    "ca.crt": authority[0].read_text()}
    return made


@contextlib.contextmanager
def postgres(folder, password):
    """The machine's own PostgreSQL in the place of the pod."""
    binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        sys.exit("no PostgreSQL server found")
    as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    folder.mkdir()
    (folder / "password").write_text(password)
    shutil.chown(folder, "postgres")
    data = folder / "cluster"
    run(*as_owner, binaries[-1] / "initdb", "-D", data, "-U", "conclave", "-A", "scram-sha-256", "-E", "UTF8",
        f"--pwfile={folder / 'password'}")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {HOST}/24 scram-sha-256\n")
    server = subprocess.Popen([*as_owner, str(binaries[-1] / "postgres"), "-D", str(data), "-h", HOST, "-k",
                               str(folder)], stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT)
    try:
        create = [*as_owner, binaries[-1] / "createdb", "-h", folder, "-U", "conclave", "conclave"]

        def created():
            with contextlib.suppress(subprocess.CalledProcessError):
                run(*create, env=dict(os.environ, PGPASSWORD=password))
                return True

        wait_until(created, 60, "PostgreSQL")
        yield
    finally:
        # SIGTERM would wait for its clients.
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)


class Deployment:
    """The pods of one deployment, out of the image that was built."""

    def __init__(self, node, name, state, secret_files):
        self.node, self.name = node, name
        self.resource = node.resources["Deployment", name]
        self.spec = pod_spec(self.resource)
        (container,) = self.spec["containers"]
        self.root, self.env, self.entry, self.user = image_of(state, container["image"])
        self.env = self.env | {e["name"]: e["value"] for e in container.get("env", [])}
        self.mounts = [(node.folder / "resolv.conf", "/etc/resolv.conf", "ro")]
        volumes = {v["name"]: v for v in self.spec.get("volumes", [])}
        for i, mount in enumerate(container.get("volumeMounts", [])):
            here = node.folder / f"{name}-{i}"
            here.mkdir()
            volume = volumes[mount["name"]]
            files = {}
            if "configMap" in volume:
                files = node.resources["ConfigMap", volume["configMap"]["name"]]["data"]
            elif "secret" in volume:
                files = secret_files[volume["secret"]["secretName"]]
            group = self.spec["securityContext"]["fsGroup"]
            for file, text in files.items():
                (here / file).write_text(text)
                (here / file).chmod(volume.get("secret", {}).get("defaultMode", 0o644))
                os.chown(here / file, 0, group)
            os.chown(here, 0, group)
            here.chmod(0o2775)
            self.mounts.append((here, mount["mountPath"], "ro" if mount.get("readOnly") else "rw"))
        for _, inside, _ in self.mounts:
            place = self.root / inside[1:]
            if inside == "/etc/resolv.conf":
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)

    def start(self, **env):
        context = self.spec["securityContext"]
        assert self.user == f"{context['runAsUser']}:{context['runAsGroup']}"
        command = ["/usr/bin/setpriv", f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}",
                   f"--groups={context['fsGroup']}", "--no-new-privs", "--bounding-set=-all",
                   "--inh-caps=-all", "env", "-i",
                   *(f"{k}={v}" for k, v in (self.env | env).items()), *self.entry]
        pod = self.node.pod(self.name, template(self.resource)["metadata"]["labels"], self.spec)
        pod.start(command, self.root, self.mounts)
        return pod

    def start_ready(self):
        pod = self.start()
        wait_until(lambda: pod.ready or pod.process.poll() is not None, 120, f"{pod.name} ready")
        assert pod.process.poll() is None, pod.tail()
        return pod


def check_rights(pod):
    status = pod.status()
    assert status["Uid"].split() == ["10001"] * 4, status["Uid"]
    assert status["NoNewPrivs"] == "1"
    assert all(int(status[c], 16) == 0 for c in ("CapEff", "CapPrm", "CapBnd", "CapInh"))
    assert pod.root_is_read_only()


class Client:
    """Speaks to any gateway that is ready, as behind a Service."""

    def __init__(self, node):
        self.node = node
        self.headers = {"Authorization": f"Bearer {KEY}"}

    @property
    def url(self):
        return f"http://{random.choice(self.node.addresses('gateway'))}:8080"

    def call(self, method, path, **more):
        said = requests.request(method, self.url + path, headers=self.headers, timeout=120, **more)
        assert said.status_code == 200, f"{path}: {said.status_code} {said.text}"
        return said.json()

    def stream(self, model):
        said = requests.post(self.url + "/v1/chat/completions", headers=self.headers, timeout=120, json={
            "model": model, "stream": True, "temperature": 0,
            "messages": [{"role": "user", "content": "What is 37 + 45?"}]})
        assert said.status_code == 200 and said.text.endswith("data: [DONE]\n\n"), said.text
        return said.text


def check_run(client, model):
    assistant = client.call("POST", "/v1/assistants", json={"model": model, "temperature": 0})
    run_ = client.call("POST", "/v1/threads/runs", json={
        "assistant_id": assistant["id"],
        "thread": {"messages": [{"role": "user", "content": "What is 37 + 45?"}]}})
    path = f"/v1/threads/{run_['thread_id']}"
    wait_until(lambda: client.call("GET", f"{path}/runs/{run_['id']}")["status"] == "completed", 60, "run")
    (answer,) = [m for m in client.call("GET", f"{path}/messages")["data"] if m["role"] == "assistant"]
    assert "82" in answer["content"][0]["text"]["value"], answer


def check_replacement(client, model, embedding, deployment):
    """One replica more, then one less, while requests come; none of them fails."""
    stop = threading.Event()

    def ask():
        asked = 0
        while not stop.is_set():
            assert "82" in client.call("POST", "/v1/chat/completions", json={
                "model": model, "temperature": 0,
                "messages": [{"role": "user", "content": "What is 37 + 45?"}]})["choices"][0]["message"][
                    "content"]
            client.stream(model)
            client.call("POST", "/v1/embeddings", json={"model": embedding, "input": ["two", "words"]})
            client.call("GET", "/v1/assistants")
            asked += 4
        return asked

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            old = next(p for p in deployment.node.pods if p.name.startswith(deployment.name))
            deployment.start_ready()
            time.sleep(3)
            took = old.end()
            time.sleep(2)
        finally:
            stop.set()
        asked = sum(future.result() for future in asking)
    step(f"{deployment.name}: a replica replaced under load, gone {took:.1f} s after SIGTERM, "
         f"{asked} requests, none failed")


def check_cuda(node, state):
    deployment = Deployment(node, "inference-worker", state, {})
    pod = deployment.start(CONCLAVE_DEVICE="cpu")
    wait_until(lambda: pod.ready, 120, "the worker with CUDA on processors")
    pod.end()
    pod = deployment.start()
    wait_until(lambda: "CUDA" in pod.log.read_text(errors="replace"), 60, "a word about CUDA")
    assert pod.process.poll() is None and not pod.ready
    line = next(line for line in pod.log.read_text().splitlines() if "CUDA" in line)
    step("without a driver: " + line[:300])
    pod.kill()


def check_mesh(resources, state, folder):
    password = secrets.token_hex(12)
    secret_files = {
        "gateway-keys": {"api-keys": KEY + "\n", "admin-keys": ""},
        "assistant-store-database": {"url": f"postgresql://conclave:{password}@postgres:5432/conclave"}}
    secret_files |= certificates(resources, folder)
    node = Node(resources, folder / "node")
    deployments = {name: Deployment(node, name, state, secret_files) for name in SERVICES}
    try:
        with postgres(folder / "postgres", password):
            for name, deployment in deployments.items():
                scaled = resources.get(("HorizontalPodAutoscaler", name))
                replicas = scaled["spec"]["minReplicas"] if scaled else deployment.resource["spec"]["replicas"]
                for _ in range(replicas):
                    deployment.start()
            for pod in node.pods:
                wait_until(lambda p=pod: p.ready or p.process.poll() is not None, 180, pod.name)
                assert pod.process.poll() is None, pod.tail()
                check_rights(pod)
            step(f"ready: {', '.join(pod.name for pod in node.pods)}; none may write or has a capability")
            use(node, deployments)
            step("all ended by themselves: " + ", ".join(f"{p.name} after {p.end():.1f} s" for p in node.pods[:]))
    finally:
        for pod in node.pods[:]:
            print(f"--- {pod.name}\n{pod.tail()}", file=sys.stderr)
            pod.kill()


def use(node, deployments):
    client = Client(node)

    def served(part):
        return next((m["id"] for m in client.call("GET", "/v1/models")["data"] if part in m["id"]), None)

    model = wait_until(lambda: served("conclave"), 30, "the language model")
    embedding = wait_until(lambda: served("MiniLM"), 30, "the embedding model")
    assert "8" in client.stream(model)
    assert requests.get(client.url + "/v1/models", timeout=10).status_code == 401
    foreign = {"Authorization": f"Bearer {KEY}", "Host": "elsewhere.example"}
    assert requests.get(client.url + "/v1/models", headers=foreign, timeout=10).status_code in (400, 403, 421)
    known = {"Authorization": f"Bearer {KEY}", "Host": "gateway.conclave.svc"}
    assert requests.get(client.url + "/v1/models", headers=known, timeout=10).status_code == 200
    vector = client.call("POST", "/v1/embeddings", json={"model": embedding, "input": "two"})
    assert len(vector["data"][0]["embedding"]) == 384
    step(f"version: {client.call('GET', '/version')}")
    check_run(client, model)
    step("chat, stream, embeddings and a run are answered; without a key, or under another name, nothing is")
    if "CONCLAVE_TLS_CERT_FILE" in deployments["inference-worker"].env:
        check_refusal(next(p for p in node.pods if p.name.startswith("inference-worker")))
    for deployment in deployments.values():
        check_replacement(client, model, embedding, deployment)


def check_refusal(pod):
    """Nobody without a certificate of the mesh is listened to."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((pod.ip, 50051), timeout=10) as plain:
            with context.wrap_socket(plain) as wrapped:
                wrapped.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                # TLS 1.3: the handshake ends before the certificate is missed.
                assert wrapped.recv(100) == b"", "a caller without a certificate was answered"
        how = "connection closed"
    except (ssl.SSLError, ConnectionError) as error:
        how = error
    step(f"a caller without a certificate is refused: {how}")


def main():
    """Ends with a traceback, and the logs of the pods, at the first thing that is not as it should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=pathlib.Path, required=True)
    parser.add_argument("--overlay", type=pathlib.Path, required=True)
    parser.add_argument("--cuda", action="store_true")
    args = parser.parse_args()
    resources = render(args.overlay)
    with tempfile.TemporaryDirectory(prefix="conclave-check") as folder:
        pathlib.Path(folder).chmod(0o755)
        if args.cuda:
            node = Node(resources, pathlib.Path(folder) / "node")
            check_cuda(node, args.state)
        else:
            check_mesh(resources, args.state, pathlib.Path(folder))


if __name__ == "__main__":
    main()

"""One machine as a node of a cluster: pods in namespaces of their own, on a bridge, with the names of their
services, volumes, users and rights that manifests ask for, readied and ended as a kubelet does. Runs as root
in network and mount namespaces of its own (run.sh)."""

import atexit
import http.client
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from deploy_files import selects  # noqa: E402

NETWORK = "10.99.0."
HOST = NETWORK + "1"
DOMAIN = ".conclave.svc.cluster.local"
RESOLV_CONF = f"nameserver {HOST}\nsearch {DOMAIN[1:]} svc.cluster.local cluster.local\noptions ndots:5\n"

# Inside the pod's namespaces, before its program: every mount, then the network, then no rights.
START = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
while [ "$1" != -- ]; do
  mount --bind "$1" "$root$2"
  [ "$3" != ro ] || mount -o remount,bind,ro "$root$2"
  shift 3
done
shift
mount -o remount,bind,ro "$root"
read -r network
ip link set lo up
exec chroot "$root" "$@"
"""


def run(*words, **more):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True,
                          **more).stdout


class Pod:
    def __init__(self, node, name, labels, spec, ip):
        self.node, self.name, self.labels, self.spec, self.ip = node, name, labels, spec, ip
        (self.container,) = spec["containers"]
        self.ports = {p["name"]: p["containerPort"] for p in self.container["ports"]}
        self.ready = self.terminating = False
        self.log = node.folder / f"{name}.log"
        self.process = None

    def start(self, command, root, mounts):
        words = [word for mount in mounts for word in mount]
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "bash", "-c",
             f"hostname {self.name}; {START}", self.name, str(root), *words, "--", *command],
            stdin=subprocess.PIPE, stdout=self.log.open("ab"), stderr=subprocess.STDOUT)
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_until(lambda: children.read_text().strip(), 10, f"{self.name}: the first process")
        self.pid = int(children.read_text().split()[0])
        link = f"v{self.ip.rpartition('.')[2]}"
        run("ip", "link", "add", link, "master", "br0", "type", "veth", "peer", "name", "eth0", "netns",
            self.pid)
        run("ip", "link", "set", link, "up")
        inside = ["nsenter", "-t", self.pid, "-n", "ip"]
        run(*inside, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        self.process.stdin.write(b"up\n")
        self.process.stdin.close()
        threading.Thread(target=self._probe, daemon=True).start()

    def _probe(self):
        probe = self.container["readinessProbe"]
        while self.process.poll() is None and not self.terminating:
            self.ready = self.node.probe(self, probe)
            time.sleep(0.2)
        self.ready = False

    def status(self):
        """What the kernel says of the program: {field: value}."""
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    def root_is_read_only(self):
        mounts = pathlib.Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        (root,) = [m.split() for m in mounts if m.split()[4] == "/"]
        return "ro" in root[5].split(",")

    def end(self):
        """As a kubelet: no endpoint any more, SIGTERM, patience. How many seconds it took."""
        self.terminating, self.ready = True, False
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        code = self.process.wait(timeout=self.spec["terminationGracePeriodSeconds"])
        assert code == 0, f"{self.name} ended with {code}\n{self.tail()}"
        self.node.pods.remove(self)
        return time.monotonic() - began

    def kill(self):
        self.terminating = True
        self.process.kill()
        self.process.wait()
        if self in self.node.pods:
            self.node.pods.remove(self)

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]


def wait_until(condition, limit, what):
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit} s")
        time.sleep(0.05)
    return value


class Node:
    def __init__(self, resources, folder):
        self.resources, self.folder, self.pods = resources, folder, []
        self.folder.mkdir(parents=True, exist_ok=True)
        (folder / "resolv.conf").write_text(RESOLV_CONF)
        self.last = 10
        self._make_network()
        threading.Thread(target=self._answer_names, daemon=True).start()

    @staticmethod
    def _make_network():
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "addr", "add", f"{HOST}/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")

    def pod(self, name, labels, spec):
        self.last += 1
        pod = Pod(self, f"{name}-{self.last}", labels, spec, f"{NETWORK}{self.last}")
        self.pods.append(pod)
        return pod

    @staticmethod
    def probe(pod, probe):
        if "httpGet" not in probe:
            return True
        connection = http.client.HTTPConnection(pod.ip, pod.ports[probe["httpGet"]["port"]], timeout=2)
        try:
            connection.request("GET", probe["httpGet"]["path"])
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def addresses(self, service):
        if service == "postgres":
            return [HOST]
        spec = self.resources["Service", service]["spec"]
        return [pod.ip for pod in self.pods if selects({"matchLabels": spec["selector"]}, pod.labels)
                and (pod.ready or spec.get("publishNotReadyAddresses"))]

    def _answer_names(self):
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind((HOST, 53))
        while True:
            question, asker = door.recvfrom(1500)
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1:at + 1 + question[at]].decode())
                at += question[at] + 1
            kind = struct.unpack(">H", question[at + 1:at + 3])[0]
            name = ".".join(labels)
            service = name.removesuffix(DOMAIN)
            known = name.endswith(DOMAIN) and ("Service", service) in self.resources
            ips = self.addresses(service) if known and kind == 1 else []
            answers = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton(ip)
                               for ip in ips)
            head = question[:2] + struct.pack(">HHHHH", 0x8580 | (0 if known else 3), 1, len(ips), 0, 0)
            door.sendto(head + question[12:at + 5] + answers, asker)


def image_of(state, tag):
    """(root folder, environment, entry point, user) of a built image."""
    store = ["buildah", "--root", state / "storage", "--runroot", state / "run"]
    container = run(*store, "from", "--pull-never", f"localhost/{tag}").strip()
    atexit.register(run, *store, "rm", container)
    root = pathlib.Path(run(*store, "mount", container).strip())
    config = json.loads(run(*store, "inspect", "--type", "image", f"localhost/{tag}"))["OCIv1"]["config"]
    assert config["StopSignal"] == "SIGTERM"
    return root, dict(e.split("=", 1) for e in config["Env"]), config["Entrypoint"], config["User"]

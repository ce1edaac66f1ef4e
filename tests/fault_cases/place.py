"""A data directory with the services that run on it, clients that load them, and the table of cases."""

import http.client
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILT = [os.path.join(ROOT, "target", kind, "portbook") for kind in ("release", "debug")]
PORTBOOK = os.environ.get("PORTBOOK") or next((path for path in BUILT if os.path.exists(path)), BUILT[0])

# As many descriptors as the kernel lets a service have.
MOST_FILES = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
MANY_FILES = ("prlimit", f"--nofile={MOST_FILES}:{MOST_FILES}")

# Name of a case: (its title, a function of a place that returns whether it passed and the text of it).
CASES = {}


def case(name, title):
    """Enters a function as a case."""

    def add(function):
        CASES[name] = (title, function)
        return function

    return add


class Unix(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path, timeout=40):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Place:
    """A data directory, with the services that run on it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="portbook-faults-")
        self.data = os.path.join(self.folder, "data")
        self.socket = os.path.join(self.data, "portbook.sock")
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.children, self.mounts = [], []
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": self.folder,
            "XDG_CONFIG_HOME": "/nonexistent",
            "PORTBOOK_DATA_DIR": self.data,
            "PORTBOOK_POOLS__DEFAULT__RANGES": "21000-23899",
            "PORTBOOK_POOLS__CONSOLE__RANGES": "23900-23999",
        }

    def spawn(self, *arguments, prefix=(), stderr=None, **env):
        command = [*prefix, PORTBOOK, *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": stderr or self.log}
        child = subprocess.Popen(command, env={**self.env, **env}, **pipes)
        self.children.append(child)
        return child

    def serve(self, *arguments, prefix=(), **env):
        """A service that has said where its console is; None if it ended instead."""
        child = self.spawn("serve", *arguments, prefix=prefix, **env)
        return child if child.stdout.readline().startswith(b"http") else None

    def helper(self, *command, **options):
        """Another process, which ends with the place."""
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **{"stdout": subprocess.PIPE, **options})
        self.children.append(child)
        return child

    def run(self, *arguments, prefix=(), timeout=60, **env):
        command = [*prefix, PORTBOOK, *arguments]
        return subprocess.run(
            command, env={**self.env, **env}, capture_output=True, text=True, timeout=timeout, errors="replace"
        )

    def api(self, method, path, body=None, headers=(), timeout=40):
        connection = Unix(self.socket, timeout)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **dict(headers)})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = "json" in answer.getheader("Content-Type", "json")
        return answer.status, json.loads(text or b"null") if is_json else text.decode(errors="replace")

    def ready(self):
        status, answer = self.api("GET", "/readyz")
        return status == 200, answer

    def grant(self, count=1, **request):
        leases = []
        while len(leases) < count:
            some = min(100, count - len(leases))
            # Longer than the longest case, the soak.
            status, answer = self.api("POST", "/api/v1/leases", {"count": some, "ttl": "12h", **request})
            assert status == 201, answer
            leases += answer["leases"]
        return {lease["id"]: lease["port"] for lease in leases}

    def name(self, *names):
        """Names whose program has come and gone."""
        owner = self.helper("sleep", "300")
        for name in names:
            status, answer = self.api("POST", "/api/v1/leases", {"name": name, "owner_pid": owner.pid})
            assert status == 201, answer
        owner.kill()
        owner.wait()
        eventually(lambda: all(lease["state"] == "reserved" for lease in self.leases() if lease["name"] in names))
        return {lease["name"]: lease["port"] for lease in self.leases() if lease["name"] in names}

    def leases(self):
        leases, path = [], "/api/v1/leases?limit=1000&pool=default"
        while path:
            _, answer = self.api("GET", path)
            leases += answer["leases"]
            path = answer.get("next")
        return leases

    def living(self):
        return {lease["id"]: lease["port"] for lease in self.leases()}

    def console(self):
        """Address and port of the console."""
        with open(os.path.join(self.data, "console")) as file:
            host, port = file.readline().strip().split("/")[2].rsplit(":", 1)
        return host, int(port)

    @staticmethod
    def portbook():
        return PORTBOOK

    def volume(self, size):
        """Puts the data directory on a file system of its own, of this size."""
        os.makedirs(self.data, mode=0o700, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "portbook-faults", self.data]
        subprocess.run(mount, check=True)
        self.mounts.append(self.data)

    def is_sound(self):
        with sqlite3.connect(os.path.join(self.data, "portbook.db")) as record:
            return record.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def logged(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()

    def note(self, text):
        """Writes a line of the case between those of the services."""
        self.log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} CASE {text}\n".encode())
        self.log.flush()

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for mount in self.mounts:
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def eventually(look, seconds=30):
    """Looks until something true is found; the last thing found otherwise."""
    end, found = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if found := look():
                break
        except OSError:  # a service that is away for the moment
            pass
        time.sleep(0.05)
    return found


def bindable(ports):
    """Ports that a strict bind gets."""
    got = []
    for port in ports:
        with socket.socket() as taker:
            try:
                taker.bind(("0.0.0.0", port))
                got.append(port)
            except OSError:
                pass
    return got


def doubled(ports):
    ports = list(ports)
    return len(ports) - len(set(ports))


class Clients:
    """Clients that allocate and release until they are told to end."""

    def __init__(self, place, count=4, keep=200):
        self.place, self.keep, self.ends = place, keep, threading.Event()
        self.served, self.refused, self.kept, self.gone = 0, [], {}, set()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self):
        turn = 0
        while not self.ends.is_set():
            turn += 1
            try:
                lease = self.place.grant()
                if turn % 10 == 0 and len(self.kept) < self.keep:
                    self.kept.update(lease)
                else:
                    status, answer = self.place.api("DELETE", f"/api/v1/leases/{next(iter(lease))}")
                    assert status == 204, answer
                    self.gone.update(lease)
                self.served += 1
            except Exception as error:  # whatever a client may hear
                self.refused.append(repr(error))
                time.sleep(0.002)

    def end(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()

    def verdict(self):
        """Whether the record has all that was acknowledged, nothing twice, and every port held."""
        living = self.place.living()
        lost, undone = self.kept.items() - living.items(), self.gone & living.keys()
        twice, free = doubled(living.values()), bindable(self.kept.values())
        seen = f"{len(self.kept)} kept of {self.served} served: {len(lost)} lost, {len(undone)} releases undone, "
        return not (lost or undone or twice or free), seen + f"{twice} twice, {len(free)} bindable"


def with_clients(place, seconds, count=8, during=None):
    """Loads a place for some seconds; the clients, ended."""
    clients = Clients(place, count)
    if during:
        during()
    time.sleep(seconds)
    clients.end()
    return clients

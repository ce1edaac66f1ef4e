"""H5 to H8, J1 to J10: other users, hostile servers, files, environments, names and inputs."""

import json
import os
import random
import socket
import subprocess
import threading
import time

from place import case, eventually

AS_OTHER = ["setpriv", "--reuid=12345", "--regid=0", "--clear-groups"]


def needs_root():
    return (None, "needs root, to act as another user") if os.geteuid() != 0 else None


def shared(place):
    """A service whose socket is of a group, that of root."""
    os.chmod(place.folder, 0o755)
    place.socket = os.path.join(place.folder, "shared.sock")
    place.env.update(PORTBOOK_SOCKET=place.socket, PORTBOOK_SOCKET_MODE="0660")
    return place.serve()


@case("H5", "another user reads, releases, renews, claims, names, excludes, prunes, takes over")
def another_user(place):
    if needs_root():
        return needs_root()
    shared(place)
    status, answer = place.api(
        "POST", "/api/v1/leases", {"name": "secret", "ttl": "1h", "labels": {"k": "hidden-label"}}
    )
    assert status == 201
    lease, port = answer["leases"][0]["id"], answer["leases"][0]["port"]
    home = os.path.join(place.folder, "other")
    os.mkdir(home)
    os.chown(home, 12345, 12345)
    env = {"HOME": home, "PORTBOOK_DATA_DIR": os.path.join(home, "data")}
    wrong, tries = [], 0
    for words in (
        ["release", "secret"], ["release", lease], ["release", str(port)], ["renew", "secret"], ["renew", lease],
        ["alloc", "--name", "secret", "--port", str(port)], ["exclude", str(port)], ["history", "prune"],
        ["--data-dir", place.data, "token"], ["--data-dir", place.data, "serve", "--takeover"],
        ["explain", lease], ["list"], ["--json", "list"], ["list", "--all"], ["who", str(port)],
    ):  # fmt: skip
        tries += 1
        done = place.run(*words, prefix=AS_OTHER, **env)
        said = done.stdout + done.stderr
        if "hidden-label" in said or ("secret" in said and words[0] in ("list", "--json", "explain")):
            wrong.append((words, "shows", said[:200]))
        if done.returncode == 0 and words[0] in ("release", "renew", "exclude", "history", "--data-dir"):
            wrong.append((words, "goes through", said[:200]))
    ask = (
        "import json,socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
        "s.sendall(sys.argv[2].encode()+b'\\n')\nprint(s.recv(4096))"
    )
    for question in ('{"takeover":true}', '{"succeed":true}', json.dumps({"lease": lease})):
        tries += 1
        path = os.path.join(place.data, "portbook.fds.sock")
        done = subprocess.run([*AS_OTHER, "python3", "-c", ask, path, question], capture_output=True, text=True, check=False)
        if done.returncode == 0 and "granted" in done.stdout:
            wrong.append((question, done.stdout))
    kept = [found["state"] for found in place.leases() if found["id"] == lease]
    return not wrong and bool(kept), f"{tries} ways, shown or changed: {wrong}; the lease stays: {kept}"


@case("H6", "paths that others took: socket, lock, token, console as files, links and folders")
def squatted(place):
    if needs_root():
        return needs_root()
    victim = os.path.join(place.folder, "victim")
    wrong, seen = [], []
    for name in ("portbook.sock", "portbook.sock.new", "lock", "token", "console", "portbook.fds.sock"):
        for kind in ("link", "folder"):
            os.makedirs(place.data, mode=0o700, exist_ok=True)
            with open(victim, "w") as file:
                file.write("untouched")
            path = os.path.join(place.data, name)
            os.symlink(victim, path) if kind == "link" else os.mkdir(path)
            before = len(place.logged())
            service = place.serve()
            said = place.logged()[before:]
            with open(victim) as file:
                touched = file.read() != "untouched"
            if touched:
                wrong.append((name, kind, "touched"))
            if service is None and name.split(".new")[0] not in said:
                wrong.append((name, kind, "not named", said[-200:]))
            seen.append(f"{name} {kind} {'starts' if service else 'refused'}")
            if service:
                service.kill()
                service.wait()
            subprocess.run(["rm", "-rf", place.data], check=True)
    return not wrong, f"{', '.join(seen)}; wrong: {wrong}"


@case("H7", "data directory of another user, 0770, planted token 0644")
def planted(place):
    if needs_root():
        return needs_root()
    seen, fine = [], True
    for kind in ("owner", "mode", "token", "link"):
        subprocess.run(["rm", "-rf", place.data], check=True)
        target = place.data if kind != "link" else place.data + ".other"
        subprocess.run(["rm", "-rf", target], check=True)
        os.makedirs(target, mode=0o700)
        if kind in ("owner", "link"):
            os.chown(target, 12345, 12345)
        if kind == "link":
            os.symlink(target, place.data)
        if kind == "mode":
            os.chmod(target, 0o770)
        if kind == "token":
            with open(os.path.join(target, "token"), "w") as file:
                file.write("a" * 64)
            os.chmod(os.path.join(target, "token"), 0o644)
        before = len(place.logged())
        service = place.serve()
        said = place.logged()[before:]
        right = service is None and place.data in said
        if service:
            # A token that others could read is worth nothing, if the service replaced it.
            with open(os.path.join(target, "token")) as file:
                right = kind == "token" and file.read().strip() != "a" * 64
            service.kill()
            service.wait()
        fine &= right
        seen.append(f"{kind}: {'right' if right else 'served ' + said[-150:]}")
    return fine, "; ".join(seen)


@case("H8", "port server: pids of others, malformed lines, a flood")
def port_server(place):
    address = os.path.join(place.folder, "ports.sock")
    if place.serve(PORTBOOK_PORTSERVER__ADDRESS=address) is None:
        return False, place.logged()[-300:]
    if not eventually(lambda: os.path.exists(address), 10):
        return False, "the port server's socket did not come"

    def ask(line):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            stream.connect(address)
            stream.sendall(line)
            return stream.recv(64)

    own = ask(f"{os.getpid()}\n".encode())
    bad = [b"0\n", b"1\n", b"-1\n", b"99999999\n", b"x\n", b"\n", b"1" * 30 + b"\n", b"4294967296\n", b"\xff\xfe\n"]
    answered = [line for line in bad if ask(line)]
    begun = time.monotonic()
    flood = [ask(f"{os.getpid()}\n".encode()) for _ in range(500)]
    took = time.monotonic() - begun
    ports = {int(line) for line in flood if line}
    seen = f"own pid: {own!r}, malformed answered: {answered}, {len(ports)} ports in {took:.1f} s"
    return own.strip().isdigit() and not answered and len(ports) == sum(map(bool, flood)), seen


def hostile_server(place, answer):
    """A server on the API socket that answers anything with these pieces."""
    os.makedirs(place.data, mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place.socket)
    listener.listen(50)

    def serve():
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer_one, args=(stream,), daemon=True).start()

    def answer_one(stream):
        try:
            stream.recv(65536)
            for piece in answer():
                stream.sendall(piece)
            stream.close()
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    return listener


def dripping(first, piece):
    def answer():
        yield first
        while True:
            time.sleep(0.1)
            yield piece

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ANSWERS = {
    "dripping head": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "endless 100-continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "dripping body": dripping(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "endless chunks": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "huge length": lambda: [OK + b"Content-Length: 99999999999\r\n\r\n{"],
    "not HTTP": lambda: [b"\x00\x01\x02hello\r\n\r\n"],
    "nothing": lambda: [],
    "not JSON": lambda: [OK + b"Content-Length: 5\r\n\r\n<htm>"],
    "other JSON": lambda: [OK + b"Content-Length: 2\r\n\r\n[]"],
    "control characters": lambda: [b"HTTP/1.1 500 X\r\nContent-Length: 24\r\n\r\n\x1b[31mred\x1b[0m\x07\x08\x08\r\n\r\n...."],
    "status 999": lambda: [b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"],
    "deep JSON": lambda: [OK + b"Content-Length: 20000\r\n\r\n" + b"[" * 20000],
}


@case("J1", f"hostile server answers the commands in {len(ANSWERS)} ways")
def hostile_answers(place):
    wrong, tried = [], 0
    commands = [["list"], ["alloc"], ["status"], ["who", "8888"], ["release", "x"], ["run", "--", "true"]]
    for name, answer in ANSWERS.items():
        listener = hostile_server(place, answer)
        children = []
        for words in commands:
            child = place.spawn("--timeout", "2s", *words, stderr=subprocess.PIPE)
            children.append((words, child))
        for words, child in children:
            tried += 1
            try:
                out, err = child.communicate(timeout=25)
            except subprocess.TimeoutExpired:
                wrong.append((name, words, "hangs"))
                child.kill()
                continue
            said = out + err
            if b"panicked" in said or b"\x1b" in said or b"\x07" in said or child.returncode not in (1, 2, 3, 125):
                wrong.append((name, words, child.returncode, said[-120:]))
        listener.close()
        os.remove(place.socket)
    return not wrong, f"{tried} answers, wrong: {wrong}"


@case("J2", "server of another user at PORTBOOK_SOCKET")
def server_of_another(place):
    if needs_root():
        return needs_root()
    os.chmod(place.folder, 0o777)
    path = os.path.join(place.folder, "theirs.sock")
    script = (
        "import os,socket,sys\nos.setuid(12345)\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\nos.chmod(sys.argv[1],0o777)\n"
        "s.listen()\nprint(flush=True)\nwhile True:\n c,_=s.accept(); c.recv(9999)\n"
        " c.sendall(b'HTTP/1.1 201 Created\\r\\nContent-Length: 2\\r\\n\\r\\n{}'); c.close()"
    )
    server = place.helper("python3", "-c", script, path)
    server.stdout.readline()
    done = place.run("alloc", PORTBOOK_SOCKET=path)
    return done.returncode != 0 and "12345" in done.stderr, f"exit {done.returncode}: {done.stderr.strip()[:200]}"


@case("J3", "dashboard against a server with markup in its url")
def hostile_dashboard(place):
    body = json.dumps({"url": "javascript:alert(1)//\"><script>x</script>", "console": "\"><script>x</script>"}).encode()
    head = OK + f"Content-Length: {len(body)}\r\n\r\n".encode()
    listener = hostile_server(place, lambda: [head + body])
    mark = os.path.join(place.folder, "opened")
    opener = os.path.join(place.folder, "browser")
    with open(opener, "w") as file:
        file.write(f'#!/bin/sh\nprintf %s "$1" > {mark}\n')
    os.chmod(opener, 0o755)
    done = place.run("--timeout", "3s", "dashboard", BROWSER=opener, timeout=30)
    listener.close()
    opened = open(mark).read() if os.path.exists(mark) else ""
    shown = "<script" in done.stdout + opened
    return not shown and not opened.startswith("javascript:"), f"exit {done.returncode}, opened {opened!r}, markup shown: {shown}"


@case("J4", "portbook.toml of a hostile clone")
def hostile_project(place):
    work = os.path.join(place.folder, "clone")
    os.makedirs(os.path.join(work, ".git"))
    file = os.path.join(work, "portbook.toml")
    contents = [
        '[services."$(touch x)"]\n', '[services."a;b"]\n', "[services.a]\nport = 99999999\n", "[services.a]\nport = -1\n",
        '[services.a]\npool = "../../x"\n', "[services.a]\ncount = 1000000\n", "[pools.default]\nranges = ['1-2']\n",
        "[api]\nsocket = '/tmp/x'\n", "\x00\x01", "[" * 5000, "a = 1\n" * 100000, '[services.a]\nlabels = { "\\u001b[31m" = "x" }\n',
        "[services.a\n", "services = 3\n", "[services]\n" + "".join(f"[services.s{n}]\n" for n in range(5000)),
    ]  # fmt: skip
    kinds = [("text", content) for content in contents] + [("link", "/dev/zero"), ("fifo", None), ("link", "/etc/shadow")]
    wrong = []
    for kind, content in kinds:
        if os.path.lexists(file):
            os.remove(file)
        if kind == "text":
            with open(file, "w") as out:
                out.write(content)
        elif kind == "fifo":
            os.mkfifo(file)
        else:
            os.symlink(content, file)
        command = [place.portbook(), "--timeout", "5s", "env", "--format", "dotenv"]
        try:
            done = subprocess.run(command, env=place.env, cwd=work, capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            wrong.append((kind, str(content)[:30], "hangs"))
            continue
        said = done.stdout + done.stderr
        if b"panicked" in said or b"\x1b" in said or b"root:" in said or os.path.exists(os.path.join(work, "x")):
            wrong.append((kind, str(content)[:30], said[-150:]))
    return not wrong, f"{len(kinds)} files, wrong: {wrong}"


@case("J6", "18 strange environments")
def environments(place):
    place.serve()
    strange = [
        {"HOME": ""}, {"HOME": "relative"}, {"PORTBOOK_PORT": "tcp://10.0.0.1:80"}, {"PORTBOOK_SERVICE_HOST": "10.0.0.1"},
        {"PORTBOOK_PORT_80_TCP": "tcp://10.0.0.1:80"}, {"TRACEPARENT": "00-zz"}, {"TRACEPARENT": "x" * 5000},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, {"OTEL_RESOURCE_ATTRIBUTES": "a=%zz"}, {"NO_COLOR": "1"},
        {"LANG": "xx"}, {"TERM": "dumb"}, {"COLUMNS": "-3"}, {"PORT": "nonsense"}, {"LISTEN_FDS": "99"},
        {"NOTIFY_SOCKET": "/nonexistent"}, {"XDG_RUNTIME_DIR": "relative"}, {"DISPLAY": ":99"},
    ]  # fmt: skip
    wrong = []
    for env in strange:
        done = place.run("run", "--", "true", **env)
        if done.returncode != 0 or "panicked" in done.stderr:
            wrong.append((env, done.returncode, done.stderr.strip()[:150]))
    return not wrong, f"{len(strange)} environments, wrong: {wrong}"


@case("J8", "hostile names of interfaces, programs and labels in tables, CSV and pages")
def hostile_names(place):
    place.serve()
    bad = ["=1+1", "<b>x</b>", "a\x1b[31mred", "a\nb", "$(touch x)", "'; drop", '"><script>', "\u202egnp"]
    for number, text in enumerate(bad):
        place.api("POST", "/api/v1/leases", {"ttl": "1h", "name": f"n{number}", "labels": {"note": text}})
    outputs = [place.run("list").stdout, place.run("list", "--all").stdout, place.run("history", "export").stdout]
    csv = [line for line in outputs[2].splitlines() for cell in line.split(",") if cell.startswith("=")]
    raw = any("\x1b" in text or "\u202e" in text for text in outputs)
    status, _ = place.api("GET", "/readyz")
    return not raw and not csv and status == 200, f"escapes shown: {raw}, formula cells: {len(csv)}"


@case("J9", "3,000 huge, malformed and random inputs")
def malformed(place):
    service = place.serve()
    rng, bad, alive = random.Random(9), 0, 0
    paths = ["/api/v1/leases", "/api/v1/leases/x", "/api/v1/attempts", "/api/v1/ports/tcp/99999", "/api/v1/stats", "/%00", "/" + "a" * 9000]
    values = [None, -1, 2**70, "", "x" * 70000, [], {}, True, 1e308, "\u0000", "../..", ["a"] * 500]
    keys = ["name", "names", "pool", "port", "count", "ttl", "interfaces", "labels", "owner_pid", "block", "zz", "handover"]
    for turn in range(3000):
        kind = turn % 3
        body = None
        if kind == 0:
            body = json.dumps({key: rng.choice(values) for key in rng.sample(keys, rng.randrange(1, 5))}).encode()
        elif kind == 1:
            body = rng.randbytes(rng.choice([0, 5, 500, 90000]))
        method = rng.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "X" * 40])
        query = rng.choice(["", "?limit=-1", "?before=%ff", "?since=" + "9" * 50, "?label=" + "a" * 3000])
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(10)
        stream.connect(place.socket)
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        head = f"{method} {rng.choice(paths)}{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n"
        try:
            stream.sendall(head.encode() + (body or b""))
            first = stream.recv(64).split(b" ")
            alive += 1
            bad += len(first) > 1 and first[1][:1] == b"5" and first[1] not in (b"501", b"503", b"505")
        except OSError:
            pass
        stream.close()
    panics = place.logged().count("panicked")
    return not bad and not panics and service.poll() is None, f"{alive} answered, {bad} of 5xx, {panics} panics"


@case("J10", "Idempotency-Key: other body, after a release, after kill -9, 60 at once")
def keys(place):
    service = place.serve()
    headers = {"Idempotency-Key": "k1"}
    answers = []

    def ask():
        answers.append(place.api("POST", "/api/v1/leases", {"ttl": "1h"}, headers))

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {answer["leases"][0]["id"] for status, answer in answers if status in (200, 201)}
    other = place.api("POST", "/api/v1/leases", {"count": 2}, headers)[0]
    service.kill()
    service.wait()
    place.serve()
    _, later = place.api("POST", "/api/v1/leases", {"ttl": "1h"}, headers)
    same = later["leases"][0]["id"] in ids
    place.api("DELETE", f"/api/v1/leases/{next(iter(ids))}")
    released = place.api("POST", "/api/v1/leases", {"ttl": "1h"}, headers)[0]
    seen = f"{len(ids)} lease of 60, other body {other}, after kill -9 the same {same}, after its release {released}"
    return len(ids) == 1 and same and other >= 400, seen



"""D2 to D11, E1, E2, E4, G1 to G3, H1 to H4, H9 to H11: many connections, leases and users, and logs."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time

from place import MANY_FILES, MOST_FILES, Clients, Unix, bindable, case, doubled, eventually, with_clients

STREAM = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(path):
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(20)
    stream.connect(path)
    return stream


def answers(place, count=5, limit=5):
    """Number of allocations that are answered within the limit each, and the longest."""
    good, longest = 0, 0.0
    for _ in range(count):
        begun = time.monotonic()
        try:
            good += place.api("POST", "/api/v1/leases", {"ttl": "1h"}, timeout=limit)[0] == 201
        except OSError:
            pass
        longest = max(longest, time.monotonic() - begun)
    return good, longest


@case("D2", "400 idle connections, limit of 330 descriptors")
def idle_connections(place):
    place.serve(prefix=("prlimit", "--nofile=330:330"))
    idle = []
    for _ in range(400):
        try:
            idle.append(connect(place.socket))
        except OSError:
            break
    # Idle connections are cut after 5 s, which makes room.
    good, longest = answers(place, limit=12)
    return good == 5, f"{len(idle)} idle, {good} of 5 answered, longest {longest:.2f} s"


@case("D3", "limits of 16 to 280 descriptors from the start")
def few_descriptors(place):
    seen, wrong = [], []
    for limit in (16, 40, 80, 160, 240, 280, 400):
        before = len(place.logged())
        service = place.serve(prefix=("prlimit", f"--nofile={limit}:{limit}"))
        said = place.logged()[before:]
        named = "RLIMIT_NOFILE" in said or "ulimit" in said or "LimitNOFILE" in said or "descriptor" in said or "open files" in said
        if service is None:
            seen.append(f"{limit} refuses")
            wrong += [] if named else [limit]
            continue
        leases, refusal = 0, ""
        for _ in range(400):
            status, answer = place.api("POST", "/api/v1/leases", {"ttl": "1h"})
            if status != 201:
                refusal = str(answer)
                break
            leases += 1
        seen.append(f"{limit}: {leases} leases")
        wrong += [limit] if refusal and "descriptor" not in refusal else []
        service.kill()
        service.wait()
    return not wrong, f"{', '.join(seen)}; not named: {wrong}"


@case("D4", "accept fails with ENFILE for 3 s")
def no_files(place):
    service = place.serve()
    rule = "inject=accept4,accept:error=ENFILE"
    tracer = place.helper("strace", "-f", "-o", "/dev/null", "-e", rule, "-p", str(service.pid))
    time.sleep(3)
    tracer.send_signal(signal.SIGINT)
    tracer.wait(20)
    good, longest = answers(place)
    return good == 5, f"{good} of 5 answered afterwards, longest {longest:.2f} s"


def drip(stream, first, piece, seconds):
    """Sends a piece each second; the time after which the server closed, None if it did not."""
    begun = time.monotonic()
    try:
        stream.sendall(first)
        while time.monotonic() - begun < seconds:
            stream.sendall(piece)
            stream.settimeout(1)
            try:
                if not stream.recv(4096):
                    return time.monotonic() - begun
            except TimeoutError:
                pass
    except OSError:
        return time.monotonic() - begun
    return None


def dripping(place, tries):
    results, threads = {}, []

    def one(number, kind, stream, first, piece):
        results[(kind, number)] = drip(stream, first, piece, 75)

    for kind, opened, first, piece, count in tries:
        for number in range(count):
            threads.append(threading.Thread(target=one, args=(number, kind, opened(), first, piece)))
    for thread in threads:
        thread.start()
    good, longest = answers(place)
    for thread in threads:
        thread.join()
    open_still = sorted({kind for (kind, _), closed in results.items() if closed is None})
    last = max((closed for closed in results.values() if closed), default=0)
    seen = f"{len(results)} connections, still open after 75 s: {open_still or 'none'}, the last closed after {last:.0f} s; "
    return not open_still and good == 5, seen + f"others at most {longest:.2f} s"


def doors(place):
    """The doors of a service: a name and a function that connects to each."""
    found = [("api", lambda: connect(place.socket)), ("console", lambda: socket.create_connection(place.console()))]
    sockets = os.path.join(place.data, "portbook.fds.sock")
    return found + ([("fds", lambda: connect(sockets))] if os.path.exists(sockets) else [])


@case("D5", "slow headers, idle connections and half lines on each door")
def slow_headers(place):
    place.serve()
    tries = []
    for name, opened in doors(place):
        http = name != "fds"
        tries.append((f"{name} slow", opened, b"GET / HTTP/1.1\r\n" if http else b"{", b"X" if http else b" ", 10))
        tries.append((f"{name} idle", opened, b"", b"", 10))
    return dripping(place, tries)


@case("D6", "slow bodies on the API socket and at the login")
def slow_bodies(place):
    place.serve()
    body = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{"
    form = b"Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4000\r\n\r\ncode="
    both = dict(doors(place))
    tries = [("api body", both["api"], b"POST /api/v1/leases HTTP/1.1\r\n" + body, b" ", 20)]
    tries.append(("login body", both["console"], b"POST /login HTTP/1.1\r\n" + form, b"a", 20))
    return dripping(place, tries)


CROWD = """
import os, socket, sys
sent = sys.argv[3].encode().decode("unicode_escape").encode()
os.setuid(12345)
streams = []
for _ in range(int(sys.argv[2])):
    stream = socket.socket()
    stream.settimeout(2)
    try:
        stream.connect(("127.0.0.1", int(sys.argv[1])))
        stream.sendall(sent)
        streams.append(stream)
    except OSError:
        pass
print(len(streams), flush=True)
sys.stdin.read()
"""


@case("D7", "another user: 2,500 event streams, then 2,500 slow logins, limit of 2,000 descriptors")
def crowd_of_another_user(place):
    if os.geteuid() != 0:
        return None, "needs root, to act as another user"
    seen, fine = [], True
    slow = "POST /login HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 4000\\r\\n\\r\\ncode="
    for kind, sent in (("streams", STREAM.decode().replace("\r\n", "\\r\\n")), ("logins", slow)):
        service = place.serve(prefix=("prlimit", "--nofile=2000:2000"))
        command = [*MANY_FILES, "python3", "-c", CROWD, str(place.console()[1]), "2500", sent]
        crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        place.children.append(crowd)
        opened = crowd.stdout.readline().decode().strip()
        good, longest = answers(place)
        fine &= good == 5
        seen.append(f"{kind}: {opened} opened, {good} of 5 answered, longest {longest:.2f} s")
        crowd.kill()
        crowd.wait()
        service.kill()
        service.wait()
    return fine, "; ".join(seen)


@case("D8", "10,000 idle connections on the console, then 5,000 on the API socket")
def very_many_connections(place):
    limit = MANY_FILES
    place.serve(prefix=limit)
    script = (
        "import socket,sys\nheld=[]\n"
        "for _ in range(10000):\n s=socket.socket(); s.settimeout(5)\n try: s.connect(('127.0.0.1',int(sys.argv[1]))); held.append(s)\n except OSError: pass\n"
        "for _ in range(5000):\n s=socket.socket(socket.AF_UNIX); s.settimeout(5)\n try: s.connect(sys.argv[2]); held.append(s)\n except OSError: pass\n"
        "print(len(held),flush=True); sys.stdin.read()"
    )
    command = [*limit, "python3", "-c", script, str(place.console()[1]), place.socket]
    crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    place.children.append(crowd)
    held = crowd.stdout.readline().decode().strip()
    good, longest = answers(place)
    time.sleep(12)
    later, _ = answers(place)
    return later == 5, f"{held} held; {good} of 5 answered at once, longest {longest:.2f} s, {later} of 5 after 12 s"


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


@case("D9", "400 event streams that never read, 20 s of load")
def deaf_streams(place):
    service = place.serve(prefix=("prlimit", "--nofile=8192:8192"))
    before, streams = memory(service.pid), []
    for _ in range(400):
        stream = socket.socket(socket.AF_UNIX)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stream.connect(place.socket)
        stream.sendall(STREAM)
        streams.append(stream)
    clients = with_clients(place, 20)
    more = memory(service.pid) - before
    # A client that reads nothing for a minute is cut off.
    time.sleep(62)
    cut = 0
    for stream in streams:
        stream.settimeout(5)
        try:
            while stream.recv(1 << 20):
                pass
            cut += 1
        except TimeoutError:
            break
        except OSError:
            cut += 1
    seen = f"{clients.served} served, {len(clients.refused)} refused, {more:.0f} MB more, {cut} of 400 cut off"
    return cut == 400 and not clients.refused and more < 60, seen


@case("D10", "exports that are never read, 15,000 grants on record")
def unread_exports(place):
    place.serve()
    with_clients(place, 5)
    streams = []
    for _ in range(4):
        stream = connect(place.socket)
        stream.sendall(b"GET /api/v1/attempts/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        streams.append(stream)
    clients = with_clients(place, 6)
    time.sleep(5)
    wal = sum(os.path.getsize(os.path.join(place.data, file)) for file in os.listdir(place.data) if "wal" in file) / 1e6
    good, longest = answers(place)
    return good == 5 and wal <= 32, f"{clients.served} served beside, log of SQLite {wal:.1f} MB, others at most {longest:.2f} s"


@case("D11", "8 readers without login export all the time")
def greedy_readers(place):
    place.serve()
    with_clients(place, 6)
    ends, waits = threading.Event(), []

    def reader():
        while not ends.is_set():
            connection = http.client.HTTPConnection(*place.console(), timeout=30)
            connection.request("GET", "/api/v1/attempts?limit=1000")
            connection.getresponse().read()

    threads = [threading.Thread(target=reader) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        begun = time.monotonic()
        place.grant()
        waits.append(time.monotonic() - begun)
    ends.set()
    for thread in threads:
        thread.join()
    waits.sort()
    return waits[-1] < 2, f"60 grants beside: median {waits[30] * 1e3:.1f} ms, longest {waits[-1] * 1e3:.0f} ms"


@case("E1", "restart with 4,000 leases")
def restart_with_many(place):
    place.env["PORTBOOK_POOLS__DEFAULT__RANGES"] = "10000-31999"
    prefix = MANY_FILES
    service = place.serve(prefix=prefix)
    leases = place.grant(4000)
    service.kill()
    service.wait()
    begun = time.monotonic()
    place.serve(prefix=prefix)
    took = time.monotonic() - begun
    lost = leases.items() - place.living().items()
    return not lost and not bindable(leases.values()), f"{took:.2f} s, {4000 - len(lost)} of 4,000"


LISTENERS = """
import os, socket, sys
kind, uid, held = sys.argv[1], int(sys.argv[2]), []
if uid:
    os.setuid(uid)
for port in map(int, sys.stdin.readline().split()):
    taker = socket.socket()
    taker.bind(("0.0.0.0", port))
    if kind == "listen":
        taker.listen()
    held.append(taker)
print(len(held), flush=True)
sys.stdin.read()
"""


def taken_meanwhile(place, count, kind, uid):
    place.env["PORTBOOK_POOLS__DEFAULT__RANGES"] = "10000-31999"
    prefix = MANY_FILES
    service = place.serve(prefix=prefix)
    leases = {}
    for number in range(count):
        leases.update(place.grant(name=f"n{number}"))
    service.kill()
    service.wait()
    command = [*prefix, "python3", "-c", LISTENERS, kind, str(uid)]
    takers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    place.children.append(takers)
    takers.stdin.write(" ".join(map(str, leases.values())) + "\n")
    takers.stdin.flush()
    takers.stdout.readline()
    begun = time.monotonic()
    place.serve(prefix=prefix)
    took = time.monotonic() - begun
    states = {}
    for lease in place.leases():
        states[lease["state"]] = states.get(lease["state"], 0) + 1
    takers.kill()
    takers.wait()
    free = eventually(lambda: not bindable(leases.values()) and len(place.living()) or None, 40)
    lost = leases.items() - place.living().items()
    seen = f"ready in {took:.2f} s, states {states}; after they left all held: {bool(free)}, {len(lost)} lost"
    return bool(free) and not lost and took < 20, seen


@case("E2", "4,000 ports taken by listeners of the same user while the service is away")
def taken_by_the_user(place):
    return taken_meanwhile(place, 4000, "listen", 0)


@case("E2-other", "600 ports taken by listeners of another user")
def taken_by_another_user(place):
    return taken_meanwhile(place, 600, "listen", 12345)


@case("E3", "10,000 leases, 3,000 ports bound by processes that do not listen")
def bound_by_processes(place):
    place.env["PORTBOOK_POOLS__DEFAULT__RANGES"] = "10000-31999"
    prefix = MANY_FILES
    service = place.serve(prefix=prefix)
    # One socket a lease: on two families they would take more descriptors than some hosts allow.
    leases = place.grant(10000, interfaces=["127.0.0.1"])
    service.kill()
    service.wait()
    command = [*prefix, "python3", "-c", LISTENERS, "bind", "0"]
    takers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    place.children.append(takers)
    takers.stdin.write(" ".join(map(str, list(leases.values())[:3000])) + "\n")
    takers.stdin.flush()
    takers.stdout.readline()
    begun = time.monotonic()
    place.serve(prefix=prefix)
    took = time.monotonic() - begun
    lost = leases.items() - place.living().items()
    return not lost, f"ready in {took:.2f} s with {MOST_FILES} descriptors, {len(lost)} lost"


@case("E4", "console port taken while down; all console ports taken")
def console_ports_taken(place):
    service = place.serve()
    first = place.console()[1]
    service.terminate()
    service.wait()

    def take(port):
        taker = socket.socket()
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", port))
        taker.listen()
        return taker

    held = [take(first)]
    service = place.serve()
    then = place.console()[1]
    service.terminate()
    service.wait()
    held += [take(port) for port in range(23900, 24000) if port != first]
    before = len(place.logged())
    service = place.serve()
    said = place.logged()[before:]
    refused = service is None and "python" in said
    seen = f"first {first}, then {then}; all taken: refuses and names the taker: {refused}"
    return then != first and refused and len(held) == 100, seen


@case("G1", "nobody reads the log: 600 commands")
def unread_log(place):
    reader, writer = os.pipe()
    service = place.spawn("serve", stderr=writer)
    os.close(writer)
    service.stdout.readline()
    good = 0
    for _ in range(600):
        status, answer = place.api("POST", "/api/v1/leases", {"ttl": "1h"}, timeout=10)
        good += status == 201
        place.api("DELETE", f"/api/v1/leases/{answer['leases'][0]['id']}", timeout=10)
    service.terminate()
    ended = service.wait(20) is not None
    os.close(reader)
    return good == 600 and ended, f"{good} of 600 answered, SIGTERM ends it: {ended}"


@case("G2", "log pipe closed; descriptors 0 to 2 closed; log on a full disk")
def broken_logs(place):
    fine, seen = True, []
    full = os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe()
    os.close(reader)
    for kind, options in (("pipe", {"stderr": writer}), ("full", {"stderr": full}), ("closed", None)):
        if options is None:
            command = ["sh", "-c", f"exec {place.portbook()} serve <&- >&- 2>&-"]
            service = place.helper(*command, env=place.env)
        else:
            service = place.spawn("serve", **options)
        up = eventually(lambda: os.path.exists(place.socket) and answers(place, 1)[0] == 1, 20)
        good, _ = answers(place)
        service.terminate()
        service.wait(20)
        sound = place.is_sound()
        fine &= bool(up) and good == 5 and sound
        seen.append(f"{kind}: {good} of 5, record sound {sound}")
    return fine, "; ".join(seen)


@case("G3", "alloc > /dev/full")
def unprintable_port(place):
    place.serve()
    with open("/dev/full", "w") as full:
        command = [place.portbook(), "alloc"]
        done = subprocess.run(command, env=place.env, stdout=full, stderr=subprocess.PIPE, check=False)
    left = place.living()
    return done.returncode != 0 and not left, f"exit {done.returncode}, {len(left)} leases left"


@case("H1", "quotas of 120 a user and 200 a pool, 40 greedy connections")
def quotas(place):
    env = {"PORTBOOK_POOLS__DEFAULT__MAX_LEASES_PER_USER": "120", "PORTBOOK_POOLS__DEFAULT__MAX_LEASES": "200"}
    place.serve(**env)
    refusals, ends = [0], threading.Event()

    def greedy():
        connection = Unix(place.socket)
        while not ends.is_set():
            connection.request("POST", "/api/v1/leases", '{"ttl":"1h"}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            refusals[0] += answer.status == 429

    threads = [threading.Thread(target=greedy) for _ in range(40)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    ends.set()
    for thread in threads:
        thread.join()
    count = len(place.living())
    return count == 120, f"{count} leases, {refusals[0]} refusals"


@case("H2", "600 alloc at once, then 120 run without a service")
def many_commands(place):
    service = place.serve()
    allocs = [place.spawn("alloc") for _ in range(600)]
    ports = [alloc.communicate()[0].strip() for alloc in allocs]
    failed = sum(alloc.returncode != 0 for alloc in allocs)
    service.terminate()
    service.wait()
    runs = [place.spawn("run", "--", "sh", "-c", "echo $PORT; sleep 60") for _ in range(120)]
    own = [run.stdout.readline().strip() for run in runs]
    failed_runs = own.count(b"")
    good = not failed and not doubled(ports) and not failed_runs and not doubled(own)
    return good, f"{len(set(ports))} distinct, {failed} failed; without a service {len(set(own))} distinct, {failed_runs} failed"


@case("H3", "300 owners killed at once")
def many_deaths(place):
    place.serve()
    owners = [place.helper("sleep", "600") for _ in range(300)]
    for owner in owners:
        place.grant(owner_pid=owner.pid, ttl=None)
    begun = time.monotonic()
    for owner in owners:
        owner.kill()
    freed = eventually(lambda: not place.living(), 20)
    return bool(freed), f"all freed {time.monotonic() - begun:.2f} s later: {bool(freed)}"


@case("H4", "one member of the group takes all it can, default settings")
def one_takes_all(place):
    if os.geteuid() != 0:
        return None, "needs root, to act as another user"
    os.chmod(place.folder, 0o755)
    place.env["PORTBOOK_SOCKET"] = os.path.join(place.folder, "shared.sock")
    place.env["PORTBOOK_SOCKET_MODE"] = "0660"
    place.socket = place.env["PORTBOOK_SOCKET"]
    if place.serve() is None:
        return False, place.logged()[-300:]
    greedy = (
        "import http.client,json,os,socket,sys\nos.setuid(12345)\nn=0\nwhile True:\n"
        " c=http.client.HTTPConnection('localhost'); c.sock=socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n"
        " c.request('POST','/api/v1/leases',json.dumps({'ttl':'1h'}),{'Content-Type':'application/json'})\n"
        " a=c.getresponse(); a.read()\n if a.status!=201: break\n n+=1\nprint(n,a.status)"
    )
    done = subprocess.run(["python3", "-c", greedy, place.socket], capture_output=True, text=True, check=False)
    good, _ = answers(place)
    return good == 5, f"it took (leases, then status) {done.stdout.strip()}; others: {good} of 5"


@case("H9", "50 names used once in a pool of 50, their programs gone")
def absent_names(place):
    place.serve(PORTBOOK_POOLS__DEFAULT__RANGES="21000-21049")
    for number in range(50):
        done = place.run("run", "--name", f"d{number}", "--", "true")
        if done.returncode:
            return False, done.stderr
    done = place.run("alloc")
    return done.returncode == 0, f"a stranger gets: {done.returncode} {(done.stdout + done.stderr).strip()[:200]}"


@case("H10", "8,000 names taken and half of them released")
def very_many_names(place):
    place.env["PORTBOOK_POOLS__DEFAULT__RANGES"] = "10000-31999"
    prefix = MANY_FILES
    service = place.serve(prefix=prefix)
    ids = []

    def take(start):
        for number in range(start, 8000, 8):
            status, answer = place.api("POST", "/api/v1/leases", {"name": f"n{number}", "ttl": "1h"})
            assert status == 201, answer
            if number % 2:
                place.api("DELETE", f"/api/v1/leases/{answer['leases'][0]['id']}")
            ids.append(answer["leases"][0]["id"])

    threads = [threading.Thread(target=take, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    size, used = memory(service.pid), os.path.getsize(os.path.join(place.data, "portbook.db")) / 1e6
    service.kill()
    service.wait()
    begun = time.monotonic()
    place.serve(prefix=prefix)
    took = time.monotonic() - begun
    living = len(place.living())
    return living == 4000, f"{len(ids)} names, {size:.0f} MB of memory, record {used:.0f} MB, restart {took:.2f} s, {living} live"


@case("H11", "40 releases of one lease, 40 grants of one name, 60 of one port, at once")
def at_once(place):
    place.serve()

    def together(count, work):
        results, threads = [], []
        for _ in range(count):
            threads.append(threading.Thread(target=lambda: results.append(work())))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    lease = next(iter(place.grant()))
    released = together(40, lambda: place.api("DELETE", f"/api/v1/leases/{lease}")[0])
    named = together(40, lambda: place.api("POST", "/api/v1/leases", {"name": "one", "ttl": "1h"}))
    ports = {answer["leases"][0]["port"] for status, answer in named if status in (200, 201)}
    exact = together(60, lambda: place.api("POST", "/api/v1/leases", {"port": 23001, "ttl": "1h"})[0])
    later = place.grant()
    again = place.api("DELETE", f"/api/v1/leases/{lease}")[0]
    kept = later.keys() <= place.living().keys()
    seen = f"releases {sorted(set(released))}, ports of the name {len(ports)}, grants of the port {exact.count(201)}, "
    return len(ports) == 1 and exact.count(201) == 1 and kept, seen + f"old id again {again}, newer lease stays {kept}"

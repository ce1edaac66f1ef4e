"""S1 to S14: attacks on the console from web pages and from the network."""

import http.client
import os
import re
import socket

from people import AS_OTHER, needs_root, shared
from place import case


def ask(place, method, path, headers, body=None):
    connection = http.client.HTTPConnection(*place.console(), timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    streams = answer.getheader("Content-Type", "").startswith("text/event-stream")
    return answer.status, dict(answer.getheaders()), "" if streams else answer.read().decode(errors="replace")


def login(place):
    """Cookies of a session; the code is that of `portbook dashboard`."""
    token = open(os.path.join(place.data, "token")).read().strip()
    return token


PATHS = ["/", "/leases", "/attempts", "/ports/tcp/21000", "/map", "/pools", "/interfaces", "/api/v1/leases", "/api/v1/events",
         "/api/v1/stats", "/api/v1/config", "/metrics", "/login", "/readyz", "/static/style.css", "/settings", "/exclusions", "/api/v1/pools"]  # fmt: skip


@case("S1", "foreign and malformed Host headers on 18 paths")
def foreign_hosts(place):
    place.serve()
    host, port = place.console()
    bad = ["evil.com", f"evil.com:{port}", f"localhost.evil.com:{port}", f"127.0.0.1.evil.com:{port}", "", "a b", "[::1",
           f"localhost:{port}:1", f"{host}:{port}@evil.com", f"user@{host}:{port}", "0.0.0.0", "169.254.169.254", "xn--n3h", "LOCALHOST.EVIL"]  # fmt: skip
    through = []
    for path in PATHS:
        for name in bad:
            status, _, _ = ask(place, "GET", path, [("Host", name)])
            if status not in (400, 421):
                through.append((path, name, status))
        status, _, _ = ask(place, "GET", path, [("Host", f"{host}:{port}"), ("Host", "evil.com")])
        if status not in (400, 421):
            through.append((path, "two", status))
    own, _, _ = ask(place, "GET", "/", [("Host", f"localhost:{port}")])
    return not through and own < 400, f"{len(PATHS) * (len(bad) + 1)} tries, through: {through[:5]}; own name {own}"


UNSAFE = [("POST", "/api/v1/leases"), ("DELETE", "/api/v1/leases/x"), ("POST", "/api/v1/leases/x/renew"),
          ("POST", "/api/v1/exclusions"), ("POST", "/api/v1/prune"), ("POST", "/leases/x/release"), ("POST", "/logout")]  # fmt: skip


@case("S4", "unsafe routes with foreign origins and all types of bodies, with the token too")
def foreign_origins(place):
    place.serve()
    host, port = place.console()
    token = login(place)
    granted = place.grant(2)
    through, tries = [], 0
    types = ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    origins = ["https://evil.com", "null", f"http://evil.com:{port}", f"http://127.0.0.1:{port + 1}", f"https://{host}:{port}"]
    paths = [(method, path.replace("/x", f"/{next(iter(granted))}")) for method, path in UNSAFE]
    for method, path in paths:
        for kind in types:
            for origin in origins:
                for auth in ([], [("Authorization", f"Bearer {token}")]):
                    tries += 1
                    headers = [("Host", f"{host}:{port}"), ("Origin", origin), ("Sec-Fetch-Site", "cross-site"), *auth]
                    headers += [("Content-Type", kind)] if kind else []
                    status, _, _ = ask(place, method, path, headers, b"{}")
                    if status < 400 and not (status in (302, 303) and not auth):
                        through.append((method, path, kind, origin, bool(auth), status))
    kept = granted.items() <= place.living().items()
    return not through and kept, f"{tries} tries, through: {through[:5]}, leases kept: {kept}"


@case("S5", "CORS, framing, and headers of each answer")
def headers(place):
    place.serve()
    host, port = place.console()
    wrong = []
    for path in PATHS:
        own = [("Host", f"{host}:{port}"), ("Origin", "https://evil.com")]
        status, found, _ = ask(place, "GET", path, own) if path != "/api/v1/events" else (200, {}, "")
        found = {name.lower(): value for name, value in found.items()}
        if path == "/api/v1/events":
            continue
        if any(name.startswith("access-control") for name in found):
            wrong.append((path, "CORS"))
        if "frame-ancestors 'none'" not in found.get("content-security-policy", "") or found.get("x-content-type-options") != "nosniff":
            wrong.append((path, status, "headers"))
        options, _, _ = ask(place, "OPTIONS", path, own)
        if options < 400:
            wrong.append((path, "OPTIONS", options))
    return not wrong, f"{len(PATHS)} paths, wrong: {wrong}"


@case("S8", "cookies that were made up, tossed or fixed")
def cookies(place):
    place.serve()
    host, port = place.console()
    _, found, _ = ask(place, "GET", "/login", [("Host", f"{host}:{port}")])
    names = re.findall(r"([\w-]+)=", str(found.get("set-cookie", ""))) or ["portbook_session", "session"]
    through = []
    for name in {names[0], "portbook", "portbook_session", f"portbook_session_{port}"}:
        for value in ("x", "0" * 64, "../token", "%00", "a" * 4000):
            cookie = [("Host", f"{host}:{port}"), ("Cookie", f"{name}={value}"), ("Cookie", f"{name}={value}")]
            status, _, _ = ask(place, "POST", "/api/v1/leases", [*cookie, ("Content-Type", "application/json")], b"{}")
            if status < 400:
                through.append((name, value[:10], status))
    return not through, f"20 cookies, through: {through}"


@case("S9", "markup by path, query and names")
def markup(place):
    place.serve()
    host, port = place.console()
    mark = "<script>x</script>"
    reflected = []
    for path in ("/leases?name=", "/attempts?reason=", "/ports/tcp/", "/errors/", "/search?q=", "/", "/leases/", "/leases?label="):
        for form in (mark, mark.replace("<", "%3C").replace(">", "%3E"), '%22onload=%22x'):
            if " " in form or "<" in form and "?" not in path:
                continue
            status, found, text = ask(place, "GET", path + form, [("Host", f"{host}:{port}")])
            kind = {name.lower(): value for name, value in found.items()}.get("content-type", "")
            if "html" in kind and (mark in text or '"onload="x' in text):
                reflected.append((path, form))
    return not reflected, f"reflected: {reflected}"


@case("S10", "token in pages, log and redirects; 2,000 guesses")
def token(place):
    place.serve()
    host, port = place.console()
    secret = login(place)
    leaks = []
    for path in PATHS:
        if path == "/api/v1/events":
            continue
        for headers in ([], [("Authorization", f"Bearer {secret}")]):
            _, found, text = ask(place, "GET", path, [("Host", f"{host}:{port}"), *headers])
            if secret in text or secret in str(found):
                leaks.append(path)
    through = 0
    for number in range(2000):
        guess = f"{number:064x}"
        wrong = [("Host", f"{host}:{port}"), ("Authorization", f"Bearer {guess}"), ("Content-Type", "application/json")]
        status, _, _ = ask(place, "POST", "/api/v1/leases", wrong, b"{}")
        through += status < 400
    return not leaks and not through and secret not in place.logged(), f"leaks: {leaks}, guesses through: {through}"


@case("S11", "console on addresses beyond loopback without a decision")
def beyond_loopback(place):
    refused, served = [], []
    for address in ("0.0.0.0:23950", "[::]:23950", "10.9.9.9:23950"):
        service = place.spawn("serve", "--listen", address)
        line = service.stdout.readline()
        (served if line.startswith(b"http") else refused).append(address)
        service.kill()
        service.wait()
    return not served, f"refused {refused}, served {served}"


@case("S12", "h2c, HTTP/2 preface, request smuggling in 8 forms")
def smuggling(place):
    place.serve()
    host, port = place.console()
    own = f"Host: {host}:{port}\r\n"
    post = "POST /api/v1/leases HTTP/1.1\r\n" + own
    forms = [
        post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n" + own + "\r\n",
        post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        post + "Content-Length: -1\r\n\r\n",
        post + "Content-Length: 0x5\r\n\r\nabcde",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\n" + own + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ]
    wrong = []
    for number, form in enumerate(forms):
        stream = socket.create_connection((host, port), timeout=15)
        stream.sendall(form.encode())
        stream.shutdown(socket.SHUT_WR)
        text = b""
        try:
            while piece := stream.recv(65536):
                text += piece
        except OSError:
            pass
        codes = re.findall(rb"HTTP/1\.[01] (\d+)", text)
        if number < 6 and (len(codes) > 1 or (codes and codes[0] < b"400")) or b" 101 " in text[:20]:
            wrong.append((number, codes))
    return not wrong, f"{len(forms)} forms, wrong: {wrong}"


@case("S-login", "login by a link of a foreign page, with another user's code")
def foreign_login(place):
    if needs_root():
        return needs_root()
    shared(place)
    host, port = place.console()
    done = place.run("dashboard", "--no-open", prefix=AS_OTHER)
    link = re.search(r"(/login\S*)", done.stdout + done.stderr)
    if not link:
        return False, f"no link: {(done.stdout + done.stderr)[:200]}"
    headers = [("Host", f"{host}:{port}"), ("Sec-Fetch-Site", "cross-site")]
    status, found, _ = ask(place, "GET", link.group(1), headers)
    found = {name.lower(): value for name, value in found.items()}
    return "set-cookie" not in found, f"status {status}, session set: {'set-cookie' in found}"



#!/usr/bin/env bash
# granian 2.8.9 with `--port 0` listens on a port of the kernel's choice and tells "…:0", and nothing else.
#
# uvicorn, hypercorn, gunicorn and waitress read the port back from their socket (getsockname(2)) and print
# it, so test runners and process managers start them with port 0 and read the log. granian prints the port
# that it was asked for. Its main process closes the socket and its workers have it, so that the port is to
# be found by the sockets of its children alone.
#
# Needs python3 with pip and venv. Fails if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet granian==2.8.9 uvicorn==0.34.0 psutil==7.0.0
cat > app.py <<'PYTHON'
async def app(scope, receive, send):
    """Answers every request with nothing."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
PYTHON
cat > ports.py <<'PYTHON'
"""Prints the ports on which a process or its children listen, once there is one."""
import sys
import time

import psutil

program, found = psutil.Process(int(sys.argv[1])), set()
for _ in range(200):
    for one in [program, *program.children(recursive=True)]:
        found |= {c.laddr.port for c in one.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    if found:
        break
    time.sleep(0.1)
print(*sorted(found))
PYTHON

# Starts a server with port 0; leaves the port that it tells, and the one that it listens on.
look() {
  "$@" > log 2>&1 &
  server=$!
  real=$(env/bin/python ports.py "$server")
  told=""
  for _ in $(seq 100); do
    told=$(grep -o 'http://127.0.0.1:[0-9]*' log | head -1 | grep -o '[0-9]*$') && break
    sleep 0.1
  done
  kill "$server"
  wait "$server" || true
  server=""
  echo "$(basename "$1"): tells $told, listens on $real"
}

look env/bin/uvicorn --port 0 app:app
[ "$told" = "$real" ] || { echo "changed: uvicorn told another port" >&2; exit 1; }
look env/bin/granian --interface asginl --host 127.0.0.1 --port 0 app:app
[ "$told" = 0 ] && [ "$real" -gt 0 ] || { echo "changed: granian tells $told" >&2; exit 1; }
! grep -q ":$real" log || { echo "changed: its log has the port" >&2; exit 1; }

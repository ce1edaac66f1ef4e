#!/usr/bin/env bash
# A socket that a supervisor gives as descriptor 3 does not get through `npm run` (npm 10.9.4 on node 22.21.1).
#
# sd_listen_fds(3) and its relatives pass listening sockets as descriptors 3 and up, and LISTEN_FDS in the
# environment. A shell, Perl or Python (close_fds=False) between supervisor and server hands both on. node
# sets FD_CLOEXEC on every descriptor that it inherits, at its start, before any script. So the server of a
# package's script has LISTEN_FDS=1 and no descriptor 3, or whatever node itself has opened there; the same
# holds for every program that node starts without naming the descriptor in `stdio`. A wrapper that is
# written in JavaScript must list the descriptor (`stdio: [0, 1, 2, 3]`), which npm does not.
#
# Needs node (any version, to run npm's installer) with npm, and python3. Fails if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > package.json <<'JSON'
{"name": "given", "version": "1.0.0", "scripts": {"look": "sh look.sh"}}
JSON
npm install --silent --no-audit --no-fund --no-save node@22.21.1 npm@10.9.4 >/dev/null
export PATH="$folder/node_modules/.bin:$PATH"
node --version
npm --version

cat > look.sh <<'SH'
if [ -S /proc/self/fd/3 ]; then socket=there; else socket=gone; fi
echo "LISTEN_FDS=$LISTEN_FDS, socket $socket"
SH

cat > give.py <<'PYTHON'
"""Runs a command with a listening socket as its descriptor 3."""
import os
import socket
import sys

listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.execvpe(sys.argv[1], sys.argv[1:], {**os.environ, "LISTEN_FDS": "1"})
PYTHON

expect() {
  local name=$1 wanted=$2 seen
  shift 2
  seen=$(python3 give.py "$@")
  echo "$name: $seen"
  [ "$seen" = "LISTEN_FDS=1, socket $wanted" ] || { echo "changed: expected the socket to be $wanted" >&2; exit 1; }
}

spawn='require("child_process").spawnSync("sh", ["look.sh"], { stdio:'
expect "sh" there sh look.sh
expect "a shell that stays" there sh -c 'sh look.sh; :'
expect "node, stdio inherit" gone node -e "$spawn \"inherit\" })"
expect "node, stdio with 3" there node -e "$spawn [0, 1, 2, 3] })"
expect "npm run" gone npm run --silent look

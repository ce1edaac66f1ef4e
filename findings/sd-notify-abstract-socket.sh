#!/usr/bin/env bash
# The crate sd-notify 0.5.0 does not reach a supervisor whose NOTIFY_SOCKET is an abstract address.
#
# sd_notify(3) allows NOTIFY_SOCKET to begin with "@", which means a socket in the abstract namespace.
# The crate takes the whole text for a path in the file system, so its notify() fails with "not found",
# while the Python package sdnotify 0.3.2 delivers the same message to the same address. With a path
# both deliver it. A service that ignores the result, as many do because a missing supervisor is no
# fault, never becomes ready under such a supervisor.
#
# Needs cargo and python3 with pip. Fails if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m pip install --quiet --root-user-action=ignore --target python sdnotify==0.3.2

cargo init --quiet --name ready program
cd program
cargo add --quiet sd-notify@=0.5.0
cat > src/main.rs <<'RUST'
use sd_notify::{NotifyState, notify};

fn main() {
    match notify(&[NotifyState::Ready]) {
        Ok(()) => println!("sent"),
        Err(error) => println!("failed: {:?}", error.kind()),
    }
}
RUST
cargo build --quiet
cd ..

cat > supervisor.py <<'PYTHON'
"""Listens at an address, runs a command with it as NOTIFY_SOCKET, and prints its output and the message."""
import os
import socket
import subprocess
import sys

address, command = sys.argv[1], sys.argv[2:]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("\0" + address[1:] if address.startswith("@") else address)
listener.setblocking(False)
environment = dict(os.environ, NOTIFY_SOCKET=address, PYTHONPATH="python")
said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
try:
    message = listener.recv(4096).decode().strip()
except BlockingIOError:
    message = "none"
print(f"{said.strip() or 'sent'}; message: {message}")
PYTHON

rust=program/target/debug/ready
python=(python3 -c 'import sdnotify; sdnotify.SystemdNotifier(debug=True).notify("READY=1")')
check() {
  local what=$1 expected=$2 seen
  shift 2
  seen=$(python3 supervisor.py "$@")
  echo "$what: $seen"
  [ "$seen" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
}
check "sd-notify 0.5.0, path" "sent; message: READY=1" "$folder/rust.sock" "$rust"
check "sd-notify 0.5.0, abstract" "failed: NotFound; message: none" "@finding-rust-$$" "$rust"
check "sdnotify 0.3.2, path" "sent; message: READY=1" "$folder/python.sock" "${python[@]}"
check "sdnotify 0.3.2, abstract" "sent; message: READY=1" "@finding-python-$$" "${python[@]}"

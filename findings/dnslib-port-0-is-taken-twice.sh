#!/usr/bin/env bash
# dnslib 0.9.26 with port 0 is given a UDP port that another dnslib server has, while others are free.
#
# "Bind port 0 and read the number back" is the advice for tests: the kernel is said to give a port that nobody
# has. dnslib's servers set SO_REUSEADDR, as socketserver's users often do. Among UDP sockets that have it
# Linux sees no conflict, also not when it chooses the number itself (udp_lib_get_port() in net/ipv4/udp.c, seen
# with Linux 6.18). No call fails, both servers tell the same port, and the one that came last gets all
# queries: a test asks the server of another test. Four ports are to be had here, so that it shows at once; on
# the usual range of 28,000 it is rare, and the less so the more such servers run.
#
# Needs python3 with pip and venv, and unshare. Fails if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet dnslib==0.9.26
cat > servers.py <<'PYTHON'
"""Starts eight servers on port 0 where the kernel has four to give, and asks each."""
import pathlib

from dnslib import A, QTYPE, RR, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


class Numbered(BaseResolver):
    """Answers every question with the number of its server."""

    def __init__(self, number):
        self.number = number

    def resolve(self, request, handler):
        reply = request.reply()
        reply.add_answer(RR("name.test", QTYPE.A, rdata=A(f"192.0.2.{self.number}")))
        return reply


RANGE.write_text("40000 40003")
ports = {}
for number in range(1, 9):
    server = DNSServer(Numbered(number), address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
    server.start_thread()
    ports[number] = server.server.server_address[1]
RANGE.write_text("41000 41999")
foreign = 0
for number, port in ports.items():
    answer = DNSRecord.parse(DNSRecord.question("name.test").send("127.0.0.1", port, timeout=5)).short()
    print(f"server {number} has port {port}; {answer.rsplit('.', 1)[1]} answers there")
    foreign += answer != f"192.0.2.{number}"
print(f"{len(set(ports.values()))} ports for {len(ports)} servers; {foreign} questions went to another server")
PYTHON

unshare --map-root-user --net sh -c 'ip link set lo up && env/bin/python servers.py' | tee said
tail -1 said | grep -Eq '^[1-4] ports for 8 servers; [1-9]' || { echo "changed: no port was given twice" >&2; exit 1; }

"""Real servers: their command lines, what they need, and what is expected of them.

`{port}` is filled in by portbook, `@DIR@` is a folder of the server's own, and `@PORT@` in a file of
`conf` is the port, which a shell fills in before it becomes the server.
"""
import pathlib

HTTP, CONNECT = b"GET / HTTP/1.0\r\n\r\n", None
SERVERS = []


def add(name, command, needs, apt="", pypi="", npm="", ask=HTTP, conf=None, files=None, before="",
        fd=None, fd_command="", handover="gate", heavy=False, root=False, env=None):
    """One server. `needs` are its programs, `fd` is True if it takes sockets unasked, `handover` is
    the way that it needs, `heavy` keeps it out of CI, `root` is for one that no other user can start."""
    SERVERS.append(dict(name=name, command=command, needs=needs.split(), apt=apt.split(), pypi=pypi.split(),
                        npm=npm.split(), ask=ask, conf=conf or {}, files=files or {}, before=before,
                        fd=fd, fd_command=fd_command, handover=handover, heavy=heavy, root=root, env=env or {}))


# Web servers and proxies
MODULES = "/usr/lib/apache2/modules"
APACHE = f"""ServerRoot @DIR@
ServerName localhost
PidFile @DIR@/pid
DefaultRuntimeDir @DIR@
ErrorLog @DIR@/errors
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
Listen @PORT@
DocumentRoot @DIR@
"""
# A process of the number in a stale file of its keeps it from its next start.
for title, words in (("Apache", "apache2 -D FOREGROUND -f @DIR@/conf"),
                     ("Apache (background)", "sh -c 'rm -f @DIR@/pid; exec apache2 -k start -f @DIR@/conf'")):
    add(title, words, "apache2", apt="apache2-bin",
        conf={"conf": APACHE + "User nobody\nGroup nogroup\n"}, root=True)
LIGHTTPD = 'server.document-root = "@DIR@"\nserver.port = @PORT@\n'
ACTIVATED = 'server.systemd-socket-activation = "enable"\n'
add("lighttpd", "lighttpd -D -f @DIR@/conf", "lighttpd", apt="lighttpd",
    conf={"conf": LIGHTTPD, "given": LIGHTTPD + ACTIVATED}, fd_command="lighttpd -D -f @DIR@/given")
add("lighttpd (background)", "lighttpd -f @DIR@/conf", "lighttpd", apt="lighttpd", conf={"conf": LIGHTTPD})
HAPROXY = """defaults
 mode http
 timeout client 5s
 timeout server 5s
 timeout connect 5s
frontend f
 bind BIND
 http-request return status 200 content-type text/plain string hello
"""
HAPROXY_FILES = {"conf": HAPROXY.replace("BIND", ":@PORT@"), "given": HAPROXY.replace("BIND", "fd@3")}
add("HAProxy", "haproxy -f @DIR@/conf", "haproxy", apt="haproxy", conf=HAPROXY_FILES,
    fd_command="haproxy -f @DIR@/given")
add("HAProxy -W", "haproxy -W -f @DIR@/conf", "haproxy", apt="haproxy", conf=HAPROXY_FILES)
NGINX = """daemon DAEMON; pid @DIR@/pid; error_log @DIR@/errors; events {}
http { access_log off; server { listen LISTEN; return 200 hello; } }
"""
for title, daemon, listen in (("nginx", "off", "@PORT@"), ("nginx (background)", "on", "@PORT@"),
                              ("nginx reuseport", "off", "@PORT@ reuseport; listen [::]:@PORT@ reuseport")):
    add(title, "nginx -c @DIR@/conf", "nginx", apt="nginx-light",
        conf={"conf": NGINX.replace("DAEMON", daemon).replace("LISTEN", listen)})
add("caddy file-server", "caddy file-server --root @DIR@ --listen :{port}", "caddy", apt="caddy")
add("tinyproxy", "tinyproxy -d -c @DIR@/conf", "tinyproxy", apt="tinyproxy-bin",
    conf={"conf": "Port @PORT@\nTimeout 60\nMaxClients 10\n"})
add("mini-httpd", "mini_httpd -D -p {port} -d @DIR@", "mini_httpd", apt="mini-httpd")
add("webfsd", "webfsd -F -p {port} -r @DIR@", "webfsd", apt="webfs")
add("busybox httpd", "busybox httpd -f -p {port} -h @DIR@", "busybox", apt="busybox-static")
add("PHP's own server", "php -S 0.0.0.0:{port} -t @DIR@", "php", apt="php-cli")
add("WEBrick", "ruby -run -e httpd -- . --port={port}", "ruby", apt="ruby ruby-webrick")
RACK = {"config.ru": "run lambda { |env| [200, {}, ['hello']] }\n"}
add("puma", "puma -p {port} @DIR@/config.ru", "puma", apt="puma", files=RACK)
add("puma -w 2", "puma -w 2 -p {port} @DIR@/config.ru", "puma", apt="puma", files=RACK)
SQUID = """http_port @PORT@
http_access allow all
access_log none
cache_log @DIR@/log
pid_filename @DIR@/pid
coredump_dir @DIR@
cache deny all
netdb_filename none
pinger_enable off
"""
add("squid", "squid -N -f @DIR@/conf", "squid", apt="squid", conf={"conf": SQUID}, root=True)

# Python
WSGI = {"a.py": 'def app(environ, start):\n    start("200 OK", [("Content-Length", "5")])\n    return [b"hello"]\n'}
ASGI = {"a.py": """async def app(scope, receive, send):
    if scope["type"] != "http": return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""}


def script(text):
    return {"s.py": text}


PYTHON, HERE = "python3 @DIR@/s.py {port}", {"PYTHONPATH": "@DIR@"}
add("Python http.server", "python3 -m http.server {port}", "python3")
add("Python xmlrpc.server", PYTHON, "python3", files=script(
    "import sys\nfrom xmlrpc.server import SimpleXMLRPCServer as S\nS(('localhost', int(sys.argv[1]))).serve_forever()\n"))
add("Python socketserver.TCPServer", PYTHON, "python3", handover="release", ask=b"hello\n", files=script("""
import sys, socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline())
socketserver.ThreadingTCPServer(('', int(sys.argv[1])), Echo).serve_forever()
"""))
add("Python multiprocessing manager", PYTHON, "python3", ask=CONNECT, files=script("""
import sys
from multiprocessing.managers import BaseManager
BaseManager(('', int(sys.argv[1])), b'key').get_server().serve_forever()
"""))
add("Python asyncio", PYTHON, "python3", ask=b"hello\n", files=script("""
import asyncio, sys
async def echo(reader, writer):
    writer.write(await reader.readline()); await writer.drain()
async def main():
    async with await asyncio.start_server(echo, None, int(sys.argv[1])) as server: await server.serve_forever()
asyncio.run(main())
"""))
UVICORN = "uvicorn --app-dir @DIR@ a:app"
add("uvicorn", f"{UVICORN} --port {{port}}", "uvicorn", pypi="uvicorn", files=ASGI, fd_command=f"{UVICORN} --fd 3")
add("uvicorn --reload", f"{UVICORN} --reload --port {{port}}", "uvicorn", pypi="uvicorn", files=ASGI)
add("uvicorn --workers 2", f"{UVICORN} --workers 2 --port {{port}}", "uvicorn", pypi="uvicorn", files=ASGI)
add("hypercorn", "hypercorn -b 0.0.0.0:{port} a:app", "hypercorn", pypi="hypercorn", files=ASGI,
    fd_command="hypercorn -b fd://3 a:app")
add("daphne", "daphne -p {port} a:app", "daphne", pypi="daphne", files=ASGI, env=HERE, fd_command="daphne --fd 3 a:app")
GUNICORN = "gunicorn --chdir @DIR@ -b 0.0.0.0:{port} a:app"
add("gunicorn", GUNICORN, "gunicorn", pypi="gunicorn", files=WSGI, fd=True)
add("gunicorn --reuse-port", GUNICORN + " --reuse-port", "gunicorn", pypi="gunicorn", files=WSGI)
add("waitress", "waitress-serve --port={port} a:app", "waitress-serve", pypi="waitress", files=WSGI, env=HERE)
add("cheroot", "cheroot --bind 0.0.0.0:{port} a:app", "cheroot", pypi="cheroot", files=WSGI, env=HERE, fd=True)
add("tornado", PYTHON, "python3 uvicorn", pypi="tornado", files=script("""
import asyncio, sys, tornado.web
async def main():
    tornado.web.Application([]).listen(int(sys.argv[1])); await asyncio.Event().wait()
asyncio.run(main())
"""))
add("aiohttp", PYTHON, "python3 uvicorn", pypi="aiohttp", files=script(
    "import sys\nfrom aiohttp import web\nweb.run_app(web.Application(), port=int(sys.argv[1]))\n"))
add("twisted", "twist web --listen tcp:{port}", "twist", pypi="twisted",
    fd_command="twist web --listen systemd:domain=INET6:index=0")
FLASK = {"a.py": "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef hello(): return 'hello'\n"}
add("flask run", "flask --app @DIR@/a run --port {port}", "flask", pypi="flask", files=FLASK)
add("flask run --debug", "flask --app @DIR@/a run --debug --port {port}", "flask", pypi="flask", files=FLASK)
DJANGO = {"manage.py": """import os, sys
os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'
from django.core.management import execute_from_command_line
if __name__ == '__main__': execute_from_command_line(sys.argv)
""", "settings.py": "SECRET_KEY='x'\nDEBUG=True\nROOT_URLCONF='urls'\nALLOWED_HOSTS=['*']\n", "urls.py": "urlpatterns=[]\n"}
for options in ("", " --noreload"):
    add(f"Django runserver{options}", f"python3 @DIR@/manage.py runserver {{port}}{options}", "python3 django-admin",
        pypi="django", files=DJANGO)

# JavaScript
NODE = {"s.js": "require('http').createServer((q, a) => a.end('hello')).listen(+process.argv[2])\n"}
GIVEN = {"given.js": "require('http').createServer((q, a) => a.end('hello')).listen({ fd: 3 })\n"}
add("node http", "node @DIR@/s.js {port}", "node", apt="nodejs", files={**NODE, **GIVEN}, fd_command="node @DIR@/given.js")
add("node cluster", "node @DIR@/s.js {port}", "node", apt="nodejs", files={"s.js": """
const cluster = require('cluster');
if (cluster.isPrimary) { cluster.fork(); cluster.fork() }
else require('http').createServer((q, a) => a.end('hello')).listen(+process.argv[2])
"""})
add("node --inspect", "node --inspect={port} @DIR@/s.js", "node", apt="nodejs", files={"s.js": "setTimeout(() => {}, 6e5)\n"})
add("express", "node @DIR@/s.js {port}", "node http-server", npm="express", files={"s.js": """
const app = require('express')(); app.get('/', (q, a) => a.send('hello')); app.listen(+process.argv[2])
"""})
add("http-server", "http-server -p {port} @DIR@", "http-server", npm="http-server")
add("serve", "serve -l {port} @DIR@", "serve", npm="serve")
add("live-server", "live-server --no-browser --port={port} @DIR@", "live-server", npm="live-server")
add("json-server", "json-server --port {port} @DIR@/db.json", "json-server", npm="json-server@0.17", files={"db.json": '{"a": []}'})
add("nodemon", "nodemon @DIR@/s.js {port}", "nodemon", npm="nodemon", files=NODE)

# Compiled, and other languages
C = """#include <sys/socket.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
  int on = 1, s = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(words[1])) };
  OPTION
  if (bind(s, (void *) &to, sizeof to)) { perror("bind"); return 1; }
  listen(s, 16);
  for (;;) { int client = accept(s, 0, 0); if (write(client, "hello", 5) < 0) return 1; }
}
"""
REUSEPORT = "setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);"
for title, option in (("C bind(2)", "(void) on;"), ("C SO_REUSEPORT alone", REUSEPORT)):
    add(title, "@DIR@/s {port}", "cc", apt="gcc", handover="release", before="cc -o s s.c",
        files={"s.c": C.replace("OPTION", option)})
add("Rust std::net", "@DIR@/s {port}", "rustc", before="rustc -o s s.rs", files={"s.rs": """
use std::io::Write;
fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    for client in std::net::TcpListener::bind(("0.0.0.0", port)).unwrap().incoming() {
        let _ = client.unwrap().write_all(b"hello");
    }
}
"""})
add("Java ServerSocket", "java @DIR@/S.java {port}", "java", files={"S.java": """import java.net.*;
class S { public static void main(String[] words) throws Exception {
    var server = new ServerSocket(Integer.parseInt(words[0]));
    while (true) { var client = server.accept(); client.getOutputStream().write("hello".getBytes()); client.close(); } } }
"""})
PERL = "use MODULE; my $s = MODULE->new(LocalPort => $ARGV[0], Listen => 16) or die \"$@ $!\\n\";\n" \
       "while (my $c = $s->accept) { print $c \"hello\\n\"; $c->flush; close $c }\n"
for module, package in (("IO::Socket::INET", ""), ("IO::Socket::IP", ""), ("HTTP::Daemon", "libhttp-daemon-perl")):
    add(f"Perl {module}", "perl @DIR@/s.pl {port}", "perl", apt=package, handover="release",
        files={"s.pl": PERL.replace("MODULE", module)})
add("Tcl socket -server", "tclsh @DIR@/s.tcl {port}", "tclsh", apt="tcl", files={
    "s.tcl": "proc greet {c h p} { puts $c hello; close $c }\nsocket -server greet [lindex $argv 0]\nvwait forever\n"})
add("LuaSocket", "lua5.4 @DIR@/s.lua {port}", "lua5.4", apt="lua5.4 lua-socket", files={
    "s.lua": "local s = assert(require('socket').bind('*', arg[1]))\nwhile true do local c = s:accept(); c:send('hello'); c:close() end\n"})

# Databases and brokers
REDIS = "redis-server --port {port} --save '' --dir @DIR@"
add("redis", REDIS, "redis-server", apt="redis-server", ask=b"PING\r\n")
add("redis --daemonize yes", REDIS + " --daemonize yes", "redis-server", apt="redis-server", ask=b"PING\r\n")
VERSIONS = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
POSTGRES = VERSIONS[-1] if VERSIONS else "/usr/lib/postgresql/bin"
BECOME = "setpriv --reuid=postgres --regid=postgres --clear-groups"
add("PostgreSQL", f"{BECOME} {POSTGRES}/postgres -D @DIR@/d -p {{port}} -k @DIR@", f"setpriv {POSTGRES}/initdb", apt="postgresql",
    ask=bytes.fromhex("0000000804d2162f"), root=True, before=f"mkdir d; chown postgres d; {BECOME} {POSTGRES}/initdb -D @DIR@/d")
add("memcached", "memcached -u nobody -p {port}", "memcached", apt="memcached", ask=b"version\r\n")
add("memcached -d", "memcached -u nobody -p {port} -d", "memcached", apt="memcached", ask=b"version\r\n")
add("mosquitto", "mosquitto -p {port}", "mosquitto", apt="mosquitto", ask=CONNECT)
add("beanstalkd", "beanstalkd -p {port}", "beanstalkd", apt="beanstalkd", ask=b"stats\r\n", fd=True)
add("gearmand", "gearmand -p {port} -l @DIR@/log", "gearmand", apt="gearman-job-server", ask=b"version\r\n")
add("nats-server", "nats-server -p {port}", "nats-server", apt="nats-server", ask=b"PING\r\n")
add("OpenLDAP slapd", "slapd -d 0 -h ldap://:{port}/ -f @DIR@/conf", "slapd", apt="slapd",
    ask=bytes.fromhex("300c020101600702010304008000"),
    files={"conf": "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\n"})

# Remote access and small tools
SSHD = "/usr/sbin/sshd -f /dev/null -h @DIR@/key -o PidFile=none -p {port}"
for title, words, takes in (("sshd", " -D -e", True), ("sshd (background)", "", None)):
    add(title, SSHD + words, "/usr/sbin/sshd ssh-keygen", apt="openssh-server", ask=b"SSH-2.0-x\r\n", fd=takes, root=True,
        before="mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f key")
add("dropbear", "dropbear -F -E -r @DIR@/key -P @DIR@/pid -p {port}", "dropbear dropbearkey", apt="dropbear-bin",
    ask=b"SSH-2.0-x\r\n", before="dropbearkey -t ed25519 -f key")
add("vsftpd", "vsftpd @DIR@/conf", "vsftpd", apt="vsftpd", ask=b"QUIT\r\n", root=True, conf={
    "conf": "listen=YES\nlisten_port=@PORT@\nbackground=NO\nanonymous_enable=YES\nsecure_chroot_dir=/run\n"})
add("rsync --daemon", "rsync --daemon --no-detach --config=@DIR@/conf --port={port}", "rsync", apt="rsync",
    ask=b"@RSYNCD: 31.0\n", files={"conf": "[x]\npath=/tmp\n"})
add("socat TCP-LISTEN", "socat TCP-LISTEN:{port},fork SYSTEM:'echo hello'", "socat", apt="socat", handover="release")
add("socat TCP-LISTEN,reuseaddr", "socat TCP-LISTEN:{port},fork,reuseaddr SYSTEM:'echo hello'", "socat", apt="socat")
add("ncat -l", "ncat -l -k {port} -c 'echo hello'", "ncat", apt="ncat")
add("nc.openbsd -l", "nc.openbsd -l -k {port}", "nc.openbsd", apt="netcat-openbsd", ask=CONNECT)
add("iperf3 -s", "iperf3 -s -p {port}", "iperf3", apt="iperf3", ask=CONNECT)
add("git daemon", "git daemon --port={port} --base-path=@DIR@", "git", apt="git", ask=CONNECT, handover="release")
DNSMASQ = "dnsmasq KEEP -C /dev/null --no-resolv --no-hosts -p {port} -u root --pid-file="
for title, keep in (("dnsmasq", "-k"), ("dnsmasq (background)", "")):
    add(title, DNSMASQ.replace("KEEP", keep), "dnsmasq", apt="dnsmasq-base", ask=CONNECT, root=True)
add("ngircd", "ngircd -n -f @DIR@/conf", "ngircd", apt="ngircd", ask=b"NICK a\r\nUSER a a a a\r\n", fd=True, root=True,
    conf={"conf": "[Global]\nName = a.b\nPorts = @PORT@\n"})
add("snmpd tcp", "snmpd -f -Lo -C -c @DIR@/conf -p @DIR@/pid tcp:{port}", "snmpd", apt="snmpd", ask=CONNECT,
    files={"conf": "rocommunity public\n"}, root=True)

# Larger ones
add("etcd", "etcd --data-dir @DIR@/d --listen-client-urls http://localhost:{port} --advertise-client-urls http://localhost:{port}",
    "etcd", apt="etcd-server", heavy=True)
add("Prometheus", "prometheus --config.file=@DIR@/p.yml --storage.tsdb.path=@DIR@/d --web.listen-address=:{port}",
    "prometheus", apt="prometheus", heavy=True, files={"p.yml": "{}\n"})
add("aria2 RPC", "aria2c --enable-rpc --rpc-listen-port={port}", "aria2c", apt="aria2", heavy=True)
add("tor SocksPort", "tor -f @DIR@/none --DataDirectory @DIR@/d --SocksPort {port} --DisableNetwork 0", "tor", apt="tor",
    ask=b"\x05\x01\x00", before="mkdir d; chmod 700 d; touch none", heavy=True)
add("Xvfb -listen tcp", "sh -c 'exec Xvfb :$(($1-6000)) -listen tcp -nolisten unix' sh {port}", "Xvfb", apt="xvfb", ask=CONNECT, heavy=True)
add("ruby socket", "ruby @DIR@/s.rb {port}", "ruby", apt="ruby", heavy=True,
    files={"s.rb": "require 'socket'\ns = TCPServer.new(ARGV[0].to_i)\nloop { c = s.accept; c.write('hello'); c.close }\n"})
add("MariaDB", "mariadbd --no-defaults --datadir=@DIR@/d --socket=@DIR@/s --pid-file=@DIR@/pid --user=mysql --port={port}",
    "mariadbd", apt="mariadb-server", ask=CONNECT, fd=True, heavy=True, root=True,
    before="mkdir -p d; chown mysql d; mariadb-install-db --no-defaults --datadir=@DIR@/d --user=mysql --skip-test-db")
add("JupyterLab's server", "jupyter server --allow-root --no-browser --IdentityProvider.token= --port {port}",
    "jupyter-server", pypi="jupyter-server", heavy=True)
add("Streamlit", "streamlit run --server.headless true --browser.gatherUsageStats false --server.port {port} @DIR@/a.py",
    "streamlit", pypi="streamlit", heavy=True, files={"a.py": "import streamlit\nstreamlit.write('hello')\n"})
add("TensorBoard", "tensorboard --logdir @DIR@ --port {port}", "tensorboard", pypi="tensorboard", heavy=True)
add("MkDocs", "mkdocs serve -a 127.0.0.1:{port} -f @DIR@/mkdocs.yml", "mkdocs", pypi="mkdocs", heavy=True,
    files={"mkdocs.yml": "site_name: x\n", "docs/index.md": "# x\n"})
add("sanic", "sanic a:app --port {port}", "sanic", pypi="sanic", env=HERE, heavy=True, files={
    "a.py": "from sanic import Sanic, text\napp = Sanic('a')\n@app.get('/')\nasync def hello(request): return text('hello')\n"})
add("granian", "granian --interface asgi --port {port} a:app", "granian", pypi="granian", files=ASGI, env=HERE, heavy=True)
add("vite", "vite --port {port} --strictPort @DIR@", "vite", npm="vite@8", files={"index.html": "<p>hello"}, heavy=True)
add("parcel", "parcel serve --port {port} @DIR@/index.html", "parcel", npm="parcel", heavy=True,
    files={"index.html": "<p>hello", "package.json": "{}"})
add("browser-sync", "browser-sync start --server @DIR@ --no-open --port {port}", "browser-sync", npm="browser-sync", heavy=True)
add("Erlang gen_tcp", "erl -noshell -eval '{ok,L}=gen_tcp:listen({port},[]),F=fun(G)->{ok,S}=gen_tcp:accept(L),"
    "gen_tcp:send(S,<<104,105>>),G(G)end,F(F).'", "erl", apt="erlang-base", handover="release", heavy=True)

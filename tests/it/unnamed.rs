//! Listeners that `/proc/PID/fd` does not show: of a thread with descriptors of its own, of a process
//! whose first thread has ended, and of no process at all.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Place, Server, port, text};
use crate::tools::eventually;

/// Listens in a thread, in one of three ways, and says `serves`.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int port;

static int listener(void) {
    int on = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 8)) abort();
    puts("serves");
    fflush(stdout);
    return s;
}

static void serve(void) {
    for (int s = listener();;) close(accept(s, 0, 0));
}

static void *with_own_table(void *unused) {
    if (unshare(CLONE_FILES)) abort();
    serve();
    return unused;
}

static void *without_first_thread(void *first) {
    pthread_join(*(pthread_t *)first, 0);
    serve();
    return 0;
}

/* The listener lives in a message that is never received: no process has a descriptor of it. */
static void in_flight(void) {
    int pair[2], s = listener();
    char byte = 0, room[CMSG_SPACE(sizeof s)];
    struct iovec io = { &byte, 1 };
    struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = room,
                              .msg_controllen = sizeof room };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof s);
    memcpy(CMSG_DATA(rights), &s, sizeof s);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || sendmsg(pair[0], &message, 0) != 1) abort();
    close(s);
    pause();
}

int main(int count, char **arguments) {
    static pthread_t first, thread;
    port = atoi(arguments[2]);
    first = pthread_self();
    if (!strcmp(arguments[1], "own-table")) {
        pthread_create(&thread, 0, with_own_table, 0);
        pthread_join(thread, 0);
    }
    if (!strcmp(arguments[1], "no-first-thread")) {
        pthread_create(&thread, 0, without_first_thread, &first);
        pthread_exit(0);
    }
    in_flight();
}
"#;

/// A running program; killed when dropped.
struct Program(Child);

impl Program {
    fn start(program: &Path, way: &str, port: u16) -> Self {
        let mut command = Command::new(program);
        command.args([way, &port.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "serves\n");
        Self(child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn compiled(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("hidden.c"), folder.join("hidden"));
    std::fs::write(&source, PROGRAM).unwrap();
    let mut cc = Command::new("cc");
    let made = cc.arg("-pthread").arg("-o").arg(&program).arg(&source);
    let made = made.output().expect("a C compiler is installed");
    assert!(made.status.success(), "{}", text(&made.stderr));
    program
}

fn lease(server: &Server, port: u16) -> Option<Value> {
    let living = server.living("default");
    living.into_iter().find(|lease| lease["port"] == port)
}

#[test]
fn listeners_in_other_threads_claim_their_lease() {
    for way in ["own-table", "no-first-thread"] {
        let place = Place::with_ports(2);
        let program = compiled(place.folder());
        let server = place.serve();
        let at = port(&place.json(&["alloc", "--json"])["leases"][0]);
        let running = Program::start(&program, way, at);
        eventually(way, || {
            (lease(&server, at)?["state"] == "active").then_some(())
        });
        assert_eq!(lease(&server, at).unwrap()["owner"]["pid"], running.0.id());
        let said = place.ok(&["who", &at.to_string()]);
        assert!(said.contains(&running.0.id().to_string()), "{way}: {said}");
    }
}

#[test]
fn own_listeners_keep_no_lease_that_is_never_claimed() {
    let mut place = Place::with_ports(2);
    place.set("PORTBOOK_POOLS__DEFAULT__CLAIM_WITHIN", "1s");
    let server = place.serve();
    let granted = place.json(&["alloc", "--handover", "fd", "--json"]);
    let at = port(&granted["leases"][0]);
    eventually("the lease ends", || {
        lease(&server, at).is_none().then_some(())
    });
}

#[test]
fn lease_outlives_its_time_to_be_claimed_under_an_unnamed_listener() {
    let mut place = Place::with_ports(2);
    place.set("PORTBOOK_POOLS__DEFAULT__CLAIM_WITHIN", "2s");
    let program = compiled(place.folder());
    let server = place.serve();
    let at = port(&place.json(&["alloc", "--json"])["leases"][0]);
    let running = Program::start(&program, "in-flight", at);
    let waits = || {
        server
            .log()
            .contains("no process can be named")
            .then_some(())
    };
    eventually("the claim is put off", waits);
    assert_eq!(lease(&server, at).unwrap()["state"], "handed");
    drop(running);
    eventually("the lease ends", || {
        lease(&server, at).is_none().then_some(())
    });
}

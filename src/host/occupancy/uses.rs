//! Signs that a process uses a socket that it was started with.

use super::polled;
use super::processes::numbers_of;
use crate::host::process;

/// O_NONBLOCK in the octal flags of `/proc/PID/fdinfo` (`proc_pid_fdinfo(5)`).
const NON_BLOCKING: u32 = 0o4000;

/// Whether a process shows that it uses a socket which it was started with: it has a second descriptor
/// of it, has it in an epoll set, or the socket is non-blocking, as event loops set it. That is a property
/// of the socket, so a child that sets it shows here too. A program that does not know of the socket
/// leaves it as it was given; one that waits in `accept(2)` or `poll(2)` on a blocking socket shows no
/// more.
///
/// FD_CLOEXEC is no sign: node sets it on every descriptor that it finds.
pub fn shows_use(pid: u32, inode: u64) -> bool {
    let numbers = numbers_of(pid, inode);
    numbers.len() > 1
        || numbers.iter().any(|number| is_non_blocking(pid, *number))
        || is_polled(pid, inode)
}

/// Maximum number of descriptors that are read in search of an epoll set.
const MOST_DESCRIPTORS: usize = 1024;

/// Whether an epoll set of a process has the socket: `tfd: NUMBER … ino:HEX` in its fdinfo.
fn is_polled(pid: u32, inode: u64) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return false;
    };
    let wanted = format!("ino:{inode:x}");
    let has_it = |line: &str| {
        line.starts_with("tfd:") && line.split_ascii_whitespace().any(|word| word == wanted)
    };
    let texts = files.flatten().take(MOST_DESCRIPTORS);
    let mut texts = texts.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    texts.any(|text| text.lines().any(has_it))
}

/// Beginnings of the kernel functions in which a thread sleeps that waits for clients of one socket.
const OF_SOCKETS: [&str; 3] = [
    "inet_csk_accept",
    "__skb_wait_for_more_packets",
    "wait_for_more_packets",
];

/// Beginnings of those in which it waits for anything: poll, select, io_uring. `0` is that of every thread
/// where the kernel does not tell.
const OF_ANYTHING: [&str; 6] = [
    "0",
    "poll_schedule_timeout",
    "do_sys_poll",
    "do_select",
    "core_sys_select",
    "io_cqring_wait",
];

/// Those of a thread that waits for an epoll set.
const OF_EPOLL: [&str; 2] = ["do_epoll_wait", "ep_poll"];

/// Maximum number of processes of one program that are looked at.
const MOST_PROCESSES: usize = 64;

/// Whether a thread of a process, or of its descendants, may be waiting for clients of these sockets
/// without an epoll set, as far as the kernel tells (`/proc/PID/wchan`, `proc_pid_wchan(5)`, and the list of
/// a thread in `poll(2)`). `true` where it does not. A program that has an epoll loop has its clients there,
/// so its threads in a `poll(2)` that cannot be read tell nothing.
pub fn may_wait_for_clients(pid: u32, sockets: &[u64]) -> bool {
    let processes = process::descendants(pid, MOST_PROCESSES).into_iter();
    let sleeps: Vec<Sleep> = processes.flat_map(|pid| sleeps_of(pid, sockets)).collect();
    let has = |wanted: Sleep| sleeps.contains(&wanted);
    has(Sleep::ForClients) || (has(Sleep::ForAnything) && !has(Sleep::ForEpoll))
}

/// A thread's wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// For clients of a socket.
    ForClients,
    /// In a call that may wait for clients.
    ForAnything,
    ForEpoll,
    /// For nothing that comes from a client.
    Else,
}

/// Waits of the threads of a process.
fn sleeps_of(pid: u32, sockets: &[u64]) -> Vec<Sleep> {
    let numbers: Vec<u32> = sockets
        .iter()
        .flat_map(|inode| numbers_of(pid, *inode))
        .collect();
    let threads = process::threads(pid).into_iter().chain([pid]);
    let sleep = |thread| {
        let function = function_of(pid, thread);
        let is_in = |ways: &[&str]| ways.iter().any(|way| function.starts_with(way));
        if is_in(&OF_EPOLL) {
            return Sleep::ForEpoll;
        }
        let waits_for = || polled::waits_for(pid, thread, &numbers);
        if is_in(&OF_SOCKETS) {
            // It may be a socket of its own.
            let is_of_another = waits_for() == Some(false);
            return if is_of_another {
                Sleep::Else
            } else {
                Sleep::ForClients
            };
        }
        // A thread that runs, or waits for a disk, is in none either.
        let is_busy = || function == "0" && !process::is_asleep(pid, thread);
        if !is_in(&OF_ANYTHING) || is_busy() {
            return Sleep::Else;
        }
        match waits_for() {
            Some(true) => Sleep::ForClients,
            Some(false) => Sleep::Else,
            None => Sleep::ForAnything,
        }
    };
    threads.map(sleep).collect()
}

/// Function of the kernel in which a thread sleeps. `0` where it cannot be read: nothing is known.
fn function_of(pid: u32, thread: u32) -> String {
    let function = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/wchan"));
    function.unwrap_or_else(|_| "0".to_owned())
}

fn is_non_blocking(pid: u32, number: u32) -> bool {
    let Ok(information) = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")) else {
        return false;
    };
    let mut lines = information.lines();
    let flags = lines.find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & NON_BLOCKING != 0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use rustix::fs::fstat;

    use super::*;

    /// A child that has the listener as its standard input alone, or as its output too.
    fn child_with(listener: &TcpListener, is_twice: bool) -> Child {
        let copy = || Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        let mut command = Command::new("sleep");
        command.arg("60").stdin(copy());
        if is_twice {
            command.stdout(copy());
        }
        command.spawn().unwrap()
    }

    fn shows(listener: &TcpListener, is_twice: bool) -> bool {
        let mut child = child_with(listener, is_twice);
        let shows = shows_use(child.id(), fstat(listener).unwrap().st_ino);
        child.kill().unwrap();
        child.wait().unwrap();
        shows
    }

    /// Whether a Python program that has a listener as its standard input may wait for clients once it
    /// sleeps in the last line of its script.
    fn may_wait(script: &str, function: &str) -> bool {
        may_wait_as(rustix::process::geteuid().as_raw(), script, function)
    }

    /// The same, run by this user.
    fn may_wait_as(uid: u32, script: &str, function: &str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut program = Command::new("python3")
            .args(["-c", script])
            .uid(uid)
            .stdin(OwnedFd::from(listener.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let pid = program.id();
        let mut looks = 0;
        while !process::threads(pid)
            .into_iter()
            .chain([pid])
            .any(|thread| function_of(pid, thread).starts_with(function))
        {
            looks += 1;
            assert!(looks < 10_000, "it never sleeps in {function}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let may_wait = may_wait_for_clients(pid, &[fstat(&listener).unwrap().st_ino]);
        program.kill().unwrap();
        program.wait().unwrap();
        may_wait
    }

    #[test]
    fn thread_in_accept_waits_for_its_own_socket_and_one_in_pause_for_none() {
        let accept = "import socket; socket.socket(fileno=0).accept()";
        assert!(may_wait(accept, "inet_csk_accept"));
        let of_another = "import socket; socket.create_server(('127.0.0.1', 0)).accept()";
        assert!(!may_wait(of_another, "inet_csk_accept"));
        let pause = "import signal; signal.pause()";
        assert!(!may_wait(pause, "__do_sys_pause"));
    }

    #[test]
    fn thread_in_poll_and_select_waits_for_the_descriptors_of_its_list() {
        let (sleeps, pipe) = (
            "poll_schedule_timeout",
            "import os, select\nr, w = os.pipe()\n",
        );
        for (list, waits) in [("0", true), ("r", false), ("r); p.register(0", true)] {
            let poll = format!("{pipe}p = select.poll(); p.register({list}); p.poll()");
            assert_eq!(may_wait(&poll, sleeps), waits, "poll of {list}");
        }
        for (list, waits) in [("[0], []", true), ("[r], []", false), ("[], [0]", false)] {
            // A pipe that is full cannot be written to, and a listener never.
            let select = format!("{pipe}select.select({list}, [])");
            assert_eq!(may_wait(&select, sleeps), waits, "select of {list}");
        }
    }

    #[test]
    fn list_of_another_users_program_is_not_read() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a program of another user: this takes root");
            return;
        }
        let poll =
            "import os, select\nr, w = os.pipe()\np = select.poll(); p.register(r); p.poll()";
        assert!(may_wait_as(65_534, poll, "poll_schedule_timeout"));
    }

    #[test]
    fn thread_in_poll_of_something_else_beside_an_epoll_loop_tells_nothing() {
        let both = "import os, select, threading\nr, w = os.pipe()\n\
            threading.Thread(target=lambda: select.select([r], [], [])).start()\n\
            e = select.epoll(); e.register(r); e.poll()";
        assert!(!may_wait(both, "do_epoll_wait"));
    }

    #[test]
    fn untouched_socket_shows_no_use() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!shows(&listener, false));
    }

    #[test]
    fn non_blocking_or_duplicated_socket_shows_use() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(shows(&listener, true));
        // Set on one descriptor, it is seen on the child's.
        listener.set_nonblocking(true).unwrap();
        assert!(shows(&listener, false));
    }
}

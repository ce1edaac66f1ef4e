//! Signs that a process uses a socket that it was started with.

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

/// Beginnings of those in which it waits for anything: poll, select, io_uring. A thread that runs is in none
/// (`0`), and so is every thread where the kernel does not tell.
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

/// Whether a thread of a process, or of its descendants, may be waiting for clients without an epoll set,
/// as far as the kernel tells (`/proc/PID/wchan`, `proc_pid_wchan(5)`). `true` where it does not. A program
/// that has an epoll loop has its clients there, so its threads in `poll(2)` tell nothing.
pub fn may_wait_for_clients(pid: u32) -> bool {
    let processes = process::descendants(pid, MOST_PROCESSES).into_iter();
    let functions: Vec<String> = processes.flat_map(functions_of).collect();
    let is_in = |ways: &[&str]| {
        let mut functions = functions.iter();
        functions.any(|function| ways.iter().any(|way| function.starts_with(way)))
    };
    is_in(&OF_SOCKETS) || (is_in(&OF_ANYTHING) && !is_in(&OF_EPOLL))
}

/// Functions of the kernel in which the threads of a process sleep.
fn functions_of(pid: u32) -> Vec<String> {
    let threads = process::threads(pid).into_iter().chain([pid]);
    let function = |thread| std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/wchan"));
    // Where it cannot be read, nothing is known.
    let functions = threads.map(|thread| function(thread).unwrap_or_else(|_| "0".to_owned()));
    functions.collect()
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

    /// Whether a Python program may wait for clients once it sleeps in the last line of its script.
    fn may_wait(script: &str, function: &str) -> bool {
        let mut program = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let is_there = || {
            let functions = functions_of(program.id());
            functions.iter().any(|one| one.starts_with(function))
        };
        let mut looks = 0;
        while !is_there() {
            looks += 1;
            assert!(looks < 10_000, "it never sleeps in {function}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let may_wait = may_wait_for_clients(program.id());
        program.kill().unwrap();
        program.wait().unwrap();
        may_wait
    }

    #[test]
    fn threads_in_accept_and_poll_may_wait_and_others_do_not() {
        let accept = "import socket; socket.create_server(('127.0.0.1', 0)).accept()";
        assert!(may_wait(accept, "inet_csk_accept"));
        let poll =
            "import select, sys; p = select.poll(); p.register(0); select.select([0], [], [])";
        assert!(may_wait(poll, "poll_schedule_timeout"));
        let pause = "import signal; signal.pause()";
        assert!(!may_wait(pause, "__do_sys_pause"));
    }

    #[test]
    fn thread_in_poll_beside_an_epoll_loop_tells_nothing() {
        let both = "import select, threading\n\
            threading.Thread(target=lambda: select.select([0], [], [])).start()\n\
            e = select.epoll(); e.register(0); e.poll()";
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

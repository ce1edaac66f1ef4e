//! Whether the guard works on this host: found out by a trial, not by the kernel's version.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::process;
use std::sync::OnceLock;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::folder::{Folder, of_process};
use super::{Guard, Permit};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::{Port, Protocol};

/// Inode number of the first pid namespace (PROC_PID_INIT_INO in Linux).
const FIRST_NAMESPACE: u64 = 0xefff_fffc;

/// The reason for which no port can be guarded on this host: found out by a trial, once a process, which takes a
/// few milliseconds. `None` if it can.
pub fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE.get_or_init(|| trial().err()).as_deref()
}

/// Binds beside a hold of its own with an open gate: as a process that is let in, strictly, and as a stranger. The
/// guard is on one number of the kernel's choice alone, which nothing else can bind meanwhile.
fn trial() -> Result<(), String> {
    // Programs know processes by their pids in the first namespace.
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    if namespace != FIRST_NAMESPACE {
        return Err("this service is in a pid namespace of its own".to_owned());
    }
    let failed = |error: io::Error| format!("it could not be tried: {error}");
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(failed)?;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    held.bind(&at.into()).map_err(failed)?;
    held.set_reuse_address(true).map_err(failed)?;
    let at = held.local_addr().map_err(failed)?.as_socket();
    let at = at.ok_or("it could not be tried: a socket has no address")?;
    let own = of_process(process::id())
        .and_then(Folder::open)
        .map_err(|error| format!("no cgroup of version 2: {error}"))?;
    let mine = permit(at, &own).ok_or("it could not be tried: a socket has no port")?;
    let other = Permit {
        cgroup: u64::MAX,
        ..mine.clone()
    };
    let mut guard = Guard::on(&[mine], 0).map_err(|error| refused(&error))?;
    binds(at, false).map_err(|error| format!("the kernel does not let a program in: {error}"))?;
    guard.change_to(&[other]).map_err(|error| refused(&error))?;
    match binds(at, true) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {}
        Ok(()) => return Err("the kernel lets strangers in".to_owned()),
        Err(error) => return Err(format!("a stranger is refused otherwise: {error}")),
    }
    drop(guard);
    makes_folders(&own)
}

fn permit(at: SocketAddr, cgroup: &Folder) -> Option<Permit> {
    let address = BindAddress {
        interface: "lo".into(),
        ip: at.ip(),
        scope: 0,
    };
    let port = Port::new(at.port())?;
    Some(cgroup.permit(Protocol::Tcp, port, AddressGroup::new([address])))
}

fn binds(at: SocketAddr, shares: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(shares)?;
    socket.bind(&at.into())?;
    socket.listen(1)
}

/// Makes an empty cgroup below this process's own, and removes it.
fn makes_folders(own: &Folder) -> Result<(), String> {
    let folder = own.path().join(format!("portbook-trial-{}", process::id()));
    fs::create_dir(&folder)
        .and_then(|()| fs::remove_dir(&folder))
        .map_err(|error| format!("no cgroup can be made in {}: {error}", own.path().display()))
}

fn refused(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            "the service lacks CAP_BPF and CAP_NET_ADMIN (or a policy forbids bpf(2))".to_owned()
        }
        Some(Errno::NOSYS) => "the kernel has no bpf(2)".to_owned(),
        _ => format!("the kernel refuses the program: {error}"),
    }
}

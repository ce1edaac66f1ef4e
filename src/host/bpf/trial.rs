//! Whether programs for binds work on this host: found out by a trial, not by the kernel's version.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process;
use std::sync::OnceLock;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::Links;
use super::folder::{Folder, of_process};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::Port;
use crate::host::hold::tie_for_tcp;

/// The reason for which no program can be let in beside a strict hold on this host: found out by a trial, once a
/// process, which takes a few milliseconds. `None` if it can.
pub fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE.get_or_init(|| trial().err()).as_deref()
}

/// Binds and listens beside a hold of its own. The links are on the cgroup of this process for that moment: it
/// need not be moved, and they act on one number of the kernel's choice alone, on which nothing else can be.
fn trial() -> Result<(), String> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let held = Socket::new(Domain::IPV4, Type::STREAM, None)
        .and_then(|held| held.bind(&at.into()).map(|()| held))
        .map_err(|error| format!("it could not be tried: {error}"))?;
    tie_for_tcp(&held).map_err(|error| format!("SO_BINDTOIFINDEX: {error}"))?;
    let at = held.local_addr().ok().and_then(|at| at.as_socket());
    let at = at.ok_or("it could not be tried: a socket has no address")?;
    if binds(at).is_ok() {
        return Err("a port with a tied socket can be bound".to_owned());
    }
    let unfit = |error: io::Error| format!("no cgroup of version 2: {error}");
    let own = of_process(process::id())
        .and_then(Folder::open)
        .map_err(unfit)?;
    let group = AddressGroup::new([BindAddress {
        interface: "lo".into(),
        ip: at.ip(),
        scope: 0,
    }]);
    let port = Port::new(at.port()).ok_or("it could not be tried: a socket has no port")?;
    let links = Links::attach(&own, &group, port).map_err(|error| refused(&error))?;
    let bound = binds(at).map_err(|error| format!("a program beside the hold: {error}"))?;
    drop(links);
    makes_folders(&own)?;
    match bound.device_index_v4() {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("a listener stays tied to an interface that does not exist".to_owned()),
        Err(error) => Err(format!("SO_BINDTOIFINDEX: {error}")),
    }
}

fn binds(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&at.into())?;
    socket.listen(1)?;
    Ok(socket)
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
        _ => format!("the kernel refuses the programs: {error}"),
    }
}

//! Ports that a packet filter redirects, as Kubernetes, `systemd-nspawn` and Docker without its daemon
//! publish those of containers: no socket is on them, so a bind succeeds, but the packets go elsewhere.
//!
//! A free port refuses a connection within 0.2 ms. Whatever else comes back is due to a rule, and no
//! privilege is needed to see it. The rule's target gets a SYN, or a connection that is reset at once.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpSocket;

use super::interface::{Interface, Snapshot};
use crate::domain::address::AddressGroup;
use crate::domain::port::{Port, Protocol};
use crate::host::occupancy::Occupancy;

/// Time for an answer. Packets to a container that is gone get none.
const LIMIT: Duration = Duration::from_millis(50);

/// Prefixes of the names of interfaces behind which containers are, beside those of bridges that classes
/// leave out.
const OF_CONTAINERS: [&str; 8] = [
    "podman", "ve-", "vb-", "lxc", "lxd", "incus", "nerdctl", "kube",
];

/// Distances to the ports that tell whether a firewall is silent on all ports around.
const AROUND: [i32; 6] = [-61, -29, -7, 13, 37, 71];

/// Result of a connection to a port on which nothing listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The kernel refused it: no rule is in the way.
    Refused,
    /// Something answered.
    Answered,
    /// No answer came.
    Silent,
    /// The connection could not be tried.
    Untried,
}

/// Addresses at which the ports of a group are tried: 127.0.0.1 and one address of the host, as far as
/// the group covers them. None if no container's interface is here, so that no rule is to be expected.
pub fn addresses_to_try(group: &AddressGroup, host: &Snapshot) -> Vec<IpAddr> {
    if !host.interfaces.iter().any(is_of_containers) {
        return Vec::new();
    }
    let covers = |ip: IpAddr| {
        let mut addresses = group.addresses().iter();
        addresses.any(|address| address.ip == ip || address.ip == Ipv4Addr::UNSPECIFIED)
    };
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let interfaces = host.interfaces.iter();
    let outside = interfaces.filter(|one| one.up && !one.loopback && !is_of_containers(one));
    let own = outside.flat_map(|interface| interface.addresses.iter().map(|address| address.ip));
    let own = own.filter(IpAddr::is_ipv4).find(|ip| covers(*ip));
    let localhost = covers(localhost).then_some(localhost);
    localhost.into_iter().chain(own).collect()
}

fn is_of_containers(interface: &Interface) -> bool {
    let mut prefixes = OF_CONTAINERS.iter();
    interface.is_virtual || prefixes.any(|prefix| interface.name.starts_with(prefix))
}

/// Finds the first of these addresses at which a packet filter redirects a port on which nothing listens.
/// It takes 50 ms at most for each.
pub async fn redirected_at(addresses: &[IpAddr], port: Port) -> Option<IpAddr> {
    for &ip in addresses {
        let is_redirected = match answer(SocketAddr::new(ip, port.get())).await {
            Answer::Refused | Answer::Untried => false,
            Answer::Answered => !is_redirected_as_a_whole(ip).await,
            Answer::Silent => {
                !is_redirected_as_a_whole(ip).await && !is_silent_around(ip, port).await
            }
        };
        if is_redirected {
            return Some(ip);
        }
    }
    None
}

/// Whether no port around answers either, as behind a firewall that drops the packets to many ports. The
/// target of a rule for containers is of few.
async fn is_silent_around(ip: IpAddr, port: Port) -> bool {
    let around = AROUND.iter().filter_map(|distance| {
        let port = i32::from(port.get()).checked_add(*distance)?;
        let port = Port::new(u16::try_from(port).ok()?)?;
        let sockets = Occupancy::on_port(Protocol::Tcp, port).ok()?;
        sockets.is_empty().then(|| SocketAddr::new(ip, port.get()))
    });
    let answers = join_all(around.map(answer)).await;
    !answers.is_empty() && answers.iter().all(|one| *one == Answer::Silent)
}

/// Whether a port that is surely nobody else's is not refused either: a rule for all ports says nothing
/// about one.
async fn is_redirected_as_a_whole(ip: IpAddr) -> bool {
    let Ok((_kept, at)) = any_port(ip) else {
        return true;
    };
    answer(at).await != Answer::Refused
}

/// A bound socket that does not listen, on a port of the kernel's choice.
fn any_port(ip: IpAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    let at = socket.local_addr()?.as_socket();
    Ok((socket, at.ok_or(ErrorKind::Unsupported)?))
}

async fn answer(at: SocketAddr) -> Answer {
    let Ok(socket) = TcpSocket::new_v4() else {
        return Answer::Untried;
    };
    match tokio::time::timeout(LIMIT, socket.connect(at)).await {
        Ok(Ok(stream)) => {
            // Closes it with a reset, so that nothing of it lingers.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            Answer::Answered
        }
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Ok(Err(error)) if is_of_the_way(&error) => Answer::Answered,
        Ok(Err(_)) => Answer::Untried,
        Err(_) => Answer::Silent,
    }
}

/// Whether an error tells of the way to a host, as a rule whose target is gone does.
fn is_of_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::HostUnreachable | ErrorKind::ConnectionReset | ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{BindAddress, Family};
    use crate::host::interface::InterfaceAddress;
    use std::net::TcpListener;

    fn interface(name: &str, ip: [u8; 4]) -> Interface {
        Interface {
            name: name.into(),
            index: 1,
            up: true,
            loopback: name == "lo",
            is_virtual: name.starts_with("docker"),
            addresses: vec![InterfaceAddress {
                ip: IpAddr::from(ip),
                prefix_len: 24,
                scope: 0,
                primary: false,
            }],
        }
    }

    #[test]
    fn ports_are_tried_only_beside_containers() {
        let any = AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]);
        let mut host = Snapshot {
            interfaces: vec![
                interface("lo", [127, 0, 0, 1]),
                interface("eth0", [10, 0, 0, 7]),
            ],
            families: vec![Family::Ipv4],
        };
        assert_eq!(addresses_to_try(&any, &host), Vec::<IpAddr>::new());
        host.interfaces.push(interface("docker0", [172, 17, 0, 1]));
        let both = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 7])];
        assert_eq!(addresses_to_try(&any, &host), both);
        let localhost = AddressGroup::new([BindAddress {
            interface: "lo".into(),
            ip: both[0],
            scope: 0,
        }]);
        assert_eq!(addresses_to_try(&localhost, &host), both[..1]);
        host.interfaces.pop();
        host.interfaces.push(interface("ve-guest", [10, 244, 1, 1]));
        assert_eq!(addresses_to_try(&any, &host).len(), 2);
    }

    #[tokio::test]
    async fn a_bound_port_refuses_and_a_listener_answers() {
        let localhost = [IpAddr::from([127, 0, 0, 1])];
        let (_kept, at) = any_port(localhost[0]).unwrap();
        let free = Port::new(at.port()).unwrap();
        assert_eq!(redirected_at(&localhost, free).await, None);
        // A listener stands for a rule's target.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = Port::new(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(redirected_at(&localhost, taken).await, Some(localhost[0]));
    }
}

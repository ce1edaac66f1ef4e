//! What the guard does to binds for UDP.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use super::{ANY4, ANY6, MAPPED4, Place, V4, V6, answered, bound, client};
use crate::host::bpf::{Guard, Permit};

/// No process: this one is an owner or a stranger.
const NOBODY: u32 = 0;

#[test]
fn guard_lets_the_owner_alone_in_and_it_receives() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let mut guard = Guard::on(std::slice::from_ref(&place.permit), NOBODY).unwrap();
    for ip in [V4, ANY4, V6, ANY6] {
        // Strictly: the guard sets the option.
        let server = bound(ip, place.to(), false).unwrap();
        let asked = if ip.is_ipv4() { V4 } else { V6 };
        let client = client(asked);
        client.send_to(b"asks", (asked, place.to())).unwrap();
        assert_eq!(answered(&client, &server), (asked, place.to()).into());
    }
    TcpListener::bind((V4, place.to())).unwrap();
    let stranger = Permit {
        cgroup: u64::MAX,
        ..place.permit.clone()
    };
    guard.change_to(&[stranger]).unwrap();
    for ip in [V4, ANY4, V6, ANY6, MAPPED4] {
        for shares in [false, true] {
            let refused = bound(ip, place.to(), shares).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{ip}, {shares}");
        }
    }
    // The hold alone does not keep out a socket that is bound to an interface.
    let device = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    device.bind_device(Some(b"lo")).unwrap();
    let at = SocketAddr::from((V4, place.to()));
    let refused = device.bind(&at.into()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    drop(guard);
    device.bind(&at.into()).unwrap();
}

#[test]
fn guard_refuses_second_sockets_unless_they_ask_to_share() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let _guard = Guard::on(std::slice::from_ref(&place.permit), NOBODY).unwrap();
    let to = place.to();
    for (first, second) in [(V4, V4), (ANY4, V4), (ANY4, ANY4), (V6, V6), (ANY6, ANY6)] {
        let one = bound(first, to, false).unwrap();
        let refused = bound(second, to, false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{first} {second}");
        bound(second, to, true).unwrap();
        drop(one);
        bound(second, to, false).unwrap();
    }
}

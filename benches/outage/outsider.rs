//! An outsider that binds every port after the service is back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portbook::domain::lease::Handover;
use socket2::{Domain, Socket, Type};

use crate::figure;
use crate::owner::Owner;

/// Ports that it tries.
const EVERYWHERE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Measures and prints.
pub fn measure(listening: &[Owner], quiet: &[Owner], names: &[u16], handover: Handover) {
    figure::heading("Binds by an outsider after the restart: how many of them succeed");
    let of = |owners: &[Owner]| owners.iter().map(|owner| owner.port).collect::<Vec<_>>();
    for (ports, whose) in [
        (of(listening), "the owner listens"),
        match handover {
            Handover::Fd => (of(quiet), "the owner does not listen"),
            _ => (of(quiet), "the owner does not listen yet: gate open"),
        },
        (names.to_vec(), "the owner is away: gate shut"),
    ] {
        for reuse_address in [false, true] {
            let how = if reuse_address {
                "SO_REUSEADDR"
            } else {
                "strictly"
            };
            let mut counts = Vec::new();
            for ip in EVERYWHERE {
                let taken = ports
                    .iter()
                    .filter(|port| bind(ip, **port, reuse_address).is_ok());
                counts.push(format!("{ip} {}", taken.count()));
            }
            let what = format!("{} ports, {whose}, {how}", ports.len());
            figure::line(&what, counts.join(", "));
        }
    }
}

/// Binds with SO_REUSEADDR, listens, and closes again.
fn bind(ip: IpAddr, port: u16, reuse_address: bool) -> io::Result<()> {
    let domain = if ip.is_ipv4() {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(reuse_address)?;
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    socket.listen(1)
}

//! Ties: the way in which a hold for UDP takes no datagram.
//!
//! A UDP socket receives as soon as it is bound. So a hold is bound as strictly as any, and then tied to
//! an interface that does not exist (SO_BINDTOIFINDEX, `socket(7)`): the kernel delivers nothing to it,
//! and still counts it when another socket binds, unless that one is bound to an interface itself. Such
//! a hold can stay beneath its owner. `udp_facts` checks all of this on the running kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::domain::address::{AddressGroup, BindAddress};

/// Index of an interface that does not exist: the kernel numbers interfaces upwards from 1.
pub const NO_INTERFACE: u32 = 0x7fff_fff0;

/// Maximum time for a datagram to go through this host.
const LONG: Duration = Duration::from_secs(1);

/// Ties a socket that may be tied already.
pub(super) fn tie(socket: &Socket, address: &BindAddress) -> io::Result<()> {
    if is_tied(socket) {
        return Ok(());
    }
    tie_new(socket, address)
}

/// Ties a socket, where the kernel keeps its port all the same. A socket on a link-local address
/// stays as it is: it has an interface already, and with another it would let in programs on that one.
pub(super) fn tie_new(socket: &Socket, address: &BindAddress) -> io::Result<()> {
    if address.scope != 0 || obstacle().is_some() {
        return Ok(());
    }
    tie_always(socket)
}

fn tie_always(socket: &Socket) -> io::Result<()> {
    socket.bind_device_by_index_v4(NonZeroU32::new(NO_INTERFACE))
}

/// Whether a socket is tied.
pub(super) fn is_tied(socket: &Socket) -> bool {
    let index = socket.device_index_v4();
    index.is_ok_and(|index| index.is_some_and(|index| index.get() == NO_INTERFACE))
}

/// Whether holds for UDP on these addresses can stay beneath their owner.
pub fn can_stay_beneath(group: &AddressGroup) -> bool {
    let mut addresses = group.addresses().iter();
    addresses.all(|address| address.scope == 0) && obstacle().is_none()
}

/// The reason for which no hold for UDP can stay beneath its owner on this host: found out by a trial,
/// once a process. `None` if they can.
pub fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE.get_or_init(|| trial().err()).as_deref()
}

fn trial() -> Result<(), String> {
    let failed = |error: io::Error| format!("it could not be tried: {error}");
    let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)))
        .map_err(failed)?;
    let at = held.local_addr().map_err(failed)?;
    let held = Socket::from(held);
    tie_always(&held).map_err(|error| format!("SO_BINDTOIFINDEX: {error}"))?;
    if [false, true].iter().any(|shares| binds(at, *shares)) {
        return Err("a port with a tied socket can be bound".to_owned());
    }
    if receives(&held, at).map_err(failed)? {
        return Err("a tied socket receives".to_owned());
    }
    Ok(())
}

fn binds(at: SocketAddr, shares: bool) -> bool {
    let bound = Socket::new(Domain::for_address(at), Type::DGRAM, None).and_then(|socket| {
        socket.set_reuse_address(shares)?;
        socket.bind(&at.into())
    });
    bound.is_ok()
}

/// Whether a socket gets a datagram that is sent to its address. A second one, which the sender sends to
/// itself, tells when the first has had its time.
fn receives(held: &Socket, at: SocketAddr) -> io::Result<bool> {
    let ip: IpAddr = at.ip();
    let sender = UdpSocket::bind((ip, 0))?;
    sender.set_read_timeout(Some(LONG))?;
    sender.send_to(&[0], at)?;
    sender.send_to(&[0], sender.local_addr()?)?;
    sender.recv(&mut [0])?;
    held.set_nonblocking(true)?;
    let mut byte = [std::mem::MaybeUninit::uninit()];
    Ok(held.recv(&mut byte).is_ok())
}

//! Netlink requests (`netlink(7)`) for the interface list and the socket tables. With rustix
//! descriptors instead of `netlink_sys::Socket`, whose clones each close one shared descriptor.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN,
    NetlinkBuffer, NetlinkHeader,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Maximum size of one datagram of a dump (`netlink_dump` in Linux caps it).
const RECEIVE_BYTES: usize = 32 * 1024;

/// Whether more batches follow.
enum Batch {
    More,
    Done,
}

/// A netlink socket for requests, one after another.
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a netlink socket; `None` is NETLINK_ROUTE, as in rustix.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        let buffer = vec![0; RECEIVE_BYTES];
        Ok(Self { socket, buffer })
    }

    /// Asks for a dump and passes the payload of each message to `each`. After an error the rest of
    /// the answer is still in the socket: drop it.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.send(kind, NLM_F_DUMP, body)?;
        loop {
            if let Batch::Done = self.receive(&mut each)? {
                return Ok(());
            }
        }
    }

    /// Asks for one thing, and passes the payload of the single message of its answer to `each`.
    pub(super) fn get(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.send(kind, 0, body)?;
        self.receive(&mut each).map(drop)
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        send(
            &self.socket,
            &request(kind, flags, body),
            SendFlags::empty(),
        )?;
        Ok(())
    }

    fn receive(&mut self, each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Batch> {
        let buffer = &mut self.buffer[..];
        let received =
            rustix::io::retry_on_intr(|| recv(&self.socket, &mut *buffer, RecvFlags::empty()));
        let (length, _) = received?;
        read_batch(&self.buffer[..length], each)
    }
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    let header_bytes = header.buffer_len();
    let total = header_bytes + body.len();
    header.length = u32::try_from(total).unwrap_or(u32::MAX);
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | flags;
    let mut message = vec![0; total];
    header.emit(&mut message[..header_bytes]);
    message[header_bytes..].copy_from_slice(body);
    message
}

/// Reads the messages of one datagram.
fn read_batch(
    mut bytes: &[u8],
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Batch> {
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).map_err(invalid)?;
        match message.message_type() {
            NLMSG_NOOP => {}
            NLMSG_DONE | NLMSG_ERROR => {
                return refusal(message.payload()).map_or(Ok(Batch::Done), Err);
            }
            NLMSG_OVERRUN => return Err(rustix::io::Errno::NOBUFS.into()),
            _ => each(message.payload())?,
        }
        // Messages are aligned to four bytes; the last one may lack its padding (NLMSG_ALIGN).
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(Batch::More)
}

/// Error number at the start of NLMSG_ERROR and NLMSG_DONE, negative as in the kernel.
fn refusal(payload: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    (code < 0).then(|| io::Error::from_raw_os_error(-code))
}

/// An answer that cannot be parsed.
pub(super) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        request(kind, NLM_F_DUMP, body)
    }

    #[test]
    fn messages_are_read_until_done() {
        let mut bytes = message(20, b"four");
        bytes.extend(message(20, b"more"));
        bytes.extend(message(NLMSG_DONE, &0i32.to_ne_bytes()));
        bytes.extend(message(20, b"late"));
        let mut seen = Vec::new();
        let batch = read_batch(&bytes, &mut |payload| {
            seen.push(payload.to_vec());
            Ok(())
        });
        assert!(matches!(batch, Ok(Batch::Done)));
        assert_eq!(seen, [b"four".to_vec(), b"more".to_vec()]);
    }

    #[test]
    fn a_refusal_carries_the_kernels_error_number() {
        let refused = message(NLMSG_ERROR, &(-13i32).to_ne_bytes());
        let error = read_batch(&refused, &mut |_| Ok(())).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(13));
        assert!(read_batch(&refused[..10], &mut |_| Ok(())).is_err());
    }
}

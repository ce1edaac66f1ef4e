//! Handing open sockets to other programs: over a Unix socket (SCM_RIGHTS, `unix(7)`), and by
//! number to the program that this process becomes (`sd_listen_fds(3)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags, dup2, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Maximum number of descriptors in one message (SCM_MAX_FD in Linux).
pub const MOST_AT_ONCE: usize = 253;

/// First number at which a program looks for sockets (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// Maximum number of sockets to hand to a program by number: several ports, each on a few
/// addresses.
pub const MOST_BY_NUMBER: usize = 64;

/// Variables that announce sockets to a program (`sd_listen_fds(3)`; the last since systemd 258).
pub const LISTEN_VARIABLES: [&str; 4] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
];

/// Name of a socket without one (`sd_listen_fds_with_names(3)`).
const UNNAMED: &str = "unknown";

/// Sends `text` and up to [`MOST_AT_ONCE`] descriptors in one message. A non-blocking socket
/// without room gives EAGAIN.
pub fn send(socket: impl AsFd, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL.into());
    }
    let sent = sendmsg(
        socket,
        &[IoSlice::new(text)],
        &mut rights,
        SendFlags::NOSIGNAL,
    )?;
    Ok(sent)
}

/// Receives up to `room.len()` bytes, and appends the descriptors that came with them to
/// `descriptors`, closed on exec. Zero bytes: the other side has ended.
pub fn receive(
    socket: impl AsFd,
    room: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut [IoSliceMut::new(room)], &mut rights, flags)?;
    for part in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    // The kernel dropped some, for instance under a low RLIMIT_NOFILE.
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
    Ok(message.bytes)
}

/// The numbers from 3 upwards, kept free for the sockets of a program.
#[derive(Debug)]
pub struct Numbers {
    /// Numbers that were free, each occupied by a placeholder.
    kept: Vec<OwnedFd>,
}

impl Numbers {
    /// Occupies the first numbers. Must be called before this process opens anything that lasts,
    /// since that would take them.
    pub fn keep() -> io::Result<Self> {
        let placeholder = OwnedFd::from(std::fs::File::open("/dev/null")?);
        let mut kept = Vec::with_capacity(MOST_BY_NUMBER);
        // The placeholder itself has the first free number, so it comes first.
        kept.push(placeholder);
        while kept.len() < MOST_BY_NUMBER {
            kept.push(fcntl_dupfd_cloexec(&kept[0], FIRST)?);
        }
        kept.sort_by_key(AsRawFd::as_raw_fd);
        Ok(Self { kept })
    }

    /// Names of the sockets that a supervisor left from 3 on for this very process. `None` if there
    /// are none, or if one of them is not open.
    pub fn outer(&self) -> Option<Vec<String>> {
        let (count, mut names) = announced()?;
        let was_open = |number| self.kept.iter().all(|kept| kept.as_raw_fd() != number);
        let fits = usize::try_from(count).is_ok_and(|count| count <= MOST_BY_NUMBER);
        if count == 0 || !fits || !(FIRST..FIRST + count).all(was_open) {
            return None;
        }
        names.resize(usize::try_from(count).ok()?, UNNAMED.to_owned());
        Some(names)
    }

    /// Puts the sockets at 3, 4, 5, …, or behind the first `before` numbers, and lets them pass
    /// through `exec`. An inherited descriptor at one of these numbers is replaced, as by every
    /// program that hands over sockets so.
    pub fn place<'a>(
        mut self,
        before: usize,
        sockets: impl Iterator<Item = &'a OwnedFd>,
    ) -> io::Result<()> {
        let first = RawFd::try_from(before).map_or(FIRST, |before| FIRST + before);
        for (number, socket) in (first..).zip(sockets) {
            let place = self.kept.iter_mut().find(|kept| kept.as_raw_fd() == number);
            match place {
                Some(place) => dup2(socket, place)?,
                None => dup2(socket, &mut *inherited(number)?)?,
            }
        }
        self.leave_to_exec();
        Ok(())
    }

    /// Leaves all numbers open: the exec closes the placeholders in one call, and the program has the
    /// sockets that were placed.
    pub fn leave_to_exec(self) {
        std::mem::forget(self.kept);
    }
}

/// Sockets that a supervisor started this process with, and its names for them
/// (`sd_listen_fds_with_names(3)`). They are closed on exec from now on. Must be called once,
/// before this process opens anything that lasts.
pub fn given_by_supervisor() -> Vec<(String, OwnedFd)> {
    let Some((count, names)) = announced() else {
        return Vec::new();
    };
    let mut names = names.into_iter();
    let given = (FIRST..FIRST.saturating_add(count)).filter_map(|number| {
        let name = names.next().unwrap_or_default();
        let socket = std::mem::ManuallyDrop::into_inner(inherited(number).ok()?);
        fcntl_setfd(&socket, FdFlags::CLOEXEC).ok()?;
        Some((name, socket))
    });
    given.collect()
}

/// Number of sockets that the environment announces for this very process, and their names as far
/// as they are given.
fn announced() -> Option<(RawFd, Vec<String>)> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
        return None;
    }
    let count: RawFd = variable("LISTEN_FDS").parse().ok()?;
    let names = std::env::var("LISTEN_FDNAMES").ok();
    let names = names.iter().flat_map(|names| names.split(':'));
    Some((count.max(0), names.map(str::to_owned).collect()))
}

/// Takes a descriptor that this process was started with: at a number that [`Numbers::keep`] found
/// taken, or that the supervisor named.
#[expect(
    unsafe_code,
    reason = "an inherited descriptor has no owner to take it from"
)]
fn inherited(number: RawFd) -> io::Result<std::mem::ManuallyDrop<OwnedFd>> {
    // A number that was closed meanwhile may belong to another descriptor.
    rustix::io::fcntl_getfd(borrowed(number))?;
    // SAFETY: no value in this program owns the number. Either `Numbers::keep` occupied every free
    // number from 3 on, when this process had opened nothing that lasts, and found this one taken;
    // or the supervisor left sockets at these numbers for this very process, and nothing that lasts
    // has been opened since. The descriptor is open, as the call above has checked.
    Ok(std::mem::ManuallyDrop::new(unsafe {
        OwnedFd::from_raw_fd(number)
    }))
}

#[expect(
    unsafe_code,
    reason = "an inherited descriptor has no owner to borrow it from"
)]
fn borrowed(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the number is not -1, and the descriptor is only asked whether it is open, which is
    // allowed for any number.
    unsafe { BorrowedFd::borrow_raw(number) }
}

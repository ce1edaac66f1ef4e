//! What the machine offers: its network interfaces, who is on its ports, its processes, clocks and
//! sockets. Everything here asks the kernel and reports; nothing here decides.

pub mod clock;
pub mod closing;
pub mod folder;
pub mod handover;
pub mod hold;
pub mod interface;
pub mod kernel;
mod netlink;
pub mod occupancy;
pub mod process;
pub mod readiness;
pub mod supervisor;

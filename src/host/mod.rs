//! The machine: its network interfaces, the occupants of its ports, its processes, clocks and
//! sockets. This layer asks the kernel and reports; it decides nothing.

pub mod bpf;
pub mod clock;
pub mod closing;
pub mod containers;
pub mod deletion;
pub mod ending;
pub mod folder;
pub mod handover;
pub mod hold;
pub mod interface;
pub mod kernel;
mod netlink;
pub mod occupancy;
pub mod pidfd;
pub mod process;
pub mod readiness;
pub mod redirect;
pub mod supervisor;

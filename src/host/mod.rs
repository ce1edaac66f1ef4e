//! What the machine offers: its network interfaces, who is on its ports, its processes and the
//! kernel's settings. Everything here asks the kernel and reports; nothing here decides.

pub mod interface;
pub mod kernel;
mod netlink;
pub mod occupancy;
pub mod process;

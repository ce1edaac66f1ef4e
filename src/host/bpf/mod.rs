//! A program in the kernel that lets one program alone bind a port whose gate is open (`bpf(2)`): the hand-over
//! `bind`.
//!
//! The program of each lease is known by its cgroup ([`Folder`]). The [`Guard`] is attached at the root of the
//! cgroups, so that all processes of the host meet it, and only while there are ports to guard. Its links are
//! descriptors: they end with this process, unless a supervisor keeps copies of them.

mod call;
mod code;
#[cfg(test)]
mod facts;
mod folder;
mod guard;
mod permit;
mod program;
mod trial;

pub use call::is_link;
pub use folder::{Folder, PREFIX, with_prefix};
pub use guard::Guard;
pub use permit::Permit;
pub use trial::obstacle;

//! A program in the kernel that lets one program alone bind a port whose gate is open (`bpf(2)`): the hand-over
//! `bind`.
//!
//! The program of each lease is known by its cgroup ([`Folder`]). The [`Guard`] is attached at the root of the
//! cgroups, so that all processes of the host meet it, and only while there are ports to guard. Its links are
//! descriptors: they end with this process, unless a supervisor keeps copies of them.
//!
//! For a program that asks for a port of its own choice ([`Mapping`]), a [`Rewriter`] on its cgroup puts the leased
//! port in the place of that, before the guard sees it. Of a program all of whose ports are mapped, it gives out
//! [`Spare`] leases.

mod call;
mod code;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod facts_of_mapping;
#[cfg(test)]
mod facts_of_spares;
#[cfg(test)]
mod facts_of_udp;
mod folder;
mod guard;
mod mapping;
mod permit;
mod program;
mod rewrite;
mod rewriter;
mod sent;
mod stock;
mod table;
mod trial;
mod twice;

pub use call::is_link;
pub use folder::{Folder, PREFIX, of_process, with_prefix};
pub use guard::Guard;
pub use mapping::{All, Mapping, Mappings, Spare};
pub use permit::Permit;
pub use rewriter::{MOST_MAPPINGS, Rewriter};
#[cfg(test)]
pub use stock::Taken;
pub use trial::obstacle;

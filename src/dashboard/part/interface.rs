//! Interfaces in words.

use crate::answers::document::InterfaceDocument;

/// The kind of an interface.
pub const fn kind(interface: &InterfaceDocument) -> &'static str {
    kind_of(interface.loopback, interface.is_virtual)
}

/// The kind of an interface with these flags.
pub const fn kind_of(loopback: bool, is_virtual: bool) -> &'static str {
    match (loopback, is_virtual) {
        (true, _) => "loopback",
        (_, true) => "container or tunnel",
        _ => "network",
    }
}

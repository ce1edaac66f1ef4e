//! Interfaces in words.

use crate::answers::document::{InterfaceAddressDocument, InterfaceDocument};

/// The addresses of an interface without the link-local ones, which have a zone.
pub fn usual(interface: &InterfaceDocument) -> impl Iterator<Item = &InterfaceAddressDocument> {
    let addresses = interface.addresses.iter();
    addresses.filter(|address| !address.address.contains('%'))
}

/// The kind of an interface with these flags.
pub const fn kind_of(loopback: bool, is_virtual: bool) -> &'static str {
    match (loopback, is_virtual) {
        (true, _) => "loopback",
        (_, true) => "container or tunnel",
        _ => "network",
    }
}

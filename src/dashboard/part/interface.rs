//! A network interface as a row.

use super::badge::Badge;
use crate::api::document::{InterfaceAddressDocument, InterfaceDocument};

/// One row of a table of interfaces.
#[derive(Debug, Clone)]
pub struct InterfaceRow {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub state: Badge,
    /// What kind of interface it is, where that matters.
    pub kind: &'static str,
    /// Its addresses.
    pub addresses: Vec<AddressCell>,
}

/// An address of an interface.
#[derive(Debug, Clone)]
pub struct AddressCell {
    /// The address with its prefix.
    pub text: String,
    /// Whether the host talks to the world from it.
    pub primary: bool,
}

impl From<InterfaceDocument> for InterfaceRow {
    fn from(interface: InterfaceDocument) -> Self {
        let kind = match (interface.loopback, interface.is_virtual) {
            (true, _) => "loopback",
            (_, true) => "container or tunnel",
            _ => "network",
        };
        Self {
            name: interface.name,
            state: Badge::interface(interface.up),
            kind,
            addresses: interface
                .addresses
                .into_iter()
                .map(AddressCell::from)
                .collect(),
        }
    }
}

impl From<InterfaceAddressDocument> for AddressCell {
    fn from(address: InterfaceAddressDocument) -> Self {
        Self {
            text: format!("{}/{}", address.address, address.prefix_len),
            primary: address.primary,
        }
    }
}

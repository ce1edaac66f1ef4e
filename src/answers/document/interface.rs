//! The network interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceDocument {
    /// Name.
    pub name: String,
    /// Index in the kernel.
    pub index: u32,
    /// Whether it is up (IFF_UP).
    pub up: bool,
    /// Whether it is a loopback (IFF_LOOPBACK).
    pub loopback: bool,
    /// Whether it belongs to containers or tunnels; classes such as `private` leave it out.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// Addresses.
    pub addresses: Vec<InterfaceAddressDocument>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceAddressDocument {
    /// Address, with its zone if it is link-local.
    pub address: String,
    /// Length of the network prefix in bits.
    pub prefix_len: u8,
    /// Whether the host uses it for its default route.
    pub primary: bool,
}

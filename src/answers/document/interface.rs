//! The network interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceDocument {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Whether it belongs to containers or tunnels, which classes leave out.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddressDocument>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceAddressDocument {
    /// The address, with its zone where it has one.
    pub address: String,
    /// The length of its network prefix.
    pub prefix_len: u8,
    /// Whether the host prefers it for talking to the world.
    pub primary: bool,
}

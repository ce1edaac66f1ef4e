//! The host's network interfaces as they are now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{InterfaceAddressDocument, InterfaceDocument};
use super::operation::{Answered, Context, Description, Method, Operation, Output, Query, Tag};
use super::paging::WholeQuery;
use super::problem::{Code, Problem};
use crate::engine::refusal::Refusal;
use crate::host::interface::{Interface, InterfaceAddress, Snapshot};

/// Every interface of the host.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct InterfaceList {
    /// By index.
    pub interfaces: Vec<InterfaceDocument>,
}

impl Output for InterfaceList {}

pub struct ListInterfaces;

impl Operation for ListInterfaces {
    type Input = Query<WholeQuery>;
    type Output = InterfaceList;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/interfaces";
    const ID: &'static str = "listInterfaces";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "List interfaces")
            .says("All network interfaces of the host and their addresses, as they are now.")
            .answers::<InterfaceList>(
                200,
                "The interfaces.",
                include_str!("example/interfaces.json"),
            )
            .refused(&[Code::HostError])
    }
}

impl Answered for ListInterfaces {
    async fn answer(context: Context<'_>, _: Query<WholeQuery>) -> Result<InterfaceList, Problem> {
        let host = context.service.interfaces().current();
        let interfaces = documents(&*host.map_err(Refusal::from)?);
        Ok(InterfaceList { interfaces })
    }
}

/// The documents of every interface of a host.
pub fn documents(host: &Snapshot) -> Vec<InterfaceDocument> {
    host.listing().iter().map(InterfaceDocument::from).collect()
}

impl From<&Interface> for InterfaceDocument {
    fn from(interface: &Interface) -> Self {
        let address = |address: &InterfaceAddress| {
            let zone = match address.scope {
                0 => String::new(),
                _ => format!("%{}", interface.name),
            };
            InterfaceAddressDocument {
                address: format!("{}{zone}", address.ip),
                prefix_len: address.prefix_len,
                primary: address.primary,
            }
        };
        Self {
            name: interface.name.to_string(),
            index: interface.index,
            up: interface.up,
            loopback: interface.loopback,
            is_virtual: interface.is_virtual,
            addresses: interface.addresses.iter().map(address).collect(),
        }
    }
}

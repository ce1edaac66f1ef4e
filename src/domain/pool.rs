//! Names of the built-in pools, and the orders in which ports of a pool are tried.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::port::Port;
use super::words::{UnknownWord, Written, as_str};

/// Pool of requests that name none.
pub const DEFAULT_POOL: &str = "default";

/// Pool of the console's own port.
pub const CONSOLE_POOL: &str = "console";

/// Pool of the port server.
pub const PORTSERVER_POOL: &str = "portserver";

/// Order in which the candidates of a pool are tried.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<Strategy>)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The cheapest of a handful by what attempts and snapshots taught.
    Learned,
    /// The preferred port first, then upwards through the ranges, then from their start.
    Ordered,
    /// Uniform over what is eligible.
    Random,
}

impl Strategy {
    /// Default of a pool: a pool with a preferred port tries those near it first, and others take the
    /// port least likely to be wanted.
    pub const fn of_pool(prefer: Option<Port>) -> Self {
        match prefer {
            Some(_) => Self::Ordered,
            None => Self::Learned,
        }
    }
}

impl Written for Strategy {
    const KIND: &'static str = "a strategy";
}

as_str!(Strategy);

//! Pools: named sets of ports with the rules for choosing among them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::lease::Handover;
use super::port::{Port, PortSet, Protocols};
use super::selector::Selector;
use super::words::{UnknownWord, Written, as_str};

/// The pool that requests use unless they name another.
pub const DEFAULT_POOL: &str = "default";

/// The pool that the console's own port comes from.
pub const CONSOLE_POOL: &str = "console";

/// The pool that the port server takes from.
pub const PORTSERVER_POOL: &str = "portserver";

/// In which order the candidates of a pool are tried.
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
    /// What a pool does unless it says: whoever prefers a port means those near it, and all
    /// others want any that nobody comes for.
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

/// A named set of port ranges with its rules. All durations are on the boot-time clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name: `[a-z0-9_]+`.
    pub name: Arc<str>,
    /// The ports that may be granted.
    pub ranges: PortSet,
    /// Ports inside the ranges that are never granted, not even when asked for by number.
    pub exclude: PortSet,
    /// Ports inside the ranges that are granted to requests by number alone.
    pub static_band: PortSet,
    /// Whether browsers open what is granted: ports that they refuse are left out then.
    pub browser_safe: bool,
    /// Where `ordered` starts; the lowest port of the ranges if absent.
    pub prefer: Option<Port>,
    /// Number of ports above a preferred one that a request tries before it turns to the ranges.
    pub prefer_span: u16,
    /// The order of candidates.
    pub strategy: Strategy,
    /// How many candidate ports one request may try; all of the pool if absent.
    pub max_attempts: Option<NonZeroU32>,
    /// How long one request may spend on attempts altogether.
    pub attempt_timeout: Duration,
    /// How long a port is left alone after a bind on it was refused.
    pub cool_down: Duration,
    /// How long a port is dearer after a lease on it has ended, but for the name that had it.
    pub release_cool_down: Duration,
    /// The protocols that a port must be free for.
    pub protocol: Protocols,
    /// Where the port is held: one number, free on every address that these select.
    pub interfaces: Vec<Selector>,
    /// How the port passes to its owner.
    pub handover: Handover,
    /// How long a lease without an owner waits for its first listener.
    pub claim_within: Duration,
    /// How long a name must be unused to give way to another user's request where the pool is full.
    pub names_idle: Duration,
    /// How long the folder of a name must be gone for its lease to end.
    pub gone_after: Duration,
    /// How long a lease lasts unless it is renewed; no end of its own if absent.
    pub ttl: Option<Duration>,
    /// The longest lifetime that may be asked for; any if absent. Leases that ask for none have it.
    pub max_ttl: Option<Duration>,
    /// How many leases there may be of it at once; any number if absent.
    pub max_leases: Option<NonZeroU32>,
    /// How many of them one user may have; any number if absent.
    pub max_leases_per_user: Option<NonZeroU32>,
}

//! Claims: numbers that one host of a fleet has and no other.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::duration::HumanDuration;
use super::lease::LeaseId;
use super::port::{Port, Protocol};
use super::text::{as_text, from_text};
use super::words::{UnknownWord, Written, as_str, counted};

/// Guard of a claimed number on its host: the record of its portbook alone. No rule in the kernel cuts the
/// program off if the claim is lost.
pub const NO_FENCE: &str = "none";

/// Guard of a claimed number on its host: rules of its kernel, which shut the number by themselves.
pub const KERNEL_FENCE: &str = "kernel";

/// Guard of a number in one word.
pub const fn guard(is_fenced: bool) -> &'static str {
    if is_fenced { KERNEL_FENCE } else { NO_FENCE }
}

/// Host of a claim whose value cannot be read.
pub const UNREADABLE: &str = "?";

/// Command that deletes claims that cannot be read.
pub const EVICT_UNREADABLE: &str = "portbook fleet evict '?'";

/// Maximum number of numbers in a sentence.
const MOST_SHOWN: usize = 10;

/// State of a claim whose host's session was seen to have ended.
#[cfg(feature = "fleet")]
pub const AWAY: &str = "away";

/// Least time after which the fleet takes a number back from a host that is gone. A host that stood still
/// may open a number for ten seconds after its end, which is half of this time.
pub const LEAST_RECLAIM: Duration = Duration::from_secs(40);

/// Least time of reclaim in sessions. Half of it is the longest outage of the engine during which a number
/// can still be reached, and a session is renewed three times.
pub const LEAST_SESSIONS: u32 = 20;

/// Longest such time, in days.
const MOST_DAYS: u32 = 30;
const MOST_RECLAIM: Duration = Duration::from_hours(24 * MOST_DAYS as u64);

/// Variable with the fencing token of a lease, for programs that `portbook run` starts.
pub const FENCE_VARIABLE: &str = "PORTBOOK_FENCE";

/// A port of one protocol, which is unique in a fleet whichever address and pool it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Port.
    pub port: Port,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// Extent in which the numbers of a pool are granted once.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
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
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<Reach>)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// On this host.
    #[default]
    Local,
    /// In the whole fleet: each grant claims its number there first.
    Unique,
}

impl Written for Reach {
    const KIND: &'static str = "an extent of a pool";
}

/// Time after which the fleet takes a number back from a host that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reclaim {
    /// None: the host or an operator gives it back.
    Manual,
    /// This time, of [`LEAST_RECLAIM`] and [`LEAST_SESSIONS`] at least, where the kernel has a fence. None
    /// where it has none.
    After(Duration),
}

impl Reclaim {
    /// The time. `None` if no clock takes numbers back.
    pub const fn time(self) -> Option<Duration> {
        match self {
            Self::Manual => None,
            Self::After(time) => Some(time),
        }
    }
}

impl fmt::Display for Reclaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => f.write_str("manual"),
            Self::After(time) => write!(f, "{}", HumanDuration(*time)),
        }
    }
}

impl FromStr for Reclaim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "manual" {
            return Ok(Self::Manual);
        }
        let Ok(HumanDuration(time)) = text.parse::<HumanDuration>() else {
            return Err(format!(
                "\"{text}\" is no time of reclaim: write \"manual\", or a time such as \"24h\""
            ));
        };
        if (LEAST_RECLAIM..=MOST_RECLAIM).contains(&time) {
            return Ok(Self::After(time));
        }
        Err(format!(
            "\"{text}\" is no time of reclaim: write {} to {MOST_DAYS}d; an outage of etcd that is longer than half of it shuts the numbers",
            HumanDuration(LEAST_RECLAIM)
        ))
    }
}

as_text!(Reclaim);
from_text!(Reclaim);

/// Claim of a lease on its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseClaim {
    /// Fencing token: greater than that of each earlier claim on the number. 0 until it is known again
    /// after a crash.
    pub token: u64,
    /// Whether another host has the number now, or an operator gave it away.
    pub is_lost: bool,
    /// Whether the kernel shuts the number by itself before the fleet gives it away.
    pub is_fenced: bool,
}

/// Stage of a claim on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<ClaimStage>)]
pub enum ClaimStage {
    /// Its commit was, or may have been, sent.
    Asked,
    /// The engine has it.
    Held,
    /// The engine has it no more, and its lease lives on.
    Lost,
}

impl Written for ClaimStage {
    const KIND: &'static str = "a stage of a claim";
}

as_str!(Reach, ClaimStage);

/// A claim of this host, as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Claimed number. A host has at most one claim on it.
    pub number: Number,
    /// Lease that has the number, or was to have it.
    pub lease: LeaseId,
    /// Random text that tells this claim from all others.
    pub nonce: String,
    /// Session of the last commit.
    pub session: String,
    /// Stage.
    pub stage: ClaimStage,
    /// Revision at which the engine has it. 0 if that is not known.
    pub revision: u64,
    /// Fencing token. 0 if it is not known.
    pub token: u64,
    /// Time in seconds after which the fleet takes the number back if this host is gone, as a fence in the
    /// kernel allows. 0 if no clock takes it.
    pub reclaim_s: u64,
    /// Whether a try to claim it in this session was never answered, so that it may be done late.
    pub is_doubtful: bool,
}

impl Claim {
    /// Returns the part that a lease tells.
    pub fn of_lease(&self) -> LeaseClaim {
        LeaseClaim {
            token: self.token,
            is_lost: self.stage == ClaimStage::Lost,
            is_fenced: self.reclaim_s > 0,
        }
    }
}

/// Numbers of claims of this host, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimCounts {
    /// Claims that the fleet has.
    pub held: u64,
    /// Claims whose commit has no answer yet.
    pub asked: u64,
    /// Claims of ended leases that are still to be withdrawn.
    pub releasing: u64,
    /// Claims that were lost and whose leases live on.
    pub lost: u64,
}

/// A number that a host of the fleet has claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetClaim {
    /// Port.
    pub port: Port,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Host that has it; `*` for a number that is reserved on every host.
    pub host: String,
    /// Pool of the lease on that host.
    pub pool: String,
    /// Name of the lease. `None` if it has none, or the host does not publish it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Id of the lease on that host.
    pub lease: String,
    /// Guard of the number on that host: `none` if its kernel enforces nothing.
    pub fence: String,
    /// Fencing token: greater than that of each earlier claim on the number.
    pub fence_token: u64,
    /// Whether the session of the host lives. A number that is reserved on every host needs none.
    pub live: bool,
    /// Whether it is this host.
    #[serde(default)]
    pub own: bool,
}

impl FleetClaim {
    /// Claimed number.
    pub const fn number(&self) -> Number {
        Number {
            protocol: self.protocol,
            port: self.port,
        }
    }
}

/// Claims of these that cannot be read, in words. `None` if there are none.
pub fn unreadable_told(claims: &[FleetClaim]) -> Option<String> {
    let unreadable = claims.iter().filter(|claim| claim.host == UNREADABLE);
    let numbers: Vec<Number> = unreadable.map(FleetClaim::number).collect();
    let count = counted(numbers.len() as u64, "claim");
    (!numbers.is_empty()).then(|| {
        let shown = listed(&numbers);
        format!("{count} of the fleet cannot be read, so that no host gets the number: {shown}")
    })
}

/// The first of some numbers in words, and how many more there are.
pub fn listed(numbers: &[Number]) -> String {
    let shown: Vec<String> = numbers
        .iter()
        .take(MOST_SHOWN)
        .map(Number::to_string)
        .collect();
    let more = match numbers.len().saturating_sub(MOST_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_numbers_are_cut() {
        let number = |port: u16| Number {
            protocol: Protocol::Tcp,
            port: port.to_string().parse().unwrap(),
        };
        let all: Vec<Number> = (9000..9012).map(number).collect();
        assert_eq!(listed(&all[..2]), "9000/tcp, 9001/tcp");
        assert!(listed(&all).ends_with("9009/tcp and 2 more"));
    }

    #[test]
    fn times_of_reclaim_are_long_enough_for_an_outage() {
        assert_eq!("manual".parse(), Ok(Reclaim::Manual));
        let day = Reclaim::After(Duration::from_hours(24));
        assert_eq!("24h".parse(), Ok(day));
        assert_eq!(day.to_string().parse(), Ok(day));
        let refused = "39s".parse::<Reclaim>().unwrap_err();
        assert!(refused.contains("40s"), "{refused}");
        let refused = "31d".parse::<Reclaim>().unwrap_err();
        assert!(refused.contains("to 30d"), "{refused}");
        assert!("never".parse::<Reclaim>().unwrap_err().contains("manual"));
        assert_eq!("unique".parse(), Ok(Reach::Unique));
    }
}

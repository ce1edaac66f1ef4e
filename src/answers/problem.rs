//! The one table of errors: HTTP status, exit code, title and way out of each code (RFC 9457).

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tracing::Span;

use super::document::AttemptDocument;
use crate::engine::refusal::Refusal;
use crate::telemetry::propagation;

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $title:literal $help:literal)*) => {
        /// Code of a problem; clients match on its word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word of the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The HTTP status (RFC 9110).
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// A short title.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// The way out, in a sentence or two.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request" 400 "Invalid request"
        "Read the detail: it names the field and what it takes."
    Unauthorized "unauthorized" 401 "Unauthorized"
        "Send the header \"Authorization: Bearer TOKEN\"; `portbook token` prints the token to users who may read the data directory."
    Forbidden "forbidden" 403 "Forbidden"
        "Leases are changed by their own user or by root; a browser may only send requests from the console's own pages."
    PrivilegedPort "privileged_port" 403 "Privileged port"
        "Choose a port from net.ipv4.ip_unprivileged_port_start upwards, or run the service with CAP_NET_BIND_SERVICE."
    NotFound "not_found" 404 "Not found"
        "It may have ended and been forgotten. `portbook list --all` shows ended leases too."
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed"
        "Reading is GET, asking for ports is POST, releasing is DELETE."
    PortInUse "port_in_use" 409 "Port in use"
        "`portbook who PORT` names the occupant. Ask with prefer instead of port to get the next free one."
    PortLeased "port_leased" 409 "Port leased"
        "Release the lease, or ask with prefer instead of port to get the next free one."
    NameTaken "name_taken" 409 "Name taken"
        "The same name means the same lease. Release it first, or choose another name."
    OtherNetworkNamespace "other_network_namespace" 409 "Other network namespace"
        "A port held here is no use there. Run portbook inside that namespace."
    TooLarge "too_large" 413 "Request too large"
        "A request for ports has a few hundred bytes; 64 KiB are the limit."
    UnsupportedMediaType "unsupported_media_type" 415 "Unsupported media type"
        "Send the header \"Content-Type: application/json\"."
    MisdirectedHost "misdirected_host" 421 "Misdirected host"
        "Use 127.0.0.1, localhost or [::1], or list the name under console.allowed_hosts."
    PortExcluded "port_excluded" 422 "Port excluded"
        "The detail names the rule. `portbook config show` says where it comes from."
    AddressNotAvailable "address_not_available" 422 "Address not available"
        "`portbook interfaces` lists the addresses there are."
    NoSuchInterface "no_such_interface" 422 "No such interface"
        "`portbook interfaces` lists the interfaces there are."
    NoSuchPool "no_such_pool" 422 "No such pool"
        "`portbook config show` lists the pools; add one under [pools.NAME]."
    QuotaExceeded "quota_exceeded" 429 "Quota exceeded"
        "Release leases that are no longer needed; the detail names the limit."
    AttemptsExhausted "attempts_exhausted" 503 "Attempts exhausted"
        "Free one of the ports named in the detail, or raise max_attempts of the pool."
    PoolExhausted "pool_exhausted" 503 "Pool exhausted"
        "Release leases, or widen the ranges of the pool."
    StoreUnavailable "store_unavailable" 503 "Record unavailable"
        "Nothing is granted that cannot be recorded. Look at the disk and the log, then try again."
    HostError "host_error" 503 "Host error"
        "The detail names what the kernel refused. Free memory or descriptors, raise the limits of the service (LimitNOFILE, MemoryMax), or allow what its sandbox forbids (AF_NETLINK, /proc); then try again."
    FleetOff "fleet_off" 409 "No fleet"
        "`portbook fleet join` enters a fleet, in a build with the feature `fleet`. A service has to run."
    FleetAway "fleet_away" 503 "Fleet away"
        "Everything on this host but grants of unique numbers goes on without its fleet. `portbook fleet status` says why etcd does not answer."
    NoService "no_service" 503 "No service"
        "Start one with `portbook serve`. A service answers this only if it ends while a request waits for a port: ask again, another one may have taken over. Commands with --wait do so by themselves."
    Failed "failed" 500 "Command failed"
        "The detail says what failed outside of portbook. The service never answers this itself: commands say it."
    TimedOut "timed_out" 504 "Timed out"
        "Try again, or raise attempt_timeout of the pool."
}

impl Code {
    /// The code of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }

    /// The exit code of a command: 2 for an invalid request, 3 if there is no service, else 1.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::InvalidRequest | Self::NoSuchPool | Self::TooLarge => 2,
            Self::NoService | Self::FleetAway => 3,
            _ => 1,
        }
    }

    /// Seconds to wait before the next try. `None` if another try cannot help.
    pub const fn retry_after(self) -> Option<&'static str> {
        match self.status() {
            429 | 503 => Some("1"),
            _ => None,
        }
    }
}

/// A problem: the error document of the API (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Path of the console's page that explains the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short title of the code.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Explanation of this case, with the way out if there is one.
    pub detail: String,
    /// Word to match on.
    #[schemars(schema_with = "code_words")]
    pub code: String,
    /// Trace of the request, if it was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Attempts of a refused allocation, with the occupants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptDocument>,
}

fn code_words(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json_schema!({"type": "string", "enum": words})
}

impl Problem {
    /// A problem in the trace of the current span.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/errors/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str().to_owned(),
            trace_id: propagation::current_trace_id(&Span::current()),
            attempts: Vec::new(),
        }
    }

    /// An invalid request; the detail names the field and the way out.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "map_err passes errors by value"
    )]
    pub fn invalid(detail: impl ToString) -> Self {
        Self::new(Code::InvalidRequest, detail.to_string())
    }

    /// The exit code of a command.
    pub fn exit_code(&self) -> u8 {
        Code::parse(&self.code).map_or(1, Code::exit_code)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = Code::parse(refusal.code()).unwrap_or(Code::StoreUnavailable);
        match &refusal {
            // A record that takes nothing is told once by the store.
            Refusal::Store(error) if error.may_pass() => {
                tracing::debug!(%error, "a request was refused");
            }
            Refusal::Store(error) => {
                tracing::error!(%error, "the record is unavailable; a request was refused");
            }
            _ if code == Code::HostError => {
                tracing::error!(error = %refusal, "the host failed; a request was refused");
            }
            _ => {}
        }
        Self {
            attempts: refusal
                .attempts()
                .iter()
                .map(AttemptDocument::from)
                .collect(),
            ..Self::new(code, refusal.to_string())
        }
    }
}

impl From<crate::store::StoreError> for Problem {
    fn from(error: crate::store::StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_row_in_the_table() {
        let codes = [
            Refusal::InvalidRequest(String::new()),
            Refusal::NotFound,
            Refusal::Forbidden(String::new()),
            Refusal::QuotaExceeded(String::new()),
            Refusal::OtherNetworkNamespace(1),
            Refusal::Store(crate::store::StoreError::Closed),
            Refusal::SocketTables(std::io::ErrorKind::OutOfMemory.into()),
        ];
        for refusal in codes {
            assert!(Code::parse(refusal.code()).is_some(), "{}", refusal.code());
        }
    }

    #[test]
    fn words_and_codes_are_one_to_one() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
        assert_eq!(Code::PoolExhausted.retry_after(), Some("1"));
        assert_eq!(Code::PortInUse.retry_after(), None);
    }
}

//! `wait_until_serving`: waits for a server, within a limit.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::tool::{Call, Effect, Tool};
use super::word;
use crate::cli::Failure;
use crate::cli::target::Target;
use crate::cli::wait::{self, HttpPath, Outcome, Report, WaitArgs};
use crate::domain::duration::HumanDuration;
use crate::domain::port::{Port, Protocol};

/// Limit on the wait in seconds, unless the call has another. Many clients give up after 60.
const USUAL: u32 = 30;

/// Maximum of the limit in seconds.
const LONGEST: u32 = 300;

/// The server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// Name of the service. A name is that of this work tree, else that of the user.
    #[serde(default)]
    name: Option<String>,
    /// A port, in place of the name.
    #[serde(default)]
    port: Option<Port>,
    /// Path to GET until it is answered below 500, such as / or /health; default: a listener is enough.
    #[serde(default)]
    http: Option<String>,
    /// Only tcp or udp.
    #[serde(default)]
    protocol: Option<Protocol>,
    /// Limit on the wait in seconds, from 1 to 300; default: 30.
    #[serde(default)]
    #[schemars(range(min = 1, max = LONGEST))]
    timeout_s: Option<u32>,
}

pub(in crate::cli::mcp) struct WaitUntilServing;

impl Tool for WaitUntilServing {
    type Arguments = Arguments;
    const NAME: &'static str = "wait_until_serving";
    const TITLE: &'static str = "Wait for a server";
    const DESCRIPTION: &'static str = "\
Waits until the server of a service listens, or answers an HTTP path. Call it after you started a server, in place of \
sleeping. It ends early, with the reason, if waiting is in vain: the program has ended, or another one has the port.";
    const EFFECT: Effect = Effect::Reads;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let args = arguments.args()?;
        let loaded = call.global.load()?;
        let report = tokio::select! {
            report = wait::report(&loaded, &args) => report?,
            () = call.cancelled.cancelled() => return Err(Failure::other("the client cancelled the call")),
        };
        Ok(told(call, report))
    }
}

impl Arguments {
    fn args(self) -> Result<WaitArgs, Failure> {
        let seconds = self.timeout_s.unwrap_or(USUAL);
        if !(1..=LONGEST).contains(&seconds) {
            let wrong = format!("timeout_s is from 1 to {LONGEST}");
            return Err(Failure::usage(wrong));
        }
        let path = self.http.map(|path| path.parse::<HttpPath>()).transpose();
        let target = word(self.name, self.port)?.parse::<Target>();
        Ok(WaitArgs {
            target: target.map_err(Failure::usage)?,
            protocol: self.protocol,
            free: false,
            http: path.map_err(Failure::usage)?,
            mine: false,
            timeout: Some(HumanDuration(Duration::from_secs(seconds.into()))),
        })
    }
}

fn told(call: &Call, report: Report) -> Answer {
    let is_served = report.outcome.code() == 0;
    let answer = Answer::new(sentence(report.outcome)).seen(&report.detail);
    let answer = if is_served {
        answer.next("service_url has the address.")
    } else {
        answer
            .next("Read the output of the server: it may have ended, or listen on another port than PORT says.")
            .next("who_is_on_port tells whether another program has the port.")
            .failed()
    };
    let lease = report.lease.map(|lease| call.tree.brief(&lease));
    answer
        .with("outcome", serde_json::json!(report.outcome))
        .with("ports", serde_json::json!(report.ports))
        .with("status", report.status)
        .with(
            "detail",
            Some(report.detail).filter(|detail| !detail.is_empty()),
        )
        .with("lease", lease)
}

const fn sentence(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Listening => "The server listens.",
        Outcome::Answered => "The server answers.",
        Outcome::Free => "The port is free.",
        Outcome::Ended => "Waiting is in vain: the lease or its program has ended.",
        Outcome::Lost => "Waiting is in vain: another program has the port.",
        Outcome::Kept => "Waiting is in vain: the name keeps the port for its program.",
        Outcome::TimedOut => "The time is up, and the server does not serve yet.",
        Outcome::Absent => "The server does not serve at this moment.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(seconds: Option<u32>) -> Arguments {
        Arguments {
            name: Some("web".to_owned()),
            port: None,
            http: None,
            protocol: None,
            timeout_s: seconds,
        }
    }

    #[test]
    fn every_wait_has_a_limit() {
        let limit = |seconds| {
            let args = arguments(seconds).args().unwrap();
            args.timeout.unwrap().0.as_secs()
        };
        assert_eq!(limit(None), u64::from(USUAL));
        assert_eq!(limit(Some(LONGEST)), u64::from(LONGEST));
        assert!(arguments(Some(0)).args().is_err());
        assert!(arguments(Some(LONGEST + 1)).args().is_err());
    }

    #[test]
    fn target_is_a_name_or_a_port() {
        let mut both = arguments(None);
        both.port = Port::new(3000);
        assert!(both.args().is_err());
        let mut neither = arguments(None);
        neither.name = None;
        assert!(neither.args().is_err());
    }
}

//! `portbook resolve --watch`: the answer again at each change, through outages of etcd and restarts of the service.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::output::write;
use super::super::{Failure, Global, note, with_service};
use super::resolve::{ResolveArgs, ask};
use super::show;
use crate::answers::fleet::FleetNamesDocument;
use crate::answers::problem::Code;
use crate::config::Loaded;
use crate::domain::attempt::printable;
use crate::library::Error;
use crate::library::backend::Backend;
use crate::library::find;

/// Pause between two looks for a service that has gone, or that knows no answer: no event tells of it.
const ROUND: Duration = Duration::from_secs(1);

/// Prints each answer until stdout has no reader.
pub(super) async fn run(
    global: &Global,
    args: &ResolveArgs,
    loaded: &Loaded,
) -> Result<(), Failure> {
    let mut watching = Watching {
        global,
        args,
        last: None,
    };
    let follow = async |backend: &Backend| Ok::<_, Failure>(watching.follow(backend).await);
    let mut ended = with_service(loaded, follow).await?;
    loop {
        match ended {
            End::NoReader => return Ok(()),
            End::Output(failure) => return Err(failure),
            End::Service(error) if watching.last.is_some() && may_pass(&error) => {
                if !watching.tell_silence(&error)? {
                    return Ok(());
                }
            }
            End::Service(error) => return Err(error.into()),
        }
        ended = watching.follow_next(loaded).await;
    }
}

/// A reason for which answers end.
enum End {
    /// stdout has no reader any more.
    NoReader,
    Output(Failure),
    Service(Error),
}

struct Watching<'a> {
    global: &'a Global,
    args: &'a ResolveArgs,
    /// Answer that was printed last. `None` before the first one.
    last: Option<Last>,
}

struct Last {
    answer: FleetNamesDocument,
    /// Time at which a service last said so.
    at: Instant,
}

impl Watching<'_> {
    /// Prints answers of a service until it gives none.
    async fn follow(&mut self, backend: &Backend) -> End {
        let mut known = None;
        loop {
            let answer = match ask(self.args, backend, known).await {
                Ok(answer) => answer,
                Err(error) => return End::Service(error),
            };
            known = Some(answer.tag.clone());
            match self.tell(answer) {
                Ok(true) => {}
                Ok(false) => return End::NoReader,
                Err(failure) => return End::Output(failure),
            }
        }
    }

    /// Waits for a service, and prints its answers.
    async fn follow_next(&mut self, loaded: &Loaded) -> End {
        loop {
            sleep(ROUND).await;
            match find::find(loaded).await {
                Ok(Some(client)) => return self.follow(&Backend::Service(client)).await,
                Ok(None) => {}
                Err(error) if may_pass(&error) => {}
                Err(error) => return End::Service(error),
            }
        }
    }

    /// Tells that no service answers, or that it knows no answer. `false` if stdout has no reader.
    fn tell_silence(&mut self, error: &Error) -> Result<bool, Failure> {
        let Some(last) = self.last.as_ref().filter(|last| last.answer.fresh) else {
            return Ok(true);
        };
        note(&format!(
            "{}; the answer above may be old, and the watch goes on once there is one",
            printable(&error.to_string())
        ));
        let age = u64::try_from(last.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.print(FleetNamesDocument {
            fresh: false,
            age_ms: last.answer.age_ms.saturating_add(age),
            ..last.answer.clone()
        })
    }

    /// Tells an answer of a service. `false` if stdout has no reader.
    fn tell(&mut self, answer: FleetNamesDocument) -> Result<bool, Failure> {
        let was_fresh = self.last.as_ref().is_none_or(|last| last.answer.fresh);
        match (was_fresh, answer.fresh) {
            (true, false) => show::tell_age(false, answer.age_ms),
            (false, true) => note("the fleet answers again"),
            _ => {}
        }
        self.print(answer)
    }

    /// Prints an answer that is another one than the last: one that is as fresh as that with `--json` alone.
    fn print(&mut self, answer: FleetNamesDocument) -> Result<bool, Failure> {
        let last = self.last.as_ref().map(|last| &last.answer);
        let is_same = last.is_some_and(|last| {
            last.names == answer.names && (last.fresh == answer.fresh || !self.global.json)
        });
        let has_reader = is_same || write(self.text(&answer)?.as_bytes())?;
        self.last = Some(Last {
            answer,
            at: Instant::now(),
        });
        Ok(has_reader)
    }

    fn text(&self, answer: &FleetNamesDocument) -> Result<String, Failure> {
        if self.global.json {
            let text = serde_json::to_string(answer);
            return Ok(text.map_err(|error| Failure::other(error.to_string()))? + "\n");
        }
        let lines = show::text(&answer.names);
        Ok(lines.lines().map(|line| printable(line) + "\n").collect())
    }
}

/// Whether a service may answer later: it has gone, or etcd is away and it knows no answer of before.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::NotAnswered { .. } | Error::Silent(_) => true,
        Error::Refused(problem) => problem.code == Code::FleetAway.as_str(),
        _ => false,
    }
}

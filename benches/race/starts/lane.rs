//! A lane: one port, its rival, and its server that starts again and again.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::rival::{Attack, Kind, Pace, YIELD};
use super::server::Started;
use crate::common::api::Api;
use crate::common::now;
use crate::common::role::Role;

/// A port and those who want it.
pub struct Lane {
    pub port: u16,
    /// Hand-over of the port to the server.
    pub way: &'static str,
    pub kind: Kind,
    pub pace: Pace,
    pub starts: u32,
}

/// What came of a lane.
pub struct Came {
    /// Number of starts after which the server could not listen.
    pub lost: u32,
    /// Number of binds by which the rival got the port.
    pub rival_won: u64,
    pub rival_tried: u64,
}

/// Longest wait for the port: a rival that has it lets go of it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Lane {
    /// Starts the server as often as asked.
    pub fn run(&self, socket: &Path) -> Result<Came> {
        let mut api = Api::connect(socket)?;
        // From here on the name keeps it while no server runs.
        api.lease(&json!({ "name": self.name(), "port": self.port, "reserve": true }))?;
        let mut rival = Attack::start(self.kind, self.pace, self.port)?;
        let mut lost = 0;
        for turn in 1..=self.starts {
            let server = Started::start(self.port, self.kind)?;
            self.hand_over(&mut api, &mut rival, server.pid())?;
            lost += u32::from(!server.listens()?);
            if turn.is_multiple_of(1000) {
                let (way, pace, kind) = (self.way, self.pace.word(), self.kind.word());
                eprintln!("  {way}, {kind}, {pace}: {turn} starts, {lost} lost");
            }
        }
        let counts = rival.end()?;
        let (tried, won) = counts.trim().split_once(' ').context("no counts")?;
        Ok(Came {
            lost,
            rival_won: won.parse()?,
            rival_tried: tried.parse()?,
        })
    }

    fn name(&self) -> String {
        format!("server-{}", self.port)
    }

    /// Gives the port to a process. If it is refused since the rival is on the port, the rival yields it.
    fn hand_over(&self, api: &mut Api, rival: &mut Role, owner: u32) -> Result<()> {
        let wanted = json!({
            "name": self.name(),
            "port": self.port,
            "handover": self.way,
            "owner_pid": owner,
        });
        let (begin, mut yields) = (now(), false);
        let leases = loop {
            match api.lease(&wanted) {
                Ok(leases) => break leases,
                Err(refused) if begin.elapsed() > PATIENCE => return Err(refused),
                Err(_) if yields => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => {
                    tell(rival, YIELD)?;
                    yields = true;
                }
            }
        };
        let given = (&leases[0]["port"], &leases[0]["handover"]);
        let wanted = (&self.port.into(), &self.way.into());
        ensure!(given == wanted, "given {given:?} instead of {wanted:?}");
        if yields {
            tell(rival, "go on")?;
        }
        Ok(())
    }
}

fn tell(rival: &mut Role, word: &str) -> Result<()> {
    let stdin = rival.child.stdin.as_mut().context("no stdin")?;
    Ok(writeln!(stdin, "{word}")?)
}

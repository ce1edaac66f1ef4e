//! Shared by all ways through portbook: asking for a lease and releasing it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Booked;
use crate::common::api::Api;

/// A client's connection to the service.
pub struct Service(Api);

impl Service {
    /// Connects to the API socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        Api::connect(socket).map(Self)
    }

    /// Asks for a port of the default pool, owned by this process.
    pub fn book(&mut self, handover: &str) -> Result<Booked> {
        let wanted = json!({ "handover": handover, "owner_pid": std::process::id() });
        let leases = self.0.lease(&wanted)?;
        let port = leases[0]["port"].as_u64().context("no port")?;
        let lease = leases[0]["id"].as_str().map(ToOwned::to_owned);
        Ok(Booked {
            port: u16::try_from(port)?,
            lease,
        })
    }

    /// Gives a lease back.
    pub fn give_back(&mut self, booked: Booked) -> Result<()> {
        let lease = booked.lease.context("no lease")?;
        let path = format!("/api/v1/leases/{lease}");
        let answer = self.0.ask("DELETE", &path, None)?;
        ensure!(answer.status == 204, "{}: {}", answer.status, answer.body);
        Ok(())
    }
}

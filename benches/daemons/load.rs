//! Clients that take ports of the pool and give them back, all the time.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};
use serde_json::json;

use crate::common::api::Api;

/// Number of clients.
const CLIENTS: usize = 4;

/// Ports that the clients were granted.
#[derive(Default)]
pub struct Granted {
    pub granted: u64,
    /// Those on which a program listened all the same.
    pub in_use: u64,
}

/// Running clients.
pub struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<Granted>>>,
}

impl Load {
    pub fn start(socket: &Path) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (socket, ends) = (socket.to_owned(), Arc::clone(&ends));
            std::thread::spawn(move || take_and_give(&socket, &ends))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { ends, clients }
    }

    /// Ends the clients, and returns the sum of their ports.
    pub fn end(self) -> Result<Granted> {
        self.ends.store(true, Ordering::Relaxed);
        let mut all = Granted::default();
        for client in self.clients {
            let one = client.join().map_err(|_| anyhow!("a client panicked"))??;
            all.granted += one.granted;
            all.in_use += one.in_use;
        }
        Ok(all)
    }
}

fn take_and_give(socket: &Path, ends: &AtomicBool) -> Result<Granted> {
    let mut api = Api::connect(socket)?;
    let mut granted = Granted::default();
    while !ends.load(Ordering::Relaxed) {
        let Some(lease) = api.lease(&json!({"wait": "5s"}))?.pop() else {
            continue;
        };
        let port = lease["port"].as_u64().and_then(|port| port.try_into().ok());
        let listens =
            port.is_some_and(|port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        granted.granted += 1;
        granted.in_use += u64::from(listens);
        let id = lease["id"].as_str().unwrap_or_default();
        api.ask("DELETE", &format!("/api/v1/leases/{id}"), None)?;
    }
    Ok(granted)
}

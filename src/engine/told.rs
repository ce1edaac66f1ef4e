//! Leases and their programs in words, for refusals and for reasons.

use crate::domain::attempt::printable;
use crate::domain::lease::{Lease, Scope};
use crate::domain::precedence::another_user;
use crate::engine::caller::Caller;
use crate::host::process;

/// A lease in words, as a user may see it: "web of /home/ann/shop (lease 0190…, node, pid 7)".
/// Other users' leases show their uid alone.
pub(super) fn holder_text(lease: &Lease, caller: &Caller) -> String {
    if !caller.may_act_for(lease.uid) {
        return another_user(lease.uid);
    }
    let owner = lease.owner.as_ref();
    let program = owner.map_or_else(String::new, |_| format!(", {}", program(lease, ", ")));
    let id = lease.id;
    match (&lease.name, &lease.scope) {
        (Some(name), Scope::Dir(folder)) => {
            let folder = printable(&folder.to_string_lossy());
            format!("{name} of {folder} (lease {id}{program})")
        }
        (Some(name), Scope::User) => format!("{name} (lease {id}{program})"),
        (None, _) => format!("an unnamed lease ({id}{program})"),
    }
}

/// A lease with its program: "has port 3000/tcp of pool default on 0.0.0.0 for /home/ann/shop, where
/// node (pid 7) runs".
pub(super) fn held_text(lease: &Lease) -> String {
    let Lease {
        port,
        protocol,
        pool,
        ..
    } = lease;
    let folder = match &lease.scope {
        Scope::Dir(folder) => format!(" for {}", printable(&folder.to_string_lossy())),
        Scope::User => String::new(),
    };
    let addresses = lease.addresses.addresses().iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let on = addresses.join(" and ");
    let program = match &lease.owner {
        Some(_) => format!(", where {} runs", owner_text(lease)),
        None => String::new(),
    };
    format!("has port {port}/{protocol} of pool {pool} on {on}{folder}{program}")
}

/// The program of a lease: "node (pid 7)".
pub(super) fn owner_text(lease: &Lease) -> String {
    match &lease.owner {
        Some(_) => format!("{})", program(lease, " (")),
        None => "its program".to_owned(),
    }
}

/// The name of a lease's program, read anew since `run` becomes its program, and its pid.
fn program(lease: &Lease, between: &str) -> String {
    let Some(owner) = &lease.owner else {
        return String::new();
    };
    let alive = process::is_running(owner);
    let now = process::command(owner.pid).ok().filter(|_| alive);
    let command = now.unwrap_or_else(|| owner.command.clone());
    format!("{}{between}pid {}", printable(&command), owner.pid)
}

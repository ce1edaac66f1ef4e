//! Work that a service does by itself while it answers.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::domain::event::EventKind;
use crate::engine::service::Service;
use crate::host::interface;
use crate::host::readiness::Readiness;

/// Starts a task for each of these methods of the service, which run until they are aborted.
macro_rules! tasks_of {
    ($service:ident: $($chore:ident)*) => {
        vec![$({
            let service = $service.clone();
            tokio::spawn(async move { service.$chore().await })
        }),*]
    };
}

/// Starts all chores.
pub(super) fn start(service: &Service) -> Vec<JoinHandle<()>> {
    let mut tasks = tasks_of!(service:
        run_deadlines
        run_observer
        regain_holds
        keep_in_repair
        keep_folders
        keep_record_short
        look_for_damage
        run_snapshots
        keep_history
    );
    tasks.push(tokio::spawn(watch_interfaces(service.clone())));
    tasks.push(tokio::spawn(watch_kernel(service.clone())));
    tasks
}

/// Interval of looks at the kernel's rules for ports.
const KERNEL_ROUND: Duration = Duration::from_mins(1);

/// Reads the kernel's rules for ports again and again.
async fn watch_kernel(service: Service) {
    let mut rounds = tokio::time::interval(KERNEL_ROUND);
    loop {
        rounds.tick().await;
        service.reread_kernel_rules();
    }
}

/// Puts changes of the host's interfaces into the journal as the kernel reports them.
async fn watch_interfaces(service: Service) {
    let watched = interface::watch().and_then(|changes| {
        let readiness = Readiness::of(rustix::io::fcntl_dupfd_cloexec(&changes, 0)?)?;
        Ok((changes, readiness))
    });
    let (changes, readiness) = match watched {
        Ok(watched) => watched,
        Err(error) => {
            tracing::warn!(%error, "could not watch the interfaces; their changes are seen at the next allocation only");
            return;
        }
    };
    service.note_watching();
    while readiness.readable().await.is_ok() {
        if changes.drain() {
            let detail = "interfaces or addresses changed";
            service.journal().other(EventKind::Interfaces, None, detail);
            service.compare_addresses().await;
        }
    }
}

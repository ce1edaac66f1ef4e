//! Leases of deleted folders: they keep ports for no program.

use crate::answers::document::LeaseDocument;
use crate::cli::{folder, release};

/// Maximum number of folders in the message.
const NAMED: usize = 5;

/// The user's leases of folders that no longer exist, as one finding.
pub(super) fn gone(leases: &[LeaseDocument], uid: u32) -> Vec<(String, String)> {
    let gone = release::gone(leases.to_vec(), uid);
    if gone.is_empty() {
        return Vec::new();
    }
    let named = gone.iter().take(NAMED);
    let mut named: Vec<String> = named
        .map(|lease| format!("{} keeps {}", folder::title(lease), lease.port))
        .collect();
    if gone.len() > NAMED {
        named.push(format!("{} more", gone.len() - NAMED));
    }
    let message = format!(
        "leases of folders that no longer exist: {}",
        named.join(", ")
    );
    vec![(message, "portbook release --gone".to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::Scope;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    fn of_folder(port: u16, folder: &str) -> LeaseDocument {
        let mut lease = lease(port);
        lease.name = Some("web".parse().unwrap());
        lease.scope = Scope::Dir(folder.into());
        LeaseDocument::of(&lease, &Clock::manual())
    }

    #[test]
    fn leases_of_gone_folders_are_one_finding() {
        let mut leases = vec![of_folder(3000, "/proc")];
        assert_eq!(gone(&leases, 1000), []);
        leases.extend((3001..3010).map(|port| of_folder(port, "/nonexistent/tree")));
        let found = gone(&leases, 1000);
        assert_eq!(found.len(), 1);
        let (message, command) = &found[0];
        assert!(
            message.contains("web (/nonexistent/tree) keeps 3001"),
            "{message}"
        );
        assert!(message.ends_with("4 more"), "{message}");
        assert_eq!(command, "portbook release --gone");
        assert_eq!(gone(&leases, 1001), [], "another user's");
    }
}

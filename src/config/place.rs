//! Default places: the XDG base directories, or the system's own places for root.

use std::path::{Path, PathBuf};

/// Configuration file of the whole host.
pub const SYSTEM_FILE: &str = "/etc/portbook/config.toml";

/// Root's places. A service of the system keeps its state here (file-hierarchy(7)).
const SYSTEM_DATA_DIR: &str = "/var/lib/portbook";
const SYSTEM_SOCKET: &str = "/run/portbook/portbook.sock";

/// Facts that the default places depend on.
#[derive(Default)]
pub(super) struct Places<'a> {
    pub environment: &'a [(String, String)],
    pub home: Option<&'a Path>,
    pub root: bool,
}

impl Places<'_> {
    /// Data directory. `None` without a home.
    pub fn data_dir(&self) -> Option<PathBuf> {
        if self.root {
            return Some(SYSTEM_DATA_DIR.into());
        }
        let state = xdg(self.environment, "XDG_STATE_HOME");
        let state = state.or_else(|| Some(self.home?.join(".local/state")));
        Some(state?.join("portbook"))
    }

    /// API socket. `None` if it belongs into the data directory.
    pub fn socket(&self) -> Option<PathBuf> {
        if self.root {
            return Some(SYSTEM_SOCKET.into());
        }
        Some(xdg(self.environment, "XDG_RUNTIME_DIR")?.join("portbook.sock"))
    }
}

/// The user's own configuration file. `None` without a home.
pub(super) fn user_file(environment: &[(String, String)], home: Option<&Path>) -> Option<PathBuf> {
    let config = xdg(environment, "XDG_CONFIG_HOME");
    let config = config.or_else(|| Some(home?.join(".config")));
    Some(config?.join("portbook/config.toml"))
}

/// A base directory. Relative and empty ones count as unset, as the XDG specification asks.
fn xdg(environment: &[(String, String)], variable: &str) -> Option<PathBuf> {
    let found = environment.iter().find(|(name, _)| name == variable);
    let path = Path::new(&found?.1);
    path.is_absolute().then(|| path.to_owned())
}

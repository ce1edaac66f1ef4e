//! A data directory of its own, and the service on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use tempfile::TempDir;

use super::service::Service;

/// A fresh data directory with the settings of every portbook process in it.
pub struct Place {
    folder: TempDir,
    binary: PathBuf,
    settings: Vec<(String, String)>,
}

impl Place {
    /// An empty place whose default pool has these ports. The folder goes when it is dropped.
    pub fn new(ranges: &str) -> Result<Self> {
        Self::of(Path::new(super::PORTBOOK), ranges)
    }

    /// An empty place for another build of portbook.
    pub fn of(binary: &Path, ranges: &str) -> Result<Self> {
        let mut place = Self {
            folder: TempDir::new()?,
            binary: binary.to_owned(),
            settings: Vec::new(),
        };
        place.set("PORTBOOK_POOLS__DEFAULT__RANGES", ranges);
        place.set("PORTBOOK_TELEMETRY__LOG", "error");
        Ok(place)
    }

    /// Sets an environment variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.retain(|(name, _)| name != variable);
        self.settings.push((variable.to_owned(), value.to_owned()));
    }

    /// Takes back an environment variable.
    pub fn unset(&mut self, variable: &str) {
        self.settings.retain(|(name, _)| name != variable);
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join("portbook.sock")
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.data_dir().join("portbook.db")
    }

    /// Size of the record: the SQLite file and what lies beside it, in bytes.
    pub fn record_bytes(&self) -> Result<u64> {
        self.bytes(|name| name == "portbook.db" || is_log(name))
    }

    /// Size of the logs before the SQLite file, in bytes.
    pub fn log_bytes(&self) -> Result<u64> {
        self.bytes(is_log)
    }

    /// Size of the files in the data directory with these names.
    fn bytes(&self, is_counted: impl Fn(&str) -> bool) -> Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.data_dir())? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(&is_counted) {
                // A log may be gone by now.
                bytes += entry.metadata().map_or(0, |file| file.len());
            }
        }
        Ok(bytes)
    }

    /// Folder of the place; the data directory is inside.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command line in this place, without settings of the surrounding environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("PORTBOOK_DATA_DIR", self.data_dir())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts a service; it may not answer yet.
    pub fn start(&self) -> Result<Service> {
        Service::start(self.command().arg("serve"), self.socket())
    }

    /// Starts a service and waits until it says that it is there.
    pub fn serve(&self) -> Result<Service> {
        let mut service = self.start()?;
        service.wait()?;
        Ok(service)
    }
}

/// Whether a file holds commits that are not in the SQLite file yet.
fn is_log(name: &str) -> bool {
    name == "portbook.db-wal" || name.starts_with("ledger-")
}

//! A data directory of its own, and the service on it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A fresh data directory with the settings of every portbook process in it.
pub struct Place {
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Place {
    /// An empty place whose default pool has these ports. The folder goes when it is dropped.
    pub fn new(ranges: &str) -> Result<Self> {
        let (folder, settings) = (TempDir::new()?, Vec::new());
        let mut place = Self { folder, settings };
        place.set("PORTBOOK_POOLS__DEFAULT__RANGES", ranges);
        place.set("PORTBOOK_TELEMETRY__LOG", "error");
        Ok(place)
    }

    /// Adds a setting as an environment variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.push((variable.to_owned(), value.to_owned()));
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join("portbook.sock")
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.data_dir().join("portbook.db")
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command line in this place, without settings of the surrounding environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(super::PORTBOOK);
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("PORTBOOK_DATA_DIR", self.data_dir())
            .stdin(Stdio::null());
        command
    }

    /// Starts a service and waits until it says that it is there.
    pub fn serve(&self) -> Result<Service> {
        let mut child = self.command().arg("serve").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let socket = self.socket();
        let url = line.trim_end().to_owned();
        let service = Service { child, socket, url };
        ensure!(
            service.url.starts_with("http://"),
            "the service did not start"
        );
        Ok(service)
    }
}

/// A running service; killed when dropped.
pub struct Service {
    child: Child,
    socket: PathBuf,
    url: String,
}

impl Service {
    /// Address of its console.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

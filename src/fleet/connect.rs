//! Connections to etcd by the settings: addresses, certificates, key.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use super::etcd::Etcd;
use super::etcd_error;
use crate::config::Fleet;

/// Limit on a connection attempt.
const CONNECT: Duration = Duration::from_secs(1);

/// Interval of pings on a connection, and the wait for their answers. etcd closes a connection that pings
/// more often than every five seconds.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));

/// Maximum length of a file with certificates or a key, in bytes.
const MOST_BYTES: u64 = 256 * 1024;

/// A setting with which there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot read {}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// A key that other users may read.
    #[error(
        "{} has mode {mode:04o}, with which other users may read the key: `chmod 600 {}`",
        file.display(),
        file.display()
    )]
    OpenKey { file: PathBuf, mode: u32 },
    #[error("cannot use the addresses of etcd, or its certificates and key: {}", etcd_error::text(.0))]
    Client(#[from] etcd_client::Error),
}

/// Makes connections to every address of the settings. None is opened before the first call.
pub async fn connect(settings: &Fleet) -> Result<Etcd, ConnectError> {
    let mut clients = Vec::with_capacity(settings.engine.len());
    for address in &settings.engine {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(PING.0, PING.1)
            .with_keep_alive_while_idle(true);
        let options = if address.starts_with("https://") {
            options.with_tls(tls(settings)?)
        } else {
            options
        };
        let client = Client::connect([address.trim_end_matches('/')], Some(options)).await?;
        clients.push((address.clone(), client));
    }
    Ok(Etcd::of(clients))
}

fn tls(settings: &Fleet) -> Result<TlsOptions, ConnectError> {
    let mut options = TlsOptions::new();
    if let Some(ca) = &settings.ca {
        options = options.ca_certificate(Certificate::from_pem(read(ca, false)?));
    }
    if let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) {
        let identity = Identity::from_pem(read(certificate, false)?, read(key, true)?);
        options = options.identity(identity);
    }
    Ok(options)
}

/// Reads a file. A secret one must be closed to other users.
pub(super) fn read(file: &Path, is_secret: bool) -> Result<Vec<u8>, ConnectError> {
    let failed = |source| ConnectError::File {
        file: file.to_owned(),
        source,
    };
    // Opened by what keeps away from pipes and devices.
    let opened: File = crate::files::open(file).map_err(failed)?.into_file();
    let mode = opened.metadata().map_err(failed)?.mode() & 0o7777;
    if is_secret && mode & 0o077 != 0 {
        return Err(ConnectError::OpenKey {
            file: file.to_owned(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    opened
        .take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_that_others_may_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "secret").unwrap();
        let set = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o640);
        let refused = read(&file, true).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        assert!(read(&file, false).is_ok());
        set(0o600);
        assert_eq!(read(&file, true).unwrap(), b"secret");
        assert!(read(&folder.path().join("none"), false).is_err());
    }
}

//! The token: the secret that allows changes on the console.

use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use subtle::ConstantTimeEq;

use crate::files;

/// Maximum size of a token in bytes, with the newline behind it.
const MOST_BYTES: u64 = 1024;

/// A secret of 256 random bits, in hex.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token of a data directory, or makes one (mode 0600).
    pub fn open(file: &Path) -> io::Result<Self> {
        match Self::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        let text = secret()?;
        // Written whole under another name and then linked: two processes that make one at the same time
        // both get the first, and neither reads half of it.
        let new = file.with_extension(format!("{}.new", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let linked = io::Write::write_all(&mut written, format!("{text}\n").as_bytes())
            .and_then(|()| std::fs::hard_link(&new, file));
        std::fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::read(file),
        }
    }

    fn read(file: &Path) -> io::Result<Self> {
        let opened = files::open_itself(file)?;
        if opened.mode() & 0o077 != 0 || !is_own(opened.owner(), file) {
            let wrong = "other users may know it: remove it, and a new one is made";
            return Err(io::Error::other(wrong));
        }
        let text = opened.text(MOST_BYTES)?;
        let text = text.trim();
        if text.len() < 32 {
            let wrong = "it holds no token: remove it, and a new one is made";
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token.
    pub fn is(&self, given: &str) -> bool {
        // In constant time, so that the time of an answer tells nothing about the token.
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The token of a service, which may start while its disk has no room for one. None is given until it can
/// be stored.
#[derive(Debug)]
pub struct StoredToken {
    file: PathBuf,
    token: OnceLock<Token>,
}

impl StoredToken {
    /// Reads or makes the token, and returns the error if there is no place for it.
    pub fn open(file: &Path) -> io::Result<(Self, Option<io::Error>)> {
        let (token, error) = match Token::open(file) {
            Ok(token) => (OnceLock::from(token), None),
            Err(error) if has_no_place(&error) => (OnceLock::new(), Some(error)),
            Err(error) => return Err(error),
        };
        let file = file.to_owned();
        Ok((Self { file, token }, error))
    }

    /// Whether `given` is the token.
    pub fn is(&self, given: &str) -> bool {
        if self.token.get().is_none()
            && let Ok(token) = Token::open(&self.file)
        {
            // Another request may have set the same one.
            let _ = self.token.set(token);
        }
        self.token.get().is_some_and(|token| token.is(given))
    }
}

/// Whether a file cannot be made since its disk is full or read-only.
fn has_no_place(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem
    )
}

/// Whether the owner of a file is this user, or that of its folder: root may read the token of a user.
fn is_own(owner: u32, file: &Path) -> bool {
    let folder = || std::fs::metadata(file.parent()?).ok();
    owner == rustix::process::geteuid().as_raw() || folder().is_some_and(|it| it.uid() == owner)
}

/// 256 random bits in hex.
pub(super) fn secret() -> io::Result<String> {
    Ok(format!("{:032x}{:032x}", random()?, random()?))
}

fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_without_a_place_is_stored_once_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later").join("token");
        let stored = StoredToken {
            file: file.clone(),
            token: OnceLock::new(),
        };
        assert!(!stored.is(""), "no token lets anyone in");
        std::fs::create_dir(folder.path().join("later")).unwrap();
        assert!(!stored.is(""));
        let token = Token::open(&file).unwrap();
        assert!(stored.is(token.as_str()) && !stored.is(""));
        for (errno, is_survived) in [(28, true), (30, true), (13, false)] {
            assert_eq!(
                has_no_place(&io::Error::from_raw_os_error(errno)),
                is_survived
            );
        }
    }

    #[test]
    fn a_token_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let first = Token::open(&file).unwrap();
        assert_eq!(first.as_str().len(), 64);
        assert!(Token::open(&file).unwrap().is(first.as_str()));
        assert!(!first.is("") && !first.is(&first.as_str()[1..]));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let error = Token::open(&file).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }
}

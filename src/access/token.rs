//! The token: the secret that allows changes on the console.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use subtle::ConstantTimeEq;

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
        let text = std::fs::read_to_string(file)?;
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
    }
}

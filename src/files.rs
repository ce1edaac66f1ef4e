//! Small files, opened with care: a name may lead to a pipe that blocks, a device that never ends, or a
//! file of another user.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A file that is open, with the facts of that very file, not of its name.
#[derive(Debug)]
pub struct Opened {
    file: File,
    found: Metadata,
}

/// Opens a regular file for reading, and follows symbolic links. It never waits, not even for the
/// writer of a FIFO.
pub fn open(path: &Path) -> io::Result<Opened> {
    open_with(path, OFlags::RDONLY)
}

/// Opens a regular file for reading that is no symbolic link.
pub fn open_itself(path: &Path) -> io::Result<Opened> {
    open_with(path, OFlags::RDONLY | OFlags::NOFOLLOW)
}

/// Opens a regular file that is no symbolic link, for reading and writing. It is made (0600) if it is
/// missing.
pub fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    Ok(open_with(path, flags)?.file)
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<Opened> {
    let careful = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags | careful, Mode::RUSR | Mode::WUSR);
    let file = File::from(opened.map_err(|error| refusal(error, flags))?);
    let found = file.metadata()?;
    match kind(&found) {
        None => Ok(Opened { file, found }),
        Some(kind) => Err(not_plain(kind)),
    }
}

/// The kernel's refusal in words: its own are of "levels" for a link that must not be followed.
fn refusal(error: Errno, flags: OFlags) -> io::Error {
    match error {
        Errno::LOOP if flags.contains(OFlags::NOFOLLOW) => not_plain("symbolic link"),
        Errno::ISDIR => not_plain("folder"),
        error => error.into(),
    }
}

fn not_plain(kind: &str) -> io::Error {
    io::Error::other(format!("it is a {kind}, not a plain file"))
}

/// Kind of a file that is not regular.
fn kind(found: &Metadata) -> Option<&'static str> {
    let kind = found.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("folder")
    } else if kind.is_fifo() {
        Some("pipe")
    } else {
        Some("device")
    }
}

impl Opened {
    /// The file alone.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Uid of the owner.
    pub fn owner(&self) -> u32 {
        self.found.uid()
    }

    /// Permission bits, such as 0o600.
    pub fn mode(&self) -> u32 {
        self.found.mode() & 0o7777
    }

    /// Reads the text, of at most this number of bytes.
    pub fn text(self, most_bytes: u64) -> io::Result<String> {
        let mut text = String::new();
        let read = self.file.take(most_bytes + 1).read_to_string(&mut text)?;
        if read as u64 > most_bytes {
            let message = format!("it is larger than {most_bytes} bytes");
            return Err(io::Error::other(message));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("plain"), "text").unwrap();
        assert_eq!(open(&path("plain")).unwrap().text(4).unwrap(), "text");
        let error = open(&path("plain")).unwrap().text(3).unwrap_err();
        assert!(error.to_string().contains("larger than 3 bytes"), "{error}");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for (name, word) in [
            ("pipe", "pipe"),
            ("zero", "device"),
            ("", "folder"),
            ("loop", "level"),
        ] {
            let error = open(&path(name)).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        symlink("plain", path("link")).unwrap();
        assert!(open(&path("link")).is_ok() && open_itself(&path("link")).is_err());
        assert!(open_own(&path("link")).is_err());
    }
}

//! SQLite's write-ahead log, as far as it tells which pages it has
//! (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Length of the log's head in bytes.
const HEAD: usize = 32;

/// Length of the head of a frame in bytes; a page follows.
const FRAME: usize = 24;

/// Two numbers in the heads of log and frames. Frames with others are left of an earlier log.
type Salt = [u8; 8];

/// Path of a file's log.
pub(super) fn of(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Returns the numbers of the pages that a log has, from 1. None if it is missing or empty.
pub(super) fn pages(log: &Path) -> io::Result<HashSet<u64>> {
    let mut pages = HashSet::new();
    let mut log = match File::open(log) {
        Ok(log) => BufReader::new(log),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pages),
        Err(error) => return Err(error),
    };
    let Some(head) = read::<HEAD>(&mut log)? else {
        return Ok(pages);
    };
    let length = i64::from(number(&head, 8));
    let salt: Salt = part(&head, 16);
    while let Some(frame) = read::<FRAME>(&mut log)? {
        if part::<8>(&frame, 8) != salt {
            break;
        }
        pages.insert(u64::from(number(&frame, 0)));
        log.seek(SeekFrom::Current(length))?;
    }
    Ok(pages)
}

/// Returns the length in bytes that the file had after the last commit in its log. `None` if it has none.
pub(super) fn file_length(log: &Path) -> io::Result<Option<u64>> {
    let mut log = match File::open(log) {
        Ok(log) => BufReader::new(log),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(head) = read::<HEAD>(&mut log)? else {
        return Ok(None);
    };
    let length = number(&head, 8);
    let salt: Salt = part(&head, 16);
    let mut pages = 0;
    while let Some(frame) = read::<FRAME>(&mut log)? {
        if part::<8>(&frame, 8) != salt {
            break;
        }
        // Zero in a frame that no commit ends with.
        pages = Some(number(&frame, 4))
            .filter(|pages| *pages > 0)
            .unwrap_or(pages);
        log.seek(SeekFrom::Current(i64::from(length)))?;
    }
    Ok((pages > 0).then(|| u64::from(pages) * u64::from(length)))
}

/// Reads so many bytes. `None` at the end.
fn read<const LENGTH: usize>(log: &mut impl Read) -> io::Result<Option<[u8; LENGTH]>> {
    let mut bytes = [0; LENGTH];
    match log.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn number(head: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(part(head, at))
}

/// Bytes of a head, from a position within it.
fn part<const LENGTH: usize>(head: &[u8], at: usize) -> [u8; LENGTH] {
    let mut part = [0; LENGTH];
    let rest = head.iter().skip(at);
    part.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    part
}

//! Frames: entries as they lie in a file, one after another.
//!
//! A frame is the length of its entry (4 bytes), a CRC-32 of all that follows (4 bytes), the entry's
//! number (8 bytes), and the entry. Numbers are little-endian. A crash may cut the last frame; its
//! checksum tells.

use super::super::StoreError;

const LENGTH: usize = 4;
const CHECKSUM: usize = 4;
const NUMBER: usize = 8;

/// Bytes before an entry.
const HEAD: usize = LENGTH + CHECKSUM + NUMBER;

/// An entry with room for its head.
#[derive(Debug)]
pub(in crate::store) struct Frame(Vec<u8>);

/// Entry of a frame that was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Numbered<'a> {
    /// Counts up from one commit to the next, over both files.
    pub(in crate::store) number: u64,
    pub(in crate::store) entry: &'a [u8],
}

impl Frame {
    /// Makes a frame from an entry that `encode` appends to the bytes it gets.
    pub(in crate::store) fn of(
        encode: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, StoreError>,
    ) -> Result<Self, StoreError> {
        let bytes = encode(vec![0; HEAD])?;
        match u32::try_from(bytes.len()) {
            Ok(_) => Ok(Self(bytes)),
            Err(error) => Err(StoreError::unwritable("an entry", error)),
        }
    }

    /// The entry alone.
    pub(in crate::store) fn entry(&self) -> &[u8] {
        self.0.get(HEAD..).unwrap_or_default()
    }

    /// Fills the head in; returns the bytes for the file.
    pub(super) fn signed(&mut self, number: u64) -> &[u8] {
        #[expect(clippy::cast_possible_truncation, reason = "`of` refuses longer ones")]
        let length = (self.0.len() - HEAD) as u32;
        self.0[LENGTH + CHECKSUM..HEAD].copy_from_slice(&number.to_le_bytes());
        let checksum = crc32fast::hash(&self.0[LENGTH + CHECKSUM..]);
        self.0[..LENGTH].copy_from_slice(&length.to_le_bytes());
        self.0[LENGTH..LENGTH + CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        &self.0
    }
}

/// Whole frames of a file. Damaged ones are passed over: their numbers are missing. Older frames may lie
/// behind the newest one, where the file was used before: their numbers are lower.
#[derive(Debug)]
pub(in crate::store) struct Frames<'a> {
    rest: &'a [u8],
    last: u64,
}

impl<'a> Frames<'a> {
    pub(in crate::store) const fn of(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            last: 0,
        }
    }

    /// Bytes behind the frames that were read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Numbered<'a>;

    fn next(&mut self) -> Option<Numbered<'a>> {
        let is_next = |found: &(Numbered<'a>, &'a [u8])| found.0.number > self.last;
        let mut starts = 0..self.rest.len();
        let (found, rest) = starts.find_map(|start| whole(&self.rest[start..]).filter(is_next))?;
        (self.rest, self.last) = (rest, found.number);
        Some(found)
    }
}

/// Reads the frame at the start of some bytes, if it is whole. Returns the bytes behind it too.
fn whole(bytes: &[u8]) -> Option<(Numbered<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let (checksum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (checked, rest) = rest.split_at_checked(NUMBER.checked_add(length)?)?;
    if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (number, entry) = checked.split_first_chunk::<NUMBER>()?;
    let number = u64::from_le_bytes(*number);
    Some((Numbered { number, entry }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entries: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, entry) in entries {
            let mut frame = Frame::of(|head| Ok([head.as_slice(), entry].concat())).unwrap();
            assert_eq!(frame.entry(), *entry);
            bytes.extend_from_slice(frame.signed(*number));
        }
        bytes
    }

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        Frames::of(bytes).map(|frame| frame.number).collect()
    }

    #[test]
    fn cut_changed_and_older_frames_are_passed_over() {
        let whole = bytes(&[(4, b"first"), (5, b""), (6, b"third")]);
        let read: Vec<_> = Frames::of(&whole).collect();
        let third = Numbered {
            number: 6,
            entry: b"third",
        };
        assert_eq!((read.len(), read[2]), (3, third));
        for cut in 1..whole.len() {
            assert!(numbers(&whole[..whole.len() - cut]).len() < 3, "{cut}");
        }
        for changed in 0..whole.len() {
            let mut whole = whole.clone();
            whole[changed] ^= 0x40;
            let read = numbers(&whole);
            assert_eq!(read.len(), 2, "{changed}");
            assert!(read.iter().all(|number| (4..=6).contains(number)));
        }
        let reused = [bytes(&[(9, b"new")]), whole].concat();
        assert_eq!(numbers(&reused), [9]);
        assert_eq!(numbers(&[0; 64]), [0; 0]);
    }
}

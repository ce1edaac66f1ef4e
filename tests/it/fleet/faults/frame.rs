//! Frames of HTTP/2 (RFC 9113, section 4.1), as far as a proxy has to tell a request from its answer.

use std::io::{self, Read};

/// Bytes that a client sends before its first frame.
pub const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;

const END_STREAM: u8 = 1;

/// A frame.
pub struct Frame {
    head: [u8; 9],
    payload: Vec<u8>,
}

impl Frame {
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        from.read_exact(&mut payload)?;
        Ok(Self { head, payload })
    }

    /// Number of the request that it belongs to.
    pub fn stream(&self) -> u32 {
        let [_, _, _, _, _, a, b, c, d] = self.head;
        u32::from_be_bytes([a & 0x7f, b, c, d])
    }

    /// Whether it carries a message with this text.
    pub fn has(&self, text: &[u8]) -> bool {
        let mut windows = self.payload.windows(text.len());
        self.head[3] == DATA && windows.any(|window| window == text)
    }

    /// Whether it is a part of an answer.
    pub fn is_answer(&self) -> bool {
        matches!(self.head[3], DATA | HEADERS)
    }

    /// Whether it carries a message, or ends an answer without one.
    pub fn is_message(&self) -> bool {
        self.head[3] == DATA || (self.head[3] == HEADERS && self.head[4] & END_STREAM != 0)
    }

    pub fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.payload].concat()
    }
}

#[test]
fn frames_are_read_and_written_without_a_change() {
    let bytes = [&[0, 0, 5, 0, 1, 0x80, 0, 1, 3][..], b"claim"].concat();
    let frame = Frame::read(&mut &bytes[..]).unwrap();
    assert_eq!((frame.stream(), frame.bytes()), (259, bytes));
    assert!(frame.has(b"aim") && !frame.has(b"name") && frame.is_message());
    let ping = Frame::read(&mut &[0, 0, 0, 6, 0, 0, 0, 0, 0][..]).unwrap();
    assert!(!ping.is_answer() && !ping.has(b"aim"));
}

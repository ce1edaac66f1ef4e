//! Numbers, texts and lists as bytes. Numbers are varints as in Protocol Buffers; signed ones are
//! zigzag-coded, so that numbers near zero are short.

use super::Unreadable;
use crate::domain::port::Port;

/// Largest number of millionths that a float holds exactly.
const EXACT: f64 = 4_503_599_627_370_496.0;

/// Bytes that are being written.
#[derive(Debug, Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    /// Writes seven bits a byte, low ones first; the eighth bit tells that more follow.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits each")]
    pub(super) fn number(&mut self, value: u64) {
        let mut rest = value;
        while rest > 0x7f {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    pub(super) fn signed(&mut self, value: i64) {
        self.number(zigzag(value));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Writes 0, or 1 and the value.
    pub(super) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Writes the length and each item.
    pub(super) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    pub(super) fn port(&mut self, port: Port) {
        self.0.extend_from_slice(&port.get().to_le_bytes());
    }

    /// Writes each port as the distance from the one before.
    pub(super) fn ports(&mut self, ports: &[Port]) {
        let mut before = 0;
        self.list(ports, |bytes, port| {
            let number = i64::from(port.get());
            bytes.signed(number - before);
            before = number;
        });
    }

    /// Writes a whole number of millionths as an even number; any other value as 1 and its 8 bytes.
    pub(super) fn exact(&mut self, value: f64) {
        let whole = millionths(value);
        if from_millionths(whole).to_bits() == value.to_bits() && value.abs() < EXACT / 1e6 {
            return self.number(zigzag(whole) << 1);
        }
        self.number(1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

/// Bytes that are being read.
#[derive(Debug)]
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl Decoder<'_> {
    pub(super) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable::Cut)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Unreadable> {
        self.number().map(unzigzag)
    }

    pub(super) fn text(&mut self) -> Result<String, Unreadable> {
        let length = usize::try_from(self.number()?).map_err(|_| Unreadable::Cut)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Unreadable::Cut)?;
        self.0 = rest;
        Ok(std::str::from_utf8(text)?.to_owned())
    }

    pub(super) fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Option<T>, Unreadable> {
        if self.number()? == 0 {
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Reads a list. It grows item by item, so that a wrong length takes no memory.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        (0..self.number()?).map(|_| read(self)).collect()
    }

    pub(super) fn port(&mut self) -> Result<Port, Unreadable> {
        let number = u16::from_le_bytes(self.fixed()?);
        Port::new(number).ok_or(Unreadable::Unknown("port", 0))
    }

    pub(super) fn ports(&mut self) -> Result<Vec<Port>, Unreadable> {
        let mut before = 0_i64;
        self.list(|bytes| {
            before = before.wrapping_add(bytes.signed()?);
            let number = u16::try_from(before).ok().and_then(Port::new);
            number.ok_or(Unreadable::Unknown("port", before.cast_unsigned()))
        })
    }

    pub(super) fn exact(&mut self) -> Result<f64, Unreadable> {
        match self.number()? {
            1 => Ok(f64::from_le_bytes(self.fixed()?)),
            even => Ok(from_millionths(unzigzag(even >> 1))),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Unreadable::Cut)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Rounds to a whole number of millionths. Numbers beyond 9 * 10^12 do not occur.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
pub(super) fn millionths(value: f64) -> i64 {
    (value * 1e6).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "see `millionths`")]
pub(super) fn from_millionths(value: i64) -> f64 {
    value as f64 / 1e6
}

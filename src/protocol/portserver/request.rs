//! A request: reading it from a connection, and the process that it names.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::io::AsyncReadExt;

/// Maximum length of a request in bytes; a longer one is malformed.
const LONGEST: usize = 20;

/// Number of bytes read from a client that sends more, so that it sees an end and no reset.
const TAKEN: usize = 100;

/// Time limit for the first byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause that ends a request: not every client sends a newline.
const PAUSE: Duration = Duration::from_millis(300);

/// Reason to refuse a request without a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Empty, not a number, two lines, or longer than 20 bytes: counted as the client's error.
    #[error("not a process id")]
    NotARequest,
    /// No process that could own a port: negative, 0, init, or beyond what a pid can be. Counted as
    /// denied.
    #[error("no process that could own a port")]
    NoProcess,
}

/// Reads the process id of a request, like the reference program: blanks around it, a sign and leading
/// zeros are allowed.
pub fn parse(bytes: &[u8]) -> Result<u32, Fault> {
    if bytes.len() > LONGEST {
        return Err(Fault::NotARequest);
    }
    let number = trimmed(bytes);
    let digits = match number.split_first() {
        Some((b'+' | b'-', digits)) => digits,
        _ => number,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::NotARequest);
    }
    let pid = digits.iter().try_fold(0_i32, |value, digit| {
        value.checked_mul(10)?.checked_add(i32::from(digit - b'0'))
    });
    // 1 means that the parent of the client has ended and init has adopted it.
    let pid = pid.filter(|pid| *pid > 1 && number.first() != Some(&b'-'));
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    pid.ok_or(Fault::NoProcess)
}

/// Trims the blanks of C's `isspace`.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let Some(first) = bytes.iter().position(|byte| !blank(byte)) else {
        return &[];
    };
    let last = bytes.iter().rposition(|byte| !blank(byte)).unwrap_or(first);
    &bytes[first..=last]
}

/// A request, as far as it has come.
struct Taken {
    room: [u8; TAKEN],
    length: usize,
}

impl Taken {
    fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// Whether nothing more belongs to it.
    fn is_whole(&self) -> bool {
        self.bytes().contains(&b'\n') || self.length > LONGEST
    }
}

/// Reads up to a newline, the end of the stream, the maximum length or a pause. The runtime watches the
/// connection only if the client has not written all of it by now.
pub(super) async fn read(stream: UnixStream) -> io::Result<(Vec<u8>, UnixStream)> {
    let mut taken = Taken {
        room: [0; TAKEN],
        length: 0,
    };
    match (&stream).read(&mut taken.room) {
        Ok(0) => return Ok((Vec::new(), stream)),
        Ok(length) => taken.length = length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    if taken.is_whole() {
        return Ok((taken.bytes().to_vec(), stream));
    }
    let mut watched = tokio::net::UnixStream::from_std(stream)?;
    read_rest(&mut watched, &mut taken).await?;
    Ok((taken.bytes().to_vec(), watched.into_std()?))
}

async fn read_rest(stream: &mut tokio::net::UnixStream, taken: &mut Taken) -> io::Result<()> {
    loop {
        let wait = if taken.length == 0 { PATIENCE } else { PAUSE };
        let read = stream.read(&mut taken.room[taken.length..]);
        let more = tokio::time::timeout(wait, read).await.unwrap_or(Ok(0))?;
        taken.length += more;
        if more == 0 || taken.is_whole() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn requests_of_the_reference_are_accepted() {
        for text in [
            "4711",
            "4711\n",
            "4711\r\n",
            "  4711\n",
            "\t4711 \n",
            "+4711\n",
            "00000000000004711\n",
            "\n4711\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(4711), "{text:?}");
        }
        assert_eq!(parse(b"2147483647\n"), Ok(2_147_483_647));
    }

    #[test]
    fn text_without_a_number_is_malformed() {
        for text in [
            "",
            "\n",
            "  ",
            "web\n",
            "47 11\n",
            "12\n34\n",
            "++1\n",
            "+\n",
            "4711x\n",
            "0x12\n",
            "1.5\n",
            "4_711\n",
            "\u{b2}\n",
            "000000000000000004711",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Fault::NotARequest), "{text:?}");
        }
    }

    #[test]
    fn impossible_owners_are_denied() {
        for text in [
            "0\n",
            "1\n",
            "-1\n",
            "-4711\n",
            "2147483648\n",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Fault::NoProcess), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_pid_is_read_back(
            pid in 2_u32..=0x7fff_ffff,
            before in "[ \t]{0,2}",
            sign in "\\+?",
            zeros in "0{0,3}",
            after in "(\r?\n|[ \t]{0,2})",
        ) {
            let text = format!("{before}{sign}{zeros}{pid}{after}");
            prop_assert_eq!(parse(text.as_bytes()), Ok(pid));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(pid) = parse(&bytes) {
                prop_assert!(bytes.len() <= 20 && pid > 1 && pid <= 0x7fff_ffff);
            }
        }
    }

    async fn sent(pieces: &[&[u8]]) -> Vec<u8> {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut client = tokio::net::UnixStream::from_std(client).unwrap();
        let writing = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            // It stays open, as clients do that wait for their answer.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = writing => unreachable!("it never ends"),
            read = read(server) => read.unwrap().0,
        }
    }

    #[tokio::test]
    async fn a_slow_writer_is_read_to_its_newline() {
        assert_eq!(sent(&[b"47", b"1", b"1\n"]).await, b"4711\n");
        // Without a newline a pause ends it.
        assert_eq!(sent(&[b"4711"]).await, b"4711");
        let long = [b'1'; 30];
        assert!(sent(&[&long]).await.len() > LONGEST);
    }
}

//! The common name of a certificate (X.509, RFC 5280): etcd takes it as the user whose rights count.
//!
//! Only so much of DER is read as leads to it. What the certificate is worth, TLS decides.

/// Object identifier of a common name, 2.5.4.3, as DER has it.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const OBJECT: u8 = 0x06;

/// Number of elements between the version of a certificate and its subject: serial number, algorithm, issuer
/// and time.
const BEFORE_SUBJECT: usize = 4;

/// Returns the common name of the first certificate in a PEM file. `None` if it has none.
pub fn common_name(pem: &str) -> Option<String> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let bytes = decoded(body)?;
    let mut signed = Der(Der(&bytes).within(SEQUENCE)?)
        .within(SEQUENCE)
        .map(Der)?;
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    for _ in 0..BEFORE_SUBJECT {
        signed.next()?;
    }
    let mut names = Der(signed.within(SEQUENCE)?);
    let mut found = None;
    while let Some((SET, set)) = names.next() {
        let mut set = Der(set);
        while let Some((SEQUENCE, pair)) = set.next() {
            let mut pair = Der(pair);
            let is_common = pair.next()? == (OBJECT, &COMMON_NAME);
            let (_, value) = pair.next()?;
            // Of several, etcd takes the last.
            if is_common {
                found = Some(std::str::from_utf8(value).ok()?.to_owned());
            }
        }
    }
    found
}

/// Elements of DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Reads the tag and the content of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > 3 {
                return None;
            }
            let add = |length, byte: &u8| (length << 8) | usize::from(*byte);
            length = bytes.iter().fold(0, add);
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    /// Reads the content of the next element, which has to have this tag.
    fn within(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }
}

/// Decodes base64 with ends of lines in it (RFC 7468).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut gathered, mut bits) = (0u32, 0);
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    for digit in digits.take_while(|byte| *byte != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        gathered = (gathered << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(((gathered >> bits) & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the subject O=portbook, CN=build-2, made with openssl.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBjjCCATSgAwIBAgIUI4mJFh4KOT6wpePv/b1JkAskJQcwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFZmxlZXQwHhcNMjYxMjAyMTg0MzEyWhcNMjkwMzA2MTg0MzEy
WjAlMREwDwYDVQQKDAhwb3J0Ym9vazEQMA4GA1UEAwwHYnVpbGQtMjBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABFGvz3vg8puSqTAbOH3rp/AzFHlE5gNK1CcwfUOT
BFTF/cR8+9J8ixCi2Cu43BV5tCjUQvdplSwNVGwjqc2zGHSjVzBVMBMGA1UdJQQM
MAoGCCsGAQUFBwMCMB0GA1UdDgQWBBRxdRY0SmJdsFMsh0cskGZcYlZC/DAfBgNV
HSMEGDAWgBTqynt4RlCznPJhwhQJpDRW1GtvpzAKBggqhkjOPQQDAgNIADBFAiAD
ghPnN4RsbkFUQXPuXWwd/a73fexmrm4yHTjkP9eomwIhALKLMYBJMWpkXlFVKinu
rrF9ispm000YwkRwGFtq+75p
-----END CERTIFICATE-----
";

    #[test]
    fn common_name_is_that_of_the_subject() {
        assert_eq!(common_name(CERTIFICATE).as_deref(), Some("build-2"));
        assert_eq!(common_name(&CERTIFICATE.replace('M', "!")), None);
        assert_eq!(common_name(""), None);
        let (head, _) = CERTIFICATE.split_at(CERTIFICATE.len() / 2);
        let cut = format!("{head}\n-----END CERTIFICATE-----\n");
        assert_eq!(
            common_name(&cut),
            None,
            "an end before its length is no element"
        );
    }
}

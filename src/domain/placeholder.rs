//! Placeholders in a program's arguments and in the variables of a project: `{port}`, `{web.port}`.
//!
//! The grammar, with nothing but these characters between the braces:
//!
//! ```text
//! placeholder = "{" [ NAME "." ] ( "host" | "port" [ "." INDEX | "+" OFFSET ] ) "}"
//! ```
//!
//! A brace behind `$` or another `{` begins none: `${port}` is the shell's, `{{port}}` a template's.

use super::lease::Name;

/// One placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The name before the dot. `None` means the only name, or the service that it stands in.
    pub name: Option<Name>,
    /// The value that it stands for.
    pub value: Value,
}

/// Kind of value that a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `host`.
    Host,
    /// `port`, or `port.1`: the ports in the order in which they were granted, from 0.
    Port(usize),
    /// `port+1`: a port of a block, counted from its first.
    Offset(usize),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Text that stays as it is.
    Text(&'t str),
    /// A placeholder, and how it is written.
    Place(Placeholder, &'t str),
    /// A word in braces that is no placeholder, such as `{prot}`. Stays as it is in arguments.
    Unknown(&'t str),
}

/// Splits a text at its placeholders.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut begin, mut from) = (0, 0);
    while let Some(open) = text[from..].find('{').map(|at| at + from) {
        from = open + 1;
        // Only a word is scanned: a text of braces alone would take quadratic time.
        let word = text[from..]
            .bytes()
            .take_while(|byte| is_word(*byte))
            .count();
        let close = from + word;
        if text[..open].ends_with(['$', '{']) || !text[close..].starts_with('}') {
            continue;
        }
        let inside = &text[from..close];
        let written = &text[open..=close];
        let piece = match parse(inside) {
            Some(placeholder) => Piece::Place(placeholder, written),
            None if inside.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Piece::Unknown(written)
            }
            None => continue,
        };
        if begin < open {
            found.push(Piece::Text(&text[begin..open]));
        }
        found.push(piece);
        begin = close + 1;
        from = begin;
    }
    if begin < text.len() {
        found.push(Piece::Text(&text[begin..]));
    }
    found
}

/// Fills the placeholders of a text with the values that `value` returns.
///
/// An IPv6 address is put in brackets where a port follows (`{host}:{port}`) and as the host of a
/// URL (RFC 3986 section 3.2.2), where a zone's `%` is escaped as well (RFC 6874).
pub fn fill<E>(
    text: &str,
    mut value: impl FnMut(&Placeholder, &str) -> Result<String, E>,
) -> Result<String, E> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    for piece in pieces(text) {
        let (written, word) = match &piece {
            Piece::Text(text) | Piece::Unknown(text) => (*text, (*text).to_owned()),
            Piece::Place(placeholder, written) => (*written, value(placeholder, written)?),
        };
        rest = &rest[written.len()..];
        match piece {
            Piece::Place(
                Placeholder {
                    value: Value::Host, ..
                },
                _,
            ) => filled.push_str(&host_between(&filled, &word, rest)),
            _ => filled.push_str(&word),
        }
    }
    Ok(filled)
}

/// Writes a host between the texts before and after it.
fn host_between(before: &str, host: &str, after: &str) -> String {
    if !host.contains(':') {
        return host.to_owned();
    }
    let authority = before
        .rsplit_once("://")
        .map(|(_, rest)| rest)
        .filter(|rest| rest.is_empty() || (rest.ends_with('@') && !rest.contains('/')));
    let port_follows = after.strip_prefix(':').is_some_and(|rest| {
        let next = rest.chars().next();
        next.is_some_and(|c| c == '{' || c.is_ascii_digit())
    });
    match authority {
        Some(_) => format!("[{}]", host.replace('%', "%25")),
        None if port_follows => format!("[{host}]"),
        None => host.to_owned(),
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-')
}

fn parse(inside: &str) -> Option<Placeholder> {
    if let Some(value) = word(inside) {
        return Some(Placeholder { name: None, value });
    }
    // A name may have dots of its own, so the last part that is a value counts.
    let dots = inside.match_indices('.').map(|(at, _)| at);
    let splits: Vec<usize> = dots.collect();
    splits.into_iter().rev().find_map(|at| {
        let value = word(&inside[at + 1..])?;
        let name = inside[..at].parse().ok()?;
        Some(Placeholder {
            name: Some(name),
            value,
        })
    })
}

fn word(word: &str) -> Option<Value> {
    let number = |digits: &str| {
        let fits = (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| digits.parse().ok()).flatten()
    };
    match word {
        "host" => Some(Value::Host),
        "port" => Some(Value::Port(0)),
        _ => match word.strip_prefix("port")?.split_at_checked(1)? {
            (".", index) => number(index).map(Value::Port),
            ("+", offset) => number(offset).map(Value::Offset),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str) -> Vec<(Option<String>, Value)> {
        let places = pieces(text).into_iter().filter_map(|piece| match piece {
            Piece::Place(placeholder, _) => Some(placeholder),
            _ => None,
        });
        places
            .map(|place| (place.name.map(|name| name.to_string()), place.value))
            .collect()
    }

    #[test]
    fn placeholders_keep_to_their_grammar() {
        let named = |name: &str, value| vec![(Some(name.to_owned()), value)];
        assert_eq!(found("{port}"), [(None, Value::Port(0))]);
        assert_eq!(found("a{port.1}b"), [(None, Value::Port(1))]);
        assert_eq!(found("{port+2}"), [(None, Value::Offset(2))]);
        assert_eq!(
            found("{host}:{port}"),
            [(None, Value::Host), (None, Value::Port(0))]
        );
        assert_eq!(found("{web.port}"), named("web", Value::Port(0)));
        assert_eq!(
            found("{my-api.v2.port.3}"),
            named("my-api.v2", Value::Port(3))
        );
        assert_eq!(found("{web.port+1}"), named("web", Value::Offset(1)));
        assert_eq!(found("{port.host}"), named("port", Value::Host));
        assert_eq!(found("{\"a\":{port}}"), [(None, Value::Port(0))]);
    }

    #[test]
    fn braces_of_other_languages_are_no_placeholders() {
        for text in [
            "{\"port\": 1}",
            "${port}",
            "{{port}}",
            "{ port }",
            "{port",
            "{PORT}",
            "{port.x}",
            "{port.}",
            "{.port}",
            "{ports}",
            "{}",
            "{port-1}",
            "{print $1}",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
        assert_eq!(pieces("{prot}"), [Piece::Unknown("{prot}")]);
        assert_eq!(found("{{x {port"), []);
        assert_eq!(found("{x {port}"), [(None, Value::Port(0))]);
    }

    #[test]
    fn addresses_have_brackets_where_a_port_follows_and_in_urls() {
        let filled = |text: &str, host: &str| {
            fill(text, |placeholder, _| {
                Ok::<_, ()>(match placeholder.value {
                    Value::Host => host.to_owned(),
                    _ => "3000".to_owned(),
                })
            })
            .unwrap()
        };
        for (text, host, expected) in [
            ("{host}:{port}", "::1", "[::1]:3000"),
            ("{host}:80", "::1", "[::1]:80"),
            ("--bind={host}", "::1", "--bind=::1"),
            ("http://{host}/x", "::1", "http://[::1]/x"),
            ("p://u:s@{host}:{port}/d", "::1", "p://u:s@[::1]:3000/d"),
            ("http://{host}/", "fe80::1%eth0", "http://[fe80::1%25eth0]/"),
            ("[{host}]:{port}", "::1", "[::1]:3000"),
            ("http://a/?h={host}", "::1", "http://a/?h=::1"),
            ("{host}:{port}", "127.0.0.1", "127.0.0.1:3000"),
        ] {
            assert_eq!(filled(text, host), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_text(text in "[{}$a-z.+0-9 é]{0,30}") {
            let parts = pieces(&text);
            let parts = parts.iter().map(|piece| match piece {
                Piece::Text(part) | Piece::Place(_, part) | Piece::Unknown(part) => *part,
            });
            prop_assert_eq!(parts.collect::<String>(), text);
        }
    }
}

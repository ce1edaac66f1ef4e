//! Keys of settings: paths of segments, as TOML writes them.

use std::fmt;

/// Tables at the top of a configuration.
pub const TABLES: [&str; 9] = [
    "pools",
    "interfaces",
    "console",
    "client",
    "portserver",
    "fleet",
    "store",
    "history",
    "telemetry",
];

/// Tables whose entries the user names. A setting lies two levels below them.
const NAMED_TABLES: [&str; 3] = ["pools", "interfaces", "services"];

/// Likeness above which a known name is suggested for an unknown one.
const ALIKE: f64 = 0.6;

/// Path of one setting or table. Segments are kept apart, since the name of a NIC may contain a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<String>);

impl Key {
    pub fn new<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self(segments.into_iter().map(Into::into).collect())
    }

    /// Key one level below.
    #[must_use]
    pub fn child(&self, segment: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.to_owned());
        Self(segments)
    }

    /// Segments, from the top.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether only a table can stand here: a section, or a named entry of one.
    pub fn is_table(&self) -> bool {
        match self.0.as_slice() {
            [head] => TABLES.contains(&head.as_str()),
            [head, _] => NAMED_TABLES.contains(&head.as_str()),
            _ => false,
        }
    }

    /// Environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("PORTBOOK_{}", self.0.join("__").to_uppercase())
    }

    /// Known key that was probably meant. `None` if none is near.
    pub fn nearest<'k>(&self, known: impl IntoIterator<Item = &'k Self>) -> Option<Self> {
        let score = |candidate: Self| (self.likeness(&candidate), candidate);
        let scored = known.into_iter().map(|key| score(self.adopted(key)));
        scored
            .filter(|(likeness, _)| *likeness > ALIKE)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| key)
    }

    /// Puts the name of the pool or NIC that was written into a known key: `pools.default.ranges` becomes
    /// `pools.web.ranges` if `pool.web.ranges` was written.
    fn adopted(&self, known: &Self) -> Self {
        let mut segments = known.0.clone();
        if let ([_, name, _, ..], [head, slot, ..]) = (self.0.as_slice(), segments.as_mut_slice())
            && NAMED_TABLES.contains(&head.as_str())
        {
            slot.clone_from(name);
        }
        Self(segments)
    }

    /// Likeness from 0 to 1. A right last segment in a wrong place counts nearly as much as a match.
    fn likeness(&self, other: &Self) -> f64 {
        let whole = strsim::normalized_damerau_levenshtein(&self.to_string(), &other.to_string());
        let last = match (self.0.last(), other.0.last()) {
            (Some(a), Some(b)) => strsim::normalized_damerau_levenshtein(a, b),
            _ => 0.0,
        };
        whole.max(0.8 * last)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if is_bare(segment) {
                f.write_str(segment)?;
            } else {
                write!(f, "{segment:?}")?;
            }
        }
        Ok(())
    }
}

/// Whether TOML takes a segment without quotes.
fn is_bare(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !segment.is_empty() && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.split('.'))
    }

    #[test]
    fn a_dot_inside_a_name_is_quoted() {
        let vlan = Key::new(["interfaces", "eth0.100", "ranges"]);
        assert_eq!(vlan.to_string(), "interfaces.\"eth0.100\".ranges");
        assert_eq!(
            key("pools.web.ranges").variable(),
            "PORTBOOK_POOLS__WEB__RANGES"
        );
    }

    #[test]
    fn the_nearest_key_keeps_the_name_of_the_pool() {
        let known = [
            key("pools.default.ranges"),
            key("console.listen"),
            key("socket"),
        ];
        let nearest = |text: &str| key(text).nearest(&known).map(|key| key.to_string());
        assert_eq!(nearest("pool.web.ranges"), Some("pools.web.ranges".into()));
        assert_eq!(nearest("pools.web.rnages"), Some("pools.web.ranges".into()));
        assert_eq!(nearest("listen"), Some("console.listen".into()));
        assert_eq!(nearest("sokcet"), Some("socket".into()));
        assert_eq!(nearest("zzz"), None);
    }
}

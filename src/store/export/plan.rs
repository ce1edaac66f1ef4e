//! Columns, keys and conditions of the exported tables, one constant a table.

/// A table as it is exported.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Name and SQL expression of each column, in the order of a JSON object.
    pub(super) columns: &'static [(&'static str, &'static str)],
    /// Names of the columns in the order of a spreadsheet. Empty if that is the order of `columns`.
    pub(super) heading: &'static [&'static str],
    /// Rows, up to a `where` that is true.
    from: &'static str,
    /// Columns that tell one row from another, in the order of the rows.
    pub(super) key: &'static [Key],
    newest_first: bool,
    /// Condition of each filter that the table has, with `?` for the value. That of `port` ends with
    /// `between ?`.
    pub(super) conditions: &'static [(&'static str, &'static str)],
}

/// A column of a key.
#[derive(Debug, PartialEq)]
pub(super) enum Key {
    /// A number or a word.
    Plain(&'static str),
    /// An id, in hexadecimal digits outside of the table.
    Id(&'static str),
}

impl Key {
    const fn column(&self) -> &'static str {
        match self {
            Self::Plain(column) | Self::Id(column) => column,
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Plain(column) => (*column).to_owned(),
            Self::Id(column) => format!("lower(hex({column}))"),
        }
    }

    fn read(&self, index: usize) -> String {
        match self {
            Self::Plain(_) => format!("key ->> {index}"),
            Self::Id(_) => format!("unhex(key ->> {index})"),
        }
    }
}

impl Plan {
    /// Index of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(known, _)| *known == name)
    }

    /// Condition of a filter. One that the table does not have leaves no row.
    pub(super) fn condition(&self, filter: &str) -> &'static str {
        let mut conditions = self.conditions.iter();
        let known = conditions.find(|(name, _)| *name == filter);
        known.map_or("? is null", |(_, condition)| condition)
    }

    /// The start of a query: the values of each row and its key, as JSON arrays.
    pub(super) fn select(&self) -> String {
        let values: Vec<&str> = self.columns.iter().map(|(_, value)| *value).collect();
        let key: Vec<String> = self.key.iter().map(Key::written).collect();
        format!(
            "select json_array({}), json_array({}) from {}",
            values.join(", "),
            key.join(", "),
            self.from
        )
    }

    /// Condition that a row follows the one with a key.
    pub(super) fn follows(&self) -> String {
        let columns: Vec<&str> = self.key.iter().map(Key::column).collect();
        let key = self.key.iter().enumerate();
        let key: Vec<String> = key.map(|(index, column)| column.read(index)).collect();
        let sign = if self.newest_first { '<' } else { '>' };
        format!(
            "({}) {sign} (select {} from (select ? as key))",
            columns.join(", "),
            key.join(", ")
        )
    }

    pub(super) fn order_by(&self) -> String {
        let direction = if self.newest_first { " desc" } else { "" };
        let columns = self
            .key
            .iter()
            .map(|key| format!("{}{direction}", key.column()));
        format!(" order by {}", columns.collect::<Vec<_>>().join(", "))
    }
}

pub(super) const DAYS: Plan = Plan {
    columns: &[
        ("day", "date(day * 86400, 'unixepoch')"),
        ("pool", "pool"),
        ("interface", "interface"),
        ("protocol", "protocol"),
        ("port", "port"),
        ("uid", "iif(uid >= 0, uid, null)"),
        (
            "attempts",
            "bound + lingering + in_use + not_permitted + address_not_available + failed",
        ),
        ("bound", "bound"),
        ("lingering", "lingering"),
        ("in_use", "in_use"),
        ("not_permitted", "not_permitted"),
        ("address_not_available", "address_not_available"),
        ("failed", "failed"),
        // Without the zeros at the end of a fraction.
        (
            "last_at",
            "rtrim(rtrim(strftime('%Y-%m-%dT%H:%M:%f', last_ms / 1000.0, 'unixepoch'), '0'), '.') || 'Z'",
        ),
    ],
    heading: &[],
    from: "attempt_day where true",
    key: &[
        Key::Plain("day"),
        Key::Plain("pool"),
        Key::Plain("interface"),
        Key::Plain("protocol"),
        Key::Plain("port"),
        Key::Plain("uid"),
    ],
    newest_first: true,
    conditions: &[
        ("port", "port between ?"),
        ("protocol", "protocol = ?"),
        ("pool", "pool = ?"),
        ("interface", "interface = ?"),
        ("uid", "uid = ?"),
        ("since", "day >= ? / 86400000"),
        ("until", "day <= ? / 86400000"),
    ],
};

pub(super) const SNAPSHOTS: Plan = Plan {
    columns: &[("at_ms", "at_ms"), ("seq", "seq")],
    heading: &["seq", "at_ms"],
    from: "snapshot where true",
    key: &[Key::Plain("seq")],
    newest_first: false,
    conditions: &[("since", "at_ms >= ?"), ("until", "at_ms < ?")],
};

pub(super) const SIGHTINGS: Plan = Plan {
    columns: &[
        ("address", "address"),
        ("command", "command"),
        ("dual", "dual"),
        (
            "first_at",
            "strftime('%Y-%m-%dT%H:%M:%fZ', began.at_ms / 1000.0, 'unixepoch')",
        ),
        ("first_seq", "first_seq"),
        // Null while the latest snapshot still sees it.
        (
            "last_at",
            "strftime('%Y-%m-%dT%H:%M:%fZ', ended.at_ms / 1000.0, 'unixepoch')",
        ),
        ("last_seq", "last_seq"),
        ("port", "port"),
        ("protocol", "protocol"),
        ("scope", "scope"),
        ("uid", "uid"),
    ],
    heading: &[
        "protocol",
        "port",
        "address",
        "scope",
        "dual",
        "first_seq",
        "last_seq",
        "first_at",
        "last_at",
        "command",
        "uid",
    ],
    from: "sighting left join snapshot as began on began.seq = first_seq \
         left join snapshot as ended on ended.seq = last_seq where true",
    key: &[
        Key::Plain("first_seq"),
        Key::Plain("protocol"),
        Key::Plain("port"),
        Key::Plain("address"),
        Key::Plain("scope"),
        Key::Plain("dual"),
    ],
    newest_first: false,
    conditions: &[
        ("port", "port between ?"),
        ("protocol", "protocol = ?"),
        ("uid", "uid = ?"),
        ("since", "ifnull(ended.at_ms, 9223372036854775807) >= ?"),
        ("until", "began.at_ms < ?"),
    ],
};

pub(super) const CONFLICTS: Plan = Plan {
    columns: &[
        ("at_ms", "at_ms"),
        ("lease", "lower(hex(lease))"),
        ("occupant", "occupant"),
        ("occupant_uid", "occupant_uid"),
        ("port", "found.port"),
        ("protocol", "found.protocol"),
        ("seq", "found.seq"),
    ],
    heading: &[
        "seq",
        "at_ms",
        "lease",
        "protocol",
        "port",
        "occupant",
        "occupant_uid",
    ],
    from: "late_conflict as found left join lease_row as of on of.id = found.lease where true",
    key: &[Key::Plain("found.seq")],
    newest_first: false,
    conditions: &[
        ("port", "found.port between ?"),
        ("protocol", "found.protocol = ?"),
        ("pool", "of.pool = (select id from word where text = ?)"),
        ("name", "name = ?"),
        ("uid", "of.uid = ?"),
        ("since", "at_ms >= ?"),
        ("until", "at_ms < ?"),
    ],
};

pub(super) const ENDINGS: Plan = Plan {
    columns: &[
        ("ended_at_ms", "ended_at_ms"),
        ("id", "lower(hex(id))"),
        ("port", "port"),
        ("protocol", "protocol"),
        ("state", "state"),
    ],
    heading: &["id", "ended_at_ms", "protocol", "port", "state"],
    from: "lease where ended_at_ms is not null",
    key: &[Key::Id("id")],
    newest_first: false,
    conditions: &[
        ("port", "port between ?"),
        ("protocol", "protocol = ?"),
        ("pool", "pool = ?"),
        ("name", "name = ?"),
        ("uid", "uid = ?"),
        ("since", "ended_at_ms >= ?"),
        ("until", "ended_at_ms < ?"),
    ],
};

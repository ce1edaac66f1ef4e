//! The file that `portbook config init` writes: every setting with its default and its explanation.

use super::layers::Layers;
use super::model::{Client, Console, Fleet, History, InterfaceRule, Portserver, Store, Telemetry};
use super::place::Places;
use super::pool::Pool;
use super::provenance::Provenance;
use super::read;
use super::reader::Reader;
use super::table::{Entry, Explained};

/// Introduction and the settings outside of every table. The defaults of the paths differ from user
/// to user, so they are explained here.
const HEAD: &str = r##"# portbook: settings of the service.
#
# Every setting stands here at its default, commented out. A line "# ..." explains; to change a
# setting, take the "#" away from its line and from the [table] line above it.
#
# Read in this order, the later wins:
#   1. /etc/portbook/config.toml
#   2. $XDG_CONFIG_HOME/portbook/config.toml (mostly ~/.config/portbook/config.toml)
#   3. the file of --config
#   4. variables: PORTBOOK_ and the name, "__" between levels, as in
#      PORTBOOK_POOLS__WEB__RANGES=3000-3999. An empty variable counts as not set.
#   5. flags
#
# `portbook config show` prints the value of each setting and its source,
# `portbook config check` prints mistakes.

# Directory of the database, the token and the file with the console's URL. The default is
# $XDG_STATE_HOME/portbook (mostly ~/.local/state/portbook), as root /var/lib/portbook. Example:
# data_dir = "/srv/portbook"

# The API socket. The default is $XDG_RUNTIME_DIR/portbook.sock, as root /run/portbook/portbook.sock;
# without a runtime directory, or where data_dir is set, portbook.sock in the data directory. Example:
# socket = "/srv/portbook/portbook.sock"

# Users who may open the socket: "0600" this user alone, "0660" the group too.
#socket_mode = "0600"
"##;

/// A table as the template shows it.
struct Table {
    name: &'static str,
    about: &'static [&'static str],
    /// Settings to explain. Without any, those with a value are listed.
    entries: &'static [Entry],
}

const fn table<T: Explained>(name: &'static str) -> Table {
    Table {
        name,
        about: T::ABOUT,
        entries: T::ENTRIES,
    }
}

/// The tables, in the order of the file.
const TABLES: [Table; 10] = [
    table::<Console>("console"),
    table::<Pool>("pools.default"),
    Table {
        name: "pools.console",
        about: &[" The pool of the console's own port."],
        entries: &[],
    },
    table::<Client>("client"),
    table::<Portserver>("portserver"),
    table::<Fleet>("fleet"),
    table::<InterfaceRule>("interfaces.eth0"),
    table::<Store>("store"),
    table::<History>("history"),
    table::<Telemetry>("telemetry"),
];

/// Returns the text of the file. A line that starts with `#` and a blank is an explanation, one with
/// `#` alone a setting.
pub fn template() -> String {
    let layers = Layers::none();
    let mut reader = Reader::new(&layers);
    read::settings(&mut reader, &Places::default(), None);
    let defaults = reader.provenance;
    let tables = TABLES.iter().flat_map(|table| table.lines(&defaults));
    HEAD.to_owned() + &tables.map(|line| line + "\n").collect::<String>()
}

impl Table {
    fn lines(&self, defaults: &Provenance) -> Vec<String> {
        let values = self.values(defaults);
        // Nothing of this table is in force, so its header is an explanation too.
        let sign = if values.is_empty() { "# " } else { "#" };
        let mut lines = vec![String::new()];
        lines.extend(explanation(self.about));
        lines.push(format!("{sign}[{}]", self.name));
        for entry in self.entries {
            lines.extend(explanation(entry.text));
            let default = values.iter().find(|(name, _)| *name == entry.name);
            let value = entry.example.or(default.map(|(_, value)| value.as_str()));
            let sign = if default.is_some() {
                "#"
            } else {
                "# Example: "
            };
            lines.push(format!(
                "{sign}{} = {}",
                entry.name,
                value.unwrap_or_default()
            ));
        }
        if self.entries.is_empty() {
            let values = values.iter();
            lines.extend(values.map(|(name, value)| format!("#{name} = {value}")));
        }
        lines
    }

    /// The settings of this table that have a default, with their values as TOML. JSON writes texts,
    /// numbers and lists of them in the same way.
    fn values<'d>(&self, defaults: &'d Provenance) -> Vec<(&'d str, String)> {
        let settings = defaults.settings().iter();
        let of_table = settings.filter_map(|setting| {
            let (table, name) = setting.key.rsplit_once('.')?;
            let here = table == self.name && !setting.value.is_null();
            here.then(|| (name, setting.value.to_string()))
        });
        of_table.collect()
    }
}

fn explanation(text: &[&'static str]) -> impl Iterator<Item = String> {
    text.iter().map(|line| format!("#{line}"))
}

//! The unit of the service, as far as it says which files the service reaches.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Folders of units, the first that has one wins (`systemd.unit(5)`).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

const NAME: &str = "portbook.service";

/// Settings of a unit that hide folders from its program.
const HIDING: [(&str, &[&str]); 2] = [
    ("ProtectHome", &["/root", "/home", "/run/user"]),
    ("PrivateTmp", &["/tmp", "/var/tmp"]),
];

/// Capabilities with which a program reads all files (`capabilities(7)`). systemd starts a program without them.
const READING: [&str; 2] = ["CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"];

/// The user of the unit, with the folders that are hidden from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Name of the user. `None` for root.
    pub(super) user: Option<String>,
    account: Account,
    /// Whether a capability lets it read all files, whatever their modes.
    reads_all: bool,
    hidden: Vec<(&'static str, &'static str)>,
}

/// Numbers of a user. One that does not exist yet is neither owner nor of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Account {
    uid: Option<u32>,
    groups: Vec<u32>,
}

/// Access that the service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read = 0o4,
    /// A program is read, and executed.
    Execute = 0o5,
}

/// A reason for which the service does not reach a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The unit hides this folder, by this setting.
    Hidden(&'static str, &'static str),
    /// The user may not search this folder.
    Folder(String, PathBuf, u32),
    /// The user may not use the file itself.
    File(String, u32),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden(folder, setting) => {
                write!(f, "its unit hides {folder} from it ({setting})")
            }
            Self::Folder(user, folder, mode) => {
                let folder = folder.display();
                write!(
                    f,
                    "its user {user} may not enter {folder} (mode {mode:04o})"
                )
            }
            Self::File(user, mode) => write!(f, "its user {user} may not, by mode {mode:04o}"),
        }
    }
}

impl Unit {
    /// Reads the installed unit of the system with its drop-ins. `None` if there is none.
    pub(super) fn installed() -> Option<Self> {
        let unit = UNITS
            .iter()
            .find_map(|folder| text(&Path::new(folder).join(NAME)))?;
        let folders = UNITS.iter().rev();
        let mut drop_ins: Vec<PathBuf> = folders
            .flat_map(|folder| files(&Path::new(folder).join(format!("{NAME}.d"))))
            .collect();
        drop_ins.sort_by_key(|file| file.file_name().map(ToOwned::to_owned));
        let texts = std::iter::once(unit).chain(drop_ins.iter().filter_map(|file| text(file)));
        Some(Self::of(&texts.collect::<String>()))
    }

    /// Returns the unit of this text. Later settings win.
    pub(super) fn of(unit: &str) -> Self {
        let value = |key: &str| {
            let lines = unit.lines().filter_map(|line| line.split_once('='));
            let mut of_key = lines.filter(|(name, _)| name.trim() == key);
            of_key.next_back().map(|(_, value)| value.trim())
        };
        let hides = |setting: &str| {
            let words = ["yes", "true", "on", "1", "tmpfs", "disconnected"];
            value(setting).is_some_and(|value| words.contains(&value))
        };
        let hidden = HIDING.iter().filter(|(setting, _)| hides(setting));
        let hidden =
            hidden.flat_map(|(setting, folders)| folders.iter().map(|folder| (*folder, *setting)));
        let capabilities = unit.lines().filter_map(|line| line.split_once('='));
        let mut capabilities = capabilities.filter(|(key, _)| key.trim() == "AmbientCapabilities");
        let reads_all = |word: &str| READING.contains(&word);
        let user = value("User").filter(|user| !user.is_empty() && *user != "root");
        let file = |name| text(Path::new(name)).unwrap_or_default();
        let account = |user| Account::of(user, &file("/etc/passwd"), &file("/etc/group"));
        Self {
            hidden: hidden.collect(),
            reads_all: capabilities.any(|(_, words)| words.split_whitespace().any(reads_all)),
            account: user.map_or(Account::root(), account),
            user: user.map(str::to_owned),
        }
    }

    /// Returns what keeps the service from a file that is there. `None` as well if that cannot be seen.
    pub(super) fn obstacle(&self, file: &Path, access: Access) -> Option<Obstacle> {
        let file = file.canonicalize().ok()?;
        let hidden = self
            .hidden
            .iter()
            .find(|(folder, _)| file.starts_with(folder));
        if let Some((folder, setting)) = hidden {
            return Some(Obstacle::Hidden(folder, setting));
        }
        if self.reads_all && access == Access::Read {
            return None;
        }
        let user = || self.user.clone().unwrap_or_default();
        let folders: Vec<&Path> = file.ancestors().skip(1).collect();
        for folder in folders.into_iter().rev() {
            let found = folder.metadata().ok()?;
            if !self.account.may(&found, 0o1) {
                return Some(Obstacle::Folder(user(), folder.to_owned(), mode(&found)));
            }
        }
        let found = file.metadata().ok()?;
        let may = self.account.may(&found, access as u32);
        (!may).then(|| Obstacle::File(user(), mode(&found)))
    }
}

impl Account {
    fn root() -> Self {
        Self {
            uid: Some(0),
            groups: Vec::new(),
        }
    }

    /// Finds a user in `passwd(5)` and `group(5)`.
    fn of(user: &str, passwd: &str, group: &str) -> Self {
        let fields = |text: &str| -> Vec<Vec<String>> {
            let lines = text.lines().map(|line| line.split(':'));
            lines
                .map(|line| line.map(str::to_owned).collect())
                .collect()
        };
        let number = |line: &[String], at: usize| line.get(at)?.parse::<u32>().ok();
        let all = fields(passwd);
        let is_name = |line: &&Vec<String>| {
            line.first().is_some_and(|name| name == user)
                || line.get(2).is_some_and(|id| id == user)
        };
        let Some(line) = all.iter().find(is_name) else {
            return Self::default();
        };
        let is_member = |line: &&Vec<String>| {
            let members = line.get(3).map(String::as_str).unwrap_or_default();
            members.split(',').any(|member| member == user)
        };
        let groups = fields(group);
        let more = groups
            .iter()
            .filter(is_member)
            .filter_map(|line| number(line, 2));
        Self {
            uid: number(line, 2),
            groups: number(line, 3).into_iter().chain(more).collect(),
        }
    }

    /// Whether the mode of a file grants these bits. Lists of access beside it are not looked at.
    fn may(&self, found: &Metadata, bits: u32) -> bool {
        let mode = found.permissions().mode();
        let granted = match self.uid {
            Some(0) => return true,
            Some(uid) if uid == found.uid() => mode >> 6,
            _ if self.groups.contains(&found.gid()) => mode >> 3,
            _ => mode,
        };
        granted & bits == bits
    }
}

fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & 0o7777
}

fn text(file: &Path) -> Option<String> {
    Some(std::fs::read_to_string(file).ok()? + "\n")
}

/// Drop-ins of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    files
        .filter(|file| file.extension().is_some_and(|ending| ending == "conf"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(file: &Path, mode: u32) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A unit of a user that exists nowhere, which hides nothing.
    fn of_a_stranger() -> Unit {
        Unit::of("[Service]\nUser=no-such-user\n")
    }

    #[test]
    fn later_settings_of_a_unit_win() {
        let packaged = include_str!("../../static/systemd/portbook.service");
        let unit = Unit::of(packaged);
        assert_eq!(unit.user.as_deref(), Some("portbook"));
        assert!(unit.hidden.contains(&("/root", "ProtectHome")));
        assert!(unit.hidden.contains(&("/tmp", "PrivateTmp")));
        let changed = format!("{packaged}\n[Service]\nUser=root\nProtectHome=read-only\n");
        let unit = Unit::of(&changed);
        assert_eq!(unit.user, None);
        assert!(!unit.hidden.contains(&("/root", "ProtectHome")));
    }

    #[test]
    fn mode_of_the_file_and_of_each_folder_counts() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let file = folder.path().join("key");
        std::fs::write(&file, "").unwrap();
        set_mode(&file, 0o644);
        let obstacle = |access| of_a_stranger().obstacle(&file, access);
        assert_eq!(obstacle(Access::Read), None);
        assert!(matches!(
            obstacle(Access::Execute),
            Some(Obstacle::File(..))
        ));
        set_mode(&file, 0o600);
        let told = obstacle(Access::Read).unwrap().to_string();
        assert!(
            told.contains("no-such-user") && told.contains("0600"),
            "{told}"
        );
        set_mode(&file, 0o644);
        set_mode(folder.path(), 0o700);
        assert!(matches!(obstacle(Access::Read), Some(Obstacle::Folder(..))));
        assert_eq!(Unit::of("").obstacle(&file, Access::Read), None, "root may");
        let powerful = "User=no-such-user\nAmbientCapabilities=CAP_A CAP_DAC_READ_SEARCH\n";
        assert_eq!(Unit::of(powerful).obstacle(&file, Access::Read), None);
        let hiding = Unit::of("PrivateTmp=yes\nProtectHome=yes\n");
        let is_hidden = hiding.obstacle(Path::new("/tmp"), Access::Read);
        assert_eq!(is_hidden, Some(Obstacle::Hidden("/tmp", "PrivateTmp")));
    }

    #[test]
    fn account_has_the_groups_of_its_user() {
        let passwd = "root:x:0:0::/root:/bin/sh\nportbook:x:991:990::/:/sbin/nologin\n";
        let group = "portbook:x:990:\nssl-cert:x:101:www-data,portbook\nother:x:7:\n";
        let account = Account::of("portbook", passwd, group);
        assert_eq!((account.uid, account.groups), (Some(991), vec![990, 101]));
        assert_eq!(Account::of("none", passwd, group), Account::default());
    }
}

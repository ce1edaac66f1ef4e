//! Sources of settings: files, environment and flags, as this process has them or a test makes them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use figment::value::Value;

use super::place::{self, Places, SYSTEM_FILE};
use crate::domain::duration::HumanDuration;
use crate::telemetry::LogFormat;

/// Declares the flags that set a setting, each once: field, type, spelling, key.
macro_rules! flags {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $flag:literal sets $key:literal;)+) => {
        /// Settings given on the command line. A flag that was not given is `None`: a default here would
        /// win over every other source.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Flags {
            /// `--config FILE`
            pub config: Option<PathBuf>,
            $($(#[doc = $doc])+ pub $name: Option<$type>,)+
        }

        impl Flags {
            /// Flags that were given: spelling, key and value. A path that is not UTF-8 has no value.
            pub(super) fn given(&self) -> Vec<(&'static str, &'static str, Option<Value>)> {
                let mut given = Vec::new();
                $(if let Some(value) = &self.$name {
                    given.push(($flag, $key, Value::serialize(value).ok()));
                })+
                given
            }
        }
    };
}

flags! {
    /// `--data-dir DIR`
    data_dir: PathBuf = "--data-dir" sets "data_dir";
    /// `--socket PATH`
    socket: PathBuf = "--socket" sets "socket";
    /// `--timeout DURATION`
    timeout: HumanDuration = "--timeout" sets "client.timeout";
    /// `--listen ADDRESS:PORT`, for the console.
    listen: SocketAddr = "--listen" sets "console.listen";
    /// Whether the console runs; the command `portbook portserver` sets it.
    console: bool = "portserver" sets "console.enabled";
    /// `--portserver_address ADDRESS`
    portserver_address: String = "--portserver_address" sets "portserver.address";
    /// `--portserver_static_pool RANGES`
    portserver_pool: String = "--portserver_static_pool" sets "pools.portserver.ranges";
    /// `--max-attempts N`, for the pool `console`.
    max_attempts: NonZeroU32 = "--max-attempts" sets "pools.console.max_attempts";
    /// `--otlp-endpoint URL`
    otlp_endpoint: String = "--otlp-endpoint" sets "telemetry.endpoint";
    /// `--log FILTER`
    log: String = "--log" sets "telemetry.log";
    /// `--log-format text|json`
    log_format: LogFormat = "--log-format" sets "telemetry.log_format";
    /// `portbook fleet join ADDRESS…`
    fleet_engine: Vec<String> = "fleet join ADDRESS" sets "fleet.engine";
    /// `portbook fleet join --ca FILE`
    fleet_ca: PathBuf = "fleet join --ca" sets "fleet.ca";
}

/// Everything that settings are read from. Ambient facts are fields too, so that a test can choose
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// File of the whole host; may be absent.
    pub system_file: PathBuf,
    /// The user's own file; may be absent.
    pub user_file: Option<PathBuf>,
    /// File of `--config`; must be there.
    pub explicit_file: Option<PathBuf>,
    /// Environment, with the variables of other programs.
    pub environment: Vec<(String, String)>,
    pub flags: Flags,
    /// Whether the user is root, who has other default places.
    pub root: bool,
    /// Home directory of the user.
    pub home: Option<PathBuf>,
}

impl Sources {
    /// Sources of this process. Relative paths in flags and variables mean the current directory.
    pub fn from_process(mut flags: Flags) -> Self {
        for path in [&mut flags.config, &mut flags.data_dir, &mut flags.socket] {
            *path = path.take().map(from_here);
        }
        let environment: Vec<(String, String)> = std::env::vars_os().map(variable).collect();
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        Self {
            system_file: SYSTEM_FILE.into(),
            user_file: place::user_file(&environment, home.as_deref()),
            explicit_file: flags.config.clone(),
            environment,
            flags,
            root: rustix::process::geteuid().is_root(),
            home,
        }
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places {
            environment: &self.environment,
            home: self.home.as_deref(),
            root: self.root,
        }
    }
}

/// Makes a path absolute. One that cannot be made absolute is left to the checks.
fn from_here(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn variable((name, value): (OsString, OsString)) -> (String, String) {
    let is_path = name == "PORTBOOK_DATA_DIR" || name == "PORTBOOK_SOCKET";
    let value = if is_path && !value.is_empty() {
        from_here(value.into()).into_os_string()
    } else {
        value
    };
    let text = |text: OsString| text.to_string_lossy().into_owned();
    (text(name), text(value))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn sources_of_the_process_are_absolute() {
        let flags = Flags {
            config: Some("c.toml".into()),
            socket: Some("./s".into()),
            ..Flags::default()
        };
        let sources = Sources::from_process(flags);
        assert!(sources.explicit_file.unwrap().ends_with("c.toml"));
        assert!(sources.flags.config.unwrap().is_absolute());
        assert!(sources.flags.socket.unwrap().is_absolute());
        let relative = ("PORTBOOK_DATA_DIR".into(), "d".into());
        assert!(Path::new(&variable(relative).1).is_absolute());
        let empty = ("PORTBOOK_SOCKET".into(), OsString::new());
        assert_eq!(variable(empty).1, "");
    }
}

//! Layers: precedence, values and names of sources.

use super::*;
use crate::config::layers::CHILD_VARIABLES;
use crate::domain::duration::HumanDuration;
use crate::telemetry::LogFormat;

#[test]
fn defaults_hold_without_sources() {
    let loaded = load(&bare()).unwrap();
    let settings = &loaded.settings;
    assert_eq!(loaded.warnings, []);
    let default = &settings.pools["default"];
    assert_eq!(default.ranges, ports("20000-29999"));
    assert_eq!(default.interfaces, ["any".parse().unwrap()]);
    assert_eq!(default.attempt_timeout, Duration::from_secs(5));
    let console = &settings.pools["console"];
    assert_eq!(console.ranges, ports("8888-8988"));
    assert_eq!(console.prefer, Port::new(8888));
    assert_eq!(default.strategy, Order::Learned);
    assert_eq!(console.strategy, Order::Ordered);
    assert_eq!(console.interfaces, ["127.0.0.1".parse().unwrap()]);
    assert_eq!(settings.pools.len(), 2);
    assert_eq!(settings.console.workers.get(), 2);
    assert_eq!(settings.store.batch_max.get(), 2048);
    assert_eq!(settings.socket_mode, 0o600);
    let sources = loaded.provenance.settings().iter();
    assert!(sources.len() > 40);
    for setting in sources {
        assert_eq!(setting.source, "default", "{}", setting.key);
    }
}

#[test]
fn later_layers_win_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let all = "[telemetry]\nlog = \"FROM\"\n";
    let file = |name: &str| write(folder.path(), name, &all.replace("FROM", name));
    let mut sources = Sources {
        system_file: file("system"),
        ..bare()
    };
    let at = |name: &str| format!("file {}/{name}:2", folder.path().display());
    let log = |sources: &Sources| {
        let loaded = load(sources).unwrap();
        let source = loaded.provenance.source("telemetry.log").to_owned();
        (loaded.settings.telemetry.log, source)
    };
    assert_eq!(log(&bare()), ("info".into(), "default".into()));
    assert_eq!(log(&sources), ("system".into(), at("system")));
    sources.user_file = Some(file("user"));
    assert_eq!(log(&sources), ("user".into(), at("user")));
    sources.explicit_file = Some(file("explicit"));
    assert_eq!(log(&sources), ("explicit".into(), at("explicit")));
    sources.environment = variables(&[("TELEMETRY__LOG", "variable")]);
    let variable = "environment (PORTBOOK_TELEMETRY__LOG)".to_owned();
    assert_eq!(log(&sources), ("variable".into(), variable));
    sources.flags.log = Some("flag".into());
    let flag = "command-line flag (--log)".to_owned();
    assert_eq!(log(&sources), ("flag".into(), flag));
}

#[test]
fn every_flag_reaches_its_setting() {
    let sources = Sources {
        flags: Flags {
            config: None,
            data_dir: Some("/d".into()),
            socket: Some("/s".into()),
            timeout: Some(HumanDuration(Duration::from_secs(5))),
            listen: Some("127.0.0.1:9000".parse().unwrap()),
            max_attempts: NonZeroU32::new(3),
            console: Some(true),
            portserver_address: Some("@ports".into()),
            portserver_pool: Some("15000-15009".into()),
            otlp_endpoint: Some("http://127.0.0.1:4318".into()),
            log: Some("warn".into()),
            log_format: Some(LogFormat::Json),
            fleet_ca: Some("/ca.pem".into()),
            // A build without fleets refuses it.
            fleet_engine: None,
        },
        ..bare()
    };
    let loaded = load(&sources).unwrap();
    let given = loaded.provenance.settings().iter();
    let given = given.filter(|setting| setting.source != "default");
    let given: Vec<String> = given
        .map(|setting| format!("{} {} {}", setting.key, setting.value, setting.source))
        .collect();
    let flag =
        |key: &str, value: &str, flag: &str| format!("{key} {value} command-line flag ({flag})");
    assert_eq!(
        given,
        [
            flag("data_dir", "\"/d\"", "--data-dir"),
            flag("socket", "\"/s\"", "--socket"),
            flag("console.enabled", "true", "portserver"),
            flag("console.listen", "\"127.0.0.1:9000\"", "--listen"),
            flag("client.timeout", "\"5s\"", "--timeout"),
            flag("portserver.address", "\"@ports\"", "--portserver_address"),
            flag("fleet.ca", "\"/ca.pem\"", "fleet join --ca"),
            flag("pools.console.max_attempts", "3", "--max-attempts"),
            flag(
                "pools.portserver.ranges",
                "\"15000-15009\"",
                "--portserver_static_pool"
            ),
            flag(
                "telemetry.endpoint",
                "\"http://127.0.0.1:4318\"",
                "--otlp-endpoint"
            ),
            flag("telemetry.log", "\"warn\"", "--log"),
            flag("telemetry.log_format", "\"json\"", "--log-format"),
        ]
    );
    assert_eq!(loaded.settings.console.listen, sources.flags.listen);
    assert_eq!(
        loaded.settings.pools["console"].max_attempts,
        NonZeroU32::new(3)
    );
}

#[test]
fn pools_are_overridden_setting_by_setting() {
    let (_folder, mut sources) = with_file(
        "[pools.console]\nranges = \"8880-8899\"\nstrategy = \"random\"\n\
         [pools.web]\nranges = [3000, \"3100-3199\"]\nttl = \"8h\"\n",
    );
    sources.environment = variables(&[
        ("POOLS__CONSOLE__MAX_ATTEMPTS", "16"),
        ("POOLS__WEB__EXCLUDE", "3000"),
        ("POOLS__WEB__PROTOCOL", "both"),
    ]);
    let pools = load(&sources).unwrap().settings.pools;
    let console = &pools["console"];
    assert_eq!(console.ranges, ports("8880-8899"));
    assert_eq!(console.strategy, Order::Random);
    assert_eq!(console.max_attempts, NonZeroU32::new(16));
    assert_eq!(console.prefer, Port::new(8888));
    assert_eq!(console.interfaces, ["127.0.0.1".parse().unwrap()]);
    let web = &pools["web"];
    assert_eq!(web.ranges, ports("3000,3100-3199"));
    assert_eq!(web.exclude, ports("3000"));
    assert_eq!(web.protocol, Protocols::Both);
    assert_eq!(web.ttl, Some(Duration::from_hours(8)));
    assert_eq!(web.claim_within, Duration::from_mins(10));
    assert_eq!(&*web.name, "web");
}

#[test]
fn built_in_preference_gives_way_to_other_ranges() {
    let sources = with_variables(&[("POOLS__CONSOLE__RANGES", "9100-9110")]);
    assert_eq!(
        load(&sources).unwrap().settings.pools["console"].prefer,
        None
    );
    let sources = with_variables(&[("POOLS__CONSOLE__EXCLUDE", "8888")]);
    assert_eq!(
        load(&sources).unwrap().settings.pools["console"].prefer,
        None
    );
}

#[test]
fn variables_are_read_as_they_are_written() {
    let sources = with_variables(&[
        ("POOLS__WEB__RANGES", "31000"),
        ("POOLS__WEB__INTERFACES", "lan0,lan1"),
        ("POOLS__API__RANGES", "[31001,32000-32001]"),
        ("POOLS__API__INTERFACES", "[10.0.0.0/8, !docker0]"),
        ("POOLS__DEFAULT__INTERFACES", "eth0"),
        ("POOLS__DEFAULT__COOL_DOWN", "90"),
        ("SOCKET_MODE", "0660"),
        ("TELEMETRY__SERVICE_NAME", "007"),
        ("TELEMETRY__SAMPLE_RATIO", "1"),
        ("CONSOLE__ENABLED", "false"),
        ("CONSOLE__ALLOWED_HOSTS", "a.lan,b.lan"),
        ("DATA_DIR", "/1"),
        ("STORE__BATCH_MAX", ""),
    ]);
    let settings = load(&sources).unwrap().settings;
    let interfaces = |pool: &str| -> Vec<String> {
        let selectors = settings.pools[pool].interfaces.iter();
        selectors.map(ToString::to_string).collect()
    };
    assert_eq!(settings.pools["web"].ranges, ports("31000"));
    assert_eq!(interfaces("web"), ["lan0", "lan1"]);
    assert_eq!(settings.pools["api"].ranges, ports("31001,32000-32001"));
    assert_eq!(interfaces("api"), ["10.0.0.0/8", "!docker0"]);
    assert_eq!(interfaces("default"), ["eth0"]);
    assert_eq!(settings.pools["default"].cool_down, Duration::from_secs(90));
    assert_eq!(settings.socket_mode, 0o660);
    assert_eq!(settings.telemetry.service_name.as_deref(), Some("007"));
    assert!((settings.telemetry.sample_ratio - 1.0).abs() < f64::EPSILON);
    assert!(!settings.console.enabled);
    assert_eq!(settings.console.allowed_hosts, ["a.lan", "b.lan"]);
    assert_eq!(settings.data_dir, Path::new("/1"));
    assert_eq!(settings.store.batch_max.get(), 2048);
}

#[test]
fn variables_of_run_are_no_settings() {
    let mut sources = bare();
    let name_and_text = |name: &&str| ((*name).to_owned(), "x".to_owned());
    sources.environment = CHILD_VARIABLES.iter().map(name_and_text).collect();
    sources.environment.push(("PORT".into(), "x".into()));
    assert_eq!(load(&sources), load(&bare()));
}

#[test]
fn places_follow_xdg_root_and_the_data_directory() {
    let places = |sources: &Sources| {
        let settings = load(sources).unwrap().settings;
        let text = |path: &Path| path.display().to_string();
        (text(&settings.data_dir), text(&settings.socket))
    };
    let pair = |data: &str, socket: &str| (data.to_owned(), socket.to_owned());
    let state = "/home/me/.local/state/portbook";
    let mut sources = bare();
    assert_eq!(
        places(&sources),
        pair(state, &format!("{state}/portbook.sock"))
    );
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    sources.environment = vec![
        variable("XDG_STATE_HOME", "/state"),
        variable("XDG_RUNTIME_DIR", "/run/user/1"),
    ];
    assert_eq!(
        places(&sources),
        pair("/state/portbook", "/run/user/1/portbook.sock")
    );
    sources.root = true;
    let system = pair("/var/lib/portbook", "/run/portbook/portbook.sock");
    assert_eq!(places(&sources), system);
    sources.flags.data_dir = Some("/own".into());
    assert_eq!(places(&sources), pair("/own", "/own/portbook.sock"));
    sources.environment.push(variable("PORTBOOK_SOCKET", "/s"));
    assert_eq!(places(&sources), pair("/own", "/s"));
    // The specification has relative ones ignored.
    sources = bare();
    sources.environment = vec![variable("XDG_STATE_HOME", "state")];
    assert_eq!(places(&sources).0, state);
}

#[test]
fn the_users_file_follows_xdg() {
    let at = |environment: &[(String, String)], home: Option<&str>| {
        place::user_file(environment, home.map(Path::new))
    };
    let set = [("XDG_CONFIG_HOME".to_owned(), "/c".to_owned())];
    assert_eq!(at(&set, None), Some("/c/portbook/config.toml".into()));
    assert_eq!(
        at(&[], Some("/h")),
        Some("/h/.config/portbook/config.toml".into())
    );
    assert_eq!(at(&[], None), None);
}

#[test]
fn a_nic_may_have_a_dot_in_its_name() {
    let (_folder, sources) = with_file("[interfaces.\"eth0.100\"]\nranges = \"31000-31009\"\n");
    let loaded = load(&sources).unwrap();
    let rule = &loaded.settings.interfaces["eth0.100"];
    assert_eq!(rule.ranges, Some(ports("31000-31009")));
    assert_eq!(rule.exclude, PortSet::EMPTY);
    let source = loaded.provenance.source("interfaces.\"eth0.100\".ranges");
    assert!(source.ends_with("x.toml:2"), "{source}");
}

proptest! {
    /// Every text of a file is read or refused.
    #[test]
    fn texts_never_cause_a_panic(text in "[\\[\\]a-z.=\"0-9 \n-]{0,60}") {
        let (_folder, sources) = with_file(&text);
        let _ = load(&sources);
    }

    /// A file and a variable with the same ranges mean the same.
    #[test]
    fn a_file_and_a_variable_agree(first in 30000u16..40000, more in 0u16..100) {
        let range = format!("{first}-{}", first + more);
        let (_folder, file) = with_file(&format!("pools.web.ranges = \"{range}\""));
        let variable = with_variables(&[("POOLS__WEB__RANGES", &range)]);
        prop_assert_eq!(load(&file).unwrap().settings, load(&variable).unwrap().settings);
    }
}

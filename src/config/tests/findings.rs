//! Findings and their messages.

use super::*;

/// The only finding about a file.
fn wrong(text: &str) -> String {
    let errors = errors_of_file(text);
    assert_eq!(errors.len(), 1, "{text}: {errors:#?}");
    errors[0].strip_prefix("error: ").unwrap().to_owned()
}

/// Asserts that each text is refused with a message that has this start and ends with a way out.
fn assert_refused(cases: &[(&str, &str)]) {
    for (text, start) in cases {
        let found = wrong(text);
        assert!(found.starts_with(start), "{text}:\n  {found}\n  {start}");
        let way_out = found.rsplit_once(": ").unwrap().1;
        assert!(way_out.len() > 5, "no way out: {found}");
    }
}

#[test]
fn message_names_key_file_line_and_way_out() {
    assert_eq!(
        wrong("\n[pools.web]\nranges = \"9000-8000\""),
        "pools.web.ranges (file /x.toml:3): range 9000-8000 is reversed: write 8000-9000"
    );
    assert_eq!(
        wrong("[pools.web]\nranges = [\n  \"1-2\",\n  70000]"),
        "pools.web.ranges (file /x.toml:2): 70000 is not a port: ports go from 1 to 65535"
    );
}

#[test]
fn wrong_pools_are_refused() {
    assert_refused(&[
        (
            "pools.web.ranges = 0",
            "pools.web.ranges (file /x.toml:1): 0 is not a port",
        ),
        (
            "pools.web.ranges = \"\"",
            "pools.web.ranges (file /x.toml:1): there is no port in it",
        ),
        (
            "pools.web.ranges = true",
            "pools.web.ranges (file /x.toml:1): true does not fit",
        ),
        (
            "[pools.web]\nttl = 5",
            "pools.web.ranges (file /x.toml:1): the pool web has no ports",
        ),
        (
            "[pools.web]\n",
            "pools.web.ranges (file /x.toml:1): the pool web has no ports",
        ),
        (
            "[pools.Web]\nranges = 5",
            "pools.Web.ranges (file /x.toml:2): \"Web\" is not a name",
        ),
        (
            "pools.console.prefer = 70000",
            "pools.console.prefer (file /x.toml:1): 70000 does not",
        ),
        (
            "pools.console.prefer = 80",
            "pools.console.prefer (file /x.toml:1): 80 is outside",
        ),
        (
            "pools.console.exclude = \"8000-9000\"",
            "pools.console.exclude (file /x.toml:1): 8000-9000 leaves no port",
        ),
        (
            "pools.console.prefer = 8900\npools.console.exclude = 8900",
            "pools.console.prefer (file /x.toml:1): 8900 is excluded",
        ),
        (
            "pools.console.ttl = 0",
            "pools.console.ttl (file /x.toml:1): no time at all",
        ),
        (
            "pools.console.ttl = \"soon\"",
            "pools.console.ttl (file /x.toml:1): \"soon\" is not a d",
        ),
        (
            "pools.console.max_attempts = 0",
            "pools.console.max_attempts (file /x.toml:1): 0 does",
        ),
        (
            "pools.console.strategy = \"luck\"",
            "pools.console.strategy (file /x.toml:1): \"luck\" is not known: write learned",
        ),
        (
            "pools.console.interfaces = \"10.0.0.0/99\"",
            "pools.console.interfaces (file /x.toml:1): \"10.0.0.0/99\" is not a network",
        ),
        (
            "pools.web = 5",
            "pools.web (file /x.toml:1): pools.web is a table",
        ),
        (
            "[[pools]]\nranges = 5",
            "pools (file /x.toml:1): pools is a table",
        ),
    ]);
}

#[test]
fn wrong_consoles_and_interfaces_are_refused() {
    assert_refused(&[
        (
            "console = 5",
            "console (file /x.toml:1): console is a table",
        ),
        (
            "interfaces.eth0.ranges = \"\"",
            "interfaces.eth0.ranges (file /x.toml:1): there is no",
        ),
        (
            "[interfaces.eth0]\nranges = 5\nexclude = \"1-9\"",
            "interfaces.eth0.exclude (file /x.toml:3): 1-9 leaves no port",
        ),
        (
            "interfaces.\"e*\".ranges = 5",
            "interfaces.\"e*\".ranges (file /x.toml:1): \"e*\" is not",
        ),
        (
            "console.enabled = 1",
            "console.enabled (file /x.toml:1): 1 does not fit: write true or",
        ),
        (
            "console.pool = \"web\"",
            "console.pool (file /x.toml:1): there is no pool web: write one",
        ),
        (
            "console.listen = \"0.0.0.0:80\"",
            "console.listen (file /x.toml:1): 0.0.0.0 can be reached from beyond",
        ),
        (
            "console.listen = \"127.0.0.1:0\"",
            "console.listen (file /x.toml:1): 0 is not a port",
        ),
        (
            "console.listen = \"127.0.0.1\"",
            "console.listen (file /x.toml:1): ",
        ),
        (
            "console.address = \"10.0.0.1\"",
            "console.address (file /x.toml:1): 10.0.0.1 can be",
        ),
        (
            "console.workers = 0",
            "console.workers (file /x.toml:1): 0 does not fit",
        ),
        (
            "console.allowed_hosts = [\"http://a\"]",
            "console.allowed_hosts (file /x.toml:1): \"http://a\" is not a host name",
        ),
    ]);
}

#[test]
fn other_wrong_settings_are_refused() {
    assert_refused(&[
        (
            "data_dir = \"~/x\"",
            "data_dir (file /x.toml:1): \"~/x\" is not an absolute path",
        ),
        (
            "socket = \"x\"",
            "socket (file /x.toml:1): \"x\" is not an absolute path",
        ),
        (
            "socket_mode = 660",
            "socket_mode (file /x.toml:1): 660 does not fit: write \"0600\"",
        ),
        (
            "socket_mode = \"0666\"",
            "socket_mode (file /x.toml:1): \"0666\" is not a mode",
        ),
        (
            "store.batch_max = \"x\"",
            "store.batch_max (file /x.toml:1): \"x\" does not fit",
        ),
        (
            "telemetry.sample_ratio = 1.5",
            "telemetry.sample_ratio (file /x.toml:1): 1.5 is not a s",
        ),
        (
            "telemetry.endpoint = \"x:1\"",
            "telemetry.endpoint (file /x.toml:1): \"x:1\" is not",
        ),
        (
            "telemetry.endpoint = \"http://u:p@x\"",
            "telemetry.endpoint (file /x.toml:1): an address with a password",
        ),
        (
            "telemetry.trace_url = \"http://x/trace\"",
            "telemetry.trace_url (file /x.toml:1): \"http://x/trace\" is not",
        ),
        (
            "telemetry.log = \"a=b=c\"",
            "telemetry.log (file /x.toml:1): \"a=b=c\" is not a log fil",
        ),
        (
            "telemetry.log_format = \"xml\"",
            "telemetry.log_format (file /x.toml:1): \"xml\" is not",
        ),
        (
            "telemetry.service_name = 5",
            "telemetry.service_name (file /x.toml:1): 5 does not fit",
        ),
        (
            "[services.web]\nport = 5",
            "services.web.port (file /x.toml:2): services are not settings of the service: write",
        ),
        ("\nx = = 5", "file /x.toml:2: not TOML ("),
    ]);
}

#[test]
fn long_socket_path_is_refused() {
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    assert!(load(&with_variables(&[("SOCKET", &path(107))])).is_ok());
    let wrong = errors(&with_variables(&[("SOCKET", &path(108))]));
    assert!(
        wrong[0].contains("(environment (PORTBOOK_SOCKET)): a path of 108"),
        "{wrong:?}"
    );
    let wrong = errors(&with_variables(&[("DATA_DIR", &path(107))]));
    assert!(
        wrong[0].starts_with("error: socket (default): a path of 121"),
        "{wrong:?}"
    );
}

#[test]
fn data_directory_is_needed_without_a_home() {
    let homeless = Sources::default();
    let wrong = errors(&homeless);
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0].starts_with("error: data_dir (default): there is no home"),
        "{wrong:?}"
    );
    let sources = Sources {
        environment: variables(&[("DATA_DIR", "/d")]),
        ..homeless
    };
    assert!(load(&sources).is_ok());
}

#[test]
fn all_problems_are_reported_at_once() {
    let (folder, mut sources) = with_file("console.workers = 0\nx = 1\n[pools.a]\nranges = 0\n");
    sources.user_file = Some(write(folder.path(), "user.toml", "not toml"));
    sources.environment = variables(&[("STORE__BATCH_MAX", "none")]);
    let all = errors(&sources);
    for part in [
        "user.toml:1: not TOML",
        "console.workers (file",
        "error: x (file",
        "pools.a.ranges (file",
        "store.batch_max (environment (PORTBOOK_STORE__BATCH_MAX)): \"none\" does not fit",
    ] {
        assert!(
            all.iter().any(|line| line.contains(part)),
            "{part}: {all:#?}"
        );
    }
    assert_eq!(all.len(), 5, "{all:#?}");
}

#[test]
fn warnings_are_reported_beside_errors() {
    let text = "console.workers = 0\n[pools.web]\nranges = \"29000-30000\"\n";
    let (_folder, sources) = with_file(text);
    let findings = load(&sources).unwrap_err().findings;
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning]);
}

#[test]
fn only_the_file_of_the_flag_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let mut sources = Sources {
        system_file: missing.clone(),
        user_file: Some(missing.clone()),
        ..bare()
    };
    assert!(load(&sources).is_ok());
    sources.explicit_file = Some(missing.clone());
    let start = format!("error: file {}: there is no such file", missing.display());
    assert!(errors(&sources)[0].starts_with(&start));
    // A folder is there, but cannot be read as a file.
    sources.explicit_file = Some(folder.path().to_owned());
    assert!(errors(&sources)[0].contains("cannot be read ("));
}

#[test]
fn unknown_keys_suggest_the_nearest_known_one() {
    let unknown = |text: &str| errors_of_file(text).join("\n");
    for (text, hint) in [
        (
            "sokcet = \"/s\"",
            "sokcet is not a setting: did you mean socket?",
        ),
        (
            "listen = \"127.0.0.1:1\"",
            "listen is not a setting: did you mean console.listen?",
        ),
        ("pool.web.ranges = 5", "did you mean pools.web.ranges?"),
        (
            "pools.console.rnages = 5",
            "did you mean pools.console.ranges?",
        ),
        (
            "interface.lan0.ranges = 5",
            "did you mean interfaces.lan0.ranges?",
        ),
        (
            "interfaces.\"eth0.7\".excludes = 5",
            "did you mean interfaces.\"eth0.7\".exclude?",
        ),
        (
            "[qqqq]",
            "qqqq is not a setting: the tables are pools, interfaces, console",
        ),
    ] {
        assert!(unknown(text).contains(hint), "{text}: {}", unknown(text));
    }
    let sources = with_variables(&[("POOLS__WEB__RANGE", "1-2"), ("POOLS__WEB__RANGES", "1-2")]);
    assert_eq!(
        errors(&sources),
        [
            "error: pools.web.range (environment (PORTBOOK_POOLS__WEB__RANGE)): \
          PORTBOOK_POOLS__WEB__RANGE is not a setting: did you mean PORTBOOK_POOLS__WEB__RANGES?"
        ]
    );
}

#[test]
fn pools_that_share_ports_are_warned_about() {
    let warnings = |text: &str| {
        let (folder, sources) = with_file(text);
        let prefix = folder.path().display().to_string();
        let warnings = load(&sources).unwrap().warnings.into_iter();
        let lines = warnings.map(|warning| warning.to_string().replace(&prefix, ""));
        lines.collect::<Vec<String>>()
    };
    assert_eq!(
        warnings("[pools.web]\nranges = \"29000-30000\""),
        [
            "warning: pools.web.ranges (file /x.toml:2): the pool default has 29000-29999 as well: \
          give each pool ports of its own"
        ]
    );
    // "a" comes before "default", whose ranges are built in.
    assert_eq!(
        warnings("[pools.a]\nranges = 20000"),
        [
            "warning: pools.a.ranges (file /x.toml:2): the pool default has 20000 as well: \
          give each pool ports of its own"
        ]
    );
    let apart = "[pools.web]\nranges = \"29000-30000\"\nprotocol = \"udp\"";
    assert_eq!(warnings(apart), [""; 0]);
    assert_eq!(warnings("[pools.web]\nranges = \"30000-30001\""), [""; 0]);
}

#[test]
fn settings_are_compared_with_the_host() {
    let (_folder, sources) = with_file(
        "[pools.web]\nranges = \"32000-33000\"\ninterfaces = \"lan0\"\n[interfaces.lan1]\n",
    );
    let loaded = load(&sources).unwrap();
    let found = |outgoing: &PortSet, matches: bool| -> Vec<String> {
        let all = against_host(
            &loaded.settings,
            &loaded.provenance,
            outgoing,
            &|selectors| matches || selectors[0].to_string() == "any",
        );
        assert!(
            all.iter()
                .all(|finding| finding.severity == Severity::Warning)
        );
        all.into_iter()
            .map(|finding| format!("{} {}", finding.key, finding.message))
            .collect()
    };
    assert_eq!(found(&PortSet::EMPTY, true), [""; 0]);
    assert_eq!(
        found(&ports("32768-60999"), true),
        ["pools.web.ranges the kernel gives 32768-33000 to outgoing connections as well"]
    );
    assert_eq!(
        found(&PortSet::EMPTY, false),
        [
            "pools.console.interfaces this host has no such address now",
            "pools.web.interfaces this host has no such address now",
            "interfaces.lan1.ranges this host has no interface lan1 now",
        ]
    );
}

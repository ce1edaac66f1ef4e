//! The project file: search and content.

use super::*;
use crate::domain::variables::HostVariable;

/// Reads the project around a folder.
fn project(directory: &Path, sources: &Sources) -> Result<Option<Project>, ConfigError> {
    let uid = rustix::process::geteuid().as_raw();
    super::super::project(&Tree::of(directory, None, uid), sources)
}

/// A repository with this project file in its root and a folder two levels below.
fn repository(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(folder.path().join(".git")).unwrap();
    write(folder.path(), PROJECT_FILE, text);
    (folder, deep)
}

fn wrong(text: &str) -> Vec<String> {
    let (folder, _deep) = repository(text);
    let findings = project(folder.path(), &bare()).unwrap_err().findings;
    let prefix = format!("{}/", folder.path().display());
    let lines = findings.iter().map(ToString::to_string);
    lines.map(|line| line.replace(&prefix, "/")).collect()
}

#[test]
fn services_are_read_with_their_settings() {
    let (folder, deep) = repository(
        "[services.web]\nprefer = 3000\n\n[services.api]\nprotocol = \"both\"\npool = \"apis\"\n\
         interfaces = \"loopback\"\nhandover = \"fd\"\nttl = \"8h\"\n[services.db]\n",
    );
    let found = project(&deep, &bare()).unwrap().unwrap();
    assert_eq!(found.file, folder.path().join(PROJECT_FILE));
    let names: Vec<&str> = found.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["api", "db", "web"]);
    assert_eq!(found.services[2].prefer, Port::new(3000));
    let api = &found.services[0];
    assert_eq!(
        (api.protocol, api.pool.as_deref()),
        (Some(Protocols::Both), Some("apis"))
    );
    assert_eq!(api.interfaces.len(), 1);
}

#[test]
fn search_ends_at_the_root_of_the_work_tree() {
    let (folder, deep) = repository("[services.web]\n");
    assert!(project(&deep, &bare()).unwrap().is_some());
    // An inner repository is another project.
    fs::write(deep.join(".git"), "gitdir: elsewhere").unwrap();
    assert_eq!(project(&deep, &bare()), Ok(None));
    assert!(
        project(&folder.path().join("a"), &bare())
            .unwrap()
            .is_some()
    );
}

#[test]
fn settings_of_the_service_are_sent_to_its_file() {
    assert_eq!(
        wrong("socket = \"/s\"\n[console]\nlisten = \"127.0.0.1:1\"\n[services.web]\n"),
        [
            "error: console.listen (file /portbook.toml:3): console.listen is a setting of the \
             service, not of a project: write it into /home/me/.config/portbook/config.toml",
            "error: socket (file /portbook.toml:1): socket is a setting of the service, not of a \
             project: write it into /home/me/.config/portbook/config.toml",
        ]
    );
}

#[test]
fn findings_name_the_line() {
    let port = "error: services.web.port (file /portbook.toml:3): 0 does not fit: write a port from 1 to 65535";
    let table = "error: service.api.port (file /portbook.toml:5): service.api.port is not a setting of a project: did you mean services.api.port?";
    let key = "error: services.web.prefre (file /portbook.toml:2): services.web.prefre is not a setting of a project: did you mean services.web.prefer?";
    assert_eq!(
        wrong("[services.web]\nprefre = 3000\nport = 0\n[service.api]\nport = 1\n"),
        [port, table, key]
    );
    let of_names =
        wrong("[services]\nweb = 3000\n[services.\"a b\"]\n[services.my-api]\n[services.my_api]\n");
    assert!(
        of_names[0]
            .starts_with("error: services.\"a b\" (file /portbook.toml:3): \"a b\" is not a name")
    );
    assert!(of_names[1].contains(":5): my-api and my_api both set MY_API_PORT: give"));
    assert!(
        of_names[2].contains(":2): services.web is a table"),
        "{of_names:?}"
    );
}

#[test]
fn lifetime_of_no_time_is_refused() {
    let of_zero = wrong("[services.web]\nttl = 0\n");
    assert!(
        of_zero[0].contains("services.web.ttl (file /portbook.toml:2): no time at all"),
        "{of_zero:?}"
    );
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    assert!(wrong("[services.web]\nprefer =\n")[0].starts_with("error: file /portbook.toml:2:"));
    let both = wrong("[services.web]\nport = 1\nprefer = 2\n");
    assert!(
        both[0].contains(":3)") && both[0].contains("one of port and prefer"),
        "{both:?}"
    );
}

#[test]
fn a_service_names_its_variables_and_ports() {
    let (folder, _deep) = repository(
        "[services.db]\nvariable = \"PGPORT\"\nhost_variable = \"PGHOST\"\nhost = \"db.localhost\"\n\
         range = \"5000-5099\"\nblock = 2\ntarget = 5432\n\
         env = { DATABASE_URL = \"postgres://{host}:{port}/app\", API_URL = \"http://{api.host}:{api.port}\" }\n\
         [services.api]\nhost_variable = false\ncount = 2\n[services.api.env]\nSECOND = \"{port.1}\"\n",
    );
    let found = project(folder.path(), &bare()).unwrap().unwrap();
    let (api, db) = (&found.services[0], &found.services[1]);
    assert_eq!(db.wishes.variable, "PGPORT".parse().ok());
    assert_eq!(
        db.wishes.host_variable,
        HostVariable::Named("PGHOST".parse().unwrap())
    );
    assert_eq!(db.wishes.host.as_deref(), Some("db.localhost"));
    assert_eq!(
        (db.block.map(NonZeroU32::get), db.target),
        (Some(2), Port::new(5432))
    );
    assert_eq!(db.range.as_ref().unwrap().to_string(), "5000-5099");
    assert_eq!(db.wishes.env.len(), 2);
    assert_eq!(api.wishes.host_variable, HostVariable::Off);
    assert_eq!(api.count.map(NonZeroU32::get), Some(2));
}

#[test]
fn placeholders_that_cannot_be_filled_are_named_with_their_line() {
    for (value, expected) in [
        ("http://{host}:{prot}", ":3): {prot} is no placeholder"),
        (
            "{nosuch.port}",
            ":3): {nosuch.port}: nothing here is called nosuch: there are api, web",
        ),
        ("{port.1}", ":3): {port.1}: there is no such port"),
        (
            "{api.port+1}",
            ":3): {api.port+1}: these ports are not in a row",
        ),
    ] {
        let lines = wrong(&format!(
            "[services.web]\n[services.web.env]\nURL = \"{value}\"\n[services.api]\n"
        ));
        assert!(
            lines.len() == 1 && lines[0].contains(expected),
            "{value}: {lines:?}"
        );
    }
}

#[test]
fn untrusted_variables_cannot_run_code() {
    for setting in [
        "variable = \"LD_PRELOAD\"",
        "variable = \"A B\"",
        "host_variable = \"path\"",
        "host_variable = 3",
        "host = \"a;id\"",
        "host = \"$(id)\"",
        "env = { PROMPT_COMMAND = \"id\" }",
        "env = { \"A;id\" = \"x\" }",
        "env = { NODE_OPTIONS = \"--require ./x.js\" }",
        "env = { A = \"x\\ny\" }",
        "env = { A = 3 }",
        "env = \"A=1\"",
        "range = \"\"",
        "count = 300",
        "count = 2\nblock = 2",
        "port = 5000\nrange = \"5000-5001\"",
        "target = 0",
    ] {
        let lines = wrong(&format!("[services.web]\n{setting}\n"));
        assert!(
            lines.len() == 1 && lines[0].contains("portbook.toml:"),
            "{setting}: {lines:?}"
        );
    }
}

#[test]
fn two_services_with_one_variable_are_reported_once() {
    let lines =
        wrong("[services.a]\nvariable = \"PORT_X\"\n[services.b]\nenv = { PORT_X = \"1\" }\n");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(":3): a and b both set PORT_X"),
        "{lines:?}"
    );
}

#[test]
fn files_that_never_end_are_refused() {
    let (folder, _deep) = repository("");
    let file = folder.path().join(PROJECT_FILE);
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    let refused = || project(folder.path(), &bare()).unwrap_err().to_string();
    assert!(refused().contains("not a plain file"), "{}", refused());
    fs::remove_file(&file).unwrap();
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(
        refused().contains("larger than 1048576 bytes"),
        "{}",
        refused()
    );
}

#[test]
fn projects_are_bounded() {
    use std::fmt::Write;
    let mut services = String::new();
    for number in 0..257 {
        writeln!(services, "[services.s{number}]").unwrap();
    }
    let mut variables = "[services.web.env]\n".to_owned();
    for number in 0..4097 {
        writeln!(variables, "A{number} = 'x'").unwrap();
    }
    for (text, said) in [(services, "257 services"), (variables, "4,097 settings")] {
        let [only] = &wrong(&text)[..] else {
            panic!("one finding is enough");
        };
        assert!(only.contains(said), "{only}");
    }
}

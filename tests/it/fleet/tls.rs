//! TLS with client certificates, and rights by host.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::etcd::Etcd;
use super::{NOT_FRESH, host, reaches};
use crate::host::skipped;
use crate::support::{Server, text};
use crate::tools::eventually;

/// Makes an authority, and certificates of etcd, of its root user and of two hosts.
const CERTIFICATES: &str = r#"
set -e
cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem
for name in server root one two; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
  printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >ext
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out "$name.pem"
done
chmod 600 ./*.key
"#;

fn with_tls(test: &str) -> Option<Etcd> {
    let folder = TempDir::new().unwrap();
    let made = Command::new("sh")
        .args(["-c", CERTIFICATES, "sh"])
        .arg(folder.path())
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        skipped(test, "openssl makes no certificates");
        return None;
    }
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let options = [
        ("--cert-file", file("server.pem")),
        ("--key-file", file("server.key")),
        ("--trusted-ca-file", file("ca.pem")),
    ];
    let options = options
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    let mut options: Vec<String> = options.collect();
    options.push("--client-cert-auth".to_owned());
    Etcd::start_with(test, "https", &options, folder)
}

fn certified(etcd: &Etcd, name: &str) -> crate::support::Place {
    let mut place = host(etcd, name);
    let file = |ending: &str| etcd.folder.path().join(ending).to_str().unwrap().to_owned();
    place.set("PORTBOOK_FLEET__CA", &file("ca.pem"));
    place.set("PORTBOOK_FLEET__CERTIFICATE", &file(&format!("{name}.pem")));
    place.set("PORTBOOK_FLEET__KEY", &file(&format!("{name}.key")));
    place
}

fn set_mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Waits for a commit that etcd refuses: a look at the rights may tell of the refusal first.
fn denied_commits_are_counted(server: &Server) {
    let is_told = |line: &str| {
        let count = line.strip_prefix("portbook_fleet_commits_total{outcome=\"denied\"} ");
        count.is_some_and(|count| count != "0")
    };
    eventually("a denied commit is counted", || {
        let metrics = server.get("/metrics").body;
        metrics.lines().any(is_told).then_some(())
    });
}

#[test]
fn rights_are_those_of_the_certificate() {
    let Some(etcd) = with_tls("TLS with client certificates") else {
        return;
    };
    let place = certified(&etcd, "one");
    // The commands of `fleet role`, with the options of the test's etcdctl.
    for line in place.ok(&["fleet", "role", "one"]).lines() {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let done = etcd.ctl(&words);
        assert!(done.status.success(), "{line}: {done:?}");
    }
    for words in [
        &["user", "add", "root", "--no-password"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        let done = etcd.ctl(words);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
    let server = place.serve();
    reaches(&server, "joined");
    place.ok(&["alloc", "--name", "web"]);
    eventually("the name is there", || {
        (etcd.keys("/portbook/v1/name/web/one/").len() == 1).then_some(())
    });
    let shown = place.ok(&["config", "show"]);
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    // The right of an operator is one more.
    let reserve = ["fleet", "reserve", "--name", "agent"];
    let denied = place.run(&reserve);
    let way_out = "fleet role one --operator";
    assert!(text(&denied.stderr).contains(way_out), "{denied:?}");
    let operator = place.ok(&["fleet", "role", "one", "--operator"]);
    let more = operator.lines().find(|line| line.contains("/everywhere/"));
    let words: Vec<&str> = more.unwrap().split_whitespace().skip(1).collect();
    assert!(etcd.ctl(&words).status.success());
    assert_eq!(place.json(&reserve)["hosts"][0]["state"], "held");
    // Rights that are taken away are told, though the session lives.
    let keys = ["/portbook/v1/claim/", "--prefix"];
    let role = "portbook-one";
    let revoke = [&["role", "revoke-permission", role][..], &keys].concat();
    assert!(etcd.ctl(&revoke).status.success());
    let revoke = [
        "role",
        "revoke-permission",
        role,
        "/portbook/v1/name/",
        "--prefix",
    ];
    assert!(etcd.ctl(&revoke).status.success());
    place.ok(&["alloc", "--name", "late"]);
    let told = eventually("the refusal is told", || {
        let status = place.run(&["fleet", "status"]);
        let told = text(&status.stdout) + &text(&status.stderr);
        let is_refused = told.contains("but etcd refuses");
        let code = if is_refused { NOT_FRESH } else { 0 };
        assert_eq!(status.status.code(), Some(code), "{told}");
        is_refused.then_some(told)
    });
    assert_eq!(super::status(&server)["refused"], true);
    denied_commits_are_counted(&server);
    for part in [
        "permission denied",
        "/portbook/v1/name/",
        "/portbook/v1/claim/",
        "but etcd refuses this host",
        "`portbook fleet role one | bash`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let doctor = text(&place.run(&["doctor"]).stdout);
    assert!(doctor.contains("etcd refuses this host"), "{doctor}");
    let log = server.log();
    let trouble = "fleet: etcd refuses this host";
    assert_eq!(log.matches(trouble).count(), 1, "{log}");
    for line in place.ok(&["fleet", "role", "one"]).lines() {
        // Complaints of what exists mean nothing.
        etcd.ctl(&line.split_whitespace().skip(1).collect::<Vec<_>>());
    }
    eventually("the refusal is over", || {
        let status = place.run(&["fleet", "status"]);
        let is_over = !text(&status.stdout).contains("but etcd refuses");
        assert_eq!(status.status.success(), is_over, "{status:?}");
        is_over.then_some(())
    });
    // A certificate without rights is denied, and told what is missing.
    let stranger = certified(&etcd, "two").run(&["fleet", "join"]);
    assert!(
        text(&stranger.stderr).contains("fleet role two"),
        "{stranger:?}"
    );
    // So is its service, which opens no session.
    let refused = certified(&etcd, "two");
    let service = refused.serve();
    let alone = reaches(&service, "alone");
    let why = alone["why"].as_str().unwrap();
    assert!(
        why.contains("etcd refuses this host") && why.contains("`portbook fleet role two`"),
        "{why}"
    );
    // A host cannot speak as another one.
    let mut other = certified(&etcd, "one");
    other.set("PORTBOOK_FLEET__HOST", "two");
    let denied = other.run(&["fleet", "join"]);
    let denied = text(&denied.stderr);
    let cause = denied.find("the certificate is that of one");
    let failure = denied.find("etcd refuses this host");
    assert!(cause.is_some() && cause < failure, "{denied}");
}

#[test]
fn open_keys_and_missing_certificates_are_refused_with_the_way_out() {
    let Some(etcd) = with_tls("keys and certificates") else {
        return;
    };
    let mut place = certified(&etcd, "one");
    set_mode(&etcd.folder.path().join("one.key"), 0o644);
    let open = place.run(&["fleet", "join"]);
    assert!(text(&open.stderr).contains("chmod 600"), "{open:?}");
    let server = place.serve();
    let alone = reaches(&server, "alone");
    assert!(
        alone["why"].as_str().unwrap().contains("chmod 600"),
        "{alone}"
    );
    place.ok(&["alloc"]);
    drop(server);
    set_mode(&etcd.folder.path().join("one.key"), 0o600);
    place.set("PORTBOOK_FLEET__CERTIFICATE", "");
    let half = place.run(&["fleet", "join"]);
    assert_eq!(half.status.code(), Some(2));
    assert!(text(&half.stderr).contains("fleet.certificate"), "{half:?}");
    place.set("PORTBOOK_FLEET__KEY", "");
    assert_eq!(
        place.run(&["fleet", "join"]).status.code(),
        Some(1),
        "etcd wants a certificate"
    );
}

#[test]
fn certificate_of_another_name_is_told() {
    let Some(etcd) = with_tls("a certificate of another name") else {
        return;
    };
    let mut place = certified(&etcd, "one");
    let told = |place: &crate::support::Place| text(&place.run(&["fleet", "join"]).stderr);
    let same = told(&place);
    assert!(
        same.contains("one may write") && !same.contains("warning"),
        "{same}"
    );
    place.set("PORTBOOK_FLEET__HOST", "elsewhere");
    let other = told(&place);
    assert!(other.contains("certificate is that of one"), "{other}");
    place.set("PORTBOOK_FLEET__CA", "/nonexistent/ca.pem");
    let checked = place.run(&["config", "check"]);
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    assert!(text(&checked.stdout).contains("fleet.ca"), "{checked:?}");
}

#[test]
fn key_of_another_certificate_is_refused_with_the_reason() {
    let Some(etcd) = with_tls("a key of another certificate") else {
        return;
    };
    let mut place = certified(&etcd, "one");
    let other = etcd.folder.path().join("two.key");
    place.set("PORTBOOK_FLEET__KEY", other.to_str().unwrap());
    let refused = place.run(&["fleet", "join", "--check", &etcd.address]);
    let told = text(&refused.stderr);
    assert!(told.to_lowercase().contains("key"), "{told}");
    assert!(!told.trim_end().ends_with("transport error"), "{told}");
}

#[test]
fn address_of_the_wrong_scheme_is_told() {
    let test = "an address of the wrong scheme";
    let (Some(tls), Some(plain)) = (with_tls(test), Etcd::start(test)) else {
        return;
    };
    let place = certified(&tls, "one");
    let wrong = [
        (
            tls.address.replace("https://", "http://"),
            "seems to speak TLS",
        ),
        (
            plain.address.replace("http://", "https://"),
            "seems to speak no TLS",
        ),
    ];
    for (address, told) in wrong {
        let joining = place.run(&["fleet", "join", "--check", &address]);
        assert_eq!(joining.status.code(), Some(1), "{joining:?}");
        let words = text(&joining.stderr);
        assert!(words.contains(told), "{words}");
    }
    for right in [&tls.address, &plain.address] {
        place.ok(&["fleet", "join", "--check", right]);
    }
}

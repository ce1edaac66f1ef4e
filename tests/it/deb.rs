//! The Debian package: its content, and that it works unpacked.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::skipped;
use crate::support::{command_of, text};

/// The package of the build under test. `None`, reported on stderr, if cargo-deb is not installed.
fn package(folder: &Path) -> Option<PathBuf> {
    if Command::new("cargo-deb").arg("--version").output().is_err() {
        skipped("the Debian package", "cargo-deb is not installed");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/package/deb");
    let file = folder.join("portbook.deb");
    let mut build = Command::new(script);
    build.args(["--debug", "--fast", "--output"]).arg(&file);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(file)
}

fn dpkg_deb(arguments: &[&str], file: &Path, more: &[&Path]) -> String {
    let mut command = Command::new("dpkg-deb");
    let output = command.args(arguments).arg(file).args(more).output();
    let output = output.expect("dpkg-deb is there");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn package_is_complete_and_works_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(file) = package(folder.path()) else {
        return;
    };
    let (root, control) = (folder.path().join("root"), folder.path().join("control"));
    dpkg_deb(&["-x"], &file, &[&root]);
    dpkg_deb(&["-e"], &file, &[&control]);
    for path in [
        "usr/share/man/man1/portbook.1.gz",
        "usr/share/man/man1/portbook-run.1.gz",
        "usr/share/bash-completion/completions/portbook",
        "usr/share/zsh/vendor-completions/_portbook",
        "usr/share/fish/vendor_completions.d/portbook.fish",
        "usr/lib/sysusers.d/portbook.conf",
        "usr/lib/systemd/user/portbook.service",
        "usr/share/doc/portbook/README.md",
        "usr/share/doc/portbook/docs/operations.md",
        "usr/share/doc/portbook/recipes/claims.md",
    ] {
        assert!(root.join(path).is_file(), "no {path}");
    }
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    assert_eq!(
        read(control.join("conffiles")).trim(),
        "/etc/portbook/config.toml"
    );
    assert!(dpkg_deb(&["-f"], &file, &[Path::new("Depends")]).contains("libc6"));
    // The user of the service must exist before it starts.
    let script = read(control.join("postinst"));
    let user = script.find("systemd-sysusers").unwrap();
    assert!(
        user < script.find("deb-systemd-invoke").unwrap(),
        "{script}"
    );

    let program = root.join("usr/bin/portbook");
    let mut check = command_of(program.to_str().unwrap());
    check.args(["config", "check", "--config"]);
    check.arg(root.join("etc/portbook/config.toml"));
    let output = check.env("HOME", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let names = ["portbook.service", "portbook.socket"];
    for name in names {
        let unit = read(root.join("usr/lib/systemd/system").join(name));
        let unit = unit.replace("/usr/bin/portbook", program.to_str().unwrap());
        std::fs::write(folder.path().join(name), unit).unwrap();
    }
    if let Some(said) = crate::units::complaints(folder.path(), &names, &[]) {
        assert_eq!(said, "");
    }
}

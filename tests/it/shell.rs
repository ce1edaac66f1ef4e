//! Shell completions from the running service, and manual pages.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::host::skipped;
use crate::support::{PORTBOOK, Place, text};

/// Completes this line in bash, with `portbook` on its path, and returns the offers.
fn completed(place: &Place, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(portbook completions bash)\n\
         COMP_WORDS=({})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\nCOMP_LINE=\"${{COMP_WORDS[*]}}\"\n\
         COMP_POINT=${{#COMP_LINE}}\nCOMP_TYPE=9\n\
         completer=$(complete -p portbook | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n\
         compopt() {{ :; }}\n\
         $completer portbook \"${{COMP_WORDS[-1]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" ")
    );
    let output = place.shell(&format!("exec bash -c '{}'", script.replace('\'', "'\\''")));
    let mut output = output;
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    said.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn names_pools_and_interfaces_come_from_the_running_service() {
    let mut place = Place::with_ports(3);
    let ports = crate::support::ranges(&place.ports[2..]);
    place.set("PORTBOOK_POOLS__EXTRA__RANGES", &ports);
    let server = place.serve();
    place.ok(&["alloc", "--name", "web-frontend"]);
    assert_eq!(
        completed(&place, &["portbook", "release", "web"]),
        ["web-frontend"]
    );
    assert_eq!(
        completed(&place, &["portbook", "run", "--name", "w"]),
        ["web-frontend"]
    );
    assert_eq!(
        completed(&place, &["portbook", "alloc", "--pool", "ex"]),
        ["extra"]
    );
    assert_eq!(
        completed(&place, &["portbook", "alloc", "--interface", "lo"]),
        ["lo", "loopback"]
    );
    assert_eq!(completed(&place, &["portbook", "expl"]), ["explain"]);
    // A service that is named on the line is the one that is asked.
    let other = Place::with_ports(1);
    let elsewhere = place.data_dir().display().to_string();
    for flag in [format!("--data-dir={elsewhere}"), "--data-dir".to_owned()] {
        let mut words = vec!["portbook", &flag];
        words.extend((flag == "--data-dir").then_some(&*elsewhere));
        words.extend(["release", "web"]);
        assert_eq!(completed(&other, &words), ["web-frontend"], "{flag}");
    }
    // Without a service there is no offer and no error.
    server.stop();
    assert_eq!(completed(&place, &["portbook", "release", "web"]), [""]);
}

#[test]
fn each_shell_reads_its_script() {
    let place = Place::with_ports(1);
    for shell in ["bash", "zsh", "fish"] {
        let script = place.ok(&["completions", shell]);
        assert!(script.contains("_PORTBOOK_COMPLETE"), "{script}");
        let file = place.folder().join(shell);
        std::fs::write(&file, script).unwrap();
        let checked = Command::new(shell).arg("-n").arg(&file).output();
        match checked {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", text(&output.stderr)),
            Err(_) => skipped(
                "a shell's completions",
                &format!("{shell} is not installed"),
            ),
        }
    }
    assert_eq!(place.run(&["completions", "tcsh"]).status.code(), Some(2));
}

/// Formats a page as `man` does and returns the warnings.
fn complaints(page: &Path) -> Option<String> {
    let mut command = Command::new("man");
    command
        .env("MANROFFSEQ", "")
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C.UTF-8");
    command
        .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
        .arg(page);
    let output = command.stdout(Stdio::null()).output().ok()?;
    let said = text(&output.stderr);
    // Some systems have a stand-in that formats nothing.
    (!said.contains("minimized")).then(|| {
        assert!(output.status.success(), "{}: {said}", page.display());
        said
    })
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::with_ports(1);
    let folder = place.folder().join("share/man/man1");
    place.ok(&["man", folder.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    assert!(page("portbook").contains("portbook\\-run"));
    assert!(page("portbook-run").contains("\\-\\-handover"));
    assert!(page("portbook-config-check").contains("SYNOPSIS"));
    let help = Command::new(PORTBOOK).arg("--help").output().unwrap();
    let help = text(&help.stdout);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut pages = 0;
    for command in commands.filter(|word| !word.is_empty() && *word != "help") {
        let page = folder.join(format!("portbook-{command}.1"));
        assert!(page.is_file(), "{command} has no page");
        match complaints(&page) {
            Some(said) => assert_eq!(said, "", "{command}"),
            None if pages == 0 => skipped("formatting of manual pages", "there is no man"),
            None => {}
        }
        pages += 1;
    }
    assert!(pages > 15, "{pages}");
}

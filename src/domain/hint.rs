//! Hints: advice on a program that does not do with the port of its lease what the lease is for.

use jiff::SignedDuration;
#[cfg(feature = "fleet")]
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lease::Handover;
#[cfg(feature = "fleet")]
use super::lease::Lease;
use super::port::Port;

/// Kind of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HintKind {
    /// The program listens on other ports, and not on its own.
    Elsewhere,
    /// The program also listens on the ports above its own, which the lease does not keep.
    Neighbours,
    /// The program ended soon after its start and was not seen to listen.
    NeverListened,
    /// The program was given sockets, and does not take them.
    SocketsIgnored,
    /// The kernel shuts the port: it is of a unique pool with a fence, and has no permit.
    ShutByFence,
    /// The number was unique in the fleet, and the fleet has taken it from this host.
    ClaimLost,
}

/// Advice on the program of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hint {
    /// Kind of the hint.
    pub kind: HintKind,
    /// The advice, as a sentence without a full stop. It has no text from outside.
    pub says: String,
    /// Number of programs in a row of which it is true.
    pub times: u32,
}

impl Hint {
    /// Hint on a program that listens on these ports in place of its own. `flags` are the words that
    /// tell its framework the port.
    pub fn elsewhere(own: Port, ports: &[Port], flags: Option<&str>) -> Self {
        let ports = listed(ports);
        let such_as = flags.map_or_else(String::new, |flags| format!(", as in: {flags}"));
        Self {
            kind: HintKind::Elsewhere,
            says: format!(
                "its program listens on {ports}, not on {own}: pass the port as an argument, {{port}}{such_as}"
            ),
            times: 1,
        }
    }

    /// Hint on a program that takes the ports above its own as well.
    pub fn neighbours(own: Port, ports: &[Port]) -> Self {
        let last = ports.last().map_or(own.get(), |port| port.get());
        let block = u32::from(last.saturating_sub(own.get())) + 1;
        let ports = listed(ports);
        Self {
            kind: HintKind::Neighbours,
            says: format!(
                "its program also listens on {ports}, which the lease does not keep: --block {block} asks for ports in a row"
            ),
            times: 1,
        }
    }

    /// Hint on a program that was given sockets for a port and lets their connections wait.
    pub fn sockets_wait(own: Port) -> Self {
        Self {
            kind: HintKind::SocketsIgnored,
            says: format!(
                "connections to {own} wait: its program takes none of them from {SOCKETS_GIVEN}"
            ),
            times: 1,
        }
    }

    /// Hint on a program that was given sockets for a port and listens on other ports.
    pub fn sockets_ignored(own: Port, ports: &[Port]) -> Self {
        let ports = listed(ports);
        Self {
            kind: HintKind::SocketsIgnored,
            says: format!(
                "its program listens on {ports} and was not seen to serve {own}, for which it has {SOCKETS_GIVEN}"
            ),
            times: 1,
        }
    }

    /// Hint on a program that ended soon after its start and was not seen to listen, for the `times`-th
    /// time in a row.
    pub fn never_listened(handover: Handover, times: u32) -> Self {
        let again = if times > 1 {
            format!(", {times} times in a row")
        } else {
            String::new()
        };
        Self {
            kind: HintKind::NeverListened,
            says: match handover {
                Handover::Fd => format!(
                    "its program ended and was not seen to take its sockets{again}; {SOCKETS_LEFT}"
                ),
                Handover::Release => format!(
                    "its program ended within seconds and was not seen to listen{again}; {NOT_HELD}"
                ),
                Handover::Bind => format!(
                    "its program ended within seconds and was not seen to listen{again}; {NOT_LET_IN}"
                ),
                Handover::Gate => format!(
                    "its program ended within seconds and was not seen to listen{again}; {}",
                    Self::STRICT_BINDER
                ),
            },
            times,
        }
    }

    /// Hint on a unique number whose permit in the kernel has run out.
    #[cfg(feature = "fleet")]
    pub fn shut_by_fence(own: Port, since: Timestamp) -> Self {
        Self::of_fence(format!(
            "the kernel has shut {own} since {since:.0}, as the session of this host was not renewed for half of the pool's reclaim: it opens once the fleet answers, see `portbook fleet status`"
        ))
    }

    /// Hint on a unique number that has had no permit in the kernel yet.
    #[cfg(feature = "fleet")]
    pub fn shut_until_joined(own: Port) -> Self {
        Self::of_fence(format!(
            "the kernel shuts {own} until this host has claimed it anew in the fleet, see `portbook fleet status`"
        ))
    }

    /// Hint on a port in the range of a unique pool, which the fleet does not know.
    #[cfg(feature = "fleet")]
    pub fn without_claim(own: Port) -> Self {
        Self::of_fence(format!(
            "the kernel shuts {own}: the fence of a unique pool has it, and it has no claim in the fleet; release it and ask for a port of that pool, or of another range"
        ))
    }

    /// Hint on a lease whose number the fleet has taken from this host. `by` is the host that has it, in words.
    #[cfg(feature = "fleet")]
    pub fn claim_lost(lease: &Lease, by: Option<&str>) -> Self {
        let Lease { id, port, pool, .. } = lease;
        let taken = by.map_or_else(
            || {
                format!(
                    "the fleet has taken {port} from this host, and `portbook fleet claims` lists the host that has it now"
                )
            },
            |by| format!("{by} has {port} in the fleet now"),
        );
        let again = match &lease.name {
            Some(name) => {
                format!("`portbook alloc --pool {pool} --name {name}` gets another number")
            }
            None => format!(
                "`portbook release {id}`, and `portbook alloc --pool {pool}` gets another number"
            ),
        };
        Self {
            kind: HintKind::ClaimLost,
            says: format!("{taken}: stop its program; {again}"),
            times: 1,
        }
    }

    #[cfg(feature = "fleet")]
    const fn of_fence(says: String) -> Self {
        Self {
            kind: HintKind::ShutByFence,
            says,
            times: 1,
        }
    }

    /// Age up to which the end of a program is early.
    pub const EARLY: SignedDuration = SignedDuration::from_secs(10);

    /// Whether it is about the ports of a running program, which a later look may deny.
    pub const fn is_of_ports(&self) -> bool {
        matches!(self.kind, HintKind::Elsewhere | HintKind::Neighbours)
    }

    /// Whether it is about a program that runs.
    pub const fn is_of_running(&self) -> bool {
        self.is_of_ports() || matches!(self.kind, HintKind::SocketsIgnored)
    }

    /// Advice on a program that could not bind its port through an open gate.
    pub const STRICT_BINDER: &'static str = "if it said EADDRINUSE (address already in use), it \
         probably binds without SO_REUSEADDR: start it with --handover release";
}

/// Advice on a program that ended although nothing held its port.
const NOT_HELD: &str = "see its own output; if it said EADDRINUSE (address already in use), another program \
     took the port first, which `portbook who` names";

/// Advice on a program that ended although the kernel lets it in however it binds.
const NOT_LET_IN: &str = "see its own output; if it said EADDRINUSE (address already in use), it is probably \
     started by another process, such as a container engine: use --handover gate";

/// Advice on a program that did not take the sockets that it was given.
const SOCKETS_LEFT: &str = "if it said EADDRINUSE (address already in use), it did not take the sockets \
     of --handover fd: they are for the very process that run becomes (LISTEN_PID), not for a child of a \
     shell; write exec before the server, add --fds if it looks for a socket of each address, or use another \
     hand-over";

/// Advice on a running program that does not take the sockets that it was given.
const SOCKETS_GIVEN: &str = "the sockets of --handover fd: tell it to take them (LISTEN_FDS, from \
     descriptor 3), write exec before it behind a shell (LISTEN_PID), or use --handover gate";

fn listed(ports: &[Port]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

/// Frameworks that do not read PORT or move to another port by themselves: a word of their command
/// line, and the words that tell them the port.
const FRAMEWORKS: &[(&str, &str)] = &[
    ("vite", "vite --port {port} --strictPort"),
    ("next", "next dev --port {port}"),
    ("nuxt", "nuxt dev --port {port}"),
    ("astro", "astro dev --port {port}"),
    ("webpack-dev-server", "webpack serve --port {port}"),
    ("webpack", "webpack serve --port {port}"),
    ("ng", "ng serve --port {port}"),
    ("gatsby", "gatsby develop --port {port}"),
    ("storybook", "storybook dev --port {port} --exact-port"),
    ("parcel", "parcel --port {port}"),
    ("http-server", "http-server -p {port}"),
    ("serve", "serve -l {port} --no-port-switching"),
    ("live-server", "live-server --port={port}"),
    ("json-server", "json-server --port {port}"),
    ("browser-sync", "browser-sync start --port {port}"),
    ("manage.py", "manage.py runserver {port}"),
    ("django-admin", "django-admin runserver {port}"),
    ("flask", "flask run --port {port}"),
    ("uvicorn", "uvicorn --port {port}"),
    ("fastapi", "fastapi dev --port {port}"),
    ("hypercorn", "hypercorn --bind {host}:{port}"),
    ("gunicorn", "gunicorn --bind {host}:{port}"),
    ("streamlit", "streamlit run --server.port {port}"),
    (
        "jupyter-lab",
        "jupyter lab --port {port} --ServerApp.port_retries=0",
    ),
    (
        "jupyter",
        "jupyter lab --port {port} --ServerApp.port_retries=0",
    ),
    ("mkdocs", "mkdocs serve --dev-addr {host}:{port}"),
    ("tensorboard", "tensorboard --port {port}"),
    ("rails", "rails server --port {port}"),
    ("puma", "puma --port {port}"),
    ("rackup", "rackup --port {port}"),
    ("jekyll", "jekyll serve --port {port}"),
    ("artisan", "php artisan serve --port={port}"),
    ("hugo", "hugo server --port {port}"),
    ("caddy", "caddy file-server --listen :{port}"),
    ("redis-server", "redis-server --port {port}"),
    ("postgres", "postgres -p {port}"),
];

/// Words that tell a framework its port, by the words of its command line. `None` if it is not known.
pub fn flags_of(words: &[&str]) -> Option<&'static str> {
    let known = |word: &&str| {
        let stem = word
            .strip_suffix(".js")
            .or_else(|| word.strip_suffix(".mjs"));
        let stem = stem.unwrap_or(word);
        let mut frameworks = FRAMEWORKS.iter();
        let found = frameworks.find(|(name, _)| name == word || *name == stem);
        found.map(|(_, flags)| *flags)
    };
    words.iter().find_map(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    #[test]
    fn a_framework_is_known_by_a_word_of_its_command_line() {
        let flags = flags_of(&["node", "vite", "--host"]);
        assert_eq!(flags, Some("vite --port {port} --strictPort"));
        assert_eq!(flags_of(&["node", "vite.js"]), flags);
        let django = flags_of(&["python3", "manage.py", "runserver"]);
        assert_eq!(django, Some("manage.py runserver {port}"));
        assert_eq!(flags_of(&["python3", "server.py"]), None);
    }

    #[test]
    fn a_program_elsewhere_is_told_its_flag() {
        let hint = Hint::elsewhere(port(24117), &[port(5173)], flags_of(&["vite"]));
        let says = "its program listens on 5173, not on 24117: pass the port as an argument, \
                    {port}, as in: vite --port {port} --strictPort";
        assert_eq!(hint.says, says);
    }

    #[test]
    fn a_block_covers_the_neighbours() {
        let hint = Hint::neighbours(port(3478), &[port(3479), port(3480)]);
        assert!(
            hint.says.contains("3479, 3480") && hint.says.contains("--block 3"),
            "{hint:?}"
        );
    }

    #[test]
    fn advice_is_not_given_to_those_who_follow_it() {
        let says = Hint::never_listened(Handover::Release, 2).says;
        assert!(
            says.contains("2 times") && !says.contains("--handover"),
            "{says}"
        );
    }

    #[test]
    fn an_early_end_names_the_hand_over() {
        let hint = Hint::never_listened(Handover::Gate, 2);
        let begin = "its program ended within seconds and was not seen to listen, 2 times in a row; \
                     if it said EADDRINUSE";
        assert!(hint.says.starts_with(begin), "{}", hint.says);
        let given = Hint::never_listened(Handover::Fd, 1);
        assert!(
            given.says.contains("write exec before the server"),
            "{}",
            given.says
        );
        assert!(hint.says.ends_with("--handover release"), "{}", hint.says);
    }
}

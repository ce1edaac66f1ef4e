//! Container engines by the names of their programs. A name alone proves nothing: any process can call
//! itself so, and callers also check its user.

/// Programs that listen on behalf of containers.
const PROXIES: [&str; 11] = [
    "docker-proxy",
    "dockerd",
    "rootlesskit",
    // It listens itself until its conmon runs.
    "podman",
    "conmon",
    "rootlessport",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "passt",
    "passt.avx2",
];

/// Commands that have an engine start containers.
const COMMANDS: [&str; 9] = [
    "docker",
    "docker-compose",
    "podman",
    "podman-compose",
    "podman-remote",
    "nerdctl",
    "devcontainer",
    "kind",
    "k3d",
];

/// Whether a program of this name listens on behalf of containers.
pub fn is_proxy(command: &str) -> bool {
    PROXIES.contains(&command)
}

/// Whether a command of this name starts containers.
pub fn is_command(command: &str) -> bool {
    COMMANDS.contains(&command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_and_commands_are_known_by_their_whole_names() {
        assert!(is_proxy("docker-proxy") && is_proxy("passt.avx2"));
        assert!(!is_proxy("docker") && !is_proxy("docker-proxy2"));
        assert!(is_command("podman") && !is_command("conmon"));
    }
}

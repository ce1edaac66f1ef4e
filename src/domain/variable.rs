//! Names of environment variables: what is one, what a project file must not set, and what other
//! programs read as something else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The name of an environment variable: letters, digits and underscores, the first no digit
/// (POSIX.1-2024, 8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Variable(Arc<str>);

/// A text that cannot be the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a variable: use letters, digits and underscores, the first no digit"
)]
pub struct VariableError(String);

/// Longest name of a variable, in bytes. No system has such a limit; no name comes near it.
const LONGEST: usize = 128;

/// Names that change what a shell, a loader or a common program does. A project file comes with a
/// stranger's repository, so it may not set them. No such list is complete: `env` prints every
/// variable before a shell reads it. Compared in upper case: zsh ties `path` to `PATH`.
const DANGEROUS: &[&str] = &[
    // Shells: bash(1), zshparam(1), dash(1), fish(1).
    "PATH",
    "FPATH",
    "CDPATH",
    "MANPATH",
    "MODULE_PATH",
    "MAILPATH",
    "IFS",
    "ENV",
    "SHELL",
    "SHELLOPTS",
    "BASHOPTS",
    "PROMPT_COMMAND",
    "PROMPT",
    "PROMPT2",
    "PROMPT3",
    "PROMPT4",
    "RPROMPT",
    "RPS1",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "GLOBIGNORE",
    "HISTFILE",
    "HISTCONTROL",
    "ZDOTDIR",
    "FCEDIT",
    "OPTIND",
    "UID",
    "EUID",
    "GID",
    "EGID",
    "PPID",
    "STATUS",
    "ARGV",
    "USERNAME",
    "NULLCMD",
    "READNULLCMD",
    // The user and the folders that programs take their settings from.
    "HOME",
    "USER",
    "LOGNAME",
    "PWD",
    "OLDPWD",
    "TMPDIR",
    "TMP",
    "TEMP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMCAP",
    // The C library: ld.so(8), glibc's list of insecure variables.
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NLSPATH",
    "NIS_PATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
    // Programs that others start.
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "LESSOPEN",
    "LESSCLOSE",
    "BROWSER",
    "SUDO_ASKPASS",
    "RSH",
    "CVS_RSH",
    "RSYNC_RSH",
    "RSYNC_CONNECT_PROG",
    "VIMINIT",
    "EXINIT",
    "INPUTRC",
    "FZF_DEFAULT_COMMAND",
    "FZF_DEFAULT_OPTS",
    "RIPGREP_CONFIG_PATH",
    // Loaders and options of languages and build tools.
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "PERLLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "GRADLE_OPTS",
    "MAVEN_OPTS",
    "GOFLAGS",
    "GOPROXY",
    "GOROOT",
    "GOPATH",
    "MAKEFLAGS",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "R_PROFILE",
    "R_PROFILE_USER",
    "R_ENVIRON",
    "CC",
    "CXX",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
    "GTK_MODULES",
    "GTK_PATH",
    "QT_PLUGIN_PATH",
    "GIO_EXTRA_MODULES",
    "ELIXIR_ERL_OPTIONS",
    "EMACSLOADPATH",
    // Settings files that name programs to be run: kubectl's exec plugins, aws's
    // credential_process, docker's credential helpers.
    "KUBECONFIG",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "DOCKER_CONFIG",
    "ANSIBLE_CONFIG",
    "TF_CLI_CONFIG_FILE",
    "WGETRC",
    "NETRC",
    "GNUPGHOME",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    // Whom programs trust, and through whom they speak.
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "REQUESTS_CA_BUNDLE",
    "SSH_ASKPASS",
    "SSH_AUTH_SOCK",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "FTP_PROXY",
];

/// Beginnings of such names.
const DANGEROUS_FAMILIES: &[&str] = &[
    "LD_",
    "DYLD_",
    "BASH_",
    "ZSH_",
    "FISH_",
    "PYTHON",
    "NPM_",
    "YARN_",
    "PNPM_",
    "PERL5",
    "RUBY",
    "GEM_",
    "BUNDLE_",
    "LUA_",
    "CARGO_",
    "RUSTC",
    "RUSTUP_",
    "RUSTDOC",
    "RUSTFLAGS",
    "PIP_",
    "UV_",
    "GIT_",
    "CURL_",
    "XDG_",
    "DIRENV_",
    "SYSTEMD_",
    "DOTNET_",
    "CORECLR_",
    "ERL_",
    "JULIA_",
    "PORTBOOK_",
    "LISTEN_",
];

/// What other programs read from a variable that a service's name may give by chance, by its
/// documentation: the value would be a host or a port where they expect something else.
const MISREAD: &[(&str, &str)] = &[
    ("DOCKER_HOST", "docker reads its daemon's socket from it"),
    ("CONTAINER_HOST", "podman reads its service's URL from it"),
    (
        "BUILDKIT_HOST",
        "buildctl reads its daemon's socket from it",
    ),
    (
        "OLLAMA_HOST",
        "ollama reads its server's address with the port from it",
    ),
    (
        "DATABRICKS_HOST",
        "databricks reads its workspace's URL from it",
    ),
    ("GH_HOST", "gh reads GitHub's host from it"),
    ("GITLAB_HOST", "glab reads GitLab's host from it"),
    ("HEROKU_HOST", "heroku reads Heroku's host from it"),
    (
        "HTTP_HOST",
        "CGI programs read a request's Host header from it",
    ),
    ("REMOTE_HOST", "CGI programs read the client's name from it"),
    ("REMOTE_PORT", "CGI programs read the client's port from it"),
];

/// Beginnings of such names.
const MISREAD_FAMILIES: &[(&str, &str)] = &[
    (
        "KUBERNETES_",
        "programs in a cluster read the API server's address from it",
    ),
    ("PORTBOOK_", "portbook reads its settings from these"),
];

impl Variable {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a file from a stranger's repository must not set it.
    pub fn is_dangerous(&self) -> bool {
        let upper = self.0.to_ascii_uppercase();
        DANGEROUS.contains(&&*upper)
            || DANGEROUS_FAMILIES
                .iter()
                .any(|family| upper.starts_with(family))
    }
}

/// What other programs read from a variable, where that is not a port or a host of the user's.
pub fn misread(variable: &str) -> Option<&'static str> {
    let exact = MISREAD.iter().find(|(known, _)| *known == variable);
    let family = || {
        let mut families = MISREAD_FAMILIES.iter();
        families.find(|(family, _)| variable.starts_with(family))
    };
    exact.or_else(family).map(|(_, why)| *why)
}

impl FromStr for Variable {
    type Err = VariableError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = (1..=LONGEST).contains(&text.len())
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text != "_"
            && text.bytes().all(allowed);
        if good {
            Ok(Self(text.into()))
        } else {
            Err(VariableError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_to_posix_names() {
        for good in ["PGPORT", "_x", "a1"] {
            assert_eq!(good.parse::<Variable>().unwrap().as_str(), good);
        }
        let long = "A".repeat(129);
        for bad in [
            "", "_", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "$(id)", &long,
        ] {
            assert!(bad.parse::<Variable>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn variables_that_run_code_are_dangerous_in_any_case() {
        for bad in [
            "PATH",
            "path",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "PYTHONSTARTUP",
            "BASH_ENV",
            "ENV",
            "PROMPT_COMMAND",
            "GIT_SSH_COMMAND",
            "npm_config_registry",
            "https_proxy",
            "LISTEN_FDS",
            "PORTBOOK_SOCKET",
        ] {
            assert!(bad.parse::<Variable>().unwrap().is_dangerous(), "{bad}");
        }
        for good in [
            "PGPORT",
            "PGHOST",
            "VITE_PORT",
            "DATABASE_URL",
            "DOCKER_HOST",
            "PORT",
        ] {
            assert!(!good.parse::<Variable>().unwrap().is_dangerous(), "{good}");
        }
    }

    #[test]
    fn misread_variables_have_a_reason() {
        assert!(misread("DOCKER_HOST").unwrap().contains("docker"));
        assert!(misread("KUBERNETES_SERVICE_PORT").is_some());
        assert_eq!(misread("DOCKER_PORT"), None);
        assert_eq!(misread("REDIS_HOST"), None);
    }
}

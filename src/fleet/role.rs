//! Rights of a host in etcd, as commands for its administrator.

use super::key::Keys;
use crate::domain::fleet::HostName;

/// Extent of the rights that are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// To read.
    Viewer,
    /// Those of a host.
    Host,
    /// Those of a host on which operators work: it reserves numbers on every host as well.
    Operator,
}

/// Returns the commands that give a host its rights: it reads all, and writes its own session, what hosts
/// publish, claims, and what the sweep of ended sessions keeps.
pub fn role(host: &HostName, prefix: &str, rights: Rights) -> String {
    let name = format!("portbook-{host}");
    let grant = |right: &str, below: &str| {
        format!("etcdctl role grant-permission {name} --prefix=true {right} {prefix}{below}\n")
    };
    let one = |key: &str| format!("etcdctl role grant-permission {name} write {key}\n");
    let mut lines = format!("etcdctl role add {name}\n") + &grant("read", "");
    if rights != Rights::Viewer {
        lines += &grant("write", &format!("session/{host}/"));
        lines += &grant("write", &format!("host/{host}/"));
        let document = Keys::new(prefix).prior(host);
        lines += &one(&document);
        lines += &grant("write", "name/");
        lines += &grant("write", "claim/");
        lines += &grant("write", "gone/");
        lines += &grant("write", "duty/");
        lines += &grant("write", "hold");
    }
    if rights == Rights::Operator {
        lines += &grant("write", "everywhere/");
    }
    lines
        + &format!("etcdctl user add {host} --no-password\netcdctl user grant-role {host} {name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_write_nothing_and_hosts_only_what_they_publish() {
        let host: HostName = "build-1".parse().unwrap();
        let viewer = role(&host, "/portbook/v1/", Rights::Viewer);
        assert!(!viewer.contains("write") && viewer.contains(" read /portbook/v1/\n"));
        let own = role(&host, "/portbook/v1/", Rights::Host);
        assert!(
            own.contains(" write /portbook/v1/session/build-1/\n"),
            "{own}"
        );
        assert_eq!(own.matches("write").count(), 8);
        let document = Keys::new("/portbook/v1/").prior(&host);
        assert!(own.contains(&format!(" write {document}\n")), "{own}");
        assert!(!own.contains("v1/everywhere/"), "{own}");
        let operator = role(&host, "/portbook/v1/", Rights::Operator);
        let right = " write /portbook/v1/everywhere/\n";
        assert!(operator.contains(right), "{operator}");
    }
}

//! Rights of a host in etcd, as commands for its administrator.

use crate::domain::fleet::HostName;

/// Returns the commands that give a host its rights: it reads all, and writes its own session, what hosts
/// publish, claims, and what the sweep of ended sessions keeps. A viewer reads only.
pub fn role(host: &HostName, prefix: &str, is_viewer: bool) -> String {
    let name = format!("portbook-{host}");
    let grant = |right: &str, below: &str| {
        format!("etcdctl role grant-permission {name} --prefix=true {right} {prefix}{below}\n")
    };
    let mut lines = format!("etcdctl role add {name}\n") + &grant("read", "");
    if !is_viewer {
        lines += &grant("write", &format!("session/{host}/"));
        lines += &grant("write", &format!("host/{host}/"));
        lines += &grant("write", "name/");
        lines += &grant("write", "claim/");
        lines += &grant("write", "gone/");
        lines += &grant("write", "duty/");
        lines += &grant("write", "hold");
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
        let viewer = role(&host, "/portbook/v1/", true);
        assert!(!viewer.contains("write") && viewer.contains(" read /portbook/v1/\n"));
        let own = role(&host, "/portbook/v1/", false);
        assert!(
            own.contains(" write /portbook/v1/session/build-1/\n"),
            "{own}"
        );
        assert_eq!(own.matches("write").count(), 7);
    }
}

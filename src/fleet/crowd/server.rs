//! An etcd of the crowd's own, and its figures.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Ports that no outgoing connection gets: one to a server that is down could meet itself there.
const PORTS: std::ops::Range<u16> = 21_000..31_000;

/// Pause between two looks for an answer. No event tells that etcd has started.
const PAUSE: Duration = Duration::from_millis(50);

/// Maker of an authority, and of a certificate that etcd and all hosts have.
const CERTIFICATES: &str = r#"
set -e
cd "$1"
new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
$new -x509 -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem
$new -subj /CN=crowd -keyout crowd.key -out crowd.csr
printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >ext
openssl x509 -req -in crowd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out crowd.pem
chmod 600 ./*.key
"#;

/// A server with one member on loopback. It ends with the test.
pub struct Server {
    pub address: String,
    /// Port at which it tells its figures, without TLS.
    metrics: u16,
    peer: u16,
    folder: TempDir,
    has_tls: bool,
    child: Option<Child>,
}

impl Server {
    /// Starts one, with certificates or without. `None`, reported on stderr, if etcd is not installed, or openssl.
    pub async fn start(test: &str, has_tls: bool) -> Option<Self> {
        let skipped = |what: &str| {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {what}");
            None
        };
        if Command::new("etcd").arg("--version").output().is_err() {
            return skipped("etcd is not installed");
        }
        let [client, metrics, peer] = std::array::from_fn(|_| free_port());
        let scheme = if has_tls { "https" } else { "http" };
        let mut server = Self {
            address: format!("{scheme}://127.0.0.1:{client}"),
            metrics,
            peer,
            folder: TempDir::new().unwrap(),
            has_tls,
            child: None,
        };
        if has_tls && !server.make_certificates() {
            return skipped("openssl makes no certificates");
        }
        server.start_again().await;
        Some(server)
    }

    fn make_certificates(&self) -> bool {
        let made = Command::new("sh")
            .args(["-c", CERTIFICATES, "sh"])
            .arg(self.folder.path())
            .output();
        made.is_ok_and(|made| made.status.success())
    }

    /// Certificate of the authority, certificate, and key of its clients. `None` without TLS.
    pub fn certificates(&self) -> Option<[String; 3]> {
        let file = |name| self.folder.path().join(name).to_str().unwrap().to_owned();
        self.has_tls
            .then(|| ["ca.pem", "crowd.pem", "crowd.key"].map(file))
    }

    /// Starts it on the data that it has, and waits until it answers.
    pub async fn start_again(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let mut command = Command::new("etcd");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(std::env::var("GOGC").map(|value| ("GOGC", value)))
            .args(["--name", "crowd", "--data-dir"])
            .arg(self.folder.path().join("etcd"))
            .args(["--listen-client-urls", &self.address])
            .args(["--advertise-client-urls", &self.address])
            .arg("--listen-metrics-urls")
            .arg(format!("http://127.0.0.1:{}", self.metrics))
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("crowd={peer}")])
            .args(["--auto-compaction-retention", "1h"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some([ca, certificate, key]) = self.certificates() {
            command
                .args(["--trusted-ca-file", &ca, "--cert-file", &certificate])
                .args(["--key-file", &key, "--client-cert-auth"]);
        }
        self.child = Some(command.spawn().unwrap());
        while self.read().await.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Deletes its data.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.folder.path().join("etcd")).unwrap();
    }

    /// Has it forget all history.
    pub fn compact(&self, revision: u64) {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.address, "compact", "--physical"])
            .arg(revision.to_string());
        if let Some([ca, certificate, key]) = self.certificates() {
            command
                .args(["--cacert", &ca, "--cert", &certificate])
                .args(["--key", &key]);
        }
        let compacted = command.output().unwrap();
        assert!(compacted.status.success(), "{compacted:?}");
    }

    /// Reads its figures. `None` while it does not answer, or has no leader.
    pub async fn read(&self) -> Option<Moment> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).await.ok()?;
        let request = b"GET /metrics HTTP/1.0\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let moment = Moment::of(&text);
        moment.has_leader.then_some(moment)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| fastrand::u16(PORTS));
    drawn.find(is_free).unwrap()
}

/// Figures of etcd at one moment. Counts are those since its start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    pub has_leader: bool,
    pub commits: f64,
    pub reads: f64,
    pub renewals: f64,
    /// Changes that went through the log, and so to the disk.
    pub logged: f64,
    pub sent_bytes: f64,
    pub received_bytes: f64,
    pub cpu_s: f64,
    pub resident_bytes: f64,
    /// Memory that its objects had at the last collection, or have got since.
    pub heap_bytes: f64,
    pub stack_bytes: f64,
    pub store_bytes: f64,
    pub live_bytes: f64,
    pub watches: f64,
    /// Streams that are open: those of watches, and of renewals.
    pub streams: f64,
    /// Resident memory of this process, with all hosts.
    pub own_bytes: f64,
}

impl Moment {
    fn of(text: &str) -> Self {
        let sum = |name, label| sum(text, name, label);
        Self {
            has_leader: sum("etcd_server_has_leader", "") > 0.0,
            commits: sum("grpc_server_handled_total", "method=\"Txn\""),
            reads: sum("grpc_server_handled_total", "method=\"Range\""),
            renewals: sum("grpc_server_msg_received_total", "LeaseKeepAlive"),
            logged: sum("etcd_server_proposals_committed_total", ""),
            sent_bytes: sum("etcd_network_client_grpc_sent_bytes_total", ""),
            received_bytes: sum("etcd_network_client_grpc_received_bytes_total", ""),
            cpu_s: sum("process_cpu_seconds_total", ""),
            resident_bytes: sum("process_resident_memory_bytes", ""),
            heap_bytes: sum("go_memstats_heap_alloc_bytes", ""),
            stack_bytes: sum("go_memstats_stack_inuse_bytes", ""),
            store_bytes: sum("etcd_mvcc_db_total_size_in_bytes", ""),
            live_bytes: sum("etcd_mvcc_db_total_size_in_use_in_bytes", ""),
            watches: sum("etcd_debugging_mvcc_watcher_total", ""),
            streams: sum("grpc_server_started_total", "_stream\"")
                - sum("grpc_server_handled_total", "_stream\""),
            own_bytes: own_bytes(),
        }
    }
}

/// Adds up the values of a metric, those with this text in their labels.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter_map(|rest| {
        let is_it = rest.starts_with(['{', ' ']) && rest.contains(label);
        let value = rest.rsplit(' ').next().filter(|_| is_it)?;
        value.parse::<f64>().ok()
    });
    values.sum()
}

/// Resident memory of this process.
fn own_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status
        .lines()
        .filter_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = lines.next().and_then(|rest| rest.split_whitespace().next());
    kilobytes.map_or(0.0, |text| text.parse::<f64>().unwrap() * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_metric_are_added_up_by_label() {
        let text = "# TYPE a counter\na{m=\"Txn\",c=\"OK\"} 2\na{m=\"Txn\",c=\"No\"} 1\na{m=\"Get\"} 4\nab 9\nb 1.5e+06\n";
        assert!((sum(text, "a", "Txn") - 3.0).abs() < f64::EPSILON);
        assert!((sum(text, "a", "") - 7.0).abs() < f64::EPSILON);
        assert!((sum(text, "b", "") - 1.5e6).abs() < f64::EPSILON);
        assert!(own_bytes() > 0.0);
    }
}

//! The collector rotel: a real receiver of OTLP, which writes down every span that it is sent and can
//! pass them on.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::ports;
use crate::tools::eventually;

/// A program of the collectors' Python packages, installed once into the build's folder. `None`,
/// reported on stderr, if it cannot be installed.
fn installed(file: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("collectors");
    // One test at a time: others may be about to install it too.
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let marker = folder.join("installed");
    if !marker.exists() {
        let succeeds =
            |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
        let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let pip = folder.join("bin/pip");
        if !made || !succeeds(Command::new(pip).args(["install", "--quiet", "rotel"])) {
            eprintln!("SKIPPED: the collector rotel cannot be installed");
            return None;
        }
        File::create(&marker).unwrap();
    }
    let lib = std::fs::read_dir(folder.join("lib")).unwrap();
    let python = lib.flatten().next().unwrap().path();
    Some(python.join("site-packages").join(file))
}

/// The collector rotel, which writes down every span that it is sent.
pub struct Rotel {
    child: Child,
    pub url: String,
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "its other door"))]
    pub grpc_url: String,
    log: PathBuf,
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A span as rotel writes it down.
#[derive(Debug, Default)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub status: String,
    pub text: String,
}

impl Rotel {
    pub fn start(folder: &Path) -> Option<Self> {
        Self::with(folder, &["--exporter", "blackhole"])
    }

    /// A collector that passes all spans on to another one by gRPC.
    pub fn in_front_of(url: &str, folder: &Path) -> Option<Self> {
        let exporter = ["--exporter", "otlp", "--otlp-exporter-protocol", "grpc"];
        let to = ["--otlp-exporter-endpoint", url];
        Self::with(folder, &[&exporter[..], &to].concat())
    }

    fn with(folder: &Path, exporter: &[&str]) -> Option<Self> {
        let agent = installed("rotel/rotel-agent")?;
        let [http, grpc] = ports(2)[..] else {
            panic!("two ports were asked for")
        };
        let log = folder.join("rotel.log");
        let child = Command::new(agent)
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(exporter)
            .args(["--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed"])
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{http}");
        let grpc_url = format!("http://127.0.0.1:{grpc}");
        let rotel = Self {
            child,
            url,
            grpc_url,
            log,
        };
        eventually("rotel listens", || {
            TcpStream::connect(("127.0.0.1", http)).ok()
        });
        Some(rotel)
    }

    /// The spans of a trace, once all these names have arrived.
    pub fn spans(&self, trace: &str, wanted: &[&str]) -> Vec<Span> {
        let what = format!("{wanted:?} in {}", self.log.display());
        eventually(&what, || {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let mut spans: Vec<Span> = log.split("Span #").skip(1).map(parsed).collect();
            spans.retain(|span| span.trace == trace);
            let has = |name: &&str| spans.iter().any(|span| span.name == **name);
            wanted.iter().all(has).then_some(spans)
        })
    }
}

fn parsed(text: &str) -> Span {
    let mut span = Span {
        text: text.to_owned(),
        ..Span::default()
    };
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().to_owned();
        match key.trim() {
            "Trace ID" if span.trace.is_empty() => span.trace = value,
            "Parent ID" => span.parent = value,
            "ID" if span.id.is_empty() => span.id = value,
            "Name" => span.name = value,
            "Status code" => span.status = value,
            _ => {}
        }
    }
    span
}

pub fn of<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap()
}

//! CI hosts: the steps of the actions and of GitLab's snippet in `static/ci`, run as a runner runs them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Place, text};
use crate::tools::{Running, eventually};

/// A runner's process for one job: runs each script that it is told of, with the variables that the ones
/// before it left, and ends with its stdin.
const WORKER: &str = r#"
while read -r script; do
  set -a; . "$GITHUB_ENV"; set +a
  bash --noprofile --norc -eo pipefail "$script" >"$script.out" 2>&1
  echo "ended $?"
done
"#;

/// A host with jobs. Its service is ended with it.
struct CiHost {
    place: Place,
}

impl CiHost {
    fn with_ports(count: usize) -> Self {
        Self {
            place: Place::with_ports(count),
        }
    }

    fn job(&self, name: &str) -> Job {
        let folder = self.place.folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        let file = |name: &str| {
            std::fs::write(folder.join(name), "").unwrap();
            folder.join(name)
        };
        let mut worker = self.place.shell(WORKER);
        worker
            .env("RUNNER_TRACKING_ID", "github_1")
            .env("RUNNER_TEMP", &folder)
            .env("GITHUB_ENV", file("env"))
            .env("GITHUB_OUTPUT", file("output"))
            .env("GITHUB_STEP_SUMMARY", file("summary"))
            .env("GITHUB_RUN_ID", "7")
            .env("GITHUB_RUN_ATTEMPT", "1")
            .env("GITHUB_JOB", name)
            .env("CI_JOB_ID", name)
            .current_dir(&folder);
        let worker = Running::piped(worker);
        Job {
            folder,
            worker,
            steps: 0,
        }
    }

    /// The service, or nothing if none runs.
    fn service(&self) -> Option<u32> {
        let status: Value = self.place.json(&["status"]);
        status["pid"].as_u64().and_then(|pid| pid.try_into().ok())
    }

    fn living(&self) -> Vec<Value> {
        let list = self.place.json(&["list", "--pool", "default"]);
        list["leases"].as_array().unwrap().clone()
    }
}

impl Drop for CiHost {
    fn drop(&mut self) {
        let output = self.place.run(&["--json", "status"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let pid = status["pid"].as_i64().and_then(|pid| pid.try_into().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

struct Job {
    folder: PathBuf,
    worker: Running,
    steps: usize,
}

impl Job {
    /// Begins a step.
    fn begin(&mut self, script: &str) -> PathBuf {
        use std::io::Write;
        self.steps += 1;
        let file = self.folder.join(format!("step-{}", self.steps));
        std::fs::write(&file, script).unwrap();
        let stdin = self.worker.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{}", file.display()).unwrap();
        file
    }

    /// Waits for the end of a step, and returns what it printed.
    fn end(&mut self, step: &Path) -> String {
        let ended = self.worker.line();
        let said = self.read(&format!("{}.out", step.display()));
        assert_eq!(ended, "ended 0", "{said}");
        said
    }

    fn run(&mut self, script: &str) -> String {
        let step = self.begin(script);
        self.end(&step)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Outputs of the step that wrote `$GITHUB_OUTPUT`.
    fn outputs(&self) -> BTreeMap<String, String> {
        let text = self.read("output");
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// The script of an action: its `run: |`, with the inputs' defaults as its variables.
fn action(name: &str) -> String {
    let yaml = file(&format!("static/ci/github/{name}/action.yml"));
    let run = block(&yaml, "run: |");
    format!("PORTBOOK=portbook\n{run}")
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The lines below `head` that are indented more than it.
fn block(yaml: &str, head: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = yaml.lines().skip_while(|line| line.trim() != head);
    let outer = indent(lines.next().unwrap_or_else(|| panic!("no {head}")));
    let inner = lines.take_while(|line| line.trim().is_empty() || indent(line) > outer);
    let inner: Vec<&str> = inner.collect();
    let depth = inner.first().map_or(0, |line| indent(line));
    let inner = inner.iter().map(|line| line.get(depth..).unwrap_or(""));
    inner.collect::<Vec<_>>().join("\n")
}

fn has_variable(pid: u32, variable: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    text(&environment).split('\0').any(|one| one == variable)
}

#[test]
fn jobs_of_a_host_share_a_service_and_each_has_its_report() {
    let host = CiHost::with_ports(6);
    let (mut shop, mut site) = (host.job("shop"), host.job("site"));
    let (start, report) = (action("start"), action("report"));
    let both = (shop.begin(&start), site.begin(&start));
    shop.end(&both.0);
    site.end(&both.1);
    let service = host.service().expect("a service runs");
    assert!(!has_variable(service, "RUNNER_TRACKING_ID=github_1"));

    let taken = host.place.ports[0];
    let occupant = TcpListener::bind(("0.0.0.0", taken)).unwrap();
    let pid = &shop.outputs()["pid"];
    assert_eq!(*pid, shop.worker.pid().to_string());
    let kept = shop.run(&format!("portbook alloc --owner-pid {pid}"));
    let kept: u16 = kept.trim().parse().unwrap();
    shop.run(&format!("portbook run --name web --prefer {taken} -- true"));
    site.run("portbook run -- true");
    drop(occupant);
    // The end of the other job's program is noticed a moment after its step.
    eventually("the lease of the other job ends", || {
        (host.living().len() == 2).then_some(())
    });

    let label = &shop.outputs()["label"];
    let told = host.place.json(&["report", "--label", label]);
    assert_eq!((&told["granted"], &told["leases"]), (&2.into(), &2.into()));
    let met = told["met"].as_array().unwrap();
    let words = taken.to_string();
    let on_taken = |met: &&Value| met["ports"] == words.as_str() && met["how"] == "in_use";
    assert_eq!(met.iter().find(on_taken).unwrap()["times"], 2, "{told}");
    assert_eq!(told["moved"][0]["from"], taken, "{told}");

    assert!(host.living().iter().any(|lease| lease["port"] == kept));
    shop.run(&report);
    let summary = shop.read("summary");
    let lines = [
        "2 granted, 0 refused",
        "#### In the way",
        &format!("| web | {taken} | "),
    ];
    for line in lines {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    assert!(host.living().is_empty(), "{:?}", host.living());
    site.run(&report);
    assert!(
        !site.read("summary").contains("web"),
        "{}",
        site.read("summary")
    );
}

#[test]
fn lease_of_a_job_ends_with_its_runner() {
    let host = CiHost::with_ports(3);
    let mut job = host.job("killed");
    job.run(&action("start"));
    job.run(&format!(
        "portbook alloc --owner-pid {}",
        job.outputs()["pid"]
    ));
    assert_eq!(host.living().len(), 1);
    let label = job.outputs()["label"].clone();
    drop(job);
    eventually("the lease ends", || host.living().is_empty().then_some(()));
    let ended = host
        .place
        .json(&["list", "--state", "ended", "--label", &label]);
    assert_eq!(ended["leases"][0]["state"], "owner_gone", "{ended}");
    // The service serves the next job.
    assert!(host.service().is_some());
}

#[test]
fn gitlab_job_starts_a_service_and_leaves_a_report() {
    let host = CiHost::with_ports(3);
    let mut job = host.job("41");
    let yaml = file("static/ci/gitlab.yml");
    let script = |name: &str| {
        let items = block(&yaml, &format!("{name}:"));
        block(&items, "- |")
    };
    let labels = "export PORTBOOK_CLIENT__LABELS=job=$CI_JOB_ID";
    let own = "portbook run --name web -- true\nportbook alloc --owner-pid $$";
    job.run(&[labels, &script("before_script"), own].join("\n"));
    job.run(&script("after_script"));
    let report = job.read("portbook-report.md");
    assert!(
        report.contains("2 granted, 0 refused; 2 leases"),
        "{report}"
    );
    assert!(host.living().is_empty(), "{:?}", host.living());
}

//! What the kernel had for a service: programs, maps and links, by the ids that it gives them once.

use std::collections::BTreeSet;
use std::process::Command;

use super::get;
use crate::support::{Place, text};
use crate::tools::{ended, eventually};

/// Commands of `bpf(2)` that open a thing by its id, and the key of the id in `fdinfo` of `proc(5)`.
const THINGS: [(u8, &str); 3] = [(13, "prog_id:"), (14, "map_id:"), (30, "link_id:")];

/// Prints those of its arguments, `COMMAND:ID`, that the kernel still has.
const KNOWN: &str = r#"
import ctypes, errno, platform, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
for word in sys.argv[1:]:
    command, thing = map(int, word.split(":"))
    attributes = ctypes.create_string_buffer(thing.to_bytes(4, sys.byteorder), 12)
    if libc.syscall(number, command, attributes, 12) >= 0 or ctypes.get_errno() != errno.ENOENT:
        print(word, ctypes.get_errno())
"#;

/// All that was seen.
#[derive(Default)]
pub(super) struct Left(BTreeSet<String>);

impl Left {
    /// Notes what the service has open now.
    pub(super) fn note(&mut self, place: &Place) {
        let pid = get(place, "/api/v1/status")["pid"].as_u64().unwrap();
        let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
        let infos = infos.filter_map(|info| std::fs::read_to_string(info.ok()?.path()).ok());
        for info in infos {
            for line in info.lines() {
                let of = |(command, key): &(u8, &str)| {
                    let id = line.strip_prefix(key)?.trim();
                    Some(format!("{command}:{id}"))
                };
                self.0.extend(THINGS.iter().find_map(of));
            }
        }
    }

    /// Asserts that the kernel has nothing of it any more.
    pub(super) fn assert_gone(&self) {
        assert!(!self.0.is_empty());
        eventually("programs, maps and links are gone", || {
            self.known().filter(String::is_empty)
        });
    }

    fn known(&self) -> Option<String> {
        let mut python = Command::new("python3");
        python.args(["-c", KNOWN]).args(&self.0);
        let output = ended(python);
        output.status.success().then(|| text(&output.stdout))
    }
}

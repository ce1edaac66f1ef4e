//! The way of log lines to stderr. No caller waits for its reader.
//!
//! A pipe, a socket or a terminal that is not read takes nothing for ever. `O_NONBLOCK` would be set
//! for every program that shares it, so a thread writes there, and lines wait in a bounded buffer.
//! A regular file takes a line at once or refuses it: callers write to it themselves, so that a
//! crash loses no line. Lost lines are counted, and reported when stderr takes lines again.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::losses::LOG_LINES;

/// Maximum size of the lines that wait, in bytes.
const ROOM: usize = 1 << 20;

/// Time for lines to gather, so that many of them cost one wake-up and one write.
const GATHER: Duration = Duration::from_millis(5);

/// Longest wait of a crash, or of the last words of a process, for the lines that wait.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(300);

static STDERR: Stderr = Stderr {
    state: Mutex::new(State::new()),
    filled: Condvar::new(),
    written: Condvar::new(),
};

static IS_FILE: LazyLock<bool> = LazyLock::new(|| {
    let stat = rustix::fs::fstat(io::stderr());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
});

struct Stderr {
    state: Mutex<State>,
    /// Signalled when there is something to do for the thread.
    filled: Condvar,
    /// Signalled when the thread has written a batch.
    written: Condvar,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct State {
    waiting: Vec<u8>,
    /// Lines lost since the last report.
    lost: u64,
    /// Whether the last write took every line.
    works: bool,
    /// Whether a line was cut off by a failed write.
    torn: bool,
    has_thread: bool,
    /// Whether the thread waits for lines; else it looks again by itself.
    is_idle: bool,
    /// Whether the thread writes a batch now.
    is_writing: bool,
    /// Whether a caller waits for the lines to be written.
    is_urgent: bool,
}

impl State {
    const fn new() -> Self {
        Self {
            waiting: Vec::new(),
            lost: 0,
            works: true,
            torn: false,
            has_thread: false,
            is_idle: false,
            is_writing: false,
            is_urgent: false,
        }
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        LOG_LINES.inc_by(lines);
    }

    /// Notes the number of lines that a write did not take.
    fn note(&mut self, refused: u64) {
        self.works = refused == 0;
        self.lose(refused);
    }

    const fn has_report(&self) -> bool {
        self.works && self.lost > 0
    }
}

/// Writer of one log line, for the subscriber.
#[derive(Debug)]
pub(super) struct LogLine;

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line of the process beside its log, without waiting for a reader for longer than a bound.
/// `false` if the process has no log, so that the caller may write by itself.
pub fn say(line: &str) -> bool {
    if !STDERR.lock().has_thread {
        return false;
    }
    STDERR.take(line.as_bytes());
    flush();
    true
}

/// Waits until all lines are written, at most [`LAST_WORDS`].
pub(super) fn flush() {
    STDERR.flush(LAST_WORDS);
}

/// Has crashes print their message by the way of log lines, since a crash must not wait either.
pub(super) fn print_crashes() {
    std::panic::set_hook(Box::new(|crash| {
        STDERR.take(crash_text(crash).as_bytes());
        flush();
    }));
}

fn crash_text(crash: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("thread '{name}' {crash}\n{backtrace}\n"),
        _ => format!("thread '{name}' {crash}\n"),
    }
}

impl Stderr {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, line: &[u8]) {
        let mut state = self.lock();
        if !state.has_thread {
            let thread = std::thread::Builder::new().name("log".to_owned());
            // Without a thread lines wait as far as there is room, and the next one tries again.
            state.has_thread = thread.spawn(move || self.run()).is_ok();
        }
        if *IS_FILE {
            let refused = write_lines(line, &mut state.torn);
            state.note(refused);
        } else if state.waiting.len() + line.len() > ROOM {
            state.lose(1);
        } else {
            state.waiting.extend_from_slice(line);
        }
        let has_work = !state.waiting.is_empty() || state.has_report();
        if has_work && state.is_idle {
            state.is_idle = false;
            self.filled.notify_one();
        }
    }

    /// Writes the lines that wait, for as long as the process lives.
    fn run(&self) {
        let mut torn = false;
        loop {
            let (batch, lost) = self.next();
            if lost > 0 {
                // By the way of all lines, so that it has their format.
                tracing::warn!(
                    lost_lines = lost,
                    "stderr took no log lines for a while; they are lost"
                );
            }
            let refused = write_lines(&batch, &mut torn);
            let mut state = self.lock();
            state.is_writing = false;
            if !batch.is_empty() {
                state.note(refused);
            }
            drop(state);
            self.written.notify_all();
        }
    }

    /// Waits for lines, or for lost ones to report.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.lock();
        state.is_idle = true;
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.has_report();
        let state = self.filled.wait_while(state, is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.is_idle = false;
        let may_gather = |state: &mut State| !state.is_urgent && state.waiting.len() < ROOM / 2;
        let gathered = self.filled.wait_timeout_while(state, GATHER, may_gather);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        let lost = if state.has_report() {
            std::mem::take(&mut state.lost)
        } else {
            0
        };
        (std::mem::take(&mut state.waiting), lost)
    }

    fn flush(&self, limit: Duration) {
        let mut state = self.lock();
        if !state.has_thread {
            return;
        }
        state.is_urgent = true;
        self.filled.notify_one();
        let is_busy = |state: &mut State| !state.waiting.is_empty() || state.is_writing;
        let done = self.written.wait_timeout_while(state, limit, is_busy);
        done.unwrap_or_else(PoisonError::into_inner).0.is_urgent = false;
    }
}

/// Writes lines to stderr, and returns the number of those that it refused.
fn write_lines(lines: &[u8], torn: &mut bool) -> u64 {
    let mut rest = lines;
    if *torn && !rest.is_empty() {
        *torn = rustix::io::write(io::stderr(), b"\n") != Ok(1);
    }
    while !rest.is_empty() {
        match rustix::io::write(io::stderr(), rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Another program made the shared stderr non-blocking.
            Err(Errno::AGAIN) => drop(poll(
                &mut [PollFd::new(&io::stderr(), PollFlags::OUT)],
                None,
            )),
            Err(_) => break,
        }
    }
    let written = lines.len() - rest.len();
    let is_cut = !rest.is_empty() && written > 0 && lines.get(written - 1) != Some(&b'\n');
    *torn |= is_cut;
    rest.split_inclusive(|byte| *byte == b'\n').count() as u64
}

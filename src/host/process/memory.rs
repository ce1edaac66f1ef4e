//! Reads of a process's memory: its environment and its command line.
//!
//! The kernel gets them from the memory of the process, which may lie in a file whose server never answers
//! (`fuse(4)`): then the read waits for it. What another user's program laid out, as root's service
//! sees it, is read on a thread of its own, which is given up after a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::{Directory, ProcessError};

/// Limit on a read of another user's process. It takes microseconds.
const LIMIT: Duration = Duration::from_millis(250);

/// Maximum number of threads that read other users' processes. If all of them wait, no more is read.
const MOST: usize = 32;

static OF_OTHERS: Readers = Readers(AtomicUsize::new(0));

impl Directory {
    /// Runs `read` on it, and waits for the result as long as a read may take.
    ///
    /// # Errors
    ///
    /// Those of `read`, and [`ProcessError::Silent`] if its memory gives no answer.
    pub(super) fn in_memory<T: Send + 'static>(
        self,
        read: impl FnOnce(&Self) -> Result<T, ProcessError> + Send + 'static,
    ) -> Result<T, ProcessError> {
        if self.is_own() {
            return read(&self);
        }
        let pid = self.pid;
        let answer = OF_OTHERS.read(LIMIT, move || read(&self));
        answer.unwrap_or(Err(ProcessError::Silent(pid)))
    }

    /// Whether portbook's own user alone laid out its memory.
    pub fn is_own(&self) -> bool {
        let me = rustix::process::geteuid().as_raw();
        // The directory of a process that hides its memory (`PR_SET_DUMPABLE(2const)`) is root's, whoever
        // runs it.
        self.uid().is_ok_and(|uid| uid == me) && (me != 0 || self.users() == Some([0; 4]))
    }
}

/// Threads that read, and their number.
struct Readers(AtomicUsize);

impl Readers {
    /// The answer of `read`. `None` if there is none within the limit, or no thread for it.
    fn read<T: Send + 'static>(
        &'static self,
        limit: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let reading = Reading::begin(self)?;
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name("portbook-read".into());
        let spawned = thread.spawn(move || {
            let answer = read();
            drop(reading);
            // The asker may have given up.
            let _ = tell.send(answer);
        });
        spawned.ok()?;
        told.recv_timeout(limit).ok()
    }
}

/// Counts a thread until it is dropped.
struct Reading(&'static Readers);

impl Reading {
    fn begin(readers: &'static Readers) -> Option<Self> {
        let reading = Self(readers);
        (readers.0.fetch_add(1, Ordering::Relaxed) < MOST).then_some(reading)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_never_end_are_given_up_and_are_few() {
        static READERS: Readers = Readers(AtomicUsize::new(0));
        let moment = Duration::from_millis(1);
        let (end, ended) = mpsc::channel::<()>();
        let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
        for _ in 0..MOST {
            let ended = std::sync::Arc::clone(&ended);
            let silent = READERS.read(moment, move || ended.lock().unwrap().recv());
            assert_eq!(silent, None);
        }
        assert_eq!(READERS.read(LIMIT, || 7), None, "every thread waits");
        drop(end);
        while READERS.0.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(READERS.read(Duration::MAX, || 7), Some(7));
    }

    #[test]
    fn own_processes_are_read_on_the_callers_thread() {
        let here = std::thread::current().id();
        let directory = Directory::open(std::process::id()).unwrap();
        let there = directory.in_memory(move |_| Ok(std::thread::current().id()));
        assert_eq!(there.unwrap(), here);
    }
}

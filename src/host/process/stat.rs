//! State of a process as one line of `/proc` tells it (`proc_pid_stat(5)`).

use std::ops::Range;

/// The members of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    pub state: char,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    pub flags: u32,
    pub threads: u32,
    pub start_ticks: u64,
    /// Bytes of virtual memory. A zombie and a thread of the kernel have none.
    pub memory: u64,
    /// End of the program's code; 0 while it is being loaded.
    pub code_end: u64,
    /// Addresses of the environment, for those that may read it.
    pub environment: Range<u64>,
}

/// `PF_EXITING` (`include/linux/sched.h`): the thread is on its way out.
const EXITING: u32 = 0x4;

/// `PF_KTHREAD` (`include/linux/sched.h`): a thread of the kernel, which has no environment.
const OF_KERNEL: u32 = 0x0020_0000;

impl Stat {
    /// Whether only its exit status is left. A first thread that ended before the others looks like
    /// a zombie too, but the process lives on.
    pub const fn is_zombie(&self) -> bool {
        self.is_first_thread_gone() && self.threads <= 1
    }

    pub const fn is_first_thread_gone(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it is a thread of the kernel.
    pub const fn is_of_kernel(&self) -> bool {
        self.flags & OF_KERNEL != 0
    }

    /// Whether its first thread is on its way out.
    pub const fn is_exiting(&self) -> bool {
        self.flags & EXITING != 0 && !self.is_first_thread_gone()
    }
}

/// Parses fields 3 to 6, 9, 20, 22, 23, 27, 50 and 51 of `proc_pid_stat(5)`. The name in field 2 may hold blanks and
/// parentheses, so the fields after it are counted from the last `)`.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let field: Vec<&str> = rest.split_ascii_whitespace().collect();
    let nth = |number: usize| field.get(number - 3).copied();
    Some(Stat {
        state: nth(3)?.chars().next()?,
        parent: nth(4)?.parse().ok()?,
        // A group or session of another pid namespace is shown as 0, none as -1.
        group: nth(5)?.parse().unwrap_or(0),
        session: nth(6)?.parse().unwrap_or(0),
        flags: nth(9)?.parse().ok()?,
        threads: nth(20)?.parse().ok()?,
        start_ticks: nth(22)?.parse().ok()?,
        memory: nth(23)?.parse().ok()?,
        code_end: nth(27)?.parse().ok()?,
        environment: nth(50)?.parse().ok()?..nth(51)?.parse().ok()?,
    })
}

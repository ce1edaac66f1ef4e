//! Plain values that every other layer speaks in. Nothing here does I/O, reads a clock or rolls
//! dice, so each rule can be tested by writing it down.

pub mod address;
pub mod attempt;
pub mod candidate;
pub mod duration;
pub mod event;
pub mod exclusion;
pub mod explanation;
pub mod health;
pub mod history;
pub mod lease;
pub mod local;
pub mod moment;
pub mod outsider;
pub mod placeholder;
pub mod pool;
pub mod port;
pub mod precedence;
pub mod reason;
pub mod relation;
pub mod request;
pub mod retry;
pub mod selector;
pub mod sighting;
pub mod story;
pub(crate) mod text;
pub mod variable;
pub mod variables;
pub mod words;

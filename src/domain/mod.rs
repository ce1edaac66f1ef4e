//! Plain values that all other layers use. They do no I/O, read no clock and draw no random numbers, so
//! their rules are tested without a service.

pub mod address;
pub mod attempt;
pub mod candidate;
pub mod claim;
pub mod container;
pub mod duration;
pub mod event;
pub mod everywhere;
pub mod exclusion;
pub mod explanation;
pub mod fleet;
pub mod health;
pub mod hint;
pub mod history;
pub mod lease;
pub mod local;
pub mod moment;
pub mod note;
pub mod outsider;
pub mod placeholder;
pub mod pool;
pub mod port;
pub mod precedence;
pub mod prior;
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

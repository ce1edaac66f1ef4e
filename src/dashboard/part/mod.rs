//! The rows that pages show: plain text and numbers, ready for a template.
//!
//! Whatever programs outside wrote (names of processes, labels) goes through
//! [`printable`](crate::domain::attempt::printable) here and is escaped by the template.

pub mod attempt;
pub mod badge;
pub mod bar;
pub mod capacity;
pub mod event;
pub mod explanation;
pub mod form;
pub mod interface;
pub mod lease;
pub mod left_out;
pub mod moved;
pub mod precedence;
pub mod timing;

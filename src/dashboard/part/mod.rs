//! Values that several pages show, with the methods and functions that their templates call.
//!
//! Texts from outside (names of processes, labels) go through
//! [`printable`](crate::domain::attempt::printable), and the templates escape them.

pub mod badge;
pub mod event;
pub mod explanation;
pub mod form;
pub mod interface;
pub mod lease;
pub mod left_out;
pub mod moved;
pub mod precedence;
pub mod rows;
pub mod user;

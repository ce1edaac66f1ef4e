//! What the machine offers: sockets, interfaces, processes, clocks. Facts only; what to do with
//! them is decided above.

pub mod clock;
pub mod hold;

//! `portbook mcp` beside real clients of the protocol: rmcp's own, the protocol's inspector, and bytes
//! that no client sends.

mod agent;
mod ends;
mod hostile;
mod inspector;
mod lasting;
mod numbers;
mod transcript;
mod trees;

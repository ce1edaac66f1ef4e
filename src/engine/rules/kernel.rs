//! The ports that the kernel sets aside.

use crate::domain::port::PortSet;
use crate::host::kernel;

/// The kernel's own rules for ports, as last read: sysctls announce no change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelRules {
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: PortSet,
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral: PortSet,
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub unprivileged_start: u16,
}

impl KernelRules {
    /// Reads the rules from the kernel.
    pub(super) fn read() -> Self {
        Self {
            reserved: kernel::reserved_ports(),
            ephemeral: kernel::ephemeral_range().unwrap_or_default(),
            unprivileged_start: kernel::unprivileged_port_start(),
        }
    }

    /// Ports that the kernel gives out by itself: the ephemeral range without the reserved ports.
    pub fn outgoing(&self) -> PortSet {
        self.ephemeral.without(&self.reserved)
    }

    /// Maximum number of ephemeral ports that portbook may hold at once: 5 % of the range, and at
    /// least 16. All other programs of the host use that range too.
    pub fn ephemeral_budget(&self) -> u32 {
        u32::try_from(self.ephemeral.len() / 20)
            .unwrap_or(u32::MAX)
            .max(16)
    }
}

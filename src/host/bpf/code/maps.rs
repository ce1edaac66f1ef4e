//! Instructions that reach maps.

use std::os::fd::RawFd;

use super::Register::{R0, R1, R2, R3, R4, R10};
use super::{Code, Register};

/// Helpers that the programs call (`bpf-helpers(7)`).
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_PUSH_ELEM: i32 = 87;
const MAP_POP_ELEM: i32 = 88;

/// Flags of an update: whether the key is there or not, or only if it is not (BPF_ANY, BPF_NOEXIST).
const ALWAYS: i32 = 0;
const ONLY_NEW: i32 = 1;

/// Source of a wide value that is a map, given by its descriptor (BPF_PSEUDO_MAP_FD).
const BY_DESCRIPTOR: Register = R1;

impl Code {
    /// `r0 = bpf_map_lookup_elem(map, stack + key)`
    pub(in crate::host::bpf) fn look_up(&mut self, map: RawFd, key: i16) {
        self.set_map(R1, map);
        self.set_stack(R2, key);
        self.call(MAP_LOOKUP_ELEM);
    }

    /// `r0 = bpf_map_update_elem(map, stack + key, stack + value, BPF_NOEXIST)`
    pub(in crate::host::bpf) fn add(&mut self, map: RawFd, key: i16, value: i16) {
        self.update(map, key, value, ONLY_NEW);
    }

    /// `r0 = bpf_map_update_elem(map, stack + key, stack + value, BPF_ANY)`
    pub(in crate::host::bpf) fn put(&mut self, map: RawFd, key: i16, value: i16) {
        self.update(map, key, value, ALWAYS);
    }

    fn update(&mut self, map: RawFd, key: i16, value: i16, flags: i32) {
        self.set_map(R1, map);
        self.set_stack(R2, key);
        self.set_stack(R3, value);
        self.set(R4, flags);
        self.call(MAP_UPDATE_ELEM);
    }

    /// `r0 = bpf_map_pop_elem(queue, stack + value)`
    pub(in crate::host::bpf) fn take_from(&mut self, queue: RawFd, value: i16) {
        self.set_map(R1, queue);
        self.set_stack(R2, value);
        self.call(MAP_POP_ELEM);
    }

    /// `r0 = bpf_map_push_elem(queue, stack + value, 0)`
    pub(in crate::host::bpf) fn give_back(&mut self, queue: RawFd, value: i16) {
        self.set_map(R1, queue);
        self.set_stack(R2, value);
        self.set(R3, 0);
        self.call(MAP_PUSH_ELEM);
    }

    /// `to = map`
    fn set_map(&mut self, to: Register, map: RawFd) {
        self.push(0x18, to, BY_DESCRIPTOR, 0, map);
        self.push(0x00, R0, R0, 0, 0);
    }

    /// `to = stack + offset`
    pub(in crate::host::bpf) fn set_stack(&mut self, to: Register, offset: i16) {
        self.copy(to, R10);
        self.push(0x07, to, R0, 0, offset.into());
    }
}

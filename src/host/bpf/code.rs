//! Instructions of BPF, written by hand: there are few, so neither a compiler nor an object file is needed.
//! `Documentation/bpf/standardization/instruction-set.rst` of Linux is their reference.

mod maps;

/// One instruction (`struct bpf_insn` in `linux/bpf.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    /// Destination and source, four bits each.
    registers: u8,
    offset: i16,
    value: i32,
}

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    /// Result of a helper and of the program.
    R0 = 0,
    /// First argument of a helper; the context at the start.
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
    /// Kept by helpers: here always the context.
    R6 = 6,
    /// Kept by helpers, as the next one.
    R7 = 7,
    R8 = 8,
    /// End of the stack.
    R10 = 10,
}

use Register::{R0, R1, R2, R3, R4, R5, R6, R10};

/// Place that a jump leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Helpers that the programs call (`bpf-helpers(7)`).
const GET_CURRENT_PID_TGID: i32 = 14;
const GET_CURRENT_UID_GID: i32 = 15;
const GET_SOCKET_COOKIE: i32 = 46;
const SETSOCKOPT: i32 = 49;
const GET_NETNS_COOKIE: i32 = 122;
const GET_CURRENT_ANCESTOR_CGROUP_ID: i32 = 123;
/// Since Linux 5.18.
const SET_RETVAL: i32 = 187;

/// SOL_SOCKET (`socket(7)`).
const SOL_SOCKET: i32 = nix::libc::SOL_SOCKET;

/// A program in the making. Each method adds the instructions that its name says.
#[derive(Debug, Default)]
pub(super) struct Code {
    instructions: Vec<Instruction>,
    /// Instruction of each label, once it is placed.
    labels: Vec<Option<usize>>,
    /// Jumps, with the label that each leads to.
    jumps: Vec<(usize, Label)>,
}

impl Code {
    /// A program that keeps its context in r6.
    pub(super) fn with_context() -> Self {
        let mut code = Self::default();
        code.copy(R6, R1);
        code
    }

    /// Makes a label, to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to = value`
    pub(super) fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, R0, 0, value);
    }

    /// `to = *(u32 *)(base + offset)`
    pub(super) fn load(&mut self, to: Register, base: Register, offset: i16) {
        self.push(0x61, to, base, offset, 0);
    }

    /// `to = *(u8 *)(base + offset)`
    pub(super) fn load_byte(&mut self, to: Register, base: Register, offset: i16) {
        self.push(0x71, to, base, offset, 0);
    }

    /// `*(u32 *)(base + offset) = from`
    pub(super) fn store(&mut self, base: Register, offset: i16, from: Register) {
        self.push(0x63, base, from, offset, 0);
    }

    /// `*(u16 *)(base + offset) = from`
    pub(super) fn store_half(&mut self, base: Register, offset: i16, from: Register) {
        self.push(0x6b, base, from, offset, 0);
    }

    /// `*(u64 *)(base + offset) = bpf_get_socket_cookie(context)`
    pub(super) fn store_cookie(&mut self, base: Register, offset: i16) {
        self.copy(R1, R6);
        self.call(GET_SOCKET_COOKIE);
        self.push(0x7b, base, R0, offset, 0);
    }

    /// `to = *(u64 *)(base + offset)`
    pub(super) fn load_wide(&mut self, to: Register, base: Register, offset: i16) {
        self.push(0x79, to, base, offset, 0);
    }

    /// `to = to << bits | from`
    pub(super) fn join(&mut self, to: Register, bits: i32, from: Register) {
        self.push(0x67, to, R0, 0, bits);
        self.push(0x4f, to, from, 0, 0);
    }

    /// `goto label`
    pub(super) fn jump(&mut self, label: Label) {
        self.jump_by(0x05, R0, R0, 0, label);
    }

    /// `if (u32)register == value goto label`
    pub(super) fn jump_if(&mut self, register: Register, value: u32, label: Label) {
        self.jump_by(0x16, register, R0, value.cast_signed(), label);
    }

    /// `if (u32)register != value goto label`
    pub(super) fn jump_unless(&mut self, register: Register, value: u32, label: Label) {
        self.jump_by(0x56, register, R0, value.cast_signed(), label);
    }

    /// `if (u32)register != (u32)other goto label`
    pub(super) fn jump_unless_equal(&mut self, register: Register, other: Register, label: Label) {
        self.jump_by(0x5e, register, other, 0, label);
    }

    /// `if pointer == NULL goto label`
    pub(super) fn jump_if_null(&mut self, pointer: Register, label: Label) {
        self.jump_by(0x15, pointer, R0, 0, label);
    }

    /// `if pointer != NULL goto label`
    pub(super) fn jump_unless_null(&mut self, pointer: Register, label: Label) {
        self.jump_by(0x55, pointer, R0, 0, label);
    }

    /// `if bpf_get_netns_cookie(context) != cookie goto label`
    pub(super) fn jump_unless_in(&mut self, cookie: u64, label: Label) {
        self.copy(R1, R6);
        self.call(GET_NETNS_COOKIE);
        self.set_wide(R1, cookie);
        self.jump_by(0x5d, R0, R1, 0, label);
    }

    /// `if bpf_get_current_ancestor_cgroup_id(r1) != cgroup goto label`
    pub(super) fn jump_unless_in_cgroup(&mut self, cgroup: Register, label: Label) {
        self.call(GET_CURRENT_ANCESTOR_CGROUP_ID);
        self.jump_by(0x5d, R0, cgroup, 0, label);
    }

    /// `if bpf_get_current_pid_tgid() >> 32 == pid goto label`
    pub(super) fn jump_if_process(&mut self, pid: u32, label: Label) {
        self.call(GET_CURRENT_PID_TGID);
        self.push(0x77, R0, R0, 0, 32);
        self.jump_if(R0, pid, label);
    }

    /// `if (u32)bpf_get_current_uid_gid() != user goto label`
    pub(super) fn jump_unless_user(&mut self, user: Register, label: Label) {
        self.call(GET_CURRENT_UID_GID);
        self.jump_by(0x5e, R0, user, 0, label);
    }

    /// `register = htons(register)`
    pub(super) fn turn_port(&mut self, register: Register) {
        self.push(0xdc, register, R0, 0, 16);
    }

    /// `if register >= value goto label`
    pub(super) fn jump_if_at_least(&mut self, register: Register, value: i32, label: Label) {
        self.jump_by(0x35, register, R0, value, label);
    }

    /// `if r0 == 0 goto label`
    pub(super) fn jump_if_done(&mut self, label: Label) {
        self.jump_by(0x15, R0, R0, 0, label);
    }

    /// `bpf_set_retval(-errno); return 0`
    pub(super) fn refuse(&mut self, errno: i32) {
        self.set(R1, -errno);
        self.call(SET_RETVAL);
        self.leave(0);
    }

    /// `r0 = bpf_setsockopt(context, SOL_SOCKET, option, &value, 4)`
    pub(super) fn set_option(&mut self, option: i32, value: i32) {
        self.set(R1, value);
        self.store(R10, -4, R1);
        self.copy(R1, R6);
        self.set(R2, SOL_SOCKET);
        self.set(R3, option);
        self.copy(R4, R10);
        self.push(0x07, R4, R0, 0, -4);
        self.set(R5, 4);
        self.call(SETSOCKOPT);
    }

    /// `r0 = helper(r1, r2, r3, r4, r5)`
    pub(super) fn call(&mut self, helper: i32) {
        self.push(0x85, R0, R0, 0, helper);
    }

    /// `to = value`, of 64 bits: its two halves are two instructions.
    fn set_wide(&mut self, to: Register, value: u64) {
        let [low, high] = [value, value >> 32].map(|half| (half & 0xffff_ffff) as u32);
        self.push(0x18, to, R0, 0, low.cast_signed());
        self.push(0x00, R0, R0, 0, high.cast_signed());
    }

    /// `return value`
    pub(super) fn leave(&mut self, value: i32) {
        self.set(R0, value);
        self.push(0x95, R0, R0, 0, 0);
    }

    /// Returns the program. `None` if a jump leads nowhere, or too far.
    pub(super) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in &self.jumps {
            let place = (*self.labels.get(label.0)?)?;
            // Counted from the instruction behind the jump.
            self.instructions[*at].offset = i16::try_from(place.checked_sub(at + 1)?).ok()?;
        }
        Some(self.instructions)
    }

    fn jump_by(&mut self, code: u8, to: Register, from: Register, value: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(code, to, from, 0, value);
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, value: i32) {
        let (to, from) = (to as u8, from as u8);
        // The first of two bit fields is the low one on little-endian machines, and the high one on others.
        let registers = if cfg!(target_endian = "little") {
            from << 4 | to
        } else {
            to << 4 | from
        };
        self.instructions.push(Instruction {
            code,
            registers,
            offset,
            value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_their_labels() {
        let mut code = Code::with_context();
        let out = code.label();
        code.load(R2, R6, 24);
        code.jump_unless(R2, 7, out);
        code.set(R0, 0);
        code.place(out);
        code.leave(1);
        let code = code.finish().unwrap();
        assert_eq!(code[2].offset, 1);
        assert_eq!(code.len(), 6);
    }

    #[test]
    fn a_label_that_is_nowhere_makes_no_program() {
        let mut code = Code::default();
        let out = code.label();
        code.jump(out);
        assert_eq!(code.finish(), None);
    }
}

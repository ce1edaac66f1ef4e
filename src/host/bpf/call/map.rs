//! Maps: tables and queues that this process shares with programs in the kernel.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{address, call, opened};

/// Commands of `bpf(2)` (`enum bpf_cmd` in `linux/bpf.h`).
const MAP_CREATE: c_long = 0;
const MAP_LOOKUP_ELEM: c_long = 1;
const MAP_UPDATE_ELEM: c_long = 2;
const MAP_DELETE_ELEM: c_long = 3;
const MAP_GET_NEXT_KEY: c_long = 4;
/// For queues since Linux 4.20.
const MAP_LOOKUP_AND_DELETE_ELEM: c_long = 21;

/// Type of a hash table, whose elements are allocated as they come (`enum bpf_map_type`, BPF_F_NO_PREALLOC).
const MAP_TYPE_HASH: u32 = 1;
const NO_PREALLOC: u32 = 1;

/// Type of a hash table that drops the elements that were used least lately once it is full.
const MAP_TYPE_LRU_HASH: u32 = 9;

/// Type of a queue, which has no keys.
const MAP_TYPE_QUEUE: u32 = 22;

/// Attributes of BPF_MAP_CREATE.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    most: u32,
    flags: u32,
}

/// Attributes of the commands on one element of a map. BPF_MAP_GET_NEXT_KEY has the next key in the place of a value.
#[repr(C)]
struct Element {
    map: RawFd,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A hash table that programs read and perhaps add to: its keys have `K` bytes, its values `V`.
#[derive(Debug)]
pub(in crate::host::bpf) struct Map<const K: usize, const V: usize>(OwnedFd);

impl<const K: usize, const V: usize> Map<K, V> {
    /// Makes an empty one. The kernel makes room at once for an index of `most` keys, the maximum.
    pub(in crate::host::bpf) fn with_room_for(most: u32) -> io::Result<Self> {
        Self::of_kind(MAP_TYPE_HASH, most, NO_PREALLOC)
    }

    /// Makes an empty one that forgets the oldest of more than `most` elements. The kernel makes room for all at once.
    pub(in crate::host::bpf) fn of_latest(most: u32) -> io::Result<Self> {
        Self::of_kind(MAP_TYPE_LRU_HASH, most, 0)
    }

    fn of_kind(kind: u32, most: u32, flags: u32) -> io::Result<Self> {
        let mut create = Create {
            kind,
            key_size: u32::try_from(K).map_err(io::Error::other)?,
            value_size: u32::try_from(V).map_err(io::Error::other)?,
            most,
            flags,
        };
        call(MAP_CREATE, &mut create).and_then(opened).map(Self)
    }

    pub(in crate::host::bpf) fn set(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        call(MAP_UPDATE_ELEM, &mut self.element(key, address(value))).map(drop)
    }

    pub(in crate::host::bpf) fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        call(MAP_DELETE_ELEM, &mut self.element(key, 0)).map(drop)
    }

    /// Returns a value. `None` if the key is not there.
    pub(in crate::host::bpf) fn get(&self, key: &[u8; K]) -> io::Result<Option<[u8; V]>> {
        let mut value = [0; V];
        let found = call(
            MAP_LOOKUP_ELEM,
            &mut self.element(key, address(&raw mut value)),
        );
        Ok(if_found(found)?.then_some(value))
    }

    /// Returns the key after another one, or the first if that is not there. `None` after the last.
    pub(in crate::host::bpf) fn next_key(
        &self,
        after: Option<&[u8; K]>,
    ) -> io::Result<Option<[u8; K]>> {
        let mut next = [0; K];
        let after = after.map_or(0, |key| address(key));
        let mut element = element(&self.0, after, address(&raw mut next));
        Ok(if_found(call(MAP_GET_NEXT_KEY, &mut element))?.then_some(next))
    }

    fn element(&self, key: &[u8; K], value: u64) -> Element {
        element(&self.0, address(key), value)
    }
}

/// A queue that programs take from: its values have `V` bytes.
#[derive(Debug)]
pub(in crate::host::bpf) struct Queue<const V: usize>(OwnedFd);

impl<const V: usize> Queue<V> {
    /// Makes an empty one. The kernel makes room at once for `most` values, the maximum.
    pub(in crate::host::bpf) fn with_room_for(most: u32) -> io::Result<Self> {
        let mut create = Create {
            kind: MAP_TYPE_QUEUE,
            key_size: 0,
            value_size: u32::try_from(V).map_err(io::Error::other)?,
            most,
            flags: 0,
        };
        call(MAP_CREATE, &mut create).and_then(opened).map(Self)
    }

    pub(in crate::host::bpf) fn push(&self, value: &[u8; V]) -> io::Result<()> {
        let mut element = element(&self.0, 0, address(value));
        call(MAP_UPDATE_ELEM, &mut element).map(drop)
    }

    /// Takes the first value out. `None` if there is none.
    pub(in crate::host::bpf) fn pop(&self) -> io::Result<Option<[u8; V]>> {
        let mut value = [0; V];
        let mut element = element(&self.0, 0, address(&raw mut value));
        let taken = call(MAP_LOOKUP_AND_DELETE_ELEM, &mut element);
        Ok(if_found(taken)?.then_some(value))
    }
}

impl<const V: usize> AsFd for Queue<V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn element(map: &OwnedFd, key: u64, value: u64) -> Element {
    Element {
        map: map.as_raw_fd(),
        padding: 0,
        key,
        value,
        flags: 0,
    }
}

/// Whether an element is there.
fn if_found(result: io::Result<c_long>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl<const K: usize, const V: usize> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! The allocator of every program that links this crate with the feature `jemalloc`: `malloc` is
//! jemalloc's, for Rust and for libtorch's tensors.
//!
//! An attack makes and drops tensors of some megabytes at every step. The C library's allocator
//! gives such memory back to the system and asks for it anew, page by page: a quarter of the
//! processors' time at 224×224.

use tikv_jemalloc_sys as _;

/// What jemalloc reads when it starts: nothing goes back to the system, and what takes a megabyte
/// or more is shared by all threads, so that one takes up what another has left. The environment's
/// `MALLOC_CONF` goes before it.
#[unsafe(export_name = "malloc_conf")]
static SETTINGS: &[u8; 63] = b"dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:1048576\0";

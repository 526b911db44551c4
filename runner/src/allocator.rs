//! The allocator. In every program that links this crate with the feature `jemalloc`, `malloc` is
//! jemalloc's, for Rust and for libtorch's tensors.
//!
//! An attack allocates and frees tensors of some megabytes at every step. The C library's allocator
//! gives such memory back to the system and asks for it again, page by page. At 224×224 that takes
//! a quarter of the processors' time.

use tikv_jemalloc_sys as _;

/// The settings that jemalloc reads when it starts. No memory goes back to the system. Allocations
/// of a megabyte or more come from an arena that all threads share, so that one thread reuses what
/// another has freed. The environment's `MALLOC_CONF` takes precedence.
#[unsafe(export_name = "malloc_conf")]
static SETTINGS: &[u8; 63] = b"dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:1048576\0";

//! What jemalloc, the allocator of these programs, tells of itself.

use anyhow::{Result, ensure};
use std::ffi::CStr;
use std::ptr;

/// A number of eight bytes by its name in jemalloc's manual.
///
/// # Errors
/// When there is none of that name and size.
pub fn read(name: &CStr) -> Result<i64> {
    let (mut number, mut size) = (0i64, size_of::<i64>());
    // SAFETY: jemalloc writes no more than `size` bytes to the first place; there is nothing for it
    // to read.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            (&raw mut number).cast(),
            &raw mut size,
            ptr::null_mut(),
            0,
        )
    };
    ensure!(
        code == 0 && size == size_of::<i64>(),
        "jemalloc has no number {name:?}: error {code}, {size} bytes"
    );
    Ok(number)
}

//! Statistics of jemalloc, the allocator of these programs.

use anyhow::{Result, ensure};
use std::ffi::CStr;
use std::ptr;

/// Reads a setting or statistic of eight bytes by its name in jemalloc's manual.
///
/// # Errors
/// When jemalloc has none of that name and size.
pub fn read(name: &CStr) -> Result<i64> {
    let (mut number, mut size) = (0i64, size_of::<i64>());
    // SAFETY: jemalloc writes at most `size` bytes to `number` and reads nothing, since no new value
    // is given.
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

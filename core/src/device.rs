//! Where tensors live. CUDA is opened when it is first asked for, so that one program serves
//! machines with and without a GPU.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::sync::OnceLock;
pub use tch::Device;

/// Opens a device by name: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// # Errors
/// Says what is missing when the name is unknown, libtorch has no CUDA, or there is no such GPU.
pub fn open(name: &str) -> Result<Device> {
    // The first CUDA query fixes libtorch's answer for good: its CUDA half must be mapped before.
    static CUDA: OnceLock<Result<i64, String>> = OnceLock::new();
    let Device::Cuda(index) = parse(name)? else { return Ok(Device::Cpu) };
    let count =
        CUDA.get_or_init(|| map_cuda().map(|()| tch::Cuda::device_count()).map_err(|e| format!("{e:#}"))).clone().map_err(|reason| {
            anyhow::anyhow!(
                "device `{name}` cannot be had: {reason}. Set LIBTORCH to a torch 2.11 with CUDA \
                 (the `torch` folder of `pip install torch==2.11.0` will do), run `make setup` and build again, or use `--device cpu`"
            )
        })?;
    ensure!(
        (index as i64) < count,
        "device `{name}` cannot be had: libtorch sees {count} GPU{}; check the driver with `nvidia-smi`, or use `--device cpu`",
        if count == 1 { "" } else { "s" }
    );
    Ok(Device::Cuda(index))
}

/// Reads a device's name: `cpu`, `cuda` (the first GPU) or `cuda:N`. Whether there is such a device shows
/// when it is [opened](open).
///
/// # Errors
/// When it is no such name.
pub fn parse(name: &str) -> Result<Device> {
    let index = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", index)) => index.parse().with_context(|| format!("`{name}`: `{index}` is not the number of a GPU"))?,
        _ => bail!("unknown device `{name}`: use `cpu`, `cuda` or `cuda:N`"),
    };
    Ok(Device::Cuda(index))
}

/// The name that [`parse`] reads.
pub(crate) fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

/// Maps `libtorch_cuda` with its symbols global, as if the program had been linked to it.
#[cfg(unix)]
fn map_cuda() -> Result<()> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

    let name = libloading::library_filename("torch_cuda");
    let path = libtorch_folder().map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name));
    // SAFETY: the library is libtorch's own other half, of the build that is already mapped; its
    // initialisers register the CUDA kernels and have no precondition.
    let library =
        unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }.with_context(|| format!("{} cannot be opened", path.display()))?;
    std::mem::forget(library); // never unloaded: tensors hold pointers into it
    Ok(())
}

#[cfg(not(unix))]
fn map_cuda() -> Result<()> {
    bail!("CUDA is supported on Linux only")
}

/// The folder that the running `libtorch_cpu` was mapped from.
#[cfg(unix)]
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    let path = PathBuf::from(&line[line.find('/')?..]);
    path.parent().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::{Device, open};

    #[test]
    fn names_are_checked() {
        assert_eq!(open("cpu").unwrap(), Device::Cpu);
        for (name, expected) in
            [("gpu", "unknown device `gpu`: use `cpu`, `cuda` or `cuda:N`"), ("cuda:x", "`x` is not the number of a GPU")]
        {
            let error = format!("{:#}", open(name).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_a_clear_error() {
        let error = format!("{:#}", open("cuda:99").unwrap_err());
        assert!(error.starts_with("device `cuda:99` cannot be had: "), "{error}");
        assert!(error.ends_with("or use `--device cpu`"), "{error}");
    }
}

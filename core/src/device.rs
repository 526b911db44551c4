//! Devices, on which tensors live. CUDA is opened when it is first asked for, so that one program
//! serves machines with and without a GPU.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::sync::OnceLock;
pub use tch::Device;
use tch::Tensor;

/// Opens a device by name: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// A GPU then computes float32 as float32, not as TF32 (unless `NVIDIA_TF32_OVERRIDE=1` is set),
/// and convolutions give the same bits every time. Other kernels may vary, such as the gradient of
/// max pooling.
///
/// Open a GPU before any model runs: libtorch looks for CUDA only once.
///
/// # Errors
/// When the name is unknown, libtorch has no CUDA, or there is no such GPU: says what is missing.
pub fn open(name: &str) -> Result<Device> {
    // libtorch keeps the result of the first CUDA query: its CUDA half must be mapped before that.
    static CUDA: OnceLock<Result<i64, String>> = OnceLock::new();
    let Device::Cuda(index) = parse(name)? else { return Ok(Device::Cpu) };
    let count = CUDA.get_or_init(|| count_gpus().map_err(|e| format!("{e:#}"))).clone().map_err(
        |reason| {
            anyhow::anyhow!(
                "device `{name}` cannot be had: {reason}. Set LIBTORCH to a torch 2.11 with CUDA \
                 (the `torch` folder of `pip install torch==2.11.0` will do), run `make setup` and \
                 build again, or use `--device cpu`"
            )
        },
    )?;
    ensure!(
        (index as i64) < count,
        "device `{name}` cannot be had: libtorch sees {count} GPU{}; check the driver with \
         `nvidia-smi`{}, or use `--device cpu`",
        if count == 1 { "" } else { "s" },
        if count == 0 {
            " (a program of your own opens the GPU before it runs a model on the CPU)"
        } else {
            ""
        }
    );
    Ok(Device::Cuda(index))
}

fn count_gpus() -> Result<i64> {
    map_cuda()?;
    switches::exact();
    Ok(tch::Cuda::device_count())
}

/// Copies numbers to a device, without waiting for the work that the device is busy with: CUDA
/// takes a copy of pageable memory before the call returns.
pub fn upload<T: tch::kind::Element>(values: &[T], device: Device) -> Tensor {
    Tensor::from_slice(values).to_device_(device, T::KIND, true, false)
}

/// Waits until a GPU has finished all work that it was given. Does nothing for the CPU.
pub fn wait(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

/// Reads a device's name: `cpu`, `cuda` (the first GPU) or `cuda:N`. Does not check that there is
/// such a device, see [`open`].
///
/// # Errors
/// When the name is none of these.
pub fn parse(name: &str) -> Result<Device> {
    let index = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", index)) => index
            .parse()
            .with_context(|| format!("`{name}`: `{index}` is not the number of a GPU"))?,
        _ => bail!("unknown device `{name}`: use `cpu`, `cuda` or `cuda:N`"),
    };
    Ok(Device::Cuda(index))
}

/// The name of a device, as [`parse`] reads it.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

/// Maps `libtorch_cuda` with global symbols, as if the program had been linked to it.
#[cfg(unix)]
fn map_cuda() -> Result<()> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

    let name = libloading::library_filename("torch_cuda");
    let path = libtorch_folder().map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name));
    // SAFETY: the library is libtorch's own other half, of the build that is already mapped; its
    // initialisers register the CUDA kernels and have no precondition.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    // Never unloaded: tensors hold pointers into it.
    std::mem::forget(library);
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

/// Switches of libtorch that tch lacks, under their mangled C++ names (`ATen/Context.h`).
mod switches {
    use std::ffi::c_void;

    unsafe extern "C" {
        #[link_name = "_ZN2at13globalContextEv"]
        fn context() -> *mut c_void;
        #[link_name = "_ZN2at7Context17setAllowTF32CuDNNEb"]
        fn allow_tf32_in_convolutions(context: *mut c_void, allow: bool);
        #[link_name = "_ZN2at7Context18setAllowTF32CuBLASEb"]
        fn allow_tf32_in_products(context: *mut c_void, allow: bool);
        #[link_name = "_ZN2at7Context21setDeterministicCuDNNEb"]
        fn deterministic_convolutions(context: *mut c_void, wanted: bool);
    }

    /// Makes GPUs compute float32 without TF32, and convolutions the same way every time.
    pub fn exact() {
        // SAFETY: the object is libtorch's own and lives as long as the process; the methods set
        // flags of it.
        unsafe {
            let context = context();
            allow_tf32_in_convolutions(context, false);
            allow_tf32_in_products(context, false);
            deterministic_convolutions(context, true);
        }
    }

    #[cfg(test)]
    mod tests {
        use std::ffi::c_void;

        unsafe extern "C" {
            #[link_name = "_ZNK2at7Context16float32PrecisionENS_14Float32BackendENS_9Float32OpE"]
            fn precision(context: *const c_void, backend: i32, operation: i32) -> i32;
            #[link_name = "_ZNK2at7Context18deterministicCuDNNEv"]
            fn deterministic(context: *const c_void) -> bool;
        }

        #[test]
        fn a_gpu_is_told_to_be_exact() {
            const CUDA: i32 = 1;
            const OPERATIONS: [i32; 3] = [1, 2, 3]; // convolutions, recurrent networks, products
            const TF32: i32 = 2;
            // SAFETY: it reads flags of libtorch's own object; enums of C++ are ints.
            let fast = || {
                OPERATIONS.map(
                    |operation| unsafe { precision(super::context(), CUDA, operation) } == TF32,
                )
            };
            // SAFETY: as in `exact`. libtorch's default is to allow it.
            unsafe { super::allow_tf32_in_convolutions(super::context(), true) };
            super::exact();
            assert_eq!(fast(), [false; 3]);
            // SAFETY: as above.
            assert!(unsafe { deterministic(super::context()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, open};

    #[test]
    fn names_are_checked() {
        assert_eq!(open("cpu").unwrap(), Device::Cpu);
        for (name, expected) in [
            ("gpu", "unknown device `gpu`: use `cpu`, `cuda` or `cuda:N`"),
            ("cuda:x", "`x` is not the number of a GPU"),
        ] {
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

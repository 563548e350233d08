//! Kernels for GPUs of NVIDIA: as they are kept and moved about, and loaded so that they can be launched.
//!
//! A kernel takes what machine code takes in its table: the address of the error word, that of each buffer, each size.

use crate::plan::Program;
use cudarc::driver::sys::{self, CUevent_flags, CUfunction_attribute_enum};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError, result};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, c_void};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Threads of a block, and bytes of shared memory for it, that the largest devices offer.
pub const MOST_THREADS: u32 = 1024;
pub const MOST_SHARED: u32 = 227 << 10;

/// Shared memory that a kernel gets without asking for more.
const PLAIN_SHARED: u32 = 48 << 10;

/// Why a GPU cannot be used, or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(pub String);

impl From<DriverError> for DeviceError {
    fn from(error: DriverError) -> DeviceError {
        let text = error.error_string().map_or_else(|_| format!("{error:?}"), |s| s.to_string_lossy().into_owned());
        DeviceError(format!("the GPU's driver says: {text}"))
    }
}

/// What code for a GPU is made for: `sm_80`, or `sm_90a` with what later devices may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arch {
    /// Compute capability, ten times its first number and its second.
    pub number: u32,
    /// With instructions of this device alone.
    pub specific: bool,
}

impl Arch {
    /// Whether a device of this compute capability runs such code: its own, and that of lower numbers with the same first
    /// digit.
    fn runs_on(self, number: u32) -> bool {
        match self.specific {
            true => self.number == number,
            false => self.number <= number && self.number / 10 == number / 10,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "sm_{}{}", self.number, if self.specific { "a" } else { "" })
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Arch, String> {
        let wrong = || format!("`{text}` is no architecture; write sm_80 or sm_90a");
        let rest = text.strip_prefix("sm_").ok_or_else(wrong)?;
        let digits = rest.strip_suffix('a').unwrap_or(rest);
        match digits.parse() {
            Ok(number @ 50..1000) if digits.len() >= 2 => Ok(Arch { number, specific: digits != rest }),
            _ => Err(wrong()),
        }
    }
}

/// One kernel of a program for GPUs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CudaKernel {
    /// Name of the function.
    pub entry: String,
    /// Threads of a block in each dimension.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Bytes of the longest buffer that its offsets reach.
    pub most: u64,
    pub images: Vec<Image>,
}

/// Code of one kernel for one architecture: a cubin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    pub arch: Arch,
    pub bytes: Vec<u8>,
}

impl CudaKernel {
    /// Whether a device may be asked to run it.
    pub fn is_sound(&self) -> bool {
        let CudaKernel { entry, block, shared, images, .. } = self;
        let threads = block.iter().try_fold(1u32, |n, d| n.checked_mul(*d));
        let fits = threads.is_some_and(|n| (1..=MOST_THREADS).contains(&n)) && *shared <= MOST_SHARED;
        fits && !entry.is_empty() && !entry.contains('\0') && images.iter().all(|i| !i.bytes.is_empty())
    }
}

/// The first GPU of this machine.
pub struct Gpu {
    context: Arc<CudaContext>,
}

impl Gpu {
    pub fn open() -> Result<Gpu, DeviceError> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            let text = "no driver for GPUs of NVIDIA on this machine: libcuda.so.1 is not found; install the driver, or \
                        compile for the CPU";
            return Err(DeviceError(text.into()));
        }
        let context = CudaContext::new(0).map_err(|e| DeviceError(format!("no GPU: {}", DeviceError::from(e))))?;
        // SAFETY: what a session touches it touches on one stream.
        unsafe { context.disable_event_tracking() };
        Ok(Gpu { context })
    }

    /// As its maker calls it.
    pub fn name(&self) -> Result<String, DeviceError> {
        Ok(self.context.name()?)
    }

    /// What code for it alone is called.
    pub fn arch(&self) -> Result<Arch, DeviceError> {
        let number = self.number()?;
        Ok(Arch { number, specific: number >= 90 })
    }

    /// Bytes of its memory.
    pub fn memory(&self) -> Result<usize, DeviceError> {
        Ok(self.context.total_mem()?)
    }

    fn number(&self) -> Result<u32, DeviceError> {
        let (major, minor) = self.context.compute_capability()?;
        Ok((10 * major + minor) as u32)
    }
}

/// A program on a GPU: its functions and its constants. Sessions share it.
pub struct Device {
    gpu: Gpu,
    functions: Vec<Function>,
    constants: DeviceBytes,
}

struct Function {
    module: sys::CUmodule,
    function: sys::CUfunction,
    block: [u32; 3],
    shared: u32,
}

// SAFETY: the handles may be used by any thread in which the context is current, which each use sees to.
unsafe impl Send for Function {}
unsafe impl Sync for Function {}

impl Device {
    /// Loads a program whose kernels are sound.
    pub fn load(program: &Program, kernels: &[CudaKernel]) -> Result<Device, DeviceError> {
        let gpu = Gpu::open()?;
        let mut constants = DeviceBytes::zeroed(&gpu.context.default_stream(), program.memory.len())?;
        constants.write(&program.memory)?;
        // Streams of sessions do not wait for this one.
        gpu.context.synchronize()?;
        let mut device = Device { gpu, functions: vec![], constants };
        for kernel in kernels {
            let function = device.function(kernel)?;
            device.functions.push(function);
        }
        Ok(device)
    }

    fn function(&self, kernel: &CudaKernel) -> Result<Function, DeviceError> {
        let CudaKernel { entry, block, shared, images, .. } = kernel;
        let number = self.gpu.number()?;
        let fitting = images.iter().filter(|i| i.arch.runs_on(number)).max_by_key(|i| i.arch);
        let image = fitting.ok_or_else(|| {
            let known: Vec<String> = images.iter().map(|i| i.arch.to_string()).collect();
            let known = known.join(", ");
            DeviceError(format!(
                "the program is for {known}, this GPU is sm_{number}: compile with --target cuda:sm_{number}"
            ))
        })?;
        let name = CString::new(entry.as_str()).map_err(|_| DeviceError("a kernel's name is broken".into()))?;
        // SAFETY: the image is code that a compiler made; the function is used as long as the module is loaded.
        unsafe {
            let module = result::module::load_data(image.bytes.as_ptr().cast::<c_void>())?;
            let function = result::module::get_function(module, name)?;
            if *shared > PLAIN_SHARED {
                let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                result::function::set_function_attribute(function, attribute, *shared as i32)?;
            }
            Ok(Function { module, function, block: *block, shared: *shared })
        }
    }

    /// Where the program's constants start.
    pub fn constants(&self) -> u64 {
        self.constants.address()
    }

    /// A line of work for one session.
    pub fn queue(self: &Arc<Device>) -> Result<Queue, DeviceError> {
        let stream = self.gpu.context.new_stream()?;
        let error = DeviceBytes::zeroed(&stream, size_of::<i64>())?;
        Ok(Queue { device: self.clone(), stream, error })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.gpu.context.bind_to_thread().is_ok() {
            for function in &self.functions {
                // SAFETY: no session is left that launches it. What cannot be unloaded stays until the process ends.
                let _ = unsafe { result::module::unload(function.module) };
            }
        }
    }
}

/// Memory of a device.
pub struct DeviceBytes {
    slice: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    len: usize,
}

impl DeviceBytes {
    fn zeroed(stream: &Arc<CudaStream>, len: usize) -> Result<DeviceBytes, DeviceError> {
        // There is no memory of no bytes.
        Ok(DeviceBytes { slice: stream.alloc_zeros(len.max(1))?, stream: stream.clone(), len })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn address(&self) -> u64 {
        self.slice.device_ptr(&self.stream).0
    }

    /// Fills the start with `bytes`, which are not more than there are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        if !bytes.is_empty() {
            self.stream.memcpy_htod(bytes, &mut self.slice.slice_mut(..bytes.len()))?;
        }
        Ok(())
    }

    /// Copies the start to `bytes` when all work before is done.
    pub fn read(&self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        if !bytes.is_empty() {
            self.stream.memcpy_dtoh(&self.slice.slice(..bytes.len()), bytes)?;
        }
        Ok(self.stream.synchronize()?)
    }
}

/// Work of one session, done in order.
pub struct Queue {
    device: Arc<Device>,
    stream: Arc<CudaStream>,
    error: DeviceBytes,
}

impl Queue {
    pub fn zeroed(&self, len: usize) -> Result<DeviceBytes, DeviceError> {
        DeviceBytes::zeroed(&self.stream, len)
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Where kernels say what they found wrong.
    pub fn error_address(&self) -> u64 {
        self.error.address()
    }

    /// The error word, when all work is done.
    pub fn error(&self) -> Result<i64, DeviceError> {
        let mut bytes = [0; 8];
        self.error.read(&mut bytes)?;
        Ok(i64::from_le_bytes(bytes))
    }

    pub fn set_error(&mut self, word: i64) -> Result<(), DeviceError> {
        self.error.write(&word.to_le_bytes())
    }

    /// Bytes that lie at an address when all work before is done.
    ///
    /// # Safety
    /// There are so many bytes of device memory.
    pub unsafe fn bytes_at(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.device.gpu.context.bind_to_thread()?;
        // SAFETY: as the caller says.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream())? };
        Ok(self.stream.synchronize()?)
    }

    /// Launches a kernel with the table that it takes.
    ///
    /// # Safety
    /// The table is as the kernel expects it: addresses of device memory that lives until the work is done.
    pub unsafe fn launch(&self, kernel: usize, grid: [u32; 3], table: &[u64]) -> Result<(), DeviceError> {
        let Some(function) = self.device.functions.get(kernel) else {
            return Err(DeviceError("a step runs no kernel".into()));
        };
        self.device.gpu.context.bind_to_thread()?;
        let mut parameters: Vec<*mut c_void> = table.iter().map(|slot| (&raw const *slot).cast_mut().cast()).collect();
        let [grid, block] = [grid, function.block].map(|[x, y, z]| (x, y, z));
        // SAFETY: as the caller says; the driver copies the parameters before it returns.
        let launched = unsafe {
            let stream = self.stream.cu_stream();
            result::launch_kernel(function.function, grid, block, function.shared, stream, &mut parameters)
        };
        Ok(launched?)
    }

    /// Nanoseconds that a device takes for what `work` gives it to do.
    pub fn timed(&self, work: impl FnOnce(&Queue) -> Result<(), DeviceError>) -> Result<u64, DeviceError> {
        let start = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        work(self)?;
        let end = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        Ok((start.elapsed_ms(&end)? as f64 * 1e6) as u64)
    }
}

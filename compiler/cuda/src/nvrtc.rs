//! CUDA C++ to code for one architecture, by NVIDIA's library for that. It needs no GPU and no driver.

use crate::PRELUDE;
use engine::{Arch, Cache};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

/// The environment's name for the library's file.
pub const LIBRARY: &str = "NNC_NVRTC";

/// Of the library's major versions, the newest first.
const MAJORS: [u32; 2] = [13, 12];

/// Sums and products are rounded as the kernel says, not as the compiler likes.
const OPTIONS: [&str; 3] = ["--std=c++17", "--fmad=false", "--ptxas-options=-v"];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvrtcError {
    #[error(
        "no NVRTC, which compiles kernels for GPUs: looked for {0}; install it (`pip install nvidia-cuda-nvrtc`) or name its \
         file in {LIBRARY}"
    )]
    Missing(String),
    #[error("NVRTC in {library} cannot be used: {reason}; name another file in {LIBRARY}")]
    Broken { library: String, reason: String },
    #[error("NVRTC refuses a kernel for {arch}: {log}")]
    Refused { arch: Arch, log: String },
}

type Program = *mut c_void;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Fill = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

/// The library, loaded.
pub struct Nvrtc {
    path: PathBuf,
    version: (c_int, c_int),
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    cubin: (Size, Fill),
    log: (Size, Fill),
    _library: Library,
}

/// Code, and what the compiler told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    pub bytes: Vec<u8>,
    pub log: String,
}

impl Nvrtc {
    /// The library that [`LIBRARY`] names, or the first of those that are usually there.
    pub fn open() -> Result<Nvrtc, NvrtcError> {
        if let Some(path) = std::env::var_os(LIBRARY) {
            return Nvrtc::load(Path::new(&path));
        }
        let known = usual_places();
        let found = known.iter().filter(|p| !p.is_absolute() || p.exists());
        for path in found {
            match Nvrtc::load(path) {
                // A bare name is the system's to find, or not.
                Err(_) if !path.is_absolute() => {}
                loaded => return loaded,
            }
        }
        let names: Vec<String> = known.iter().map(|p| p.display().to_string()).collect();
        Err(NvrtcError::Missing(names.join(", ")))
    }

    fn load(path: &Path) -> Result<Nvrtc, NvrtcError> {
        let broken = |reason: String| NvrtcError::Broken { library: path.display().to_string(), reason };
        let wrong = |e: libloading::Error| broken(e.to_string());
        preload_parts(path);
        // SAFETY: NVIDIA's library has no initialiser that minds; the functions have the types of its header.
        unsafe {
            let library = Library::open(Some(path), RTLD_NOW | RTLD_LOCAL).map_err(wrong)?;
            macro_rules! function {
                ($name:literal) => {
                    *library.get($name).map_err(wrong)?
                };
            }
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = function!(b"nvrtcVersion\0");
            let (mut major, mut minor) = (0, 0);
            if version(&mut major, &mut minor) != 0 {
                return Err(broken("it does not tell its version".into()));
            }
            Ok(Nvrtc {
                path: path.into(),
                version: (major, minor),
                create: function!(b"nvrtcCreateProgram\0"),
                compile: function!(b"nvrtcCompileProgram\0"),
                destroy: function!(b"nvrtcDestroyProgram\0"),
                cubin: (function!(b"nvrtcGetCUBINSize\0"), function!(b"nvrtcGetCUBIN\0")),
                log: (function!(b"nvrtcGetProgramLogSize\0"), function!(b"nvrtcGetProgramLog\0")),
                _library: library,
            })
        }
    }

    /// Where it was found, and its version.
    pub fn name(&self) -> String {
        format!("NVRTC {}.{} in {}", self.version.0, self.version.1, self.path.display())
    }

    /// Compiles the text of a kernel, which stands over the prelude.
    pub fn compile(&self, text: &str, arch: Arch) -> Result<Cubin, NvrtcError> {
        let refused = |log: &str| NvrtcError::Refused { arch, log: log.into() };
        let source = CString::new(format!("{PRELUDE}\n{text}")).map_err(|_| refused("its text has a zero byte"))?;
        let options: Vec<CString> = std::iter::once(format!("--gpu-architecture={arch}"))
            .chain(OPTIONS.map(String::from))
            .map(|o| CString::new(o).map_err(|_| refused("an option has a zero byte")))
            .collect::<Result<_, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let none = std::ptr::null();
        // SAFETY: the functions are NVRTC's, and called as its manual says.
        unsafe {
            let mut program = std::ptr::null_mut();
            if (self.create)(&mut program, source.as_ptr(), c"kernel.cu".as_ptr(), 0, none, none) != 0 {
                return Err(refused("it makes no program"));
            }
            let result = (self.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let log = filled(program, self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string();
            let bytes = if result == 0 { filled(program, self.cubin) } else { None };
            (self.destroy)(&mut program);
            match bytes {
                Some(bytes) if !bytes.is_empty() => Ok(Cubin { bytes, log }),
                _ => Err(refused(&log)),
            }
        }
    }

    /// As [`Nvrtc::compile`], of which what is known is kept where this user's caches are.
    pub fn compile_cached(&self, text: &str, arch: Arch) -> Result<Vec<u8>, NvrtcError> {
        let Some(cache) = Cache::of_user() else { return Ok(self.compile(text, arch)?.bytes) };
        let (arch_text, options, compiler) = (arch.to_string(), OPTIONS.join(" "), self.name());
        let parts = [PRELUDE, text, &arch_text, &options, &compiler].map(str::as_bytes);
        let name = Cache::name(&parts, "cubin");
        if let Some(kept) = cache.get(&name) {
            return Ok(kept);
        }
        let bytes = self.compile(text, arch)?.bytes;
        cache.put(&name, &bytes);
        Ok(bytes)
    }
}

/// What a pair of functions tells of a program: how many bytes, and the bytes.
unsafe fn filled(program: Program, (size, fill): (Size, Fill)) -> Option<Vec<u8>> {
    let mut len = 0;
    // SAFETY: the functions are NVRTC's, the room as large as it asks for.
    unsafe {
        if size(program, &mut len) != 0 {
            return None;
        }
        let mut bytes = vec![0; len];
        (fill(program, bytes.as_mut_ptr().cast()) == 0).then_some(bytes)
    }
}

/// The library looks for a second one by its bare name, which is found if it is loaded already.
fn preload_parts(path: &Path) {
    let Some(folder) = path.parent().filter(|f| f.is_absolute()) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so.") {
            // SAFETY: a part of NVIDIA's library.
            if let Ok(part) = unsafe { Library::open(Some(entry.path()), RTLD_NOW | RTLD_LOCAL) } {
                std::mem::forget(part);
            }
        }
    }
}

/// Where the library lies: of a toolkit, of a Python package, or where the system finds it.
fn usual_places() -> Vec<PathBuf> {
    let mut places = vec![];
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    for toolkit in toolkits.chain(["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from)) {
        for folder in ["lib64", "lib"] {
            places.extend(MAJORS.map(|n| toolkit.join(folder).join(format!("libnvrtc.so.{n}"))));
        }
    }
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local"));
    let environment = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).find(|folder| folder.join("python3").exists());
    let first = first.and_then(|folder| folder.parent().map(Path::to_path_buf));
    for prefix in environment.chain(first).chain(home).chain(["/usr/local", "/usr"].map(PathBuf::from)) {
        let mut pythons: Vec<PathBuf> =
            std::fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten().map(|e| e.path()).collect();
        pythons.sort();
        pythons.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python")));
        for python in pythons {
            for packages in ["site-packages", "dist-packages"] {
                let nvidia = python.join(packages).join("nvidia");
                places.push(nvidia.join("cu13/lib/libnvrtc.so.13"));
                places.push(nvidia.join("cuda_nvrtc/lib/libnvrtc.so.12"));
            }
        }
    }
    places.retain(|p| p.exists());
    places.extend(MAJORS.map(|n| PathBuf::from(format!("libnvrtc.so.{n}"))));
    places
}

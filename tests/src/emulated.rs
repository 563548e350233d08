//! A GPU that is none: libraries with the names and functions of NVIDIA's driver and compiler, over g++ and an emulator of
//! threads and blocks. The engine cannot tell.

use std::process::Command;
use std::sync::OnceLock;

/// Makes this process find the emulated GPU; says whether it could, and tells on standard error why not.
pub fn gpu() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| match start() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            false
        }
    })
}

fn start() -> Result<(), String> {
    let here = crate::folder();
    let emulator = here.join("../compiler/cuda/emulator").canonicalize().map_err(|e| e.to_string())?;
    let folder = std::env::temp_dir().join(format!("emulated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let build = |name: &str, source: &str| {
        let output = folder.join(name);
        let mut compiler = Command::new("g++");
        compiler.args(["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Werror"]);
        compiler.arg(format!("-DEMULATOR=\"{}\"", emulator.display())).arg(format!("-Wl,-soname,{name}"));
        let made = compiler.arg(here.join("cuda").join(source)).arg("-o").arg(&output).output();
        let made = made.map_err(|e| format!("no g++ to emulate a GPU with: {e}"))?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok::<_, String>(output)
    };
    let driver = build("libcuda.so", "mock_cuda.cc")?;
    let compiler = build("libnvrtc.so.13", "mock_nvrtc.cc")?;
    // SAFETY: no other thread reads the environment yet: this runs once, before anything looks for a GPU.
    unsafe { std::env::set_var(cuda::nvrtc::LIBRARY, &compiler) };
    // A library that is loaded is found by its bare name from then on.
    // SAFETY: it was made here.
    let driver = unsafe { libloading::Library::new(&driver) }.map_err(|e| e.to_string())?;
    std::mem::forget(driver);
    Ok(())
}

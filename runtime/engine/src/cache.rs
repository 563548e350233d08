//! Files of what was made once and can be made again, by the hash of all that it follows from.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The environment's name for the folder; `off` keeps nothing.
pub const CACHE: &str = "NNC_CACHE";

/// Bytes of a hash, which stands before the content.
const HASH: usize = 32;

/// Bytes that all files may take together; the oldest make room.
const MOST: u64 = 512 << 20;

/// A folder of such files.
///
/// ```
/// let folder = std::env::temp_dir().join(format!("nnc-doc-cache-{}", std::process::id()));
/// let cache = engine::Cache::at(&folder);
/// let name = engine::Cache::name(&[b"what it follows from"], "txt");
/// assert_eq!(cache.get(&name), None);
/// cache.put(&name, b"what was made");
/// assert_eq!(cache.get(&name).unwrap(), b"what was made");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The one that [`CACHE`] names, or `nnc` where this user's caches are; none if it is off or there is no such place.
    pub fn of_user() -> Option<Cache> {
        let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = named(CACHE)
            .or_else(|| named("XDG_CACHE_HOME").map(|c| c.join("nnc")))
            .or_else(|| named("HOME").map(|h| h.join(".cache/nnc")));
        folder.filter(|f| f != Path::new("off")).map(Cache::at)
    }

    /// The name of a file for what follows from these parts, in this order.
    pub fn name(parts: &[&[u8]], extension: &str) -> String {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).chain([format!(".{extension}")]).collect()
    }

    /// What is kept under a name, unless it is damaged.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let mut kept = std::fs::read(self.folder.join(name)).ok()?;
        let content = kept.get(HASH..)?;
        if Sha256::digest(content)[..] != kept[..HASH] {
            return None;
        }
        kept.drain(..HASH);
        Some(kept)
    }

    /// Keeps something if the folder can be written; else it is made again next time.
    pub fn put(&self, name: &str, content: &[u8]) {
        let kept = [&Sha256::digest(content)[..], content].concat();
        if std::fs::create_dir_all(&self.folder).is_ok() && tensor::write_whole(&self.folder.join(name), &kept).is_ok()
        {
            self.make_room();
        }
    }

    /// Removes the oldest files while all of them take too much.
    fn make_room(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let about = entry.metadata().ok().filter(|m| m.is_file())?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if all <= MOST {
                return;
            }
            // Another process may have removed it.
            let _ = std::fs::remove_file(path);
            all -= bytes;
        }
    }
}

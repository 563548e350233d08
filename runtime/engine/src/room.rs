//! Memory of a session: of this machine, or of its GPU.

use crate::cuda::{DeviceBytes, DeviceError, Queue};
use std::borrow::Cow;
use tensor::AlignedBytes;

pub(crate) enum Room {
    Host(AlignedBytes),
    Device(DeviceBytes),
}

impl Room {
    /// So many zeros, where the work of `queue` sees them; nothing if there is less memory.
    pub fn zeroed(queue: Option<&Queue>, bytes: usize) -> Option<Room> {
        match queue {
            None => AlignedBytes::try_zeroed(bytes).map(Room::Host),
            Some(queue) => queue.zeroed(bytes).ok().map(Room::Device),
        }
    }

    pub fn empty() -> Room {
        Room::Host(AlignedBytes::zeroed(0))
    }

    pub fn len(&self) -> usize {
        match self {
            Room::Host(bytes) => bytes.len(),
            Room::Device(bytes) => bytes.len(),
        }
    }

    pub fn address(&self) -> u64 {
        match self {
            Room::Host(bytes) => bytes.as_ptr() as u64,
            Room::Device(bytes) => bytes.address(),
        }
    }

    /// Fills the start.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        match self {
            Room::Host(own) => {
                own[..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            Room::Device(own) => own.write(bytes),
        }
    }

    /// What lies there when all work before is done.
    pub fn read(&self) -> Result<Cow<'_, [u8]>, DeviceError> {
        match self {
            Room::Host(bytes) => Ok(Cow::Borrowed(bytes)),
            Room::Device(bytes) => {
                let mut copy = vec![0; bytes.len()];
                bytes.read(&mut copy)?;
                Ok(Cow::Owned(copy))
            }
        }
    }
}

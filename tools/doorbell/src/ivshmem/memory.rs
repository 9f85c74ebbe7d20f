// SPDX-License-Identifier: GPL-2.0-only

//! The memory that the peers share.

use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: only the peers have it, and none of them can change its size under the others.
    #[default]
    Anonymous,
    /// A POSIX shared memory object, which other processes can open, and which stays.
    Named(String),
    /// A file without a name in a directory: of a hugetlbfs, say.
    Directory(PathBuf),
}

/// As large as a PCI device's BAR can be: a power of two, and at least a page.
pub fn round(size: u64) -> Option<u64> {
    size.max(4096).checked_next_power_of_two()
}

/// Creates it, or opens it if it exists.
pub fn create(place: &Place, size: u64) -> io::Result<OwnedFd> {
    let open = |path: &Path, new: bool| -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(!new)
            .create_new(new)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.len() != size {
            file.set_len(size)?;
        }
        Ok(file)
    };
    match place {
        Place::Anonymous => {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let file = File::from(memfd_create("ivshmem", flags)?);
            file.set_len(size)?;
            fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            Ok(file.into())
        }
        Place::Named(name) => {
            let name = name.trim_start_matches('/');
            if name.is_empty() || name.contains('/') {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            Ok(open(&Path::new("/dev/shm").join(name), false)?.into())
        }
        Place::Directory(directory) => {
            let path = directory.join(format!("ivshmem.{}", std::process::id()));
            let file = open(&path, true);
            // Unless it was somebody else's.
            if !matches!(&file, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
                let _ = fs::remove_file(&path);
            }
            Ok(file?.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_bars() {
        assert_eq!(round(1), Some(4096));
        assert_eq!(round(4 << 20), Some(4 << 20));
        assert_eq!(round((4 << 20) + 1), Some(8 << 20));
        assert_eq!(round(u64::MAX), None);
    }

    #[test]
    fn nobody_changes_the_size_of_anonymous_memory() {
        let file = File::from(create(&Place::Anonymous, 8192).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 8192);
        assert!(file.set_len(4096).is_err());
        assert!(file.set_len(1 << 20).is_err());
    }

    #[test]
    fn nothing_is_left_in_a_directory() {
        let directory = std::env::temp_dir().join(format!("doorbell-shm-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let file = File::from(create(&Place::Directory(directory.clone()), 8192).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 8192);
        fs::remove_dir(&directory).expect("it is empty");
    }

    #[test]
    fn names_are_names() {
        for bad in ["", "/", "a/b", "../etc/x"] {
            assert!(create(&Place::Named(bad.into()), 4096).is_err(), "{bad}");
        }
    }
}

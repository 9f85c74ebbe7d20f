// SPDX-License-Identifier: GPL-2.0-only

//! The memory that the peers share.

use anyhow::{ensure, Context as _};
use rustix::fs::{fcntl_add_seals, linkat, memfd_create, AtFlags, MemfdFlags, SealFlags, CWD};
use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// The place where shared memory is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// A memfd: only the peers have it, and none of them can change its size.
    #[default]
    Anonymous,
    /// A POSIX shared memory object, which other processes can open, and which stays.
    Named(String),
    /// A file without a name in a directory: of a hugetlbfs, say.
    Directory(PathBuf),
}

/// Rounds up to the size of a PCI device's BAR: a power of two, and at least a page.
pub fn round(size: u64) -> Option<u64> {
    size.max(4096).checked_next_power_of_two()
}

/// Creates memory of `size` bytes at `place`, or opens the object there if it has that size.
///
/// # Errors
///
/// Fails if a named object has another size. If running peers have it mapped, SIGBUS would kill
/// them where it ends too early. Fails if it belongs to another user, or if all users can write to
/// it.
pub fn create(place: &Place, size: u64) -> anyhow::Result<OwnedFd> {
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
            ensure!(
                !name.is_empty() && !name.contains('/') && name != "." && name != "..",
                "{name:?} is not the name of a shared memory object: use one without a slash"
            );
            open_or_create(&Path::new("/dev/shm").join(name), size)
        }
        Place::Directory(directory) => {
            let path = directory.join(format!("ivshmem.{}", std::process::id()));
            let mut options = options();
            let file = options.create_new(true).mode(0o600).open(&path);
            let file = file.with_context(|| format!("create {}", path.display()))?;
            fs::remove_file(&path)?;
            file.set_len(size)?;
            Ok(file.into())
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

/// Opens the object at `path` if it has `size` bytes; creates it if there is none.
///
/// A new object gets its name after its size, so no process ever sees it with another size. If
/// several servers create it at once, one of them succeeds, and the others open its object.
fn open_or_create(path: &Path, size: u64) -> anyhow::Result<OwnedFd> {
    loop {
        match options().custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                check_owner(path, &metadata, rustix::process::geteuid().as_raw())?;
                let len = metadata.len();
                ensure!(len == size, other_size(path, len, size));
                return Ok(file.into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        }
        match create_new(path, size) {
            // Another process has created it in the meantime.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.with_context(|| format!("create {}", path.display())),
        }
    }
}

/// Checks that only root, the user `ours` and a group of their choice can write to an object.
///
/// Every user can create objects in /dev/shm. One who creates it before the server does would share
/// the memory of all guests.
fn check_owner(path: &Path, metadata: &Metadata, ours: u32) -> anyhow::Result<()> {
    let (uid, mode) = (metadata.uid(), metadata.mode());
    let path = path.display();
    ensure!(metadata.is_file(), "{path} is not a regular file");
    ensure!(
        uid == 0 || uid == ours,
        "{path} belongs to the user {uid}, who could change the memory of all guests\n  \
         choose another --shm-name; if that user is trusted, make it yours: chown {ours} {path}"
    );
    ensure!(
        mode & 0o002 == 0,
        "all users can write to {path}, and so to the memory of all guests\n  \
         choose another --shm-name; if its content is trusted: chmod o-w {path}"
    );
    Ok(())
}

/// Creates an object of `size` bytes; fails if `path` exists.
fn create_new(path: &Path, size: u64) -> io::Result<OwnedFd> {
    let directory = path.parent().unwrap_or(path);
    let mut unnamed = options();
    let file = unnamed
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600)
        .open(directory)?;
    file.set_len(size)?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(file.into())
}

/// Returns the message for an object of `len` bytes where `size` bytes are needed.
fn other_size(path: &Path, len: u64, size: u64) -> String {
    let path = path.display();
    let same = match round(len) == Some(len) {
        true => format!("start with -l {len} to share it, or "),
        false => String::new(),
    };
    format!(
        "{path} has {len} bytes instead of {size}\n  processes that have it mapped would not survive a \
         change\n  {same}choose another --shm-name\n  if no server or guest uses it any more \
         (fuser {path}), remove it: rm {path}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::Permissions,
        os::unix::fs::{FileExt, PermissionsExt},
        sync::Barrier,
        thread,
    };

    #[test]
    fn sizes_are_those_of_bars() {
        assert_eq!(round(1), Some(4096));
        assert_eq!(round(4 << 20), Some(4 << 20));
        assert_eq!(round((4 << 20) + 1), Some(8 << 20));
        assert_eq!(round(u64::MAX), None);
    }

    #[test]
    fn size_of_anonymous_memory_is_fixed() {
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
        for bad in ["", "/", "a/b", "../etc/x", "."] {
            assert!(create(&Place::Named(bad.into()), 4096).is_err(), "{bad}");
        }
    }

    /// The path of an object, which is removed on drop.
    struct Object(PathBuf);

    impl Object {
        fn new(name: &str) -> Self {
            let name = format!("doorbell-object-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn object_of_the_same_size_is_reused_and_no_other() {
        let object = Object::new("reused");
        let path = &object.0;
        let first = File::from(open_or_create(path, 8192).unwrap());
        let again = File::from(open_or_create(path, 8192).unwrap());
        first.write_all_at(b"kept", 8000).unwrap();
        let mut read = [0; 4];
        again.read_exact_at(&mut read, 8000).unwrap();
        assert_eq!(&read, b"kept");
        for other in [4096, 16384] {
            let error = open_or_create(path, other).unwrap_err().to_string();
            for part in [
                "has 8192 bytes",
                "-l 8192",
                &format!("rm {}", path.display()),
            ] {
                assert!(error.contains(part), "{part} in {error}");
            }
            assert_eq!(first.metadata().unwrap().len(), 8192);
        }
        // No server creates this size, so the message does not suggest it.
        first.set_len(0).unwrap();
        let error = open_or_create(path, 4096).unwrap_err().to_string();
        assert!(
            error.contains("has 0 bytes") && !error.contains("-l"),
            "{error}"
        );
    }

    #[test]
    fn object_that_another_user_can_write_is_refused() {
        let object = Object::new("foreign");
        let path = &object.0;
        let file = File::from(open_or_create(path, 4096).unwrap());
        // The group is the owner's choice.
        for mode in [0o600, 0o660, 0o644] {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            open_or_create(path, 4096).unwrap();
        }
        for mode in [0o666, 0o602] {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            let error = open_or_create(path, 4096).unwrap_err().to_string();
            assert!(error.contains("chmod o-w"), "{error}");
        }
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        let metadata = file.metadata().unwrap();
        check_owner(path, &metadata, metadata.uid()).unwrap();
        let other = check_owner(path, &metadata, metadata.uid() + 1);
        assert_eq!(other.is_ok(), metadata.uid() == 0, "{other:?}");
        if std::os::unix::fs::chown(path, Some(metadata.uid() + 1), None).is_ok() {
            let error = open_or_create(path, 4096).unwrap_err().to_string();
            assert!(error.contains("belongs to the user"), "{error}");
        }
    }

    #[test]
    fn servers_that_start_at_once_agree_or_are_refused() {
        for round in 0..50 {
            let object = Object::new(&format!("race-{round}"));
            let barrier = Barrier::new(6);
            let opened: Vec<_> = thread::scope(|scope| {
                let servers = [0, 1, 0, 1, 0, 1].map(|which| {
                    let (barrier, path) = (&barrier, &object.0);
                    scope.spawn(move || {
                        let size = [4096, 8192][which];
                        barrier.wait();
                        open_or_create(path, size).ok().map(|file| (size, file))
                    })
                });
                let opened = servers.map(|server| server.join().unwrap());
                opened.into_iter().flatten().collect()
            });
            assert_eq!(opened.len(), 3, "those of one size");
            for (size, file) in opened {
                assert_eq!(File::from(file).metadata().unwrap().len(), size);
            }
        }
    }
}

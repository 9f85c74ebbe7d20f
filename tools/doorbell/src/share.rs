// SPDX-License-Identifier: GPL-2.0-only

//! Sharing of a context over a UNIX socket.

use crate::sys;
use doorbell::Context;
use rustix::{
    fs::{flock, FlockOperation},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The timeout for a process that is expected to act at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time until a server that has failed to accept a client tries again.
const TICK: Duration = Duration::from_millis(100);

/// A socket that hands out a context. The permissions of its path decide which users get it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    /// The socket to remove, if this process has made it.
    made: Option<Made>,
}

/// A socket that this process has made.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// The device and inode of the socket, which it has while this process listens.
    identity: (u64, u64),
}

/// Returns the device and inode of the file at `path`.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Server {
    /// Listens at `path`, which must not exist, or be a socket without a listener.
    ///
    /// # Errors
    ///
    /// EADDRINUSE: a process listens at `path`, or there is a file of another kind. Its text says which.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let lock = lock_directory(path)?;
        remove_stale(path)?;
        let mut server = Self::from_listener(UnixListener::bind(path)?)?;
        let (path, identity) = (path.to_owned(), identity(path)?);
        server.made = Some(Made { path, identity });
        drop(lock);
        Ok(server)
    }

    /// Listens at a socket that another process has made, such as a service manager. Its path stays.
    pub fn from_listener(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            made: None,
        })
    }

    /// Accepts the next waiting client, if there is one.
    pub(crate) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((client, _)) => Ok(Some(client)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Accepts the next waiting client, if there is one. Reports an error and waits for a moment: it
    /// would be repeated at once, and ends when there are descriptors or memory again.
    pub(crate) fn accept_or_wait(&self) -> Option<UnixStream> {
        self.accept().unwrap_or_else(|error| {
            crate::note!("accept: {error}");
            thread::sleep(TICK);
            None
        })
    }

    /// Sends `context` to all waiting clients; returns their number.
    pub fn serve(&self, context: &Context) -> usize {
        let mut served = 0;
        while let Some(client) = self.accept_or_wait() {
            // A client that has disconnected is not an error.
            if sys::send_fd(client.as_fd(), context.as_fd()).is_ok() {
                served += 1;
            }
        }
        served
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Made {
            path,
            identity: ours,
        }) = &self.made
        {
            // An operator may have removed it, and another process may listen there now.
            if identity(path).is_ok_and(|there| there == *ours) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Returns the directory of `path`.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Locks the directory of `path`. Otherwise a second process that binds `path` could take the socket
/// of the first one for stale, and remove it.
///
/// The lock of a directory, which systemd-tmpfiles takes as well, leaves no file. If the directory
/// cannot be read, or its file system has no locks, there is none.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] if another process has the lock for some seconds.
fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let directory = directory_of(path);
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_DIRECTORY);
    let Ok(lock) = options.open(directory) else {
        // bind(2) reports a directory that does not exist.
        return Ok(None);
    };
    let start = Instant::now();
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::WOULDBLOCK) => {
                let directory = directory.display();
                let text = format!(
                    "another process has locked {directory} (flock): end it, or choose another \
                     directory"
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(_) => return Ok(None),
        }
    }
}

/// Removes a socket that has no listener. A symbolic link to one stays, and so does any other file.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |text| io::Error::new(io::ErrorKind::AddrInUse, text);
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?.file_type(),
    };
    // connect(2) fails with ECONNREFUSED for every file that is not a socket, too.
    if !kind.is_socket() {
        return Err(in_use(
            "the path has a file that is no socket: choose another path, or remove the file",
        ));
    }
    let listens = "another process listens there: end it, or choose another path";
    match sys::connect_within(path, Duration::from_millis(1)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(in_use(listens)),
        // A stopped process has as many clients as it can.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(in_use(listens)),
        // For example a socket that this user may not open: bind(2) reports that it exists.
        Err(_) => Ok(()),
    }
}

/// A connection to a [`Server`].
pub(crate) struct Client<'a> {
    socket: UnixStream,
    path: &'a Path,
}

impl<'a> Client<'a> {
    /// Connects to the server at `path`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if the server accepts no connection for some seconds;
    /// [`io::ErrorKind::PermissionDenied`] if it runs as a user that could only guess the path.
    pub(crate) fn connect(path: &'a Path) -> io::Result<Self> {
        Self::connect_within(path, PATIENCE)
    }

    fn connect_within(path: &'a Path, timeout: Duration) -> io::Result<Self> {
        let socket = sys::connect_within(path, timeout).map_err(|error| silent(path, error))?;
        check_server(&socket, path)?;
        Ok(Self { socket, path })
    }

    /// Receives the next descriptor.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if the server sends nothing for some seconds.
    pub(crate) fn receive(&self) -> io::Result<OwnedFd> {
        sys::receive_fd(self.socket.as_fd()).map_err(|error| silent(self.path, error))
    }
}

/// Checks that a server runs as root, as our user, or as the owner of the directory of `path`. In
/// /tmp, another user may listen first at a path that is known.
fn check_server(socket: &UnixStream, path: &Path) -> io::Result<()> {
    let (pid, uid) = sys::peer_of(socket.as_fd())?;
    if sys::is_trusted(uid) || fs::metadata(directory_of(path)).is_ok_and(|at| at.uid() == uid) {
        return Ok(());
    }
    let text = format!(
        "process {pid} of user {uid} listens there\n  a socket of a user other than root must be in \
         a directory of that user"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Explains the error of a timeout.
fn silent(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    let path = path.display();
    let text = format!(
        "the process that listens at {path} does not answer\n  if it is stopped, continue it: \
         kill -CONT PID; 'fuser {path}' shows its PID"
    );
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Receives the context of the [`Server`] at `path`.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] if the server does not answer for some seconds, and
/// [`io::ErrorKind::PermissionDenied`] if it runs as a user that is not trusted. The text has advice.
pub fn connect(path: &Path) -> io::Result<Context> {
    Ok(Context::from(Client::connect(path)?.receive()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::EventFd;
    use std::sync::Barrier;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("doorbell-{name}-{}", std::process::id()))
    }

    #[test]
    fn descriptor_arrives() {
        let path = path("arrives");
        let server = Server::bind(&path).unwrap();
        let eventfd = EventFd::new(0).unwrap();
        let copy: OwnedFd = eventfd.as_fd().try_clone_to_owned().unwrap();
        let shared = Context::from(copy);
        let client = std::thread::spawn({
            let path = path.clone();
            move || connect(&path).unwrap()
        });
        while server.serve(&shared) == 0 {
            sys::wait_readable(&[server.as_fd()], Some(Duration::from_secs(10))).unwrap();
        }
        let received = client.join().unwrap();
        sys::write_u64(received.as_fd(), 42).unwrap();
        assert_eq!(eventfd.read().unwrap(), 42);
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn stopped_server_is_named() {
        let path = path("stopped");
        // It neither answers nor accepts.
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let timeout = Duration::from_millis(1);
        let first = Client::connect_within(&path, timeout).unwrap();
        let no_answer = first.receive().unwrap_err();
        let no_room = Client::connect_within(&path, timeout).err().unwrap();
        for error in [no_answer, no_room] {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let text = error.to_string();
            let place = path.display().to_string();
            assert!(
                text.contains("kill -CONT") && text.contains(&place),
                "{text}"
            );
        }
        let error = Server::bind(&path).unwrap_err();
        assert!(error.to_string().contains("listens"), "{error}");
        fs::remove_file(&path).unwrap();
    }

    /// Binding as another user needs root.
    #[test]
    fn server_of_another_user_is_refused_in_a_directory_of_others() {
        const OTHER: u32 = 12345;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = path("of-other");
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(OTHER), None).unwrap();
        let (shared, own) = (path("by-other"), directory.join("socket"));
        let bind = || {
            // Only this thread's user changes.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(OTHER)).unwrap();
            [&shared, &own].map(|path| UnixListener::bind(path).unwrap())
        };
        let _listeners = thread::scope(|scope| scope.spawn(bind).join().unwrap());
        let error = Client::connect(&shared).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("user 12345"), "{error}");
        Client::connect(&own).map(drop).unwrap();
        fs::remove_file(&shared).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn socket_of_another_process_stays() {
        let path = path("passed");
        let passed = UnixListener::bind(&path).unwrap();
        let server = Server::from_listener(passed).unwrap();
        assert!(server.accept().unwrap().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(server.accept().unwrap().is_some());
        drop(server);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn stale_socket_is_replaced_but_a_live_one_is_not() {
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        let server = Server::bind(&path).unwrap();
        let error = Server::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("listens"), "{error}");
        drop(server);
    }

    #[test]
    fn one_of_the_servers_that_start_at_once_listens() {
        for round in 0..50 {
            let path = path(&format!("at-once-{round}"));
            drop(UnixListener::bind(&path).unwrap());
            let barrier = Barrier::new(4);
            let bound: Vec<Server> = thread::scope(|scope| {
                let threads = [0; 4].map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        Server::bind(&path).ok()
                    })
                });
                let results = threads.map(|thread| thread.join().unwrap());
                results.into_iter().flatten().collect()
            });
            assert_eq!(bound.len(), 1, "round {round}");
            // The others' checks were connections, too. They have ended.
            while bound[0].accept().unwrap().is_some() {}
            let _client = UnixStream::connect(&path).unwrap();
            assert!(bound[0].accept().unwrap().is_some(), "round {round}");
        }
    }

    #[test]
    fn socket_that_replaced_this_one_stays() {
        let path = path("replaced");
        let first = Server::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Server::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn file_that_is_no_socket_stays() {
        let (file, link) = (path("file"), path("link"));
        fs::write(&file, "notes").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let error = Server::bind(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains("no socket"), "{error}");
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "notes");
        fs::remove_file(&link).unwrap();
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn link_to_a_stale_socket_stays() {
        let (target, link) = (path("target"), path("link-to-socket"));
        drop(UnixListener::bind(&target).unwrap());
        std::os::unix::fs::symlink(&target, &link).unwrap();
        Server::bind(&link).unwrap_err();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::remove_file(&link).unwrap();
        fs::remove_file(&target).unwrap();
    }
}

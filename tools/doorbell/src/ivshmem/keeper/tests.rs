// SPDX-License-Identifier: GPL-2.0-only

use super::{
    state::{number, subject, Subject, SUBJECTS},
    *,
};
use doorbell::EventFd;
use rustix::{
    process::{getrlimit, setrlimit, Resource, Rlimit},
    thread::{capabilities, set_capabilities, CapabilitySet},
};
use std::{
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    sync::Arc,
};

fn options(name: &str) -> Options {
    let name = format!("doorbell-keeper-{name}-{}", std::process::id());
    Options {
        socket: std::env::temp_dir().join(name),
        start: |_| Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Runs a keeper in a thread, and waits until it listens.
fn keeper(options: &Options) -> thread::JoinHandle<anyhow::Result<()>> {
    let path = options.socket.clone();
    let never = EventFd::new(0).unwrap();
    let thread = thread::spawn(move || run(&path, never.as_fd()));
    while !listens(&options.socket) {
        thread::yield_now();
    }
    thread
}

/// Returns true if a socket listens at `path`. It exists from bind(2) on, before listen(2).
fn listens(path: &Path) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let path = path.to_str().unwrap();
    // The flag is __SO_ACCEPTCON.
    let mut sockets = sockets.lines();
    sockets.any(|socket| socket.ends_with(path) && socket.contains(" 00010000 "))
}

fn eventfd() -> Arc<EventFd> {
    Arc::new(EventFd::new(0).unwrap())
}

#[test]
fn numbers_encode_subject_and_value() {
    for what in SUBJECTS {
        for value in [0, 7, u32::MAX] {
            assert_eq!(subject(number(what, value)).unwrap(), (what, value));
        }
    }
    assert!(subject(-1).is_err());
    assert!(subject((SUBJECTS.len() as i64) << 32).is_err());
}

#[test]
fn next_server_gets_the_stored_state() {
    let options = options("next");
    let thread = keeper(&options);
    let (mut first, kept) = Keeper::connect(&options).unwrap();
    assert!(kept.context.is_none() && kept.peers.is_empty());
    let (context, memory, ring) = (eventfd(), eventfd(), eventfd());
    first.share(context.clone(), memory.clone(), 3).unwrap();
    let sockets: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
    for (id, (ours, _)) in (0..).zip(&sockets) {
        first.peer(id, Arc::new(ours.try_clone().unwrap())).unwrap();
        first.peer(id, ring.clone()).unwrap();
    }
    first.told(1);
    first.told(2);
    first.behind(2);
    first.left(3);
    assert!(first.error().is_none());
    drop(first);
    let mut theirs: Vec<_> = sockets.into_iter().map(|(_, theirs)| theirs).collect();

    let (second, kept) = Keeper::connect(&options).unwrap();
    assert_eq!(second.pid, std::process::id());
    assert_eq!(kept.vectors, 3);
    let same = |fd: Option<Arc<OwnedFd>>, as_ours: &EventFd| {
        sys::write_u64(fd.unwrap().as_fd(), 5).unwrap();
        assert_eq!(as_ours.read().unwrap(), 5);
    };
    same(kept.context, &context);
    same(kept.memory, &memory);
    let progress: Vec<_> = kept
        .peers
        .iter()
        .map(|(id, peer)| (*id, peer.progress))
        .collect();
    let expected = [
        (0, Progress::Joining),
        (1, Progress::Told),
        (2, Progress::Behind),
    ];
    assert_eq!(progress, expected);
    for peer in kept.peers.into_values() {
        let fds: Vec<_> = peer.into_fds().collect();
        assert_eq!(fds.len(), 2);
    }
    // The connection of the peer that has left is closed, the others are not.
    assert_eq!(theirs[3].read(&mut [0]).unwrap(), 0);
    theirs[0].set_nonblocking(true).unwrap();
    assert!(theirs[0].read(&mut [0]).is_err());

    // The last peer leaves, and the keeper ends.
    drop(second);
    theirs.truncate(1);
    thread::sleep(Duration::from_millis(20));
    assert!(!thread.is_finished());
    theirs.clear();
    thread.join().unwrap().unwrap();
    assert!(!options.socket.exists());
}

#[test]
fn second_server_and_invalid_messages_are_refused() {
    let options = options("one");
    let thread = keeper(&options);
    let (mut first, _) = Keeper::connect(&options).unwrap();
    first.share(eventfd(), eventfd(), 1).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    first.peer(0, Arc::new(ours)).unwrap();
    // The second one gets nothing, not even the first message.
    let mut second = UnixStream::connect(&options.socket).unwrap();
    assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)));
    // A message without its descriptor, and one on a peer that does not exist.
    first.send(Message::plain(number(Subject::Context, 0)));
    assert!(matches!(first.socket.read(&mut [0]), Ok(0) | Err(_)));
    let (mut third, kept) = Keeper::connect(&options).unwrap();
    assert_eq!(kept.peers.len(), 1);
    third.told(9);
    assert!(matches!(third.socket.read(&mut [0]), Ok(0) | Err(_)));
    let (_, kept) = Keeper::connect(&options).unwrap();
    assert!(kept.context.is_some() && !kept.peers.contains_key(&9));
    drop((kept, _theirs));
    thread.join().unwrap().unwrap();
}

#[test]
fn keeper_that_cannot_be_started_is_an_error() {
    let error = Keeper::connect(&options("none")).unwrap_err();
    assert!(format!("{error:#}").contains("start a keeper"), "{error:#}");
}

#[test]
fn broken_connection_is_reported_once() {
    let options = options("broken");
    let listener = UnixListener::bind(&options.socket).unwrap();
    let thread = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        Kept::default()
            .messages()
            .for_each(|message| send(&socket, &message).unwrap());
    });
    let (mut keeper, _) = Keeper::connect(&options).unwrap();
    thread.join().unwrap();
    std::fs::remove_file(&options.socket).unwrap();
    keeper.told(1);
    keeper.told(2);
    assert!(keeper.error().is_some() && keeper.error().is_none());
}

/// Sends descriptors that nothing receives, until the kernel refuses another one. Returns the
/// sockets.
fn hoard() -> Vec<(UnixStream, UnixStream)> {
    let mut sockets = vec![UnixStream::pair().unwrap()];
    loop {
        match Message::with(1u32, eventfd()).send(&sockets.last().unwrap().0) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                sockets.push(UnixStream::pair().unwrap());
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ETOOMANYREFS));
                return sockets;
            }
        }
    }
}

/// Returns true in a process that runs nothing but the calling test, with lower limits on open
/// files. Otherwise runs the test in such a process.
fn is_alone() -> bool {
    const ALONE: &str = "DOORBELL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let (current, maximum) = (Some(600), Some(900));
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let name = std::thread::current().name().unwrap().to_owned();
    let output = command.args(["--exact", &name]).env(ALONE, "1").output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    false
}

/// Returns the limit on open files that allows `more` descriptors.
fn files(more: usize) -> Option<u64> {
    let next: Vec<_> = (0..=more).map(|_| eventfd()).collect();
    Some(next[more].as_fd().as_raw_fd() as u64)
}

/// Limits the number of further descriptors.
fn limit_files(current: usize, maximum: usize) {
    // The keeper may not have returned from its last message.
    let before = || getrlimit(Resource::Nofile);
    while before().current == before().maximum {
        thread::yield_now();
    }
    let (current, maximum) = (files(current), files(maximum));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[test]
fn keeper_survives_a_shortage_of_descriptors() {
    if !is_alone() {
        return;
    }
    let options = options("shortage");
    let thread = keeper(&options);
    let stream = rustix::net::SocketType::STREAM;
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, stream, None).unwrap();
    let before = getrlimit(Resource::Nofile);
    let current = files(0);
    setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
    let path = rustix::net::SocketAddrUnix::new(&options.socket).unwrap();
    rustix::net::connect(&socket, &path).unwrap();
    thread::sleep(Duration::from_millis(50));
    setrlimit(Resource::Nofile, before).unwrap();
    // Its state is empty, and arrives.
    assert_eq!(
        protocol::receive(&socket).unwrap().0,
        number(Subject::Vectors, 0)
    );
    drop(socket);
    let (mut server, _) = Keeper::connect(&options).unwrap();
    server.share(eventfd(), eventfd(), 1).unwrap();
    drop(server);
    thread.join().unwrap().unwrap();
}

#[test]
fn descriptors_above_the_limit_are_received_or_their_number_is_reported() {
    if !is_alone() {
        return;
    }
    let options = options("many");
    let thread = keeper(&options);
    let (mut first, _) = Keeper::connect(&options).unwrap();
    first.share(eventfd(), eventfd(), 20).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    first.peer(0, Arc::new(ours)).unwrap();
    let ring = eventfd();
    (0..40).for_each(|_| first.peer(0, ring.clone()).unwrap());
    first.told(0);
    drop(first);
    // Until the keeper has received all of them.
    drop(Keeper::connect(&options).unwrap());

    // They are 43.
    limit_files(12, 60);
    let (second, kept) = Keeper::connect(&options).unwrap();
    assert_eq!(kept.peers[&0].progress, Progress::Told);
    drop((second, kept));
    limit_files(5, 8);
    let start = Instant::now();
    let error = Keeper::connect(&options).unwrap_err();
    assert!(format!("{error:#}").contains("ulimit -n"), "{error:#}");
    assert!(start.elapsed() < PATIENCE, "it has tried again");
    drop(_theirs);
    thread.join().unwrap().unwrap();
}

#[test]
fn keeper_survives_descriptors_that_peers_do_not_read() {
    if !is_alone() {
        return;
    }
    // With these the kernel has no limit.
    let mut sets = capabilities(None).unwrap();
    sets.effective &= !(CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, sets).unwrap();

    let options = options("hoard");
    let thread = keeper(&options);
    let (mut first, _) = Keeper::connect(&options).unwrap();
    // A server may send up to its soft limit, and the rest is for the keeper.
    let _of_peers = hoard();
    first.share(eventfd(), eventfd(), 1).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    first.peer(0, Arc::new(ours)).unwrap();
    first.told(0);
    let reserve = sys::Reserve::take();
    let mut more = Vec::new();
    let (error, start) = loop {
        // The keeper may still receive, which makes room.
        more.extend(hoard());
        let start = Instant::now();
        if let Err(error) = first.peer(1, eventfd()) {
            break (error, start);
        }
    };
    drop(reserve);
    assert!(start.elapsed() < PATIENCE, "it waited for the peers");
    assert!(format!("{error:#}").contains("ulimit -n"), "{error:#}");
    first.left(1);
    assert!(first.error().is_none());
    drop((more, first));

    let (_second, kept) = Keeper::connect(&options).unwrap();
    assert!(kept.context.is_some() && kept.peers.contains_key(&0));
    drop((_second, kept, _theirs));
    thread.join().unwrap().unwrap();
}

// SPDX-License-Identifier: GPL-2.0-only

//! Mechanisms of notification of the kernel that carry a value. Each message has a number, which the
//! receiver checks.

use super::{
    probe::{Channel, PingPong, Probe},
    Group, Kind,
};
use crate::sys::{self, Queue, SignalFd, Thread, Uring};
use anyhow::bail;
use doorbell::EventFd;
use rustix::net::SendFlags;
use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
        Arc, Mutex, MutexGuard, OnceLock,
    },
};

/// A mechanism with a direction to each of two sides.
trait Transport: Send + Sync + 'static {
    /// The bits of a number that a message carries.
    const MASK: u64 = u64::MAX;

    /// Prepares the calling thread to be `side`.
    fn enter(&self, _side: usize) -> io::Result<()> {
        Ok(())
    }

    /// Sends `value` to the other side.
    fn send(&self, side: usize, value: u64) -> io::Result<()>;

    /// Waits for the other side's value.
    fn receive(&self, side: usize) -> io::Result<u64>;

    /// Does what [`send`](Self::send) does, in a thread that is neither side, and does not block.
    fn rescue(&self, side: usize, value: u64) -> io::Result<()> {
        self.send(side, value)
    }
}

/// A count on a cache line of its own. One thread writes it.
#[repr(align(128))]
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    #[inline]
    fn next(&self) -> u64 {
        let next = self.0.load(Relaxed).wrapping_add(1);
        self.0.store(next, Relaxed);
        next
    }
}

/// A channel whose messages are numbered in each direction.
struct Numbered<T> {
    transport: T,
    sent: [Count; 2],
    received: [Count; 2],
    /// A message that was not the expected one. It is reported at the end of a slot: until then each
    /// side must answer, or the other one would wait for ever.
    wrong: OnceLock<String>,
}

impl<T> Numbered<T> {
    fn new(transport: T) -> Self {
        Self {
            transport,
            sent: Default::default(),
            received: Default::default(),
            wrong: OnceLock::new(),
        }
    }
}

impl<T: Transport> Channel for Numbered<T> {
    fn enter(&self, side: usize) -> io::Result<()> {
        self.transport.enter(side)
    }

    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.transport.send(side, self.sent[side].next() & T::MASK)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let value = self.transport.receive(side)?;
        let expected = self.received[side].next() & T::MASK;
        if value != expected {
            self.wrong
                .get_or_init(|| format!("message {value} arrived instead of message {expected}"));
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        match self.wrong.get() {
            Some(wrong) => Err(io::Error::other(format!("{wrong}: please report this"))),
            None => Ok(()),
        }
    }

    fn rescue(&self) {
        for side in [0, 1] {
            let number = self.sent[side].next();
            // A message that cannot be sent unblocks nothing; the next attempt may.
            let _ = self.transport.rescue(side, number & T::MASK);
        }
    }
}

/// One thread is both sides: it sends as the first one, then receives as the second one.
struct Loopback<C>(Arc<C>);

impl<C: Channel> Probe for Loopback<C> {
    fn start(&mut self) -> io::Result<()> {
        self.0.enter(0)?;
        self.0.enter(1)
    }

    fn stop(&mut self) -> io::Result<u64> {
        self.0.check().map(|()| 0)
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.0.send(0)?;
        self.0.receive(1)
    }

    fn rescuer(&self) -> Option<Box<dyn Fn() + Send>> {
        let channel = self.0.clone();
        Some(Box::new(move || channel.rescue()))
    }
}

/// A pipe in each direction.
struct Pipe([(OwnedFd, OwnedFd); 2]);

impl Transport for Pipe {
    #[inline]
    fn send(&self, side: usize, value: u64) -> io::Result<()> {
        sys::write_u64(self.0[side].1.as_fd(), value)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<u64> {
        sys::read_u64(self.0[1 - side].0.as_fd())
    }
}

/// The two ends of a UNIX stream socket. A message is a byte.
struct Socket([UnixStream; 2]);

impl Transport for Socket {
    const MASK: u64 = 0xff;

    #[inline]
    fn send(&self, side: usize, value: u64) -> io::Result<()> {
        rustix::io::write(&self.0[side], &[value as u8])?;
        Ok(())
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<u64> {
        let mut byte = [0];
        match rustix::io::read(&self.0[side], &mut byte)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0].into()),
        }
    }

    fn rescue(&self, side: usize, value: u64) -> io::Result<()> {
        rustix::net::send(&self.0[side], &[value as u8], SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// A real-time signal to the thread of the other side, which reads it from a signalfd.
struct Signal {
    fd: SignalFd,
    threads: [AtomicU32; 2],
}

impl Transport for Signal {
    // The value of a signal is as large as a pointer.
    const MASK: u64 = usize::MAX as u64;

    fn enter(&self, side: usize) -> io::Result<()> {
        let thread: Thread = self.fd.enter()?;
        self.threads[side].store(thread, Relaxed);
        Ok(())
    }

    #[inline]
    fn send(&self, side: usize, value: u64) -> io::Result<()> {
        let to = self.threads[1 - side].load(Relaxed);
        self.fd.send(to, value as usize)
    }

    #[inline]
    fn receive(&self, _side: usize) -> io::Result<u64> {
        Ok(self.fd.receive()? as u64)
    }
}

/// A POSIX message queue in each direction.
struct Queues([Queue; 2]);

impl Transport for Queues {
    #[inline]
    fn send(&self, side: usize, value: u64) -> io::Result<()> {
        self.0[side].send(value)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<u64> {
        self.0[1 - side].receive()
    }

    fn rescue(&self, side: usize, value: u64) -> io::Result<()> {
        self.0[side].try_send(value)
    }
}

/// Takes a lock for which no thread ever waits, so it costs no more than two atomic operations.
#[inline]
fn uncontended<T>(lock: &Mutex<T>) -> io::Result<MutexGuard<'_, T>> {
    lock.try_lock()
        .map_err(|_| io::Error::other("the ring is in use"))
}

/// An io_uring in each direction, with a registered eventfd. The sender submits a NOP, and checks
/// its completion; the kernel signals the eventfd, which the receiver reads.
struct UringEventfds([(Mutex<Uring>, EventFd); 2]);

impl UringEventfds {
    fn new() -> io::Result<Self> {
        let ring = || {
            let (ring, eventfd) = (Uring::new()?, EventFd::new(0)?);
            ring.register_eventfd(eventfd.as_fd())?;
            Ok::<_, io::Error>((Mutex::new(ring), eventfd))
        };
        Ok(Self([ring()?, ring()?]))
    }
}

impl Transport for UringEventfds {
    // An eventfd has no room for a number.
    const MASK: u64 = 0;

    #[inline]
    fn send(&self, side: usize, value: u64) -> io::Result<()> {
        match uncontended(&self.0[side].0)?.nop(value)? {
            same if same == value => Ok(()),
            other => Err(io::Error::other(format!(
                "completion {other} instead of {value}: please report this"
            ))),
        }
    }

    /// Returns the number of spurious signals.
    #[inline]
    fn receive(&self, side: usize) -> io::Result<u64> {
        Ok(self.0[1 - side].1.read()?.wrapping_sub(1))
    }
}

/// Two io_urings that post completions to each other.
struct UringMessages([(Mutex<Uring>, RawFd); 2]);

impl UringMessages {
    fn new() -> io::Result<Self> {
        let ring = || {
            let ring = Uring::new()?;
            let fd = ring.fd();
            Ok::<_, io::Error>((Mutex::new(ring), fd))
        };
        Ok(Self([ring()?, ring()?]))
    }
}

impl Transport for UringMessages {
    #[inline]
    fn send(&self, side: usize, value: u64) -> io::Result<()> {
        uncontended(&self.0[side].0)?.message(self.0[1 - side].1, value)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<u64> {
        uncontended(&self.0[side].0)?.wait()
    }

    /// Sends from another ring, as the receiver holds its own.
    fn rescue(&self, side: usize, value: u64) -> io::Result<()> {
        Uring::new()?.message(self.0[1 - side].1, value)
    }
}

/// Returns the probe of a row of this module; none for a row of another one. If there is a second
/// thread, it runs on `cpu`.
pub(super) fn probe(group: Group, kind: Kind, cpu: usize) -> io::Result<Option<Box<dyn Probe>>> {
    fn made<T: Transport>(transport: T, group: Group, cpu: usize) -> Box<dyn Probe> {
        let channel = Numbered::new(transport);
        match group {
            Group::OneThread => Box::new(Loopback(Arc::new(channel))),
            _ => Box::new(PingPong::new(channel, cpu)),
        }
    }
    Ok(Some(match kind {
        Kind::Pipe => made(Pipe([sys::pipe()?, sys::pipe()?]), group, cpu),
        Kind::Socket => made(Socket(UnixStream::pair()?.into()), group, cpu),
        Kind::Signal => {
            let (fd, threads) = (SignalFd::new()?, Default::default());
            made(Signal { fd, threads }, group, cpu)
        }
        Kind::Queue => made(Queues([Queue::new()?, Queue::new()?]), group, cpu),
        Kind::UringEventfd => made(UringEventfds::new()?, group, cpu),
        Kind::UringMessage => made(UringMessages::new()?, group, cpu),
        _ => return Ok(None),
    }))
}

/// Sends and receives a message by the mechanism of `kind`.
fn attempt(kind: Kind) -> io::Result<()> {
    let Some(mut probe) = probe(Group::OneThread, kind, 0)? else {
        return Ok(());
    };
    probe.start()?;
    probe.once()?;
    probe.stop().map(drop)
}

/// Returns the remedy for an error of a mechanism. `uring_disabled` is the content of
/// /proc/sys/kernel/io_uring_disabled.
fn remedy(kind: Kind, error: &io::Error, uring_disabled: &str) -> String {
    let errno = error.raw_os_error().unwrap_or(0);
    let uring = matches!(kind, Kind::UringEventfd | Kind::UringMessage);
    match (kind, errno, uring_disabled) {
        (_, libc::EPERM, "1") if uring => {
            "kernel.io_uring_disabled is 1: run as root, or sysctl kernel.io_uring_disabled=0"
        }
        (_, libc::EPERM, "2") if uring => {
            "kernel.io_uring_disabled is 2: sysctl kernel.io_uring_disabled=0"
        }
        (_, libc::EPERM, _) => "a seccomp filter, as of a container, may forbid it",
        (_, libc::ENOSYS, _) if uring => {
            "the kernel needs CONFIG_IO_URING, and a container must not forbid it"
        }
        (_, libc::ENOMEM, _) if uring => "raise the limit on locked memory: ulimit -l",
        (Kind::UringMessage, libc::EINVAL, _) => "IORING_OP_MSG_RING needs Linux 5.18",
        (Kind::Queue, libc::ENOSYS, _) => "the kernel needs CONFIG_POSIX_MQUEUE",
        (Kind::Queue, libc::EMFILE, _) => "raise the limit on message queues: ulimit -q",
        (Kind::Queue, libc::ENOSPC, _) => "there are too many queues: sysctl fs.mqueue.queues_max",
        (Kind::Signal, libc::EAGAIN, _) => "raise the limit on pending signals: ulimit -i",
        _ => "",
    }
    .to_owned()
}

/// Removes the rows whose mechanism does not work here, and returns a sentence for each reason.
///
/// # Errors
///
/// Fails if no row is left that a text in `filter` selects.
pub(super) fn leave_out(
    rows: &mut Vec<(Group, Kind)>,
    filter: &[String],
    selects: impl Fn(&str, (Group, Kind)) -> bool,
) -> anyhow::Result<Vec<String>> {
    leave_out_if(rows, filter, selects, attempt)
}

fn leave_out_if(
    rows: &mut Vec<(Group, Kind)>,
    filter: &[String],
    selects: impl Fn(&str, (Group, Kind)) -> bool,
    attempt: impl Fn(Kind) -> io::Result<()>,
) -> anyhow::Result<Vec<String>> {
    let mut tried: Vec<Kind> = Vec::new();
    let mut failed: Vec<(String, Vec<Kind>)> = Vec::new();
    for &(_, kind) in rows.iter() {
        if tried.contains(&kind) {
            continue;
        }
        tried.push(kind);
        let Err(error) = attempt(kind) else { continue };
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let remedy = remedy(kind, &error, disabled.unwrap_or_default().trim());
        let why = match remedy.is_empty() {
            true => error.to_string(),
            false => format!("{error}; {remedy}"),
        };
        match failed.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, kinds)) => kinds.push(kind),
            None => failed.push((why, vec![kind])),
        }
    }
    let fails = |kind: Kind| failed.iter().any(|(_, kinds)| kinds.contains(&kind));
    rows.retain(|&(_, kind)| !fails(kind));
    let sentences: Vec<String> = failed
        .iter()
        .map(|(why, kinds)| {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            format!("not measured: {}: {why}", names.join(", "))
        })
        .collect();
    let unmet = |text: &&String| !rows.iter().any(|&row| selects(text, row));
    if let Some(text) = filter.iter().find(unmet) {
        bail!("--filter {text}: {}", sentences.join("\n"));
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtt::watchdog::Watchdog;
    use std::time::Duration;

    const KINDS: [Kind; 6] = [
        Kind::Pipe,
        Kind::Socket,
        Kind::Signal,
        Kind::Queue,
        Kind::UringEventfd,
        Kind::UringMessage,
    ];

    /// The errors of a kernel, or a container, that has no such mechanism.
    fn is_missing(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
    }

    #[test]
    fn messages_arrive_with_one_thread_and_with_two() {
        let cpu = sys::cpus().unwrap()[0];
        for kind in KINDS {
            match attempt(kind) {
                Err(error) if is_missing(&error) => continue,
                result => result.unwrap(),
            }
            for (group, last) in [(Group::OneThread, 0), (Group::SameCore, 1)] {
                let mut probe = probe(group, kind, cpu).unwrap().unwrap();
                let mut times = Vec::new();
                // More than a byte can count.
                for n in [1, 2, 300] {
                    probe.start().unwrap();
                    assert!(probe.batch(n).unwrap() > Duration::ZERO);
                    probe.sample(n, &mut times).unwrap();
                    assert_eq!(times.len(), n as usize);
                    assert_eq!(probe.stop().unwrap(), last, "{}", kind.name());
                }
            }
        }
    }

    #[test]
    fn other_rows_are_of_other_modules() {
        for kind in [Kind::Eventfd, Kind::Spin, Kind::Futex, Kind::Irqfd] {
            assert!(probe(Group::SameCore, kind, 0).unwrap().is_none());
            attempt(kind).unwrap();
        }
    }

    /// A pipe that sends message number `at` of side 0 as `as_value`; none loses it.
    struct Faulty {
        pipe: Pipe,
        at: u64,
        as_value: Option<u64>,
    }

    impl Transport for Faulty {
        fn send(&self, side: usize, value: u64) -> io::Result<()> {
            match (side, self.as_value) {
                (0, Some(other)) if value == self.at => self.pipe.send(0, other),
                (0, None) if value == self.at => Ok(()),
                _ => self.pipe.send(side, value),
            }
        }

        fn receive(&self, side: usize) -> io::Result<u64> {
            self.pipe.receive(side)
        }
    }

    fn faulty(as_value: Option<u64>) -> Numbered<Faulty> {
        Numbered::new(Faulty {
            pipe: Pipe([sys::pipe().unwrap(), sys::pipe().unwrap()]),
            at: 3,
            as_value,
        })
    }

    #[test]
    fn wrong_value_is_an_error_at_the_end_of_the_slot() {
        let cpu = sys::cpus().unwrap()[0];
        let mut two = PingPong::new(faulty(Some(2)), cpu);
        let mut one = Loopback(Arc::new(faulty(Some(4))));
        let error = |probe: &mut dyn Probe| {
            probe.start().unwrap();
            for _ in 0..5 {
                probe.once().unwrap();
            }
            probe.stop().unwrap_err().to_string()
        };
        let text = error(&mut two);
        assert!(
            text.contains("message 2 arrived instead of message 3"),
            "{text}"
        );
        let text = error(&mut one);
        assert!(
            text.contains("message 4 arrived instead of message 3"),
            "{text}"
        );
    }

    #[test]
    fn lost_message_is_replaced_and_reported() {
        let cpu = sys::cpus().unwrap()[0];
        let probes: [Box<dyn Probe>; 2] = [
            Box::new(PingPong::new(faulty(None), cpu)),
            Box::new(Loopback(Arc::new(faulty(None)))),
        ];
        for mut probe in probes {
            let rescue = probe.rescuer().unwrap();
            let watchdog = Watchdog::new(Duration::from_millis(100), rescue);
            probe.start().unwrap();
            for _ in 0..5 {
                probe.once().unwrap();
            }
            let text = probe.stop().unwrap_err().to_string();
            assert!(text.contains("instead of message 3"), "{text}");
            drop(watchdog);
        }
    }

    #[test]
    fn missing_mechanism_is_named_with_its_reason() {
        let all: Vec<_> = KINDS.map(|kind| (Group::OneThread, kind)).into();
        let only = |missing: &'static [Kind], errno| {
            move |kind: Kind| match missing.contains(&kind) {
                true => Err(io::Error::from_raw_os_error(errno)),
                false => Ok(()),
            }
        };
        let by_name = |text: &str, (_, kind): (Group, Kind)| kind.name().contains(text);
        let urings = &[Kind::UringEventfd, Kind::UringMessage];
        let mut rows = all.clone();
        let notes = leave_out_if(&mut rows, &[], by_name, only(urings, libc::ENOSYS)).unwrap();
        assert_eq!(rows, all[..4]);
        let [note] = &notes[..] else {
            panic!("one reason: {notes:?}");
        };
        assert!(
            note.starts_with("not measured: io_uring eventfd, io_uring msg_ring: ")
                && note.contains("CONFIG_IO_URING"),
            "{note}"
        );
        let filter = ["pipe".to_owned(), "io_uring".to_owned()];
        let error = leave_out_if(
            &mut all.clone(),
            &filter,
            by_name,
            only(urings, libc::ENOSYS),
        );
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("--filter io_uring: not measured"),
            "{text}"
        );
        // A filter that selects a row that works is met.
        let queue = only(&[Kind::Queue], libc::EMFILE);
        let filter = ["p".to_owned()];
        let notes = leave_out_if(&mut all.clone(), &filter, by_name, queue).unwrap();
        assert!(notes[0].contains("ulimit -q"), "{notes:?}");
    }

    #[test]
    fn remedy_depends_on_the_setting() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let remedy = |setting| remedy(Kind::UringMessage, &error, setting);
        assert!(remedy("1").contains("run as root"));
        assert!(remedy("2").starts_with("kernel.io_uring_disabled is 2"));
        assert!(remedy("0").contains("seccomp"));
    }
}

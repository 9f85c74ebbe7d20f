// SPDX-License-Identifier: GPL-2.0-only

//! Mechanisms of notification, each as a probe that makes round trips.

use crate::sys;
use anyhow::Context as _;
use doorbell::{Context, EventFd};
use std::{
    hint, io,
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc, Arc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A mechanism that makes round trips. If it needs a second thread, that runs between `start` and
/// `stop`.
///
/// The trait provides the loops. So each probe has a copy of its own with its round trip inlined,
/// and only whole batches are called through a pointer.
pub(super) trait Probe {
    fn start(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Stops the second thread; returns the number of round trips that this took.
    fn stop(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    /// Returns the number of round trips of one call of [`once`](Self::once).
    fn trips(&self) -> u64 {
        1
    }

    /// Returns a function that unblocks a receiver whose message was lost. Any thread may call it.
    fn rescuer(&self) -> Option<Box<dyn Fn() + Send>> {
        None
    }

    /// Makes one round trip, or [`trips`](Self::trips) at once.
    fn once(&mut self) -> io::Result<()>;

    /// Calls [`once`](Self::once) `n` times, timed as a whole.
    fn batch(&mut self, n: u64) -> io::Result<Duration> {
        let start = Instant::now();
        for _ in 0..n {
            self.once()?;
        }
        Ok(start.elapsed())
    }

    /// Calls [`once`](Self::once) `n` times, timed one by one. Stores the ns per round trip in
    /// `times`. Nothing else happens between two calls.
    fn sample(&mut self, n: u64, times: &mut Vec<u64>) -> io::Result<()> {
        times.clear();
        times.reserve(n as usize);
        let trips = self.trips();
        for _ in 0..n {
            let start = Instant::now();
            self.once()?;
            times.push(start.elapsed().as_nanos() as u64 / trips);
        }
        Ok(())
    }

    /// Makes `n` round trips, and stores the ns of their legs in `legs`. Makes none, and returns false, if
    /// there is no second thread.
    fn legs(&mut self, _n: u64, _legs: &mut Vec<Legs>) -> io::Result<bool> {
        Ok(false)
    }

    /// Calls [`once`](Self::once) `n` times, each when `schedule` says, or at once if that is past.
    /// Stores the ns per round trip in `times`, from when the call should have been made.
    ///
    /// Between calls this thread polls the clock: a timer would add its own latency.
    fn paced(&mut self, n: u64, schedule: &mut Schedule, times: &mut Vec<u64>) -> io::Result<()> {
        times.clear();
        times.reserve(n as usize);
        let trips = self.trips();
        for _ in 0..n {
            let intended = schedule.next();
            let mut now = Instant::now();
            while now < intended {
                hint::spin_loop();
                now = Instant::now();
            }
            schedule.begin(now - intended);
            self.once()?;
            times.push(intended.elapsed().as_nanos() as u64 / trips);
        }
        Ok(())
    }
}

/// The two directions of a round trip, each from before the call that sends to after the call that
/// receives, in ns.
#[derive(Clone, Copy)]
pub(super) struct Legs {
    /// To the second thread.
    pub(super) there: u64,
    /// From the second thread.
    pub(super) back: u64,
}

/// The times at which calls are due, at a constant rate.
pub(super) struct Schedule {
    start: Instant,
    /// In ns.
    interval: f64,
    /// Number of calls so far.
    calls: u64,
    /// Number of calls that began when the next one was due, or later.
    late: u64,
}

impl Schedule {
    /// Starts a schedule with `interval` ns between two calls. The first one is due now.
    pub(super) fn new(interval: f64) -> Self {
        Self {
            start: Instant::now(),
            interval,
            calls: 0,
            late: 0,
        }
    }

    /// Returns when the next call is due.
    fn next(&mut self) -> Instant {
        let after = Duration::from_nanos((self.calls as f64 * self.interval) as u64);
        self.calls += 1;
        self.start + after
    }

    /// Counts a call that begins `behind` its time.
    fn begin(&mut self, behind: Duration) {
        self.late += u64::from(behind.as_nanos() as f64 >= self.interval);
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Abandons the calls up to number `n`, and returns for how many ns each has been due.
    pub(super) fn abandon(&mut self, n: u64) -> Vec<u64> {
        let now = Instant::now();
        let mut waited = Vec::new();
        while self.calls < n {
            let due = self.next();
            waited.extend(
                now.checked_duration_since(due)
                    .map(|time| time.as_nanos() as u64),
            );
        }
        self.late += waited.len() as u64;
        waited
    }
}

/// One thread: calls `signal`, then reads the trigger of `back`.
pub(super) struct Echo<F> {
    pub(super) signal: F,
    pub(super) back: Arc<DoorbellPath>,
}

impl<F: FnMut() -> io::Result<()>> Probe for Echo<F> {
    #[inline]
    fn once(&mut self) -> io::Result<()> {
        (self.signal)()?;
        self.back.trigger.read().map(drop)
    }
}

/// One thread: writes and reads one eventfd.
pub(super) struct Bare(pub(super) EventFd);

impl Probe for Bare {
    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.0.write(1)?;
        self.0.read().map(drop)
    }
}

/// A mechanism with which two sides send each other messages in turn.
pub(super) trait Channel: Send + Sync + 'static {
    /// Prepares the calling thread to be `side`.
    fn enter(&self, _side: usize) -> io::Result<()> {
        Ok(())
    }

    /// Sends to the other side.
    fn send(&self, side: usize) -> io::Result<()>;
    /// Waits for the other side's message.
    fn receive(&self, side: usize) -> io::Result<()>;
    /// Sends to the other side, then waits for its message.
    #[inline]
    fn exchange(&self, side: usize) -> io::Result<()> {
        self.send(side)?;
        self.receive(side)
    }

    /// Fails if a message that was received was not the expected one.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Unblocks a receiver whose message was lost, in a thread that is neither side.
    fn rescue(&self) {}
}

/// The time at which the second thread has received the last message.
struct Arrival {
    /// The second thread stores the times. It does not read the clock otherwise, which takes part of a round trip.
    wanted: AtomicBool,
    epoch: Instant,
    /// In ns since `epoch`.
    at: AtomicU64,
}

impl Arrival {
    /// Returns the ns since `epoch`. All CPUs have the same clock.
    #[inline]
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    #[inline]
    fn store(&self) {
        if self.wanted.load(Ordering::Relaxed) {
            self.at.store(self.now(), Ordering::Release);
        }
    }
}

/// Two threads: this one sends and waits for the answer, the other one answers.
pub(super) struct PingPong<C> {
    channel: Arc<C>,
    arrival: Arc<Arrival>,
    cpu: usize,
    stop: Arc<AtomicBool>,
    peer: Option<JoinHandle<io::Result<()>>>,
}

impl<C: Channel> PingPong<C> {
    /// Creates the probe. Its second thread runs on `cpu`.
    pub(super) fn new(channel: C, cpu: usize) -> Self {
        Self {
            channel: Arc::new(channel),
            arrival: Arc::new(Arrival {
                wanted: AtomicBool::new(false),
                epoch: Instant::now(),
                at: AtomicU64::new(0),
            }),
            cpu,
            stop: Arc::default(),
            peer: None,
        }
    }
}

impl<C: Channel> Probe for PingPong<C> {
    fn start(&mut self) -> io::Result<()> {
        self.stop.store(false, Ordering::SeqCst);
        self.channel.enter(0)?;
        let (channel, stop, cpu) = (self.channel.clone(), self.stop.clone(), self.cpu);
        let arrival = self.arrival.clone();
        let (ready, started) = mpsc::sync_channel(1);
        self.peer = Some(thread::spawn(move || {
            let pinned = sys::pin(&[cpu]).and_then(|()| channel.enter(1));
            let failed = pinned.is_err();
            // The first thread sends no message before it has received this.
            if ready.send(pinned).is_err() || failed {
                return Ok(());
            }
            channel.receive(1)?;
            while !stop.load(Ordering::SeqCst) {
                arrival.store();
                channel.exchange(1)?;
            }
            // The last message is answered, too, so both directions carry the same number.
            channel.send(1)
        }));
        started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the peer thread did not start")))
    }

    fn stop(&mut self) -> io::Result<u64> {
        let Some(peer) = self.peer.take() else {
            return Ok(0);
        };
        self.stop.store(true, Ordering::SeqCst);
        self.once()?;
        peer.join()
            .unwrap_or_else(|_| Err(io::Error::other("the peer thread panicked")))?;
        self.channel.check()?;
        Ok(1)
    }

    fn rescuer(&self) -> Option<Box<dyn Fn() + Send>> {
        let channel = self.channel.clone();
        Some(Box::new(move || channel.rescue()))
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.channel.exchange(0)
    }

    fn legs(&mut self, n: u64, legs: &mut Vec<Legs>) -> io::Result<bool> {
        legs.clear();
        legs.reserve(n as usize);
        // The second thread reads this after it has received the first message.
        self.arrival.wanted.store(true, Ordering::Relaxed);
        for _ in 0..n {
            let sent = self.arrival.now();
            self.channel.exchange(0)?;
            let back = self.arrival.now();
            let arrived = self.arrival.at.load(Ordering::Acquire);
            if !(sent..=back).contains(&arrived) {
                return Err(io::Error::other(format!(
                    "a message sent at {sent} ns arrived at {arrived} ns, and its answer at {back} ns: the clocks \
                     of the CPUs differ"
                )));
            }
            legs.push(Legs {
                there: arrived - sent,
                back: back - arrived,
            });
        }
        self.arrival.wanted.store(false, Ordering::Relaxed);
        Ok(true)
    }
}

/// A word on a cache line of its own, which prevents false sharing.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU32);

/// A word of shared memory in each direction; the receiver polls it.
#[derive(Default)]
pub(super) struct Spin<const YIELDING: bool>([Word; 2]);

impl<const YIELDING: bool> Channel for Spin<YIELDING> {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.0[side].0.store(1, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let word = &self.0[1 - side].0;
        while word.load(Ordering::Acquire) == 0 {
            if YIELDING {
                // On one core the other side would not run otherwise.
                thread::yield_now();
            } else {
                hint::spin_loop();
            }
        }
        word.store(0, Ordering::Relaxed);
        Ok(())
    }
}

/// A word of shared memory in each direction; the receiver sleeps on it as a futex.
#[derive(Default)]
pub(super) struct Futex([Word; 2]);

impl Channel for Futex {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.0[side].0.store(1, Ordering::Release);
        sys::futex_wake(&self.0[side].0);
        Ok(())
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let word = &self.0[1 - side].0;
        while word.load(Ordering::Acquire) == 0 {
            sys::futex_wait(word, 0);
        }
        word.store(0, Ordering::Relaxed);
        Ok(())
    }
}

/// An eventfd in each direction.
pub(super) struct Raw([EventFd; 2]);

impl Raw {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self([EventFd::new(0)?, EventFd::new(0)?]))
    }
}

impl Channel for Raw {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.0[side].write(1)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        self.0[1 - side].read().map(drop)
    }
}

/// A line with its irqfd and its trigger.
#[derive(Debug)]
pub(super) struct DoorbellPath {
    context: Arc<Context>,
    pub(super) line: u32,
    irqfd: EventFd,
    pub(super) trigger: EventFd,
}

impl DoorbellPath {
    pub(super) fn new(context: &Arc<Context>, line: u32) -> anyhow::Result<Self> {
        let eventfd = || EventFd::new(0).context("eventfd");
        let (irqfd, trigger) = (eventfd()?, eventfd()?);
        context.assign_trigger(&trigger, line)?;
        context.assign_irqfd(&irqfd, line)?;
        Ok(Self {
            context: context.clone(),
            line,
            irqfd,
            trigger,
        })
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    #[inline]
    pub(super) fn ring(&self) -> io::Result<()> {
        let ring = self.context.ring(self.line);
        ring.map(drop).map_err(io::Error::other)
    }

    #[inline]
    pub(super) fn signal(&self) -> io::Result<()> {
        self.irqfd.write(1)
    }

    /// Rings the line and reads the trigger of `back`, in one system call.
    #[inline]
    fn ring_wait(&self, back: &Self) -> io::Result<()> {
        let answer = self.context.ring_wait(self.line, &back.trigger, None);
        answer.map(drop).map_err(io::Error::other)
    }

    /// Unblocks a reader of the trigger whose message was lost.
    pub(super) fn rescue(&self) {
        let _ = self.trigger.write(1);
    }

    pub(super) fn query(&self) -> doorbell::Result<doorbell::LineQuery> {
        self.context.query(self.line)
    }
}

/// One thread: rings a line and reads its trigger, in one system call.
pub(super) struct Exchange(pub(super) Arc<DoorbellPath>);

impl Probe for Exchange {
    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.0.ring_wait(&self.0)
    }
}

/// A line in each direction. Each side rings and waits in one system call.
pub(super) struct Exchanges(pub(super) [Arc<DoorbellPath>; 2]);

impl Channel for Exchanges {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.0[side].ring()
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        self.0[1 - side].trigger.read().map(drop)
    }

    #[inline]
    fn exchange(&self, side: usize) -> io::Result<()> {
        self.0[side].ring_wait(&self.0[1 - side])
    }
}

/// A line in each direction, rung through its irqfd or by ioctl.
pub(super) struct Doorbell<const BY_IRQFD: bool>(pub(super) [Arc<DoorbellPath>; 2]);

impl<const BY_IRQFD: bool> Channel for Doorbell<BY_IRQFD> {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        if BY_IRQFD {
            self.0[side].signal()
        } else {
            self.0[side].ring()
        }
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        self.0[1 - side].trigger.read().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that every message is answered, with batches of any size, and that the peer ends.
    fn exercise(mut probe: impl Probe) {
        let mut times = Vec::new();
        for n in [1, 2, 50] {
            probe.start().unwrap();
            assert!(probe.batch(n).unwrap() > Duration::ZERO);
            probe.sample(n, &mut times).unwrap();
            assert_eq!(times.len(), n as usize);
            assert_eq!(probe.stop().unwrap(), 1);
        }
        assert_eq!(probe.stop().unwrap(), 0, "nothing to stop");
    }

    #[test]
    fn channels_carry_messages_both_ways() {
        let cpu = sys::cpus().unwrap()[0];
        exercise(PingPong::new(Spin::<true>::default(), cpu));
        exercise(PingPong::new(Futex::default(), cpu));
        exercise(PingPong::new(Raw::new().unwrap(), cpu));
    }

    /// A channel whose messages to one side take `STALL` longer.
    struct Slow(Raw, usize);

    const STALL: Duration = Duration::from_millis(20);

    impl Channel for Slow {
        fn send(&self, side: usize) -> io::Result<()> {
            if side == self.1 {
                thread::sleep(STALL);
            }
            self.0.send(side)
        }

        fn receive(&self, side: usize) -> io::Result<()> {
            self.0.receive(side)
        }
    }

    #[test]
    fn stall_is_in_the_leg_in_which_it_happens() {
        let stall = STALL.as_nanos() as u64;
        let cpu = sys::cpus().unwrap()[0];
        for side in [0, 1] {
            let mut probe = PingPong::new(Slow(Raw::new().unwrap(), side), cpu);
            let (mut legs, mut times) = (Vec::new(), Vec::new());
            probe.start().unwrap();
            assert!(probe.legs(3, &mut legs).unwrap());
            // The second thread stores no more times.
            probe.sample(1, &mut times).unwrap();
            probe.stop().unwrap();
            assert_eq!(legs.len(), 3);
            let slow = |legs: &Legs| [legs.there, legs.back][side];
            let other = |legs: &Legs| [legs.back, legs.there][side];
            assert!(legs.iter().map(slow).all(|ns| ns >= stall), "side {side}");
            // A busy machine delays some of them.
            let least = legs.iter().map(other).min().unwrap();
            let most = legs.iter().map(slow).max().unwrap();
            assert!(least < most, "side {side}: {least} {most}");
        }
    }

    #[test]
    fn one_thread_has_no_legs() {
        let mut legs = Vec::new();
        let mut probe = Bare(EventFd::new(0).unwrap());
        assert!(!probe.legs(1, &mut legs).unwrap() && legs.is_empty());
    }

    /// A probe whose call number `at` takes the time `stall`, and all others none.
    struct Stalling {
        calls: u32,
        at: u32,
        stall: Duration,
    }

    impl Probe for Stalling {
        fn once(&mut self) -> io::Result<()> {
            if self.calls == self.at {
                thread::sleep(self.stall);
            }
            self.calls += 1;
            Ok(())
        }
    }

    #[test]
    fn stall_delays_all_calls_that_are_due_in_it() {
        const MS: u64 = 1_000_000;
        let mut probe = Stalling {
            calls: 0,
            at: 20,
            stall: Duration::from_millis(100),
        };
        let mut times = Vec::new();
        let mut schedule = Schedule::new(MS as f64);
        // Two parts of one schedule.
        probe.paced(50, &mut schedule, &mut times).unwrap();
        let mut all = times.clone();
        probe.paced(150, &mut schedule, &mut times).unwrap();
        all.append(&mut times);
        assert_eq!((all.len(), schedule.calls()), (200, 200));
        // A busy machine can only add to these times.
        for (after, &time) in all[20..].iter().enumerate() {
            let expected = (100 * MS).saturating_sub(after as u64 * MS);
            assert!(time >= expected, "{after} after the stall: {time}");
        }
        assert!(schedule.late() >= 98, "{}", schedule.late());
        let slow = all.iter().filter(|&&time| time >= 50 * MS).count();
        assert!(
            slow >= 50,
            "a quarter of the calls was due in the stall, not {slow}"
        );
    }

    #[test]
    fn calls_are_not_made_before_they_are_due() {
        let mut probe = Stalling {
            calls: 0,
            at: u32::MAX,
            stall: Duration::ZERO,
        };
        let start = Instant::now();
        let mut schedule = Schedule::new(2e6);
        probe.paced(11, &mut schedule, &mut Vec::new()).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn abandoned_calls_have_waited_since_they_were_due() {
        let mut schedule = Schedule::new(1e6);
        schedule.next();
        thread::sleep(Duration::from_millis(10));
        let waited = schedule.abandon(6);
        assert_eq!((waited.len(), schedule.calls(), schedule.late()), (5, 6, 5));
        for (at, &time) in (1..).zip(&waited) {
            assert!(time >= 10_000_000 - at * 1_000_000, "{waited:?}");
        }
        // None is due that is in the future.
        let mut schedule = Schedule::new(1e18);
        schedule.next();
        assert!(schedule.abandon(2).is_empty());
    }

    #[test]
    fn missing_cpu_is_an_error() {
        let cpu = libc::CPU_SETSIZE as usize - 1;
        let mut probe = PingPong::new(Futex::default(), cpu);
        assert!(probe.start().is_err());
    }
}

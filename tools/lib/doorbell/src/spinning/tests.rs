// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::sys::{
    self, StatusMapping,
    tests::{OFFSET, file},
};
use std::{
    cell::Cell,
    fs::File,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

const STRIDE: usize = 64;
/// The offset of the counter of deliveries in the entry of line 0.
const DELIVERIES: i64 = OFFSET as i64 + 8;
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);
/// At least the number of signals that a test leaves.
const LEFTOVERS: u32 = 4;

/// A line whose status page is a file.
struct Line {
    file: File,
    status: StatusPages,
    trigger: EventFd,
}

impl Line {
    fn new(name: &str, trigger: EventFd) -> Self {
        let file = file(name, 1);
        let mapping = StatusMapping::new(file.as_fd(), OFFSET, 1, STRIDE).unwrap();
        Self {
            file,
            status: StatusPages::new(mapping),
            trigger,
        }
    }

    /// Counts a delivery, the first half of what the kernel does.
    fn count(&self) {
        let next = self.status.deliveries(0) + 1;
        sys::pwrite(self.file.as_fd(), &next.to_ne_bytes(), DELIVERIES).unwrap();
    }

    fn deliver(&self) {
        self.count();
        self.trigger.write(1).unwrap();
    }

    fn wait(&self, max: Duration) -> SpinningWait<&StatusPages, &EventFd> {
        SpinningWait::new(&self.status, 0, &self.trigger, max)
    }
}

fn blocking() -> EventFd {
    EventFd::new(0).unwrap()
}

#[test]
fn window_adapts_as_in_kvm() {
    let us = Duration::from_micros;
    let mut window = Window {
        now: Duration::ZERO,
        max: us(200),
    };
    let mut after = |elapsed| {
        window.adapt(us(elapsed));
        window.now.as_micros()
    };
    // Longer than the maximum: no polling.
    assert_eq!(after(201), 0);
    // Waits that a longer poll would have caught.
    assert_eq!([after(100), after(100), after(100)], [10, 20, 40]);
    // One that the present window covers.
    assert_eq!(after(40), 40);
    assert_eq!([after(41), after(200), after(200)], [80, 160, 200]);
    assert_eq!(after(200), 200);
    assert_eq!([after(201), after(900), after(900)], [100, 50, 25]);
    assert_eq!([after(900), after(900), after(900)], [12, 0, 0]);
    // A maximum below the start value.
    let mut small = Window {
        now: Duration::ZERO,
        max: us(3),
    };
    small.grow();
    assert_eq!(small.now, us(3));
    small.shrink();
    assert_eq!(small.now, Duration::ZERO);
}

#[test]
fn delivery_from_before_is_returned_without_the_trigger() {
    let line = Line::new("before", blocking());
    line.deliver();
    let mut wait = line.wait(LONG);
    assert_eq!(
        wait.wait_timeout(Duration::ZERO).unwrap(),
        0,
        "not a later one"
    );
    // Only counted: the trigger would block.
    line.count();
    line.count();
    assert_eq!(wait.wait().unwrap(), 2);
    assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0);
}

#[test]
fn polling_sees_a_delivery_that_is_not_signalled() {
    let line = Line::new("polling", blocking());
    let mut wait = line.wait(LONG);
    wait.window.now = LONG;
    thread::scope(|scope| {
        scope.spawn(|| line.count());
        assert_eq!(wait.wait().unwrap(), 1);
    });
    assert_eq!((wait.sleeps(), wait.window()), (0, LONG));
}

#[test]
fn sleeper_consumes_the_signals_of_polled_deliveries() {
    let triggers = [
        ("blocking", blocking()),
        ("non-blocking", EventFd::non_blocking(false).unwrap()),
        ("semaphore", EventFd::non_blocking(true).unwrap()),
    ];
    for (name, trigger) in triggers {
        let line = Line::new(name, trigger);
        let mut wait = line.wait(Duration::ZERO);
        for n in 1..=3 {
            line.deliver();
            assert_eq!(wait.wait().unwrap(), 1);
            assert_eq!(line.trigger.count().unwrap(), n, "{name}");
        }
        // No spurious return, and the counter is consumed: each wait reads it, however late the thread runs.
        for _ in 0..LEFTOVERS {
            assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0, "{name}");
        }
        assert_eq!(line.trigger.count().unwrap(), 0, "{name}");
        for _ in 0..3 {
            line.deliver();
            assert_eq!(wait.wait().unwrap(), 1);
        }
        // Either the sleeper is woken, or it finds the delivery: both consume the leftover first.
        thread::scope(|scope| {
            scope.spawn(|| line.deliver());
            assert_eq!(wait.wait().unwrap(), 1, "{name}");
        });
        for _ in 0..LEFTOVERS {
            assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0, "{name}");
        }
        assert_eq!(line.trigger.count().unwrap(), 0, "{name}");
    }
}

/// A trigger that another process writes to, without a delivery.
struct Noise(Cell<u32>);

impl Sleep for Noise {
    fn sleep(&self, _: Option<Duration>) -> io::Result<bool> {
        self.0.set(self.0.get() + 1);
        // Ends, so that the test fails instead of hanging.
        Ok(self.0.get() < 1_000_000)
    }
}

#[test]
fn timeout_passes_while_the_trigger_stays_readable() {
    let line = Line::new("noise", blocking());
    let noise = Noise(Cell::new(0));
    let mut wait = SpinningWait::new(&line.status, 0, &noise, Duration::ZERO);
    assert_eq!(wait.wait_timeout(Duration::ZERO).unwrap(), 0);
    assert_eq!(noise.0.get(), 1);
    let start = Instant::now();
    assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0);
    assert!(noise.0.get() > 1 && start.elapsed() >= SHORT);
    // A delivery that comes with the last signal is returned.
    line.count();
    assert_eq!(wait.sleep(Some(Duration::ZERO)).unwrap(), 1);
}

#[test]
fn signal_ends_a_wait_and_loses_nothing() {
    let triggers = [
        ("signal-blocking", blocking()),
        ("signal-non-blocking", EventFd::non_blocking(false).unwrap()),
    ];
    for (name, trigger) in triggers {
        let line = Line::new(name, trigger);
        let mut wait = line.wait(Duration::ZERO);
        let (id, done) = (sys::tests::thread_id(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut signals = 0;
                while !done.load(SeqCst) {
                    if sys::tests::sleeps(id) {
                        sys::tests::interrupt(id);
                        signals += 1;
                    }
                    if signals == 100 {
                        // The test fails instead of hanging.
                        line.deliver();
                    }
                    thread::yield_now();
                }
            });
            let result = wait.wait();
            done.store(true, SeqCst);
            let kind = result.map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::Interrupted), "{name}");
        });
        line.deliver();
        assert_eq!(wait.wait_timeout(LONG).unwrap(), 1, "{name}");
    }
}

#[test]
fn errors_of_waiters_keep_their_errno() {
    let null = Context::open_path("/dev/null").unwrap();
    let error = LineWaiters::new(&null, 0).sleep(None).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
}

#[test]
fn no_delivery_is_lost_while_the_wait_polls_and_sleeps() {
    const DELIVERIES: u64 = 2000;
    let line = Line::new("race", blocking());
    let mut wait = line.wait(Duration::from_micros(20));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..DELIVERIES {
                line.deliver();
                if n % 64 == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut returned = 0;
        while returned < DELIVERIES {
            returned += wait.wait().unwrap();
        }
        assert_eq!(returned, DELIVERIES);
    });
    assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0);
}

#[test]
fn single_cpu_does_not_poll() {
    thread::spawn(|| {
        sys::tests::pin();
        let line = Line::new("single", blocking());
        let mut wait = line.wait(LONG);
        for _ in 0..2 {
            wait.window.now = SHORT;
            assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0);
            assert_eq!(wait.window(), Duration::ZERO);
            assert_eq!(wait.single_cpu, SINGLE_CPU_SLEEPS);
            assert_eq!(wait.wait_timeout(SHORT).unwrap(), 0);
            assert_eq!(wait.single_cpu, SINGLE_CPU_SLEEPS - 1);
            // The affinity is read again.
            wait.single_cpu = 0;
        }
    })
    .join()
    .unwrap();
}

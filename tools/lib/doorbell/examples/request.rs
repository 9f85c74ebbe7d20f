// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests and answers: each side sends and waits in one system call.

use doorbell::{Context, EventFd, RingOutcome};
use std::{
    error::Error,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
    thread,
    time::Duration,
};

const REQUEST: u32 = 0;
const ANSWER: u32 = 1;
const REQUESTS: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(2)?;
    let (request, answer) = (EventFd::new(0)?, EventFd::new(0)?);
    context.assign_trigger(&request, REQUEST)?;
    context.assign_trigger(&answer, ANSWER)?;
    let number = AtomicU64::new(0);

    // A server that doubles numbers.
    let serve = || -> doorbell::Result {
        context.wait_eventfd(&request, None)?;
        for _ in 1..REQUESTS {
            number.store(2 * number.load(Acquire), Release);
            context.ring_wait(ANSWER, &request, None)?;
        }
        number.store(2 * number.load(Acquire), Release);
        context.ring(ANSWER).map(drop)
    };
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let server = scope.spawn(serve);
        for n in 0..REQUESTS {
            number.store(n, Release);
            let result = context.ring_wait(REQUEST, &answer, None)?;
            assert_eq!(
                (result.outcome, result.count),
                (RingOutcome::Delivered, Some(1))
            );
            assert_eq!(number.load(Acquire), 2 * n);
        }
        server.join().map_err(|_| "the server panicked")??;
        Ok(())
    })?;
    println!("{REQUESTS} requests were answered, each by one system call of each side");

    // Without a server the request is sent, and the wait ends with the timeout.
    let timeout = Some(Duration::from_millis(1));
    let result = context.ring_wait(REQUEST, &answer, timeout)?;
    assert_eq!(
        (result.outcome, result.count),
        (RingOutcome::Delivered, None)
    );
    assert_eq!(context.query(REQUEST)?.rings, REQUESTS + 1);
    println!("a request without a server timed out: it was sent once, and no answer was consumed");

    // The answer may come later.
    context.ring(ANSWER)?;
    assert_eq!(context.wait_eventfd(&answer, None)?, Some(1));
    println!("its late answer was consumed by a wait without a ring");
    Ok(())
}

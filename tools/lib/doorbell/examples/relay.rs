// SPDX-License-Identifier: MIT OR Apache-2.0

//! Relays signals from one eventfd to others in the kernel, without a thread in between.
//!
//! ```text
//! kick --> [ irqfd, line 3, two triggers ] --> call, log
//! ```

use doorbell::{Context, EventFd, RingOutcome};
use std::{error::Error, time::Duration};

const LINE: u32 = 3;
const SIGNALS: u64 = 1000;
const TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(16)?;
    let (kick, call, log) = (EventFd::new(0)?, EventFd::new(0)?, EventFd::new(0)?);
    context.assign_irqfd(&kick, LINE)?;
    context.assign_trigger(&call, LINE)?;
    context.assign_trigger(&log, LINE)?;

    // Each signal is consumed before the next, so that none of them coalesce.
    for _ in 0..SIGNALS {
        kick.write(1)?;
        assert!(call.wait(TIMEOUT)?, "a signal was lost");
        assert_eq!(call.read()?, 1);
    }
    assert_eq!(log.read()?, SIGNALS);
    println!("{SIGNALS} signals of kick: {SIGNALS} of call, {SIGNALS} of log");

    assert_eq!(context.ring(LINE)?, RingOutcome::Delivered);
    assert_eq!((call.read()?, log.read()?), (1, 1));
    println!("a ring by ioctl: the same");

    let line = context.query(LINE)?;
    assert_eq!(line.rings, SIGNALS + 1);
    assert_eq!(line.deliveries + line.coalesced(), line.rings);
    println!("{} rings, {} deliveries", line.rings, line.deliveries);

    // When this returns, call is not signalled any more.
    context.deassign_trigger(&call, LINE)?;
    context.ring(LINE)?;
    assert!(!call.wait(Duration::ZERO)?);
    assert_eq!(log.read()?, 1);
    println!("after the deassign, call is not signalled; log is");
    drop(log);
    assert_eq!(context.deassign_all_triggers(LINE)?, 1);
    println!("the line kept log alive until all triggers were deassigned");
    Ok(())
}

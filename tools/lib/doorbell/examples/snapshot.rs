// SPDX-License-Identifier: MIT OR Apache-2.0

//! Takes a snapshot of a context, and goes on in another one: no message is lost, duplicated or
//! spurious, though the device goes on signalling.

use doorbell::{AckOutcome, Context, EventFd, LineSet, LineType, Operation, uapi};
use std::{error::Error, os::fd::AsFd, time::Duration};

const LINES: u32 = 4;

/// The eventfds of a device, which outlive a context.
struct Device {
    kick: EventFd,
    level: EventFd,
    resample: EventFd,
    calls: Vec<EventFd>,
}

impl Device {
    fn assign_triggers(&self, context: &Context) -> doorbell::Result {
        for (line, call) in (0..).zip(&self.calls) {
            context.assign_trigger(call, line)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device {
        kick: EventFd::new(0)?,
        level: EventFd::new(0)?,
        resample: EventFd::new(0)?,
        calls: (0..LINES)
            .map(|_| EventFd::new(0))
            .collect::<Result<_, _>>()?,
    };
    let calls: Vec<&EventFd> = device.calls.iter().collect();

    let context = Context::open()?;
    context.set_lines(LINES)?;
    context.set_type(1, LineType::Level)?;
    device.assign_triggers(&context)?;
    context.assign_irqfd(&device.kick, 0)?;
    context.assign_resampled(&device.level, 1, &device.resample)?;
    context.assign_summary(&LineSet::from_iter([2]))?;

    // An edge line whose handler has not run yet, one that is masked and holds a message, and a level
    // line that was delivered and not acked.
    context.ring(2)?;
    context.ring(2)?;
    context.mask(3)?;
    context.ring(3)?;
    context.ring(1)?;
    assert_eq!(device.calls[1].read()?, 1);

    // The device goes on: its signals stay in the eventfd.
    let wired = context.save_lines(0..LINES)?;
    context.deassign_irqfd(&device.kick, 0)?;
    context.deassign_irqfd(&device.level, 1)?;
    device.kick.write(1)?;
    let mut snapshot = context.snapshot(&calls)?;
    snapshot.set_wiring(&wired);
    drop(context);
    assert!(!device.calls[2].wait(Duration::ZERO)?);
    println!(
        "saved: {} lines, and the counts of their triggers",
        snapshot.nr_lines()
    );
    // The consumer of the summary had not taken it.
    assert_eq!(snapshot.fired(), [2]);

    let context = Context::open()?;
    context.set_lines(LINES)?;
    context.restore(&snapshot)?;
    device.assign_triggers(&context)?;
    context.assign_summary(&LineSet::from_iter([2]))?;
    context.assign_irqfd(&device.kick, 0)?;
    // The resamplefd is still missing.
    assert_eq!(
        context.lines_lacking_wiring(&snapshot)?,
        LineSet::from_iter([1])
    );
    context.assign_resampled(&device.level, 1, &device.resample)?;
    assert!(context.lines_lacking_wiring(&snapshot)?.is_empty());
    println!("restored: the lines are paused, and line 3 is pending");
    assert!(!device.calls[0].wait(Duration::ZERO)?);
    assert!(context.pending(3)?);

    context.resume(&snapshot, &calls)?;
    assert_eq!(device.calls[0].read()?, 1);
    assert_eq!(device.calls[2].read()?, 2);
    // Deliveries of the past mark nothing here.
    assert!(!context.map_summary()?.has_fired());
    assert_eq!(context.ack(1)?, AckOutcome::Done);
    assert_eq!(device.resample.read()?, 1);
    // The mask of the vector is still there, the pause is not.
    assert!(!device.calls[3].wait(Duration::ZERO)?);
    assert!(context.unmask(3)?);
    assert_eq!(device.calls[3].read()?, 1);
    println!("resumed: each message was delivered once");

    for (line, saved) in (0..).zip(snapshot.lines()) {
        let now = context.query(line)?;
        let signal = u64::from(line == 0);
        assert_eq!(now.rings, saved.rings() + signal);
        assert_ne!(saved.state & uapi::LINE_MASKED, 0);
    }

    // A snapshot that fails changes nothing: a context is no eventfd.
    context.ring(2)?;
    let (call, file) = (device.calls[2].as_fd(), context.as_fd());
    let error = context.snapshot(&[&call, &file]).unwrap_err();
    assert_eq!(error.operation(), Operation::ReadEventfd);
    assert_eq!(device.calls[2].read()?, 1);
    context.ring(2)?;
    assert_eq!(device.calls[2].read()?, 1);
    println!("a snapshot that failed left the lines as they were");

    // A signal that arrives before the count is put back. No eventfd can have more.
    let full = EventFd::new(0)?;
    full.write(u64::MAX - 1)?;
    let snapshot = context.snapshot(&[&full])?;
    assert_eq!(full.count()?, 0);
    full.write(1)?;
    context.resume(&snapshot, &[&full])?;
    assert_eq!(full.read()?, u64::MAX - 1);
    println!("a count is at most the maximum of an eventfd");
    Ok(())
}

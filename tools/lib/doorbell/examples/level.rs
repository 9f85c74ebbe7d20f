// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shares a level line between two devices, as PCI's INTx does. An ack makes each device check
//! again, by its resamplefd.

use doorbell::{AckOutcome, Context, EventFd, LineType, RingOutcome};
use std::{error::Error, time::Duration};

const LINE: u32 = 0;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A device with an interrupt that stays asserted while there is work.
struct Device {
    work: u32,
    irq: EventFd,
    resample: EventFd,
}

impl Device {
    fn new(context: &Context) -> Result<Self, Box<dyn Error>> {
        let (irq, resample) = (EventFd::new(0)?, EventFd::new(0)?);
        context.assign_resampled(&irq, LINE, &resample)?;
        Ok(Self {
            work: 0,
            irq,
            resample,
        })
    }

    fn add_work(&mut self, n: u32) -> std::io::Result<()> {
        self.work += n;
        self.irq.write(1)
    }

    /// Handles the resamplefd: signals again if there is work left.
    fn check(&self) -> std::io::Result<()> {
        assert_eq!(self.resample.read()?, 1);
        if self.work > 0 {
            self.irq.write(1)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(1)?;
    context.set_type(LINE, LineType::Level)?;
    let call = EventFd::new(0)?;
    context.assign_trigger(&call, LINE)?;
    let mut devices = [Device::new(&context)?, Device::new(&context)?];

    // Until the ack, the line sends one message, however many devices assert it.
    devices[0].add_work(2)?;
    devices[1].add_work(1)?;
    let mut interrupts = 0;
    while devices.iter().any(|device| device.work > 0) {
        assert!(call.wait(TIMEOUT)?, "an interrupt was lost");
        assert_eq!(call.read()?, 1);
        interrupts += 1;
        // The driver serves one piece of work of each device, and acks (EOI).
        for device in &mut devices {
            device.work = device.work.saturating_sub(1);
        }
        assert_eq!(context.ack(LINE)?, AckOutcome::Done);
        for device in &devices {
            device.check()?;
        }
    }
    assert!(!call.wait(Duration::ZERO)?);
    assert_eq!(interrupts, 2);
    println!(
        "two devices, three pieces of work: {interrupts} interrupts, none lost and none spurious"
    );

    // A source without an eventfd raises and lowers the line.
    assert_eq!(context.raise(LINE)?, RingOutcome::Delivered);
    assert_eq!(call.read()?, 1);
    context.ack(LINE)?;
    assert_eq!(call.read()?, 1);
    println!("a raised line delivers once more after the ack");
    assert!(!context.lower(LINE)?, "the message was delivered");
    context.ack(LINE)?;
    assert!(!call.wait(Duration::ZERO)?);
    assert!(!context.query(LINE)?.asserted);
    println!("a lowered line does not");
    Ok(())
}

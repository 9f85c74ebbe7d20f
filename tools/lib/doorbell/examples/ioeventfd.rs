// SPDX-License-Identifier: MIT OR Apache-2.0

//! Regions: KVM's ioeventfd without KVM. Writes to addresses of the bus signal eventfds, ring lines
//! and are recorded.

use doorbell::{Access, Changes, Context, EventFd, Record, Region, Space, Target};
use std::error::Error;

/// The register by which a driver notifies the device of a queue.
const NOTIFY: u64 = 0xfe00_3000;
/// The device's doorbell with a payload.
const TAIL: u64 = 0xfe00_4000;

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(1)?;
    context.set_records(64)?;
    let (queue_0, queue_1, call) = (EventFd::new(0)?, EventFd::new(0)?, EventFd::new(0)?);
    context.assign_trigger(&call, 0)?;

    // A device's regions come in one step: no write finds only some of them assigned.
    let tail = Region::mmio(TAIL, 4).record();
    let mut changes = Changes::new();
    changes
        .assign(
            &Region::mmio(NOTIFY, 2).datamatch(0),
            Target::eventfd(&queue_0),
        )
        .assign(
            &Region::mmio(NOTIFY, 2).datamatch(1),
            Target::eventfd(&queue_1),
        )
        .assign(&tail, Target::line(0));
    context.change_regions(&changes)?;

    context.pwrite(NOTIFY, &1u16.to_ne_bytes())?;
    assert_eq!((queue_0.count()?, queue_1.read()?), (0, 1));
    println!("a write of 1 to the notify register signals queue 1 and not queue 0");

    let writes = [17, 18].map(|value| Access::new(Space::Mmio, TAIL, 4, value));
    assert_eq!(context.write_bus(&writes)?, 2);
    assert!(call.read()? >= 1);
    let values: Vec<u64> = context
        .map_records()?
        .map(|Record { value, .. }| value)
        .collect();
    assert_eq!(values, [17, 18]);
    println!("two writes to the tail register ring line 0; the values are recorded: {values:?}");

    let error = context.pwrite(NOTIFY, &2u16.to_ne_bytes()).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EOPNOTSUPP));
    println!("a write of 2 matches no region: the VMM has to emulate it");

    let regions = context.regions()?;
    assert_eq!(regions.iter().map(|info| info.writes).sum::<u64>(), 3);
    for info in regions {
        println!("{}: {} writes", info.region, info.writes);
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0

//! The lines of a file of the device in /proc/PID/fdinfo.

use crate::{
    bus::records::Records,
    context::Context,
    uapi::{
        DOORBELL_LINE_ASSERTED,
        DOORBELL_LINE_MASKED,
        DOORBELL_LINE_PENDING, //
    }, //
};
use kernel::{
    seq_file::SeqFile,
    seq_print, //
};

/// Sums over all lines.
#[derive(Default)]
struct Sums {
    masked: u32,
    pending: u32,
    asserted: u32,
    rings: u64,
    deliveries: u64,
    dropped: u64,
    deferred: u64,
    acks: u64,
}

/// Prints the counters of a context. Any context.
pub(super) fn show(context: Option<&Context>, m: &SeqFile) {
    let Some(context) = context else {
        seq_print!(m, "doorbell-lines:\t0\n");
        return;
    };
    let usage = context.usage();
    let records = context.bus().records().ok();
    let sums = context.fold(Sums::default(), |mut sums, line| {
        let count = |bit| u32::from(line.state & bit != 0);
        sums.masked += count(DOORBELL_LINE_MASKED);
        sums.pending += count(DOORBELL_LINE_PENDING);
        sums.asserted += count(DOORBELL_LINE_ASSERTED);
        // A line that was restored can have any number.
        sums.rings = sums.rings.wrapping_add(line.rings);
        sums.deliveries = sums.deliveries.wrapping_add(line.deliveries);
        sums.dropped = sums.dropped.wrapping_add(line.dropped);
        sums.deferred = sums.deferred.wrapping_add(line.deferred);
        sums.acks = sums.acks.wrapping_add(line.acks);
        sums
    });
    seq_print!(
        m,
        "doorbell-lines:\t{}\n\
         doorbell-irqfds:\t{}\n\
         doorbell-triggers:\t{}\n\
         doorbell-notifiers:\t{}\n\
         doorbell-resamplefds:\t{}\n\
         doorbell-masked:\t{}\n\
         doorbell-pending:\t{}\n\
         doorbell-asserted:\t{}\n\
         doorbell-rings:\t{}\n\
         doorbell-deliveries:\t{}\n\
         doorbell-dropped:\t{}\n\
         doorbell-deferred:\t{}\n\
         doorbell-acks:\t{}\n\
         doorbell-regions:\t{}\n\
         doorbell-recorded:\t{}\n\
         doorbell-refused:\t{}\n\
         doorbell-context:\t{}\n\
         doorbell-memory:\t{}\n\
         doorbell-unmaskfds:\t{}\n\
         doorbell-ackfds:\t{}\n",
        context.nr_lines(),
        usage.irqfds,
        usage.triggers,
        usage.notifiers,
        usage.resamplefds,
        sums.masked,
        sums.pending,
        sums.asserted,
        sums.rings,
        sums.deliveries,
        sums.dropped,
        sums.deferred,
        sums.acks,
        context.bus().nr_regions(),
        records.map_or(0, Records::recorded),
        records.map_or(0, Records::refused),
        context.id(),
        context.memory(),
        usage.unmaskfds,
        usage.ackfds
    );
}

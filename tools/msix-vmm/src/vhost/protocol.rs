// SPDX-License-Identifier: GPL-2.0-only

//! Messages between the run and a VMM: one line of JSON each.

use anyhow::{Context, Result};
use doorbell::{msix::MsixState, Snapshot};
use kvm_rtt::VcpuState;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    io::{BufRead, Write},
};

/// An order to a VMM, at its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Boot the guest. The first order, or `Restore` is.
    Boot,
    /// Go on with the guest of another VMM.
    Restore(Box<Saved>),
    /// Pause the line of the interrupts and the guest. `Save` follows.
    Hold,
    /// Save and exit.
    Save,
    /// Report what the guest waits for.
    Inspect,
}

/// A reply of a VMM, at its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The reply to `Hold`.
    Held,
    /// It has saved, and exits.
    Saved(Box<Saved>),
    /// The guest has ended, and so does the VMM.
    Done(Totals),
    /// The reply to `Inspect`.
    Inspected(Inspection, Totals),
}

/// The state of a VM, without its memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The lines, with their pending messages.
    pub(crate) lines: Snapshot,
    /// The registers of the MSI-X capability.
    pub(crate) msix: MsixState,
    /// The vCPU.
    pub(crate) vcpu: Box<VcpuState>,
    /// The index of the available ring at which the backend goes on.
    pub(crate) base: u16,
    /// The count of the call eventfd, which had no line any more.
    pub(crate) calls: u64,
    /// Rings of the line of the interrupts by the VMM itself so far.
    pub(crate) resignals: u64,
    /// Rings of the line of the kicks by the VMM itself so far.
    pub(crate) rekicks: u64,
}

/// The counters of a VM at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Rings of the line of the kicks.
    pub(crate) kick_rings: u64,
    /// Rings of the line of the interrupts.
    pub(crate) call_rings: u64,
    /// Deliveries of the line of the interrupts.
    pub(crate) call_deliveries: u64,
    /// Rings of the line of the interrupts by the VMM.
    pub(crate) resignals: u64,
    /// Rings of the line of the kicks by the VMM.
    pub(crate) rekicks: u64,
    /// Messages that are pending in both lines.
    pub(crate) pending: u64,
}

/// The messages that are on their way to the guest or to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inspection {
    /// The interrupt is in the vCPU's APIC, or its handler runs.
    pub(crate) in_apic: bool,
    /// The line of the interrupts holds a message.
    pub(crate) call_pending: bool,
    /// It is masked.
    pub(crate) call_masked: bool,
    /// The line of the kicks holds a message.
    pub(crate) kick_pending: bool,
    /// The backend has a kick that it has not read.
    pub(crate) kick_unread: bool,
    /// Another eventfd has a count.
    pub(crate) others_unread: bool,
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = match self.call_masked {
            true => "the masked line of the interrupts",
            false => "the line of the interrupts, which is not masked",
        };
        let places = [
            (self.call_pending, masked),
            (self.in_apic, "the APIC"),
            (self.kick_pending, "the line of the kicks"),
            (
                self.kick_unread,
                "the kick eventfd, which the backend does not read",
            ),
            (self.others_unread, "an eventfd that nothing reads"),
        ];
        let places = places.iter().filter(|(is_there, _)| *is_there);
        let places: Vec<&str> = places.map(|&(_, place)| place).collect();
        match places.is_empty() {
            true => f.write_str("nothing is on its way"),
            false => write!(f, "a message stays in {}", places.join(", in ")),
        }
    }
}

impl Inspection {
    /// Returns true if nothing is on its way to the guest or to the backend. The guest polls the pending bit of
    /// its masked vector if `polls`, and else it waits for an interrupt of the unmasked vector.
    pub(crate) fn is_silent(&self, polls: bool) -> bool {
        let to_guest = match polls {
            true => self.call_pending,
            false => self.in_apic || (self.call_pending && !self.call_masked),
        };
        !to_guest && !self.kick_pending && !self.kick_unread && !self.others_unread
    }
}

/// Sends a message.
pub(crate) fn send(to: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()?;
    Ok(())
}

/// Receives a message; `None` at the end of the input.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = String::new();
    match from.read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(
            serde_json::from_str(&line).context("not a message of this program")?,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Order::Save).unwrap();
        send(&mut pipe, &Order::Inspect).unwrap();
        let mut pipe = &pipe[..];
        assert!(matches!(receive(&mut pipe).unwrap(), Some(Order::Save)));
        assert!(matches!(receive(&mut pipe).unwrap(), Some(Order::Inspect)));
        assert!(receive::<Order>(&mut pipe).unwrap().is_none());
        assert!(receive::<Order>(&mut &b"word\n"[..]).is_err());
    }

    #[test]
    fn any_message_on_its_way_is_not_silence() {
        let silent = Inspection::default();
        assert!(silent.is_silent(false) && silent.is_silent(true));
        for at in 0..5 {
            let mut one = silent;
            let fields = [
                &mut one.in_apic,
                &mut one.call_pending,
                &mut one.kick_pending,
                &mut one.kick_unread,
                &mut one.others_unread,
            ];
            for (field, value) in fields.into_iter().enumerate() {
                *value = field == at;
            }
            assert!(!one.is_silent(false), "{one:?}");
        }
    }

    #[test]
    fn places_have_names() {
        let silent = Inspection::default();
        assert_eq!(silent.to_string(), "nothing is on its way");
        let stranded = Inspection {
            call_pending: true,
            kick_unread: true,
            ..Inspection::default()
        };
        assert_eq!(
            stranded.to_string(),
            "a message stays in the line of the interrupts, which is not masked, in the kick eventfd, \
             which the backend does not read"
        );
    }

    #[test]
    fn message_of_a_line_that_stays_masked_wakes_no_guest() {
        let held = Inspection {
            call_pending: true,
            call_masked: true,
            ..Inspection::default()
        };
        assert!(held.is_silent(false));
        assert!(!held.is_silent(true), "the guest sees the pending bit");
    }
}

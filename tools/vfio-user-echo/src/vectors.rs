// SPDX-License-Identifier: GPL-2.0-only

//! The vectors as the client of the protocol sees them: an eventfd for each, and masks.
//!
//! A vector's eventfd is the trigger of its line. A vector without an eventfd is masked.
//!
//! # How QEMU masks
//!
//! QEMU emulates the table, so no access to it arrives. If the guest masks a vector, QEMU replaces
//! the vector's eventfd, which is an irqfd of KVM, by one on which QEMU itself listens. Then QEMU's
//! own pending bit would be set, but the guest reads the PBA of the server. So such a replacement is
//! taken for what it stands for: the line is masked, and holds the message. Nothing is signalled
//! until QEMU sets KVM's eventfd again.
//!
//! The attempt to assign an eventfd to another line tells whether KVM listens on it: KVM's irqfd is
//! exclusive, so the attempt fails with EBUSY. Without KVM no eventfd has such a listener. Then each
//! eventfd is taken as it is, and a mask is not visible to the server.

use crate::layout::Lines;
use anyhow::{ensure, Context as _};
use doorbell::{
    msix::{Message, Msix, Route, ENTRY_SIZE},
    Context,
};
use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    sync::Arc,
};

/// The offset of Vector Control in an entry of the table.
const VECTOR_CONTROL: u64 = 12;

/// The messages of the table. QEMU keeps them to itself: an eventfd stands for them.
#[derive(Debug)]
pub struct NoRoute;

impl Route for NoRoute {
    fn route(&mut self, _vector: u16, _message: Message) -> io::Result<()> {
        Ok(())
    }
}

/// An eventfd, and the number by which the kernel tells it from others.
#[derive(Debug)]
struct Identified {
    file: File,
    id: u64,
}

/// The eventfds of a vector.
#[derive(Debug, Default)]
struct Eventfds {
    /// The trigger of the line.
    trigger: Option<Identified>,
    /// KVM listens on the trigger.
    by_kvm: bool,
    /// The eventfd that the client sets while the vector is masked.
    masked: Option<Identified>,
}

/// The vectors.
#[derive(Debug)]
pub struct Vectors {
    msix: Msix<NoRoute>,
    lines: Lines,
    eventfds: Vec<Eventfds>,
}

impl Vectors {
    /// Masks the lines of all vectors.
    pub fn new(context: Arc<Context>, lines: Lines) -> Result<Self, doorbell::msix::Error> {
        Ok(Self {
            msix: Msix::new(context, 0, lines.vectors, NoRoute)?,
            lines,
            eventfds: (0..lines.vectors).map(|_| Eventfds::default()).collect(),
        })
    }

    /// Returns the table, the PBA and Message Control.
    pub fn msix(&mut self) -> &mut Msix<NoRoute> {
        &mut self.msix
    }

    fn context(&self) -> &Context {
        self.msix.context()
    }

    /// Masks or unmasks a vector, as a write to its entry does.
    pub fn mask(&mut self, vector: u16, masked: bool) -> anyhow::Result<()> {
        let at = u64::from(vector) * ENTRY_SIZE + VECTOR_CONTROL;
        self.msix
            .write_table(at, &u32::from(masked).to_le_bytes())
            .with_context(|| format!("mask vector {vector}: {masked}"))
    }

    /// Makes the device's signal, as the protocol lets a client request.
    pub fn signal(&self, vector: u16) -> anyhow::Result<()> {
        self.context().ring(vector.into())?;
        Ok(())
    }

    /// Sets the eventfd of a vector, or masks the vector if the eventfd stands for that.
    pub fn set_eventfd(&mut self, vector: u16, file: File) -> anyhow::Result<()> {
        let at = usize::from(vector);
        let id = eventfd_id(&file)?;
        let is = |eventfd: &Option<Identified>| eventfd.as_ref().is_some_and(|e| e.id == id);
        if is(&self.eventfds[at].trigger) {
            return self.mask(vector, false);
        }
        self.mask(vector, true)?;
        if is(&self.eventfds[at].masked) {
            return Ok(());
        }
        // It is new. No line signals it, so that the probe takes no message from it.
        let by_kvm = self.kvm_listens(&file)?;
        if self.eventfds[at].by_kvm && !by_kvm {
            self.eventfds[at].masked = Some(Identified { file, id });
            return Ok(());
        }
        self.context().assign_trigger(&file, vector.into())?;
        let old = self.eventfds[at].trigger.replace(Identified { file, id });
        if let Some(old) = old {
            self.context().deassign_trigger(&old.file, vector.into())?;
            // QEMU can still set it, and it may have a signal that QEMU has not read.
            if !self.eventfds[at].by_kvm {
                self.eventfds[at].masked = Some(old);
            }
        }
        self.eventfds[at].by_kvm = by_kvm;
        self.mask(vector, false)
    }

    /// Masks a vector, and forgets its eventfds.
    pub fn remove_eventfds(&mut self, vector: u16) -> anyhow::Result<()> {
        self.mask(vector, true)?;
        let old = std::mem::take(&mut self.eventfds[usize::from(vector)]);
        if let Some(trigger) = old.trigger {
            self.context()
                .deassign_trigger(&trigger.file, vector.into())?;
        }
        Ok(())
    }

    /// Resets the function: no vector has an eventfd, and no line holds a message.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        for vector in 0..self.lines.vectors {
            self.remove_eventfds(vector)?;
        }
        Ok(self.msix.reset()?)
    }

    fn kvm_listens(&self, file: &File) -> anyhow::Result<bool> {
        let probe = self.lines.probe();
        match self.context().assign_irqfd(file, probe) {
            Ok(()) => {
                self.context().deassign_irqfd(file, probe)?;
                Ok(false)
            }
            Err(error) if error.errno() == Some(libc::EBUSY) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the number of an eventfd, from its fdinfo.
fn eventfd_id(file: &File) -> anyhow::Result<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("eventfd-id:"));
    ensure!(id.is_some(), "the descriptor is not an eventfd");
    Ok(id.unwrap_or_default().trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::EventFd;
    use std::os::fd::OwnedFd;

    #[test]
    fn eventfds_have_different_ids() {
        let file = |eventfd: EventFd| File::from(OwnedFd::from(eventfd));
        let one = file(EventFd::new(0).unwrap());
        let other = file(EventFd::new(0).unwrap());
        let again = one.try_clone().unwrap();
        assert_eq!(eventfd_id(&one).unwrap(), eventfd_id(&again).unwrap());
        assert_ne!(eventfd_id(&one).unwrap(), eventfd_id(&other).unwrap());
        let error = eventfd_id(&File::open("/dev/null").unwrap()).unwrap_err();
        assert!(error.to_string().contains("not an eventfd"), "{error}");
    }
}

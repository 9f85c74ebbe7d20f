// SPDX-License-Identifier: GPL-2.0-only

//! The vectors as the client of the protocol sees them: an eventfd for each, and masks.
//!
//! A vector's eventfd is the trigger of its line. A vector without an eventfd is masked, and so is one
//! that the client masks. Either of these reasons can end while the other holds; see [`Mask`].
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
//! eventfd is taken as it is, and a mask is not visible to the server. An attempt that succeeds takes
//! the count of the eventfd, so the count is written back. An eventfd that another vector has already
//! is not assigned once more.

use crate::layout::Lines;
use anyhow::{ensure, Context as _};
use doorbell::{
    msix::{Message, Msix, Route, ENTRY_SIZE},
    Context, EventFd,
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, OwnedFd},
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

/// Why a vector is masked. The mask bit of its entry is set while there is a reason.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mask {
    /// The client has masked it, by VFIO_IRQ_SET_ACTION_MASK or in the table.
    client: bool,
    /// It has no eventfd, or one that stands for a mask.
    eventfd: bool,
}

impl Mask {
    /// The mask of a vector after a reset.
    const RESET: Self = Self {
        client: false,
        eventfd: true,
    };

    fn is_set(self) -> bool {
        self.client || self.eventfd
    }
}

/// Notes the client's masks in a write to the table, and sets the mask bits of `data` that have
/// another reason.
fn merge_masks(masks: &mut [Mask], offset: u64, data: &mut [u8]) {
    for (vector, mask) in (0..).zip(masks) {
        let at = (vector * ENTRY_SIZE + VECTOR_CONTROL).checked_sub(offset);
        if let Some(byte) = at.and_then(|at| data.get_mut(usize::try_from(at).ok()?)) {
            mask.client = *byte & 1 != 0;
            *byte |= u8::from(mask.is_set());
        }
    }
}

/// The vectors.
#[derive(Debug)]
pub struct Vectors {
    msix: Msix<NoRoute>,
    lines: Lines,
    eventfds: Vec<Eventfds>,
    masks: Vec<Mask>,
}

impl Vectors {
    /// Masks the lines of all vectors.
    pub fn new(context: Arc<Context>, lines: Lines) -> Result<Self, doorbell::msix::Error> {
        Ok(Self {
            msix: Msix::new(context, 0, lines.vectors, NoRoute)?,
            lines,
            eventfds: (0..lines.vectors).map(|_| Eventfds::default()).collect(),
            masks: vec![Mask::RESET; lines.vectors.into()],
        })
    }

    /// Returns the table, the PBA and Message Control.
    pub fn msix(&mut self) -> &mut Msix<NoRoute> {
        &mut self.msix
    }

    fn context(&self) -> &Context {
        self.msix.context()
    }

    /// Masks or unmasks a vector for the client.
    pub fn mask(&mut self, vector: u16, masked: bool) -> anyhow::Result<()> {
        self.masks[usize::from(vector)].client = masked;
        self.apply(vector)
    }

    /// Masks or unmasks a vector for its eventfd.
    fn hold(&mut self, vector: u16, held: bool) -> anyhow::Result<()> {
        self.masks[usize::from(vector)].eventfd = held;
        self.apply(vector)
    }

    fn apply(&mut self, vector: u16) -> anyhow::Result<()> {
        let at = u64::from(vector) * ENTRY_SIZE + VECTOR_CONTROL;
        let masked = self.masks[usize::from(vector)].is_set();
        self.msix
            .write_table(at, &u32::from(masked).to_le_bytes())
            .with_context(|| format!("mask vector {vector}: {masked}"))
    }

    /// Writes to the table. QEMU keeps it to itself. Other clients can forward it.
    pub fn write_table(&mut self, offset: u64, data: &[u8]) -> anyhow::Result<()> {
        let mut data = data.to_vec();
        merge_masks(&mut self.masks, offset, &mut data);
        Ok(self.msix.write_table(offset, &data)?)
    }

    /// Sets the eventfd of a vector, or masks the vector if the eventfd stands for that.
    pub fn set_eventfd(&mut self, vector: u16, file: File) -> anyhow::Result<()> {
        let at = usize::from(vector);
        let id = eventfd_id(&file)?;
        let is = |eventfd: &Option<Identified>| eventfd.as_ref().is_some_and(|e| e.id == id);
        if is(&self.eventfds[at].trigger) {
            return self.hold(vector, false);
        }
        self.hold(vector, true)?;
        if is(&self.eventfds[at].masked) {
            return Ok(());
        }
        let shared = self.eventfds.iter().find(|eventfds| is(&eventfds.trigger));
        let by_kvm = match shared {
            Some(eventfds) => eventfds.by_kvm,
            None => self.kvm_listens(&file)?,
        };
        if self.eventfds[at].by_kvm && !by_kvm {
            self.eventfds[at].masked = Some(Identified { file, id });
            return Ok(());
        }
        self.context().assign_trigger(&file, vector.into())?;
        let old = self.eventfds[at].trigger.replace(Identified { file, id });
        if let Some(old) = old {
            self.context().deassign_trigger(&old.file, vector.into())?;
            // QEMU can still set it, and it may have a signal that QEMU has not read. An eventfd that replaces one
            // of the same kind does not stand for a mask.
            if by_kvm && !self.eventfds[at].by_kvm {
                self.eventfds[at].masked = Some(old);
            }
        }
        self.eventfds[at].by_kvm = by_kvm;
        self.hold(vector, false)
    }

    /// Masks a vector, and forgets its eventfds.
    pub fn remove_eventfds(&mut self, vector: u16) -> anyhow::Result<()> {
        self.hold(vector, true)?;
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
        self.masks.fill(Mask::RESET);
        Ok(self.msix.reset()?)
    }

    /// Returns whether KVM, or another irqfd, listens on an eventfd that no line signals.
    fn kvm_listens(&self, file: &File) -> anyhow::Result<bool> {
        let probe = self.lines.probe();
        let eventfd = EventFd::from(OwnedFd::from(file.try_clone()?));
        let count = eventfd.count()?;
        let rings = self.context().query(probe)?.rings;
        match self.context().assign_irqfd(file, probe) {
            Ok(()) => {
                self.context().deassign_irqfd(file, probe)?;
                // The line has taken the count. Another reader may wait for it.
                if self.context().query(probe)?.rings != rings {
                    eventfd.write(count.max(1))?;
                }
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

    #[test]
    fn a_mask_ends_with_its_last_reason() {
        let mut masks = [Mask::RESET; 2];
        let write = |masks: &mut [Mask; 2], offset, data: &[u8]| {
            let mut data = data.to_vec();
            merge_masks(masks, offset, &mut data);
            data
        };
        // Without an eventfd, the client's unmask has no effect.
        assert_eq!(write(&mut masks, 12, &[0; 4]), [1, 0, 0, 0]);
        masks[0].eventfd = false;
        assert!(!masks[0].is_set() && masks[1].is_set());
        assert_eq!(
            write(&mut masks, 8, &[7, 0, 0, 0, 1, 0, 0, 0]),
            [7, 0, 0, 0, 1, 0, 0, 0]
        );
        // The eventfd that comes back does not end the client's mask.
        masks[0].eventfd = true;
        masks[0].eventfd = false;
        assert!(masks[0].is_set());
        assert_eq!(write(&mut masks, 12, &[0; 4]), [0; 4]);
        assert!(!masks[0].is_set());
        // Writes elsewhere in the table.
        let before = masks;
        for offset in [0, 8, 13, 16, 44] {
            assert_eq!(write(&mut masks, offset, &[1; 4]), [1; 4]);
        }
        assert_eq!(masks, before);
    }

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

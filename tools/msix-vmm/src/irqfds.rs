// SPDX-License-Identifier: GPL-2.0-only

//! A function as VMMs without `/dev/doorbell` have it: the device signals KVM's irqfd. To mask a vector,
//! the VMM deassigns its irqfd. The counter of the eventfd then holds the signals.

use crate::function::{Function, Line};
use anyhow::{ensure, Context, Result};
use doorbell::msix::{Message, ENABLE, FUNCTION_MASK};
use kvm_rtt::{Irqs, Routes, Vm};
use serde::Serialize;
use std::{io::ErrorKind, os::fd::AsRawFd, sync::Arc};
use vmm_sys_util::{
    epoll::{ControlOperation, Epoll, EpollEvent, EventSet},
    eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK},
};

/// The VMM's answer to a read of the pending bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pba {
    /// No bit is ever set.
    Zero,
    /// A bit is set while the vector is masked and its eventfd is readable.
    Poll,
    /// A bit is set if a read of the eventfd took signals since the mask. The VMM signals the eventfd again
    /// before it unmasks the vector.
    Read,
}

/// A vector, and what the VMM knows about it.
struct Vector {
    eventfd: EventFd,
    gsi: u32,
    /// The table entry.
    message: Message,
    masked: bool,
    /// The message that KVM has.
    routed: Message,
    is_assigned: bool,
    /// The VMM has taken a signal from the eventfd.
    taken: bool,
}

/// MSI-X of KVM's irqfds.
pub struct Irqfds {
    irqs: Irqs,
    routes: Arc<Routes>,
    vectors: Vec<Vector>,
    control: u16,
    pba: Pba,
    epoll: Epoll,
}

impl Irqfds {
    /// Creates a function with `vectors` vectors.
    ///
    /// # Errors
    ///
    /// KVM refuses a route.
    pub fn new(vm: &Vm, vectors: u16, pba: Pba) -> Result<Self> {
        let epoll = Epoll::new()?;
        let vector = |number: u16| {
            let eventfd = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?;
            if pba == Pba::Poll {
                let event = EpollEvent::new(EventSet::IN, number.into());
                epoll.ctl(ControlOperation::Add, eventfd.as_raw_fd(), event)?;
            }
            Ok(Vector {
                eventfd,
                gsi: vm.routes().add_msi(Message::default())?,
                message: Message::default(),
                masked: true,
                routed: Message::default(),
                is_assigned: false,
                taken: false,
            })
        };
        Ok(Self {
            irqs: vm.irqs().clone(),
            routes: vm.routes().clone(),
            vectors: (0..vectors).map(vector).collect::<Result<_>>()?,
            control: vectors - 1,
            pba,
            epoll,
        })
    }

    /// Assigns the irqfd of `vector`, or deassigns it, if that has to change.
    fn update(&mut self, vector: usize) -> Result<()> {
        let enabled = self.control & (ENABLE | FUNCTION_MASK) == ENABLE;
        let vector = &mut self.vectors[vector];
        let wanted = enabled && !vector.masked;
        if wanted && vector.routed != vector.message {
            self.routes.set_msi(vector.gsi, vector.message)?;
            vector.routed = vector.message;
        }
        if wanted == vector.is_assigned {
            return Ok(());
        }
        if wanted {
            // KVM injects an interrupt for a counter that is not zero.
            if std::mem::take(&mut vector.taken) {
                vector.eventfd.write(1)?;
            }
            self.irqs.assign_irqfd(&vector.eventfd, vector.gsi)?;
        } else {
            self.irqs.deassign_irqfd(&vector.eventfd, vector.gsi)?;
        }
        vector.is_assigned = wanted;
        Ok(())
    }

    /// Returns the numbers of the vectors whose pending bits are set.
    fn pending(&mut self) -> Result<Vec<usize>> {
        match self.pba {
            Pba::Zero => Ok(Vec::new()),
            Pba::Poll => {
                let mut events = vec![EpollEvent::default(); self.vectors.len()];
                let n = self.epoll.wait(0, &mut events)?;
                Ok(events[..n]
                    .iter()
                    .map(|event| event.data() as usize)
                    .filter(|&vector| !self.vectors[vector].is_assigned)
                    .collect())
            }
            Pba::Read => {
                let mut pending = Vec::new();
                for (number, vector) in self.vectors.iter_mut().enumerate() {
                    if vector.is_assigned {
                        continue;
                    }
                    match vector.eventfd.read() {
                        Ok(_) => vector.taken = true,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error).context("read an eventfd"),
                    }
                    if vector.taken {
                        pending.push(number);
                    }
                }
                Ok(pending)
            }
        }
    }
}

/// Returns the 32-bit word at `offset` of a table entry, for reading and writing.
fn word(vector: &Vector, offset: u64) -> u32 {
    match offset {
        0 => vector.message.address as u32,
        4 => (vector.message.address >> 32) as u32,
        8 => vector.message.data,
        _ => vector.masked.into(),
    }
}

fn set_word(vector: &mut Vector, offset: u64, value: u32) {
    let message = &mut vector.message;
    match offset {
        0 => message.address = (message.address & !0xffff_ffff) | u64::from(value),
        4 => message.address = (message.address & 0xffff_ffff) | (u64::from(value) << 32),
        8 => message.data = value,
        _ => vector.masked = value & 1 != 0,
    }
}

impl Function for Irqfds {
    fn read_table(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        for (offset, bytes) in (offset..).step_by(4).zip(data.chunks_exact_mut(4)) {
            let vector = self.vectors.get((offset / 16) as usize);
            let value = vector.map_or(u32::MAX, |vector| word(vector, offset % 16));
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn write_table(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let number = (offset / 16) as usize;
        let Some(vector) = self.vectors.get_mut(number) else {
            return Ok(());
        };
        for (offset, bytes) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
            let value = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
            set_word(vector, offset % 16, value);
        }
        self.update(number)
    }

    fn read_pba(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        data.fill(0);
        for vector in self.pending()? {
            let byte = (vector / 8).checked_sub(offset as usize);
            if let Some(bits) = byte.and_then(|byte| data.get_mut(byte)) {
                *bits |= 1 << (vector % 8);
            }
        }
        Ok(())
    }

    fn control(&mut self) -> u16 {
        self.control
    }

    fn write_control(&mut self, value: u16) -> Result<()> {
        let changeable = ENABLE | FUNCTION_MASK;
        self.control = (self.control & !changeable) | (value & changeable);
        (0..self.vectors.len()).try_for_each(|vector| self.update(vector))
    }

    fn irqfd(&self, vector: u16) -> Result<EventFd> {
        Ok(self.vectors[usize::from(vector)].eventfd.try_clone()?)
    }

    fn line(&self, _: u16) -> Result<Option<Line>> {
        Ok(None)
    }

    /// An irqfd injects in the context of the signal. But what the eventfd held when it was assigned, KVM
    /// injects by a worker, for which a deassignment waits. It also empties the eventfd.
    fn settle(&mut self) -> Result<()> {
        for vector in &self.vectors {
            if vector.is_assigned {
                self.irqs.deassign_irqfd(&vector.eventfd, vector.gsi)?;
                let empty = vector.eventfd.read();
                ensure!(empty.is_err(), "a signal came from a device that was quiet");
                self.irqs.assign_irqfd(&vector.eventfd, vector.gsi)?;
            }
        }
        Ok(())
    }
}

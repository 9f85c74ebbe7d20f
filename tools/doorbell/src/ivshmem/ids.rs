// SPDX-License-Identifier: GPL-2.0-only

//! Peers' IDs.

/// An allocator of IDs.
///
/// IDs are given in turn from 0 on, so a released ID stays unused for as long as possible. A peer
/// that has not read yet that another one left thus does not mistake a new peer for it.
#[derive(Debug)]
pub struct Ids {
    used: Vec<bool>,
    next: usize,
}

impl Ids {
    /// Creates `max` IDs.
    pub fn new(max: u32) -> Self {
        Self {
            used: vec![false; max as usize],
            next: 0,
        }
    }

    /// Allocates an unused ID; returns none if all are in use.
    pub fn take(&mut self) -> Option<u32> {
        let max = self.used.len();
        let id = (self.next..max)
            .chain(0..self.next)
            .find(|&id| !self.used[id])?;
        self.used[id] = true;
        self.next = (id + 1) % max;
        Some(id as u32)
    }

    /// Marks `id` as used; returns false if there is no such ID.
    pub fn reserve(&mut self, id: u32) -> bool {
        let Some(used) = self.used.get_mut(id as usize) else {
            return false;
        };
        *used = true;
        self.next = (id as usize + 1) % self.used.len();
        true
    }

    /// Releases `id`.
    pub fn put(&mut self, id: u32) {
        self.used[id as usize] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_turn_and_come_back_late() {
        let mut ids = Ids::new(3);
        assert_eq!([ids.take(), ids.take()], [Some(0), Some(1)]);
        ids.put(0);
        assert_eq!(
            [ids.take(), ids.take(), ids.take()],
            [Some(2), Some(0), None]
        );
        ids.put(2);
        assert_eq!(ids.take(), Some(2));
    }

    #[test]
    fn reserved_ones_are_not_given() {
        let mut ids = Ids::new(3);
        assert!(ids.reserve(0) && ids.reserve(1) && !ids.reserve(3));
        assert_eq!([ids.take(), ids.take()], [Some(2), None]);
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! Predictions of ioctls.

use super::{
    line::{Id, Signals},
    machine::Reasons,
    Key, Oracle,
};
use crate::{arena, program::Call};
use doorbell::uapi;

impl Oracle {
    /// Predicts an ioctl. Returns the expected result, if there is one.
    pub(super) fn ioctl(&mut self, call: &Call, result: i64) -> Option<i64> {
        let name = call.form().name;
        let context = self.context(call.values[0])?;
        let ok = result >= 0;
        let plain =
            matches!(call.get("at") % arena::PLACES, 0 | 1 | 7) && call.get("reserved") == 0;
        let efault = result == -i64::from(libc::EFAULT);
        let key = self.key(call.values[0], call.get("line"));
        if matches!(call.get("at") % arena::PLACES, 3 | 4) {
            // The structure can be one of zeroes.
            self.off |= ok;
            return None;
        }
        match name {
            "set_lines" if ok => {
                let model = &mut self.contexts[context];
                model.nr_lines = u64::from(call.get("nr_lines") as u32);
                model.masked = call.get("flags") & 1 != 0;
            }
            "mask" | "unmask" | "clear" | "pending" | "ring_lines" => {
                if plain && self.contexts[context].nr_lines > 0 {
                    return self.line_set(call, context, result);
                }
                // The call may have made its changes before it failed.
                self.off |= ok || efault;
            }
            "moderate" if ok && call.get("flags") as u32 == 0 => self.forget(key?),
            "summary" | "restore" if ok => self.off = true,
            "region" if ok && call.get("flags") & 1 == 0 => self.off = true,
            "regions" if ok => self.off = true,
            _ => return self.line_call(call, key, result, plain),
        }
        None
    }

    /// Predicts a call for one line.
    fn line_call(
        &mut self,
        call: &Call,
        key: Option<Key>,
        result: i64,
        plain: bool,
    ) -> Option<i64> {
        let name = call.form().name;
        let ok = result >= 0;
        let ranged = matches!(name, "ring" | "ack");
        if ranged && (key.is_none() || call.values[1] > u64::from(u32::MAX)) {
            return Some(-i64::from(libc::ENXIO));
        }
        let key = key?;
        let mut signals = Signals::new();
        let flags = call.get("flags");
        let unsupported = -i64::from(libc::EOPNOTSUPP);
        let expected = match name {
            "ring" => Some(self.line(key).ring(&mut signals)),
            "ack" => Some(self.line(key).ack(&mut signals).unwrap_or(unsupported)),
            "set_type" if plain && flags < 2 && (call.get("type_") as u32) < 2 => {
                let done = self
                    .line(key)
                    .set_type(call.get("type_") as u32 == 1, flags == 1);
                Some(if done { 0 } else { -i64::from(libc::EBUSY) })
            }
            "set_level" if plain && flags == 0 && (call.get("level") as u32) < 2 => {
                let level = call.get("level") as u32 == 1;
                let done = self.line(key).set_level(level, &mut signals);
                Some(done.unwrap_or(unsupported))
            }
            "set_type" | "set_level" if ok => {
                self.forget(key);
                None
            }
            "trigger" if ok => self.trigger(call, key, &mut signals),
            "notifier" if ok => self.notifier(call, key),
            "irqfd" if ok => {
                self.irqfd(call, key, &mut signals);
                None
            }
            "ring_wait" if flags & 1 == 0 => {
                let rung = [libc::EINTR, libc::ETIMEDOUT].map(|error| -i64::from(error));
                if ok || rung.contains(&result) {
                    self.line(key).ring(&mut signals);
                } else if matches!(-result as i32, libc::EFAULT | libc::ENOENT) {
                    self.forget(key);
                }
                None
            }
            _ => None,
        };
        let unknown = self.lines.get(&key).is_some_and(|line| line.unknown);
        self.signal(signals);
        expected.filter(|_| !unknown)
    }

    fn trigger(&mut self, call: &Call, key: Key, signals: &mut Signals) -> Option<i64> {
        let id = self.eventfd(call.get("fd"));
        let Some(id) = id.or((call.get("flags") & 6 != 0).then_some(0)) else {
            self.forget(key);
            return None;
        };
        let line = self.line(key);
        match call.get("flags") as u32 {
            flags @ (0 | uapi::TRIGGER_FLAG_COUNT) => {
                line.add_trigger(id as Id, flags != 0, signals);
                Some(0)
            }
            uapi::TRIGGER_FLAG_DEASSIGN => {
                let removed = line.remove_trigger(id as Id);
                Some(if removed { 0 } else { -i64::from(libc::ENOENT) })
            }
            3 => Some(line.remove_triggers() as i64),
            4 => {
                line.set_waiters(true, signals);
                Some(0)
            }
            5 => {
                line.set_waiters(false, signals);
                Some(0)
            }
            _ => Some(-i64::from(libc::EINVAL)),
        }
    }

    fn notifier(&mut self, call: &Call, key: Key) -> Option<i64> {
        let id = self.eventfd(call.get("fd"));
        let (flags, events) = (call.get("flags") as u32, call.get("events") as u32);
        let line = self.line(key);
        match (flags, id) {
            (0, Some(id)) => line.add_notifier(id as Id, events),
            (3, _) => return Some(line.remove_notifiers(None) as i64),
            (1, Some(id)) => {
                let removed = line.remove_notifiers(Some(id as Id)) != 0;
                return Some(if removed { 0 } else { -i64::from(libc::ENOENT) });
            }
            _ => line.unknown = true,
        }
        None
    }

    fn irqfd(&mut self, call: &Call, key: Key, signals: &mut Signals) {
        let (Some(id), flags) = (self.eventfd(call.get("fd")), call.get("flags") as u32) else {
            self.forget(key);
            return;
        };
        match flags {
            uapi::IRQFD_FLAG_DEASSIGN => {
                self.eventfds[id].listener = None;
                self.line(key).remove_irqfd(id as Id);
            }
            0 | uapi::IRQFD_FLAG_RESAMPLE => {
                let resamplefd = (flags != 0)
                    .then(|| self.eventfd(call.get("resamplefd").wrapping_sub(1)))
                    .flatten();
                let unknown = flags != 0 && resamplefd.is_none() || self.eventfds[id].semaphore;
                let peeked = self.peeked;
                self.eventfds[id].listener = Some(key);
                let line = self.line(key);
                line.unknown |= unknown || peeked.is_none();
                line.add_irqfd(id as Id, resamplefd.map(|id| id as Id));
                if peeked.is_some_and(|count| count != 0) {
                    line.ring(signals);
                }
            }
            _ => {
                self.eventfds[id].listener = Some(key);
                self.line(key).add_reply(id as Id, flags);
                if self.eventfds[id].semaphore || self.peeked != Some(0) {
                    self.forget_reply(key);
                }
            }
        }
    }

    /// Predicts a call for a set of lines.
    fn line_set(&mut self, call: &Call, context: usize, result: i64) -> Option<i64> {
        let name = call.form().name;
        let flags = call.get("flags") as u32;
        let takes_reasons = matches!(name, "mask" | "unmask");
        let reasons = match flags {
            0 => Some(Reasons::VECTOR),
            _ => Reasons::new(flags).filter(|_| takes_reasons),
        };
        let (first, count) = (
            u64::from(call.get("line") as u32),
            u64::from(call.get("nr_lines") as u32),
        );
        let Some(reasons) = reasons.filter(|_| count != 0) else {
            return Some(-i64::from(libc::EINVAL));
        };
        if first + count > self.contexts[context].nr_lines {
            return Some(-i64::from(libc::ENXIO));
        }
        let words = count.div_ceil(64) as usize;
        let (lines, to) = (call.get("lines"), call.get("result"));
        if result < 0 || count > 512 || to != 0 && lines != 0 && to == lines {
            // Pointers are checked first, so a failed call has changed nothing. What it says is not predicted.
            self.off |= result >= 0 || result == -i64::from(libc::EFAULT);
            return None;
        }
        let selected = match lines % arena::POINTERS {
            0 => Some(vec![u64::MAX; words]),
            _ => arena::words(lines, words),
        };
        let Some(selected) = selected else {
            self.off = true;
            return None;
        };
        let mut counted = 0;
        let mut signals = Signals::new();
        let mut unknown = false;
        for at in 0..count {
            if (selected[(at / 64) as usize] >> (at % 64)) & 1 == 0 {
                continue;
            }
            let line = self.line((context, first + at));
            counted += i64::from(match name {
                "mask" => line.mask(reasons, &mut signals),
                "unmask" => line.unmask(reasons, &mut signals),
                "clear" => line.clear(&mut signals),
                "ring_lines" => line.ring(&mut signals) == i64::from(uapi::RING_DELIVERED),
                _ => line.pending(),
            });
            unknown |= line.unknown;
        }
        let relays = self.has_listener(&signals);
        self.signal(signals);
        // A relay can change the lines that come after it.
        unknown |= relays && count > 1;
        if relays && count > 1 {
            self.off = true;
        }
        (!unknown).then_some(counted)
    }
}

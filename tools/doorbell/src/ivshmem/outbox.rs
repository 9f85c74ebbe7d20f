// SPDX-License-Identifier: GPL-2.0-only

//! Messages for a peer that are not sent yet.

use super::protocol::Message;
use std::{collections::VecDeque, io, os::fd::AsFd};

/// A queue of messages that wait for room in a socket.
///
/// It is short even if the receiver reads nothing. If a peer leaves before its arrival was sent,
/// both messages are dropped. So the queue has at most the arrivals of all current peers, and the
/// departures of peers that the receiver knows.
#[derive(Debug, Default)]
pub struct Outbox(VecDeque<Message>);

/// The result of a [flush](Outbox::flush).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All messages are sent.
    All,
    /// There is no room until the receiver reads.
    Full,
    /// The kernel has no resources for more at the moment.
    Later,
}

impl Outbox {
    pub fn push(&mut self, message: Message) {
        self.0.push_back(message);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Sends the messages that fit the socket; returns their number.
    ///
    /// # Errors
    ///
    /// Fails if the receiver has closed the connection.
    pub fn flush(&mut self, socket: impl AsFd) -> io::Result<(usize, Flushed)> {
        let mut sent = 0;
        while let Some(message) = self.0.front() {
            match message.send(&socket) {
                Ok(()) => {
                    self.0.pop_front();
                    sent += 1;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok((sent, Flushed::Full)),
                    // Descriptors in flight are limited, and other receivers may have some of them.
                    Some(libc::ETOOMANYREFS | libc::ENOBUFS | libc::ENOMEM) => {
                        return Ok((sent, Flushed::Later))
                    }
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
        Ok((sent, Flushed::All))
    }

    /// Queues that the peer `id` with `vectors` vectors has left. Returns the number of the `first`
    /// messages that this drops.
    pub fn left(&mut self, id: u32, vectors: u32, first: usize) -> usize {
        let is_arrival =
            |message: &Message| message.number == i64::from(id) && message.fd.is_some();
        let dropped = self.0.iter().take(first).filter(|m| is_arrival(m)).count();
        let before = self.0.len();
        self.0.retain(|message| !is_arrival(message));
        if before - self.0.len() < vectors as usize {
            self.push(Message::plain(id));
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivshmem::protocol::receive;
    use doorbell::EventFd;
    use std::{os::unix::net::UnixStream, sync::Arc};

    fn coming(id: u32) -> Message {
        Message::with(id, Arc::new(EventFd::new(0).unwrap()))
    }

    fn contents(outbox: &Outbox) -> Vec<String> {
        outbox.0.iter().map(|m| format!("{m:?}")).collect()
    }

    #[test]
    fn order_is_kept_over_a_full_socket() {
        let (server, client) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        for number in 0..5000u32 {
            outbox.push(Message::plain(number));
        }
        let mut read = 0;
        loop {
            let (sent, flushed) = outbox.flush(&server).unwrap();
            for _ in 0..sent {
                assert_eq!(receive(&client).unwrap().0, read);
                read += 1;
            }
            match flushed {
                Flushed::All => break,
                other => assert_eq!(other, Flushed::Full),
            }
        }
        assert_eq!((read, outbox.len()), (5000, 0));
    }

    #[test]
    fn arrival_and_departure_cancel_out() {
        let mut outbox = Outbox::default();
        for message in [coming(1), coming(1), coming(2), coming(2)] {
            outbox.push(message);
        }
        assert_eq!(outbox.left(1, 2, 1), 1);
        assert_eq!(contents(&outbox), ["2 + fd", "2 + fd"]);
    }

    #[test]
    fn departure_follows_a_partly_sent_arrival() {
        let (server, _client) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        outbox.push(coming(1));
        outbox.flush(&server).unwrap();
        outbox.push(coming(1));
        outbox.push(coming(2));
        outbox.left(1, 2, 0);
        assert_eq!(contents(&outbox), ["2 + fd", "1"]);
        // Another peer with this ID comes and leaves. The departure of the first is still to be
        // sent.
        outbox.push(coming(1));
        outbox.push(coming(1));
        outbox.left(1, 2, 0);
        assert_eq!(contents(&outbox), ["2 + fd", "1"]);
    }

    #[test]
    fn length_does_not_depend_on_the_number_of_visits() {
        let mut outbox = Outbox::default();
        for visit in 0..1000 {
            outbox.push(coming(visit % 3));
            outbox.left(visit % 3, 1, 0);
        }
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn closed_connection_is_an_error() {
        let (server, client) = UnixStream::pair().unwrap();
        drop(client);
        let mut outbox = Outbox::default();
        outbox.push(Message::plain(1));
        assert!(outbox.flush(&server).is_err());
    }
}

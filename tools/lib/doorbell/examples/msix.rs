// SPDX-License-Identifier: MIT OR Apache-2.0

//! An MSI-X table and PBA for a VMM: a masked vector holds the signals of a device that knows nothing of
//! masks, the pending bit is set, and the unmask sends one message to the address that the guest has
//! programmed meanwhile.

use doorbell::{
    Context, EventFd, LineSet, LineType, MaskReasons, RingOutcome,
    msix::{ENABLE, Error, FUNCTION_MASK, Message, Msix, Route},
};
use std::{
    io, mem,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const VECTORS: u16 = 80;
/// The table is not at the beginning of the context.
const FIRST_LINE: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The routes of a VMM: what its hypervisor sends when a vector's irqfd is signalled.
#[derive(Default)]
struct Routes {
    table: Vec<Option<Message>>,
    /// The routes since the last commit.
    staged: Vec<(u16, Message)>,
    /// The irqfds of the vectors.
    irqfds: Vec<EventFd>,
    calls: usize,
    commits: usize,
    fails: bool,
    /// A commit with this message fails, as KVM refuses a table with an invalid address.
    invalid: Option<Message>,
}

impl Routes {
    fn new(device: &Device) -> io::Result<Self> {
        let irqfds = device.irqfds.iter().map(duplicate);
        Ok(Self {
            table: vec![None; VECTORS.into()],
            irqfds: irqfds.collect::<io::Result<_>>()?,
            ..Self::default()
        })
    }
}

fn duplicate(eventfd: &EventFd) -> io::Result<EventFd> {
    Ok(eventfd.as_fd().try_clone_to_owned()?.into())
}

impl Route for Routes {
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
        if self.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.staged.push((vector, message));
        self.calls += 1;
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        self.commits += 1;
        let staged = mem::take(&mut self.staged);
        if staged
            .iter()
            .any(|(_, message)| Some(*message) == self.invalid)
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (vector, message) in staged {
            let at = usize::from(vector);
            let is_late = self.irqfds[at].wait(Duration::ZERO)?;
            assert!(
                !is_late,
                "a message of vector {vector} came before its route"
            );
            self.table[at] = Some(message);
        }
        Ok(())
    }
}

/// A device, which signals `calls`, and its hypervisor, which listens to `irqfds`.
struct Device {
    calls: Vec<EventFd>,
    irqfds: Vec<EventFd>,
}

fn eventfds() -> io::Result<Vec<EventFd>> {
    (0..VECTORS).map(|_| EventFd::new(0)).collect()
}

impl Device {
    fn new() -> io::Result<Self> {
        Ok(Self {
            calls: eventfds()?,
            irqfds: eventfds()?,
        })
    }

    fn assign(&self, context: &Context) -> doorbell::Result {
        for ((line, call), irqfd) in (FIRST_LINE..).zip(&self.calls).zip(&self.irqfds) {
            context.assign_irqfd(call, line)?;
            context.assign_trigger(irqfd, line)?;
        }
        Ok(())
    }

    fn signal(&self, vector: u16) -> io::Result<()> {
        self.calls[usize::from(vector)].write(1)
    }

    /// Returns the number of messages of `vector`.
    fn messages(&self, vector: u16) -> io::Result<u64> {
        let irqfd = &self.irqfds[usize::from(vector)];
        if irqfd.wait(Duration::ZERO)? {
            irqfd.read()
        } else {
            Ok(0)
        }
    }
}

fn context() -> doorbell::Result<Arc<Context>> {
    let context = Context::open()?;
    context.set_lines_masked(FIRST_LINE + u32::from(VECTORS))?;
    Ok(Arc::new(context))
}

fn message(vector: u16) -> Message {
    Message {
        address: 0xfee0_0000,
        data: 0x40 + u32::from(vector),
    }
}

/// Writes a message as a guest does: three dwords.
fn program<R: Route>(msix: &mut Msix<R>, vector: u16, message: Message) -> Result<(), Error> {
    let entry = u64::from(vector) * 16;
    msix.write_table(entry, &(message.address as u32).to_le_bytes())?;
    msix.write_table(entry + 4, &((message.address >> 32) as u32).to_le_bytes())?;
    msix.write_table(entry + 8, &message.data.to_le_bytes())
}

fn set_mask<R: Route>(msix: &mut Msix<R>, vector: u16, masked: bool) -> Result<(), Error> {
    let control = u32::from(masked).to_le_bytes();
    msix.write_table(u64::from(vector) * 16 + 12, &control)
}

/// Returns the vectors whose pending bit is set.
fn pending<R: Route>(msix: &Msix<R>) -> Vec<u16> {
    let is_pending = |&vector: &u16| {
        let mut qword = [0; 8];
        msix.read_pba(u64::from(vector / 64) * 8, &mut qword);
        u64::from_le_bytes(qword) & (1 << (vector % 64)) != 0
    };
    (0..VECTORS).filter(is_pending).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut device = Device::new()?;
    let context = context()?;
    device.assign(&context)?;
    let routes = Routes::new(&device)?;
    let mut msix = Msix::new(context.clone(), FIRST_LINE, VECTORS, routes)?;
    assert_eq!(msix.control(), VECTORS - 1);

    // Before the guest has programmed anything.
    device.signal(70)?;
    device.signal(70)?;
    assert_eq!(pending(&msix), [70]);
    for vector in [2, 70] {
        program(&mut msix, vector, message(vector))?;
        set_mask(&mut msix, vector, false)?;
    }
    assert_eq!(device.messages(70)?, 0);
    msix.write_control(ENABLE)?;
    assert_eq!(device.messages(70)?, 1);
    assert_eq!(msix.route().table[70], Some(message(70)));
    assert_eq!((msix.route().calls, msix.route().commits), (2, 1));
    assert_eq!(pending(&msix), []);
    println!("enabled: two signals from before are one message of vector 70");

    set_mask(&mut msix, 2, true)?;
    device.signal(2)?;
    device.signal(2)?;
    assert_eq!((pending(&msix), device.messages(2)?), (vec![2], 0));
    // A guest moves the interrupt to another CPU: three writes, one route.
    let moved = Message {
        address: 0xfee0_1000,
        data: 0x99,
    };
    program(&mut msix, 2, moved)?;
    assert_eq!(msix.route().calls, 2);
    set_mask(&mut msix, 2, false)?;
    assert_eq!((pending(&msix), device.messages(2)?), (vec![], 1));
    assert_eq!(msix.route().table[2], Some(moved));
    assert_eq!(msix.route().calls, 3);
    set_mask(&mut msix, 2, true)?;
    set_mask(&mut msix, 2, false)?;
    assert_eq!((device.messages(2)?, msix.route().calls), (0, 3));
    println!("masked: vector 2 was pending, and its message went to its new address, once");

    set_mask(&mut msix, 70, true)?;
    msix.write_control(ENABLE | FUNCTION_MASK)?;
    device.signal(2)?;
    device.signal(70)?;
    device.signal(71)?;
    assert_eq!(pending(&msix), [2, 70, 71]);
    msix.write_control(ENABLE)?;
    assert_eq!((device.messages(2)?, device.messages(70)?), (1, 0));
    assert_eq!(pending(&msix), [70, 71]);
    println!("function mask: vectors 70 and 71 stay masked by themselves");

    // The hypervisor has no more routes.
    msix.route_mut().fails = true;
    program(&mut msix, 70, moved)?;
    let error = set_mask(&mut msix, 70, false).unwrap_err();
    assert!(matches!(error, Error::Route { vector: 70, .. }), "{error}");
    assert_eq!((device.messages(70)?, pending(&msix)), (0, vec![70, 71]));
    msix.route_mut().fails = false;
    set_mask(&mut msix, 70, false)?;
    assert_eq!((device.messages(70)?, pending(&msix)), (1, vec![71]));
    println!("a route that failed left vector 70 masked; the next write sent its message");

    // The hypervisor refuses the message of vector 71, and with it each table that has the message.
    let refused = Message {
        address: 0xfee0_0000,
        data: 0xdead,
    };
    msix.route_mut().invalid = Some(refused);
    msix.write_control(0)?;
    for (vector, message) in [(2, moved), (3, moved), (71, refused), (72, moved)] {
        program(&mut msix, vector, message)?;
        set_mask(&mut msix, vector, false)?;
    }
    for vector in [2, 3, 71, 72] {
        device.signal(vector)?;
    }
    let error = msix.write_control(ENABLE).unwrap_err();
    assert!(
        matches!(&error, Error::Commit { vectors, .. } if vectors == &[71]),
        "{error}"
    );
    assert_eq!(pending(&msix), [71]);
    for vector in [2, 3, 72] {
        assert_eq!(device.messages(vector)?, 1);
    }
    set_mask(&mut msix, 71, true)?;
    println!("a message that the hypervisor refuses left vector 71 masked, and no other one");

    device.signal(3)?;
    assert_eq!(device.messages(3)?, 1);
    set_mask(&mut msix, 3, true)?;
    device.signal(3)?;
    assert_eq!(pending(&msix), [3, 71]);
    msix.withdraw(3)?;
    set_mask(&mut msix, 3, false)?;
    assert_eq!((pending(&msix), device.messages(3)?), (vec![71], 0));
    println!("withdrawn: the event of vector 3 was satisfied while it was masked");

    // A device in another thread signals all the time. After a mask no message is sent.
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), Box<dyn std::error::Error>> {
        let signals = scope.spawn(|| -> io::Result<()> {
            while !done.load(Relaxed) {
                device.signal(2)?;
                thread::yield_now();
            }
            Ok(())
        });
        let mut masks = || -> Result<(), Box<dyn std::error::Error>> {
            for round in 0..200 {
                set_mask(&mut msix, 2, true)?;
                device.messages(2)?;
                // The device's next signal is held.
                let begin = Instant::now();
                while pending(&msix) != [2, 71] {
                    assert!(begin.elapsed() < TIMEOUT, "the device's signals are lost");
                    thread::yield_now();
                }
                assert_eq!(device.messages(2)?, 0, "a message of a masked vector");
                program(&mut msix, 2, message(round))?;
                set_mask(&mut msix, 2, false)?;
                assert_ne!(device.messages(2)?, 0, "a lost message");
                assert_eq!(msix.route().table[2], Some(message(round)));
            }
            Ok(())
        };
        let result = masks();
        done.store(true, Relaxed);
        signals.join().expect("the thread did not panic")?;
        result
    })?;
    println!("200 masks and unmasks under load: none let a message through, none lost one");

    // The VM migrates. The device goes on: its signals stay in the eventfd.
    set_mask(&mut msix, 2, true)?;
    device.messages(2)?;
    device.signal(2)?;
    for (line, call) in (FIRST_LINE..).zip(&device.calls) {
        context.deassign_irqfd(call, line)?;
    }
    device.signal(70)?;
    let snapshot = context.snapshot::<EventFd>(&[])?;
    let state = msix.save();
    drop((msix, context));

    let context = self::context()?;
    context.restore(&snapshot)?;
    let status = Arc::new(context.map_status()?);
    let routes = Routes::new(&device)?;
    let mut msix = Msix::with_status(context.clone(), status, FIRST_LINE, VECTORS, routes)?;
    msix.restore(&state)?;
    assert_eq!(msix.save(), state);
    assert_eq!(msix.route().table[70], Some(moved));
    device.assign(&context)?;
    assert_eq!(pending(&msix), [2, 70, 71]);
    assert_eq!((device.messages(2)?, device.messages(70)?), (0, 0));
    context.resume::<EventFd>(&snapshot, &[])?;
    assert_eq!((device.messages(2)?, device.messages(70)?), (0, 1));
    assert_eq!(pending(&msix), [2, 71]);
    set_mask(&mut msix, 2, false)?;
    assert_eq!(device.messages(2)?, 1);
    println!("restored: pending bits, masks and routes are those of before");

    // The VMM restarts, and passes its context to the next process. The device's eventfds stay.
    let lines = LineSet::range(FIRST_LINE..FIRST_LINE + u32::from(VECTORS));
    context.mask_lines_for(&lines, MaskReasons::PAUSE)?;
    device.signal(70)?;
    let state = msix.save();
    drop(msix);
    device.irqfds = eventfds()?;
    for (line, irqfd) in (FIRST_LINE..).zip(&device.irqfds) {
        context.deassign_all_triggers(line)?;
        context.assign_trigger(irqfd, line)?;
    }
    let routes = Routes::new(&device)?;
    let mut msix = Msix::new(context.clone(), FIRST_LINE, VECTORS, routes)?;
    msix.restore(&state)?;
    assert_eq!((device.messages(70)?, pending(&msix)), (0, vec![70, 71]));
    context.unmask_lines_for(&lines, MaskReasons::PAUSE)?;
    assert_eq!((device.messages(70)?, pending(&msix)), (1, vec![71]));
    println!("restarted: the new irqfds get what the lines have held");

    device.signal(2)?;
    set_mask(&mut msix, 2, true)?;
    device.signal(2)?;
    msix.reset()?;
    assert_eq!((pending(&msix), msix.control()), (vec![], VECTORS - 1));
    let masked = MaskReasons::VECTOR | MaskReasons::FUNCTION;
    assert_eq!(context.query(FIRST_LINE + 2)?.reasons, masked);
    assert_eq!(context.ring(FIRST_LINE + 2)?, RingOutcome::Masked);
    println!("reset: no vector is pending, and all are masked");
    drop(msix);

    let msix = |first, vectors| Msix::new(context.clone(), first, vectors, Routes::default());
    for vectors in [0, 2049] {
        let error = msix(0, vectors).unwrap_err();
        assert!(matches!(error, Error::Vectors { .. }), "{error}");
    }
    for first in [FIRST_LINE + 1, u32::MAX] {
        let error = msix(first, VECTORS).unwrap_err();
        assert!(matches!(error, Error::NoLines { .. }), "{error}");
    }
    context.set_type(0, LineType::Level)?;
    context.set_type_automask(1, LineType::Edge)?;
    for first in [0, 1] {
        let error = msix(first, 1).unwrap_err();
        assert!(
            matches!(error, Error::NotEdge { line } if line == first),
            "{error}"
        );
    }
    println!("lines that do not exist, or are not edge lines, are refused");
    Ok(())
}

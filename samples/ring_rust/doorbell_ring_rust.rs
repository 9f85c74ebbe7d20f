// SPDX-License-Identifier: GPL-2.0

//! /dev/doorbell-ring_rust: rings a line from hard interrupt context, as an interrupt handler does.
//! The source of the interrupts is a timer. See ../ring_c for the same in C, and for its ABI.

// begin out of tree
#[path = "../../rust/module_api.rs"]
// end out of tree
// in tree: #[path = "../../../drivers/misc/doorbell/rust/module_api.rs"]
mod doorbell;

// The file operations of a misc device that has an owner.
// begin out of tree
#[path = "../../rust/kernel_ext/compat/misc_device.rs"]
// end out of tree
// in tree: #[path = "../../../drivers/misc/doorbell/rust/kernel_ext/compat/misc_device.rs"]
#[allow(dead_code)]
mod misc_device;

use doorbell::Context;
use kernel::{
    fs::File,
    impl_has_hr_timer,
    ioctl::{
        _IOR,
        _IOW, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeHardMode, //
        },
        Delta,
        Monotonic, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

module! {
    type: Module,
    name: "doorbell_ring_rust",
    authors: ["The doorbell authors"],
    description: "doorbell sample: rings a line from hard interrupt context, in Rust",
    license: "GPL",
}

#[pin_data]
struct Module {
    #[pin]
    _device: misc_device::Registration<Ring>,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- misc_device::Registration::register(MiscDeviceOptions {
                name: c"doorbell-ring_rust",
            }),
        })
    }
}

/// `struct ring_attach`.
#[repr(C)]
struct Attach {
    fd: i32,
    line: u32,
    period_ns: u64,
}

/// `struct ring_counts`: number of rings by outcome.
type Counts = [u64; 3];

const RING_ATTACH: u32 = _IOW::<Attach>(0xdb, 0x80);
const RING_DETACH: u32 = _IOR::<Counts>(0xdb, 0x81);

/// Leaves the CPU time for other work.
const MIN_PERIOD_NS: u64 = 100_000;
const MAX_PERIOD_NS: u64 = 1_000_000_000;

/// A timer that rings a line.
#[pin_data]
struct Ringer {
    #[pin]
    timer: HrTimer<Self>,
    period: Delta,
    context: Context,
    line: u32,
    rings: [Atomic<u64>; 3],
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Ringer {
        mode: RelativeHardMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Ringer {
    type Pointer<'a> = Arc<Self>;

    /// Runs in hard interrupt context, on PREEMPT_RT as well: see [`RelativeHardMode`].
    fn run(
        this: ArcBorrow<'_, Self>,
        mut timer: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        // Cannot fail: `attach()` has checked the line, and a context never loses lines.
        if let Ok(rung) = this.context.ring(this.line) {
            this.rings[rung as usize].fetch_add(1u64, Relaxed);
        }
        timer.forward_now(this.period);
        HrTimerRestart::Restart
    }
}

/// An open file of the device.
#[pin_data]
struct Ring {
    /// `None` if not attached. Dropping the handle stops its timer and waits for its callback.
    #[pin]
    attached: Mutex<Option<(ArcHrTimerHandle<Ringer>, Arc<Ringer>)>>,
}

impl Ring {
    fn attach(&self, arg: UserPtr) -> Result {
        let mut reader = UserSlice::new(arg, size_of::<Attach>()).reader();
        let attach = Attach {
            fd: reader.read()?,
            line: reader.read()?,
            period_ns: reader.read()?,
        };
        if !(MIN_PERIOD_NS..=MAX_PERIOD_NS).contains(&attach.period_ns) {
            return Err(EINVAL);
        }

        let mut attached = self.attached.lock();
        if attached.is_some() {
            return Err(EEXIST);
        }
        let context = Context::fdget(attach.fd)?;
        // The timer callback could not report that there is no such line.
        context.state(attach.line)?;

        let period = Delta::from_nanos(attach.period_ns as i64);
        let ringer = Arc::pin_init(
            pin_init!(Ringer {
                timer <- HrTimer::new(),
                period,
                context,
                line: attach.line,
                rings: [const { Atomic::new(0) }; 3],
            }),
            GFP_KERNEL,
        )?;
        *attached = Some((ringer.clone().start(period), ringer));
        Ok(())
    }

    fn detach(&self, arg: UserPtr) -> Result {
        let (handle, ringer) = self.attached.lock().take().ok_or(ENOENT)?;
        drop(handle);
        let counts: Counts = core::array::from_fn(|rung| ringer.rings[rung].load(Relaxed));
        UserSlice::new(arg, size_of::<Counts>())
            .writer()
            .write(&counts)
    }
}

#[vtable]
impl MiscDevice for Ring {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(
            pin_init!(Self {
                attached <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            RING_ATTACH => me.attach(arg)?,
            RING_DETACH => me.detach(arg)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

//! A panic of a handler, between where it is caught and whoever is to hear of it.

use std::{any::Any, panic::resume_unwind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// A panic on its way, in one word. A `Box` of a payload would itself pass for a payload.
#[derive(Debug)]
pub(crate) struct Panic(Box<Payload>);

impl Panic {
    pub(crate) fn of(payload: Payload) -> Self {
        Self(Box::new(payload))
    }

    pub(crate) fn into_payload(self) -> Payload {
        *self.0
    }

    /// Goes on where it was caught.
    pub(crate) fn resume(self) -> ! {
        resume_unwind(self.into_payload())
    }
}

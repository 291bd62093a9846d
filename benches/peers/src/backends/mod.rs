//! The backends, and one place that knows all of them.

mod actor;
mod arc_swap;
mod async_stm;
mod fast_stm;
#[cfg(test)]
mod faulty;
mod kovan;
mod locks;
mod plain;
mod stm_core;
mod tl2;
mod txloop;
mod xstm;

use crate::access::Backend;

pub(crate) use plain::Plain;
pub(crate) use tl2::Logged as Tl2Logged;
pub(crate) use txloop::{TxloopCounters, TxloopGrid};

/// Something that can be done with any backend.
pub(crate) trait Visitor {
    /// With one that threads share.
    fn shared<B: Backend + Send + Sync>(&mut self);

    /// With the one that they cannot.
    fn alone<B: Backend>(&mut self);
}

/// Does it with every backend, in the order of the tables.
pub(crate) fn visit_all(visitor: &mut impl Visitor) {
    visitor.alone::<plain::Plain>();
    visitor.shared::<locks::Mutex>();
    visitor.shared::<locks::RwLock>();
    visitor.shared::<locks::ParkingMutex>();
    visitor.shared::<locks::ParkingRwLock>();
    visitor.shared::<arc_swap::ArcSwap>();
    visitor.shared::<actor::Actor>();
    visitor.shared::<txloop::Txloop>();
    visitor.shared::<stm_core::StmCore>();
    visitor.shared::<fast_stm::FastStm>();
    visitor.shared::<kovan::Kovan>();
    visitor.shared::<async_stm::AsyncStm>();
    visitor.shared::<xstm::Xstm>();
    visitor.shared::<tl2::Tl2>();
    #[cfg(test)]
    {
        visitor.shared::<faulty::LostWrites>();
        visitor.shared::<faulty::WrongReads>();
    }
}

/// The names of all that are made of cells, also of those that take part in few workloads.
pub(crate) fn names() -> Vec<&'static str> {
    struct Names(Vec<&'static str>);
    impl Visitor for Names {
        fn shared<B: Backend + Send + Sync>(&mut self) {
            self.0.push(B::NAME);
        }

        fn alone<B: Backend>(&mut self) {
            self.0.push(B::NAME);
        }
    }
    let mut names = Names(Vec::new());
    visit_all(&mut names);
    names.shared::<TxloopCounters>();
    names.shared::<TxloopGrid>();
    names.shared::<Tl2Logged>();
    names.0
}

//! Code that runs inside a transaction, or because of one, and does there what nobody expects.

use crate::{edges::panic_text, limits::wait_until};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};
use txloop::{App, Executor, Failure, Parked, TVar, Transaction, atomically, parked_for, snapshot};

#[test]
fn a_clone_that_panics_writes_nothing() {
    #[derive(Debug)]
    struct NoClone(i32);
    impl Clone for NoClone {
        fn clone(&self) -> Self {
            panic!("a clone that panics");
        }
    }
    let (cell, other) = (TVar::new(NoClone(1)), TVar::new(0));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        atomically(|tx| {
            tx.set(&other, 1);
            tx.modify(&cell, |value| value.0 = 2);
        });
    }));
    assert!(caught.is_err());
    assert_eq!((cell.with(|v| v.0), other.with(|n| *n)), (1, 0));
    // Caught inside, the rest of the transaction stands.
    atomically(|tx| {
        tx.set(&other, 5);
        let caught = catch_unwind(AssertUnwindSafe(|| tx.modify(&cell, |value| value.0 = 2)));
        assert!(caught.is_err());
    });
    assert_eq!((cell.with(|v| v.0), other.with(|n| *n)), (1, 5));
}

#[test]
fn a_comparison_that_panics_writes_nothing() {
    #[derive(Debug)]
    struct Touchy(i32);
    impl PartialEq for Touchy {
        fn eq(&self, other: &Self) -> bool {
            assert!(other.0 >= 0 && self.0 >= 0, "a comparison that panics");
            self.0 == other.0
        }
    }
    let (cell, other) = (TVar::new(Touchy(1)), TVar::new(0));
    let change = |tx: &Transaction, to| {
        tx.set(&other, to);
        tx.set_if_changed(&cell, Touchy(to))
    };
    assert!(catch_unwind(AssertUnwindSafe(|| atomically(|tx| change(tx, -1)))).is_err());
    assert_eq!((cell.with(|v| v.0), other.with(|n| *n)), (1, 0));
    // Caught inside, the rest of the transaction stands.
    atomically(|tx| {
        assert!(catch_unwind(AssertUnwindSafe(|| change(tx, -2))).is_err());
    });
    assert_eq!((cell.with(|v| v.0), other.with(|n| *n)), (1, -2));
    assert_eq!([2, 2].map(|to| atomically(|tx| change(tx, to))), [true, false]);
}

/// Waits for the cell when it is dropped.
struct WaitsAtItsEnd<'a>(&'a Transaction, &'a TVar<u32>);

impl Drop for WaitsAtItsEnd<'_> {
    fn drop(&mut self) {
        if *self.0.get(self.1) == 0 {
            self.0.retry();
        }
    }
}

#[test]
fn a_destructor_may_wait() {
    let (cell, steps) = (TVar::new(0), TVar::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            atomically(|tx| {
                let _waits = WaitsAtItsEnd(tx, &cell);
                tx.modify(&steps, |n| *n += 1);
            });
        });
        let is_here = |one: &Parked| one.place.contains("awkward.rs");
        wait_until(|| parked_for(Duration::ZERO, usize::MAX).iter().any(is_here));
        assert_eq!(snapshot(|s| *s.get(&steps)), 0);
        atomically(|tx| tx.set(&cell, 1));
    });
    assert_eq!(snapshot(|s| *s.get(&steps)), 1);
}

#[test]
fn an_executor_is_not_to_wait_for_itself() {
    let executor = Arc::new(Executor::new(2).expect("threads"));
    let itself = Arc::clone(&executor);
    let run = move |_: &Transaction| itself.run("run", [|_: &Transaction| 1]).len();
    let Err(Failure::Panicked(told)) = executor.transact("waits", run).wait() else {
        panic!("it has waited");
    };
    assert!(told.to_string().contains("was called on a thread of the same executor"), "{told}");
    assert_eq!(executor.run("run", [|_: &Transaction| 1]).len(), 1);
}

#[test]
fn an_executor_without_threads_is_not_to_be_waited_for() {
    let mut server = App::new().threads(1).listen("127.0.0.1:0").expect("a server");
    let run = || drop(server.event_loop().executor().run("run", [|_: &Transaction| 1]));
    let told = panic_text(run);
    assert!(told.contains("was called on a thread of the same executor"), "{told}");
}

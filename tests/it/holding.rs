//! Somebody who has the baton, for as long as a test wants.

use std::{
    sync::mpsc::{Sender, channel},
    thread,
};
use txloop::irrevocably;

/// Runs `f` while a thread has the baton. What `f` is given lets it go when it is dropped, so that
/// a test which fails ends, too.
pub(crate) fn while_another_holds<R>(f: impl FnOnce(Sender<()>) -> R) -> R {
    let (open, opened) = channel();
    let (enter, entered) = channel();
    thread::scope(|scope| {
        // Dropped here if `f` is not reached.
        let open = open;
        scope.spawn(move || {
            irrevocably(|_| {
                enter.send(()).expect("somebody waits");
                // An error is the drop.
                let _ = opened.recv();
            });
        });
        entered.recv().expect("it holds the baton");
        f(open)
    })
}

//! A server of this process that runs on a thread of its own.

use std::{net::SocketAddr, thread};
use txloop::{Handle, Server};

/// Stopped by [`Running::stop`], or when it is dropped: a test that fails must not leave a server
/// behind for which its scope then waits for ever.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(server: Server) -> Self {
        let (address, handle) = (server.local_addr(), server.handle());
        let serve = || server.run_until_stopped().expect("the server runs");
        let thread = thread::Builder::new().spawn(serve).expect("a thread");
        Self { address, handle, thread: Some(thread) }
    }

    pub(crate) fn stop(mut self) {
        self.handle.stop();
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("the server ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

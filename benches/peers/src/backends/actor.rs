//! A thread that owns the cells, and is sent jobs over a channel of the crate crossbeam-channel.

use crate::access::{Backend, Job};
use crate::backends::locks::Exclusive;
use crossbeam_channel::{Sender, bounded, unbounded};
use std::thread::{self, JoinHandle};

type Message = Box<dyn FnOnce(&mut [i64]) + Send>;

/// The way to the owner, which ends when it is closed.
pub(crate) struct Actor {
    jobs: Option<Sender<Message>>,
    owner: Option<JoinHandle<()>>,
}

impl Backend for Actor {
    const NAME: &'static str = "actor";

    fn new(values: &[i64]) -> Self {
        let (jobs, inbox) = unbounded::<Message>();
        let mut cells = values.to_vec();
        let owner = thread::spawn(move || {
            for message in inbox {
                message(&mut cells);
            }
        });
        Self { jobs: Some(jobs), owner: Some(owner) }
    }

    /// The answer comes back over a channel of its own.
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let (reply, answer) = bounded(1);
        let job = job.clone();
        let message: Message = Box::new(move |cells| {
            let Ok(answer) = job.run(&mut Exclusive(cells));
            reply.send(answer).unwrap_or_else(|_| unreachable!("the caller waits"));
        });
        let jobs = self.jobs.as_ref().expect("open until the actor is dropped");
        jobs.send(message).expect("the owner lives as long as the channel");
        answer.recv().expect("the owner of the cells panicked")
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(owner) = self.owner.take() {
            owner.join().expect("the owner of the cells panicked");
        }
    }
}

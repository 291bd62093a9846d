//! Handlers: a function's type says whether it writes.

use super::{
    request::Request,
    response::{IntoResponse, Response},
};
use crate::executor::job::{Kind, Verdict};
use crate::transaction::{Snapshot, Transaction};
use std::{any::Any, fmt};

type Found = Box<dyn Any + Send>;
type Answer = (Response, Verdict);

type Viewing<T> = dyn Fn(&Snapshot, &Request) -> T + Send + Sync;
type Writing = dyn Fn(&Transaction, &Request) -> Answer + Send + Sync;
type Acting = dyn Fn(&Transaction, &Request, &Found) -> Answer + Send + Sync;

enum Run {
    Read(Box<Viewing<Response>>),
    Write(Box<Writing>),
    Search(Box<Viewing<Found>>, Box<Acting>),
}

/// What a route calls, made by [`read`], [`write()`] or [`search_then`], or from a function whose
/// parameter types say which it is.
pub struct Handler(Run);

impl Handler {
    pub(super) fn kind(&self) -> Kind {
        match &self.0 {
            Run::Read(_) => Kind::Read,
            Run::Write(_) => Kind::Write,
            Run::Search(..) => Kind::SearchThenWrite,
        }
    }

    /// The run on a snapshot: the answer, or what the search found.
    pub(super) fn view(&self, view: &Snapshot, request: &Request) -> Result<Response, Found> {
        match &self.0 {
            Run::Read(read) => Ok(read(view, request)),
            Run::Search(search, _) => Err(search(view, request)),
            Run::Write(_) => unreachable!("a write handler is not run on a snapshot"),
        }
    }

    /// One attempt.
    pub(super) fn attempt(
        &self,
        tx: &Transaction,
        request: &Request,
        found: Option<&Found>,
    ) -> Answer {
        match (&self.0, found) {
            (Run::Write(write), _) => write(tx, request),
            (Run::Search(_, act), Some(found)) => act(tx, request, found),
            _ => unreachable!("a read handler has no attempts, and a search comes before the act"),
        }
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({:?})", self.kind())
    }
}

fn answer(response: impl IntoResponse) -> Answer {
    let verdict = if response.is_rollback() { Verdict::RollBack } else { Verdict::Commit };
    (response.into_response(), verdict)
}

/// A handler that only reads. It sees one state, is never run again, and nobody waits for it.
pub fn read<R: IntoResponse>(
    f: impl Fn(&Snapshot, &Request) -> R + Send + Sync + 'static,
) -> Handler {
    Handler(Run::Read(Box::new(move |view, request| f(view, request).into_response())))
}

/// A handler that may write: one transaction.
///
/// # Re-run
/// `f` may be called several times; only the last call counts, and only its answer is sent.
pub fn write<R: IntoResponse>(
    f: impl Fn(&Transaction, &Request) -> R + Send + Sync + 'static,
) -> Handler {
    Handler(Run::Write(Box::new(move |tx, request| answer(f(tx, request)))))
}

/// A handler that searches for long and then acts briefly.
///
/// `search` runs once, on a snapshot, and conflicts with nobody. `act` is the transaction: it runs
/// at a later state, so it has to check whatever of `search`'s result may have changed; only what
/// it reads can make it run again, and it alone is run again.
///
/// # Re-run
/// `search` is called once; `act` may be called several times with the same finding.
pub fn search_then<P: Send + 'static, R: IntoResponse>(
    search: impl Fn(&Snapshot, &Request) -> P + Send + Sync + 'static,
    act: impl Fn(&Transaction, &Request, &P) -> R + Send + Sync + 'static,
) -> Handler {
    Handler(Run::Search(
        Box::new(move |view, request| Box::new(search(view, request))),
        Box::new(move |tx, request, found| match found.downcast_ref::<P>() {
            Some(found) => answer(act(tx, request, found)),
            None => unreachable!("a finding has the type that its search made"),
        }),
    ))
}

/// What a route accepts: a `fn(&Snapshot, &Request)`, a `fn(&Transaction, &Request)`, or a
/// [`Handler`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "expected `fn(&Snapshot, &Request)` or `fn(&Transaction, &Request)`",
    note = "wrap a closure in `read(|s, req| ..)` or `write(|tx, req| ..)`, or write its \
            parameter types"
)]
pub trait IntoHandler<Marker> {
    /// The handler.
    fn into_handler(self) -> Handler;
}

/// Marks functions of a snapshot.
#[derive(Debug)]
pub struct ReadFn<R>(std::marker::PhantomData<R>);

/// Marks functions of a transaction.
#[derive(Debug)]
pub struct WriteFn<R>(std::marker::PhantomData<R>);

impl<F, R> IntoHandler<ReadFn<R>> for F
where
    F: Fn(&Snapshot, &Request) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    fn into_handler(self) -> Handler {
        read(self)
    }
}

impl<F, R> IntoHandler<WriteFn<R>> for F
where
    F: Fn(&Transaction, &Request) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    fn into_handler(self) -> Handler {
        write(self)
    }
}

impl IntoHandler<()> for Handler {
    fn into_handler(self) -> Handler {
        self
    }
}

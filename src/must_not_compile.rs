//! What the compiler must refuse, each beside a twin that compiles, so that it is refused for the
//! right reason. Read by `cargo test --doc` only.

/// A reference to a value must not leave the closure.
///
/// ```
/// let cell = txloop::TVar::new(String::from("x"));
/// let text: String = txloop::atomically(|tx| tx.get(&cell).clone());
/// ```
/// ```compile_fail,E0515
/// fn leak(cell: &txloop::TVar<String>) -> &'static String {
///     txloop::atomically(|tx| tx.get(cell))
/// }
/// ```
/// ```compile_fail
/// let cell = txloop::TVar::new(String::from("x"));
/// let text: &String = txloop::atomically(|tx| tx.get(&cell));
/// ```
struct EscapingReference;

/// Counting into a capture would count re-runs.
///
/// ```
/// let count = std::cell::Cell::new(0);
/// txloop::atomically(|_| { let _ = count.get() + 1; });
/// ```
/// ```compile_fail,E0594
/// let mut count = 0;
/// txloop::atomically(|_| count += 1);
/// ```
struct CountingIntoACapture;

/// A bare closure does not say whether it writes.
///
/// ```
/// use txloop::{App, read};
/// let app = App::new().get("/", read(|_, _| "hello"));
/// ```
/// ```compile_fail,E0282
/// use txloop::App;
/// let app = App::new().get("/", |_, _| "hello");
/// ```
struct BareClosure;

/// A closure of the wrong shape is no handler.
///
/// ```
/// use txloop::{App, Request, Snapshot};
/// let app = App::new().get("/", |_: &Snapshot, _: &Request| "hello");
/// ```
/// ```compile_fail,E0277
/// use txloop::{App, Request};
/// let app = App::new().get("/", |_: &Request| "hello");
/// ```
struct WrongShape;

/// A snapshot cannot write.
///
/// ```
/// let cell = txloop::TVar::new(1);
/// txloop::atomically(|tx| tx.set(&cell, 2));
/// ```
/// ```compile_fail,E0599
/// let cell = txloop::TVar::new(1);
/// txloop::snapshot(|s| s.set(&cell, 2));
/// ```
struct WriteInASnapshot;

/// A transaction stays on its thread; a snapshot may be shared.
///
/// ```
/// let cell = txloop::TVar::new(1);
/// txloop::snapshot(|s| std::thread::scope(|t| { t.spawn(|| *s.get(&cell)); }));
/// ```
/// ```compile_fail,E0277
/// let cell = txloop::TVar::new(1);
/// txloop::atomically(|tx| std::thread::scope(|t| { t.spawn(|| *tx.get(&cell)); }));
/// ```
struct TransactionOnAnotherThread;

/// A handler returns an answer.
///
/// ```
/// use txloop::{App, Request, Snapshot};
/// let app = App::new().get("/", |_: &Snapshot, _: &Request| String::from("fine"));
/// ```
/// ```compile_fail,E0277
/// use txloop::{App, Request, Snapshot};
/// let app = App::new().get("/", |_: &Snapshot, _: &Request| std::time::Duration::ZERO);
/// ```
struct WrongAnswer;

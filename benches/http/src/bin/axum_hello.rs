//! axum answering `GET /` with `hello`, under the conditions of txloop's example `echo`: the same
//! flags, allocator, build profile and answer, `txloop-version` included.
//!
//! - TCP_NODELAY is set on every accepted connection, as txloop does. Without it pipelined answers
//!   wait for the kernel's delayed acknowledgements (40 ms a round), which says nothing about axum.
//! - `axum::serve` writes every pipelined answer by itself and offers no setting for that. With
//!   `--pipeline-flush` the same router is served by hyper, which then writes the answers to all
//!   requests of one read together, as txloop does.

use axum::{Router, http::HeaderValue, response::IntoResponse, routing::get, serve::ListenerExt};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};
use tokio::{net::TcpListener, runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
axum-hello: axum says hello

  --listen ADDR      where to listen (127.0.0.1:8888; port 0 picks a free one)
  --threads N        threads of tokio (1)
  --multi-thread     tokio's multi-thread runtime also with one thread
  --pipeline-flush   write the answers to pipelined requests together
  --help             this text";

/// The command line.
struct Flags {
    listen: String,
    threads: usize,
    multi_thread: bool,
    pipeline_flush: bool,
}

impl Flags {
    /// Reads the command line; `None` if help was asked for.
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Flags>, String> {
        let mut flags = Flags {
            listen: "127.0.0.1:8888".to_owned(),
            threads: 1,
            multi_thread: false,
            pipeline_flush: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("flag {argument} needs a value"));
            match argument.as_str() {
                "--listen" => flags.listen = value()?,
                "--threads" => {
                    let text = value()?;
                    let threads = text.parse().ok().filter(|threads| *threads > 0);
                    flags.threads =
                        threads.ok_or(format!("--threads {text:?} is not a positive number"))?;
                }
                "--multi-thread" => flags.multi_thread = true,
                "--pipeline-flush" => flags.pipeline_flush = true,
                "--help" => return Ok(None),
                _ => return Err(format!("unknown flag {argument} (--help lists the flags)")),
            }
        }
        Ok(Some(flags))
    }
}

fn main() -> ExitCode {
    let flags = match Flags::read(env::args().skip(1)) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("axum-hello on {}: {error}", flags.listen);
            ExitCode::FAILURE
        }
    }
}

/// Starts tokio and serves for ever.
fn run(flags: &Flags) -> io::Result<()> {
    let mut builder = match flags.threads {
        1 if !flags.multi_thread => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(flags.threads).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(&flags.listen).await?;
        let mut out = io::stdout().lock();
        writeln!(out, "listening on http://{}", listener.local_addr()?)?;
        out.flush()?;
        drop(out);
        let router = Router::new().route("/", get(hello));
        if flags.pipeline_flush {
            serve_with_hyper(listener, router).await
        } else {
            // A connection that refuses the option is lost anyway.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            axum::serve(listener, router).await
        }
    })
}

/// The answer, with the field that txloop's example has in its own.
async fn hello() -> impl IntoResponse {
    ([("txloop-version", HeaderValue::from_static("0"))], "hello")
}

/// What `axum::serve` does for HTTP/1, but with hyper's `pipeline_flush`.
async fn serve_with_hyper(listener: TcpListener, router: Router) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.pipeline_flush(true).timer(TokioTimer::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}

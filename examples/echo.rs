//! cargo run --release --example echo
//!
//! For conformance runs and for the cost of a request: handlers that do next to nothing.

mod flags;
mod serving;

use txloop::{App, HeaderName, HeaderValue, Method, Request, Response, Snapshot, StatusCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

fn root(_: &Snapshot, request: &Request) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => Response::text("hello"),
        Method::POST => Response::text(format!("len={}", request.body().len())),
        _ => Response::error(StatusCode::NOT_FOUND, "not found"),
    }
}

fn echo(_: &Snapshot, request: &Request) -> Response {
    let given = request.header("content-type").and_then(|v| HeaderValue::from_bytes(v).ok());
    let content_type = given.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    Response::new(StatusCode::OK)
        .with_header(CONTENT_TYPE, content_type)
        .with_body(request.body().clone())
}

fn main() {
    let flags = serving::flags(
        "echo: says hello, counts bytes, sends bodies back",
        &[("max-body", "1048576")],
        "  --max-body N    the longest body in bytes (1048576); a longer one is answered 413\n",
        &[],
    );
    let app = App::new()
        .version_header(true)
        .max_body(flags.number("max-body", 1..=1 << 32) as usize)
        .any("/", root)
        .any("/echo", echo);
    serving::serve(app, &flags, &["/", "/echo -d hi"]);
}

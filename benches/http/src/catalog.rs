//! What is compared: servers and tests, as data. A new peer or test is one more entry.

/// What a cargo build makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// The folder of the manifest, from the root of the repository.
    pub(crate) package: &'static str,
    /// `--example` or `--bin`.
    pub(crate) kind: &'static str,
    /// The name of the example or binary.
    pub(crate) name: &'static str,
}

/// A server under test.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its name in the results and for `--only`.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: Program,
    /// Its flags beside `--listen` and `--threads`.
    pub(crate) flags: &'static [&'static str],
}

/// A load, and the answer that it must get.
#[derive(Debug)]
pub(crate) struct Test {
    /// Its name in the results.
    pub(crate) name: &'static str,
    /// What is asked for with GET.
    pub(crate) path: &'static str,
    /// Connections, each with one batch of requests under way.
    pub(crate) connections: u32,
    /// Threads of the server.
    pub(crate) threads: u32,
    /// Requests sent in one write.
    pub(crate) pipeline: u32,
    /// The Content-Type of the answer, which has status 200.
    pub(crate) content_type: &'static str,
    /// The body of the answer.
    pub(crate) body: &'static str,
}

const ECHO: Program = Program { package: ".", kind: "--example", name: "echo" };
const AXUM: Program = Program { package: "benches/http", kind: "--bin", name: "axum-hello" };

/// All servers. Ratios are those of the first to each other one.
pub(crate) const SERVERS: [Server; 3] = [
    Server { name: "txloop", program: ECHO, flags: &[] },
    Server { name: "axum", program: AXUM, flags: &[] },
    Server { name: "axum-flush", program: AXUM, flags: &["--pipeline-flush"] },
];

const PLAIN: Test = Test {
    name: "plain",
    path: "/",
    connections: 50,
    threads: 1,
    pipeline: 1,
    content_type: "text/plain; charset=utf-8",
    body: "hello",
};

/// All tests.
pub(crate) const TESTS: [Test; 2] = [PLAIN, Test { pipeline: 16, ..PLAIN }];
